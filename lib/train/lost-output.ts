// Logs output that was lost, on any rank or in the launcher, as warnings.

import type { World } from "../ranks/world.js";
import { listenForLosses } from "../system/output.js";

export class LostOutput {
  private log: ((text: string) => void) | undefined;
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

  /** Calls `log` with what was lost, from here on and so far. */
  open(log: (text: string) => void): void {
    this.log = log;
    for (const text of this.early.splice(0)) this.write(text);
  }

  private write(text: string): void {
    if (this.log) this.log(text);
    else this.early.push(text);
  }

  dispose(): void {
    for (const unlisten of this.unlisten) unlisten();
  }
}
