// Logs output that was lost, on any rank or in the launcher, as warnings.

import type { World } from "../ranks/world.js";
import type { Log } from "../run-folder/log.js";
import { listenForLosses } from "../system/output.js";

export class LostOutput {
  private log: Log | undefined;
  private step = () => 0;
  /** What is lost before there is a log. */
  private readonly early: string[] = [];
  private readonly unlisten: (() => void)[];

  /** Listens until `dispose`; the other ranks report their losses to rank 0. */
  constructor(world: World) {
    const own = (text: string) =>
      world.rank === 0 ? this.write(text) : world.announce("output", `rank ${world.rank}: ${text}`);
    this.unlisten = [listenForLosses(own)];
    if (world.rank === 0) this.unlisten.push(world.listen("output", (text) => this.write(text)));
  }

  /** Writes to a log from here on, with the steps done. */
  open(log: Log, step: () => number): void {
    this.log = log;
    this.step = step;
    for (const text of this.early.splice(0)) this.write(text);
  }

  private write(text: string): void {
    if (this.log) this.log.write({ type: "warning", step: this.step(), text });
    else this.early.push(text);
  }

  dispose(): void {
    for (const unlisten of this.unlisten) unlisten();
  }
}
