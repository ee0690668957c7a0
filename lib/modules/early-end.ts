// Notices that a process ends before its work is done: by a user's module, without an error.
import { OnehourError } from "../errors.js";
import { begun } from "./load-default.js";

/**
 * Calls `fail` where this process ends before its work is done: because a module called process.exit(0), which
 * would have a run that was never made count as a success, or because everything awaits a promise that
 * nothing will settle, for which Node has a status and no word. Returns what ends the listening.
 */
export function listenForEarlyEnd(fail: (error: OnehourError) => void): () => void {
  const failAs = (problem: string) => {
    const who = begun.size === 0 ? "something" : [...begun].join(" or ");
    fail(new OnehourError("ERR_ONEHOUR_STUCK", `${who} ${problem}`));
  };
  const stuck = () =>
    failAs(
      "awaits a promise that never settles; nothing is left to do in this process. Look for an await " +
        "without an end",
    );
  const ended = (status: number) => {
    if (status === 0) failAs("called process.exit(0) before the command was done; leave that out");
  };
  process.once("beforeExit", stuck);
  process.once("exit", ended);
  return () => {
    process.off("beforeExit", stuck);
    process.off("exit", ended);
  };
}
