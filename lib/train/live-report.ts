// Keeps report.html of a run folder up to date while rank 0 trains.

import { writeAtomically } from "../run-folder/files.js";
import { reportName } from "../run-folder/run-folder.js";
import { warning } from "../text/words.js";

/** Seconds after which the page of a run that goes on loads itself again. */
const reload = 10;
/** Share of a run's time that its page may take, but for the first page and the last. */
const share = 0.01;

export class LiveReport {
  /** Milliseconds that the last page took, and when it was written. */
  private took = 0;
  private written = 0;
  private hasWarned = false;

  /** `say` shows a message to the user. */
  constructor(
    private readonly out: string,
    private readonly say: (text: string) => void,
  ) {}

  /** Writes the page after an epoch, unless pages would take more than their share of the time. */
  async update(): Promise<void> {
    if (performance.now() - this.written >= this.took / share) await this.write(reload);
  }

  /** Writes the page of a run that has ended. */
  async finish(): Promise<void> {
    await this.write();
  }

  /** Where it fails, warns once: the run goes on without. */
  private async write(seconds?: number): Promise<void> {
    const begin = performance.now();
    try {
      const [{ readRuns }, { runPage }] = await Promise.all([
        import("../report/run-data.js"),
        import("../report/run-page.js"),
      ]);
      const page = runPage(await readRuns([this.out]), seconds);
      await writeAtomically(this.out, reportName, [Buffer.from(page)]);
    } catch (error) {
      if (!this.hasWarned)
        this.say(warning(`${reportName} could not be written (${(error as Error).message})`));
      this.hasWarned = true;
    }
    this.written = performance.now();
    this.took = this.written - begin;
  }
}
