// The program of a worker process: trains as one rank, and prints events as lines. A module that the
// launcher loads first reports its errors.

import { listenForEarlyEnd } from "../modules/early-end.js";
import { connect } from "../ranks/connect.js";
import { reportOf } from "../ranks/error-report.js";
import { tellLauncher } from "../ranks/report.js";
import { setVoice } from "../recipe/voice.js";
import type { RunEvent } from "./events.js";
import { trainAsRank, trainAsWorker } from "./train.js";
import { formatEvent, type Job, jobVariable, type ResultLine } from "./workers.js";

const { recipe, resume, asked, voice, restart } = JSON.parse(process.env[jobVariable]!) as Job;
setVoice(voice);
const unlisten = listenForEarlyEnd((error) => {
  tellLauncher(reportOf(error));
  process.exitCode = 1;
});
const world = await connect({ timeoutSeconds: recipe.timeout });
// After a signal the launcher chooses the status: a worker that saved has not failed.
const show = (event: RunEvent | ResultLine) => process.stdout.write(`${formatEvent(event)}\n`);
const result = asked
  ? await trainAsRank(asked.given, world, { resume: asked.resume, restart, onEvent: show })
  : await trainAsWorker(recipe, world, { resume, restart, onEvent: show });
// Another node's supervisor does not see rank 0's last event.
if (world.rank !== 0 && world.localRank === 0) show({ type: "result", result });
await world.close();
unlisten();
