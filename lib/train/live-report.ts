// Keeps report.html of a run folder up to date while rank 0 trains.

import { once } from "node:events";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { PageTask } from "../report/page-thread.js";
import { logName } from "../run-folder/log.js";
import { reportName } from "../run-folder/run-folder.js";
import { warning } from "../text/words.js";

/** Seconds after which the page of a run that goes on loads itself again. */
const reload = 10;
/** Share of a run's time in which a page may be made, but for the first and the last. */
const share = 0.01;
/** Bytes of a log of some thousand steps, which becomes a page in less time than a thread takes to start. */
const shortLog = 1 << 20;

/** Compiled, as threads take it, also where this file is not. */
const threadFile = new URL("../../dist/report/page-thread.js", import.meta.url);

async function writePage(out: string, seconds?: number): Promise<void> {
  const page = await import("../report/write-page.js");
  await page.writePage(out, seconds);
}

export class LiveReport {
  /** Resolves when the page that is being made is done; never rejects. */
  private making: Promise<void> | undefined;
  /** Makes the page of a long log: that takes longer than the other ranks wait for this one. */
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
    if (this.making || begin - this.written < this.took / share) return;
    this.making = this.make()
      .catch((error) => this.warn(error))
      .finally(() => {
        this.making = undefined;
        this.thread = undefined;
        this.written = performance.now();
        this.took = this.written - begin;
      });
  }

  private async make(): Promise<void> {
    const { size } = await stat(join(this.out, logName));
    if (size < shortLog) return await writePage(this.out, reload);
    const workerData: PageTask = { folder: this.out, reload };
    this.thread = new Worker(threadFile, { workerData, execArgv: [] });
    await once(this.thread, "exit"); // rejects with an error of the thread
  }

  /** Writes the page of a run that has ended. */
  async finish(): Promise<void> {
    await this.thread?.terminate();
    await this.making;
    await writePage(this.out).catch((error) => this.warn(error));
  }

  /** Once: the run goes on without the page. */
  private warn(error: unknown): void {
    if (!this.hasWarned)
      this.say(warning(`${reportName} could not be written (${(error as Error).message})`));
    this.hasWarned = true;
  }
}
