// Asks a process of its own for what may crash or hang, and tells what became of it in words.
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { explainSystemError } from "../system/system-errors.js";
import { oneLine } from "../text/words.js";
import { abandon, follow } from "./children.js";
import type { Answers } from "./probe.js";

/** The process gave no answer: an error of its own, a signal, or no end in time. */
export class NoAnswer extends Error {
  constructor(
    message: string,
    /** Whether the process itself was lost, so that a run that does the same would be too. */
    readonly isLost: boolean,
  ) {
    super(message);
  }
}

const program = fileURLToPath(new URL("./probe.js", import.meta.url));
const mostErrors = 2000; // characters of standard error that are kept

/**
 * What a probe finds with an argument. Rejects with NoAnswer when it fails, is killed, or takes longer than
 * so many seconds.
 */
export function ask<N extends keyof Answers>(
  name: N,
  argument: string,
  seconds: number,
): Promise<Answers[N]> {
  return new Promise((resolve, reject) => {
    const child = fork(program, [name, argument], {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      execArgv: [],
    });
    follow(child);
    let errors = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      errors = (errors + text).slice(-mostErrors);
    });
    const timer = setTimeout(() => {
      abandon(child);
      fail(`does not end within ${seconds} s`, true);
    }, 1000 * seconds).unref();
    const fail = (message: string, isLost: boolean) => reject(new NoAnswer(message, isLost));
    child.on("message", (message: { value: Answers[N] } | { problem: string }) => {
      if ("value" in message) resolve(message.value);
      else fail(message.problem, false);
    });
    child.on("error", (error) => {
      clearTimeout(timer);
      fail(explainSystemError(error) ?? error.message, false);
    });
    child.on("exit", (status, signal) => {
      clearTimeout(timer);
      child.stderr!.destroy(); // what it has started may hold it open
      const last = oneLine(errors.trimEnd().split("\n").at(-1) ?? "");
      const words = last === "" ? "" : `; its last words: ${last}`;
      if (signal !== null) fail(`is killed by ${signal}${words}`, true);
      else fail(`ends without an answer, with status ${status}${words}`, true);
    });
  });
}
