// A thread that writes the page about a run that goes on, and ends.

import { constants, setPriority } from "node:os";
import { workerData } from "node:worker_threads";
import { writePage } from "./write-page.js";

/** The page to write, as `writePage` takes it. */
export interface PageTask {
  folder: string;
  reload: number;
}

setPriority(constants.priority.PRIORITY_LOW); // of this thread alone: on Linux each has its own
const { folder, reload } = workerData as PageTask;
await writePage(folder, reload);
