// One rank of `onehour bench all-reduce`; rank 0 prints each row as a line, and keeps the result in a file.
import { writeFileSync } from "node:fs";
import { connect } from "../ranks/connect.js";
import { type AllReduceJob, measureInWorld, resultIn } from "./all-reduce-bench.js";

const job = JSON.parse(process.argv[2]!) as AllReduceJob;
const world = await connect();
const isFirst = world.rank === 0;
const measured = await measureInWorld(world, job, (row) => {
  if (isFirst) process.stdout.write(`${JSON.stringify(row)}\n`);
});
if (isFirst) writeFileSync(resultIn(job.folder), JSON.stringify(measured));
await world.close();
