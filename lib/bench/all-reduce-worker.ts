// One rank of `onehour bench all-reduce`; rank 0 prints each row as a line, and keeps the result in a file.
import { writeFileSync } from "node:fs";
import { connect } from "../ranks/connect.js";
import { type AllReduceJob, lineOf, measureInWorld, resultIn } from "./all-reduce-bench.js";

const job = JSON.parse(process.argv[2]!) as AllReduceJob;
const world = await connect();
const measured = await measureInWorld(world, job, (...row) => {
  process.stdout.write(lineOf(...row));
});
if (world.rank === 0) writeFileSync(resultIn(job.folder), JSON.stringify(measured));
await world.close();
