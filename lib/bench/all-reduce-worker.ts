// One rank of `onehour bench all-reduce`; rank 0 prints each row as a line, and keeps the result in a file.
import { writeFileSync } from "node:fs";
import { connect } from "../ranks/connect.js";
import { type AllReduceJob, measureInWorld } from "./all-reduce-bench.js";

const { device, sizes, result } = JSON.parse(process.argv[2]!) as AllReduceJob;
const world = await connect();
const isFirst = world.rank === 0;
const measured = await measureInWorld(world, device, sizes, (row) => {
  if (isFirst) process.stdout.write(`${JSON.stringify(row)}\n`);
});
if (isFirst) writeFileSync(result, JSON.stringify(measured));
await world.close();
