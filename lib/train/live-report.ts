// Keeps report.html of a run folder up to date while rank 0 trains.

import { Worker } from "node:worker_threads";
import type { PageTask } from "../report/page-thread.js";
import { reportName } from "../run-folder/run-folder.js";
import { warning } from "../text/words.js";

/** Seconds after which the page of a run that goes on loads itself again. */
const reload = 10;
/** Share of a run's time in which a page may be made, but for the first and the last. */
const share = 0.01;

/** Compiled, as threads take it, also where this file is not. */
const threadFile = new URL("../../dist/report/page-thread.js", import.meta.url);

export class LiveReport {
  /** Makes a page while the run goes on: a long log takes longer than the other ranks wait for this one. */
  private thread: Worker | undefined;
  /** Milliseconds that the last page took, and when it was done. */
  private took = 0;
  private written = 0;
  private hasWarned = false;

  /** `say` shows a message to the user. */
  constructor(
    private readonly out: string,
    private readonly say: (text: string) => void,
  ) {}

  /** Begins to write the page after an epoch, unless pages would take more than their share of the time. */
  update(): void {
    const begin = performance.now();
    if (this.thread || begin - this.written < this.took / share) return;
    const workerData: PageTask = { folder: this.out, reload };
    try {
      this.thread = new Worker(threadFile, { workerData, execArgv: [] });
    } catch (error) {
      this.warn(error); // no thread can be started
      return;
    }
    this.thread.on("error", (error) => this.warn(error));
    this.thread.on("exit", () => {
      this.thread = undefined;
      this.written = performance.now();
      this.took = this.written - begin;
    });
  }

  /** Writes the page of a run that has ended. */
  async finish(): Promise<void> {
    await this.thread?.terminate();
    try {
      const { writePage } = await import("../report/write-page.js");
      await writePage(this.out);
    } catch (error) {
      this.warn(error);
    }
  }

  /** Once: the run goes on without the page. */
  private warn(error: unknown): void {
    if (!this.hasWarned)
      this.say(warning(`${reportName} could not be written (${(error as Error).message})`));
    this.hasWarned = true;
  }
}
