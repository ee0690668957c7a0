// Runs a tool of the system for what it prints.
import { execFile } from "node:child_process";
import { abandon, follow } from "./children.js";

const seconds = 4;

/** All that a tool prints; undefined where there is none, or it fails, or does not end within four seconds. */
export function outputOf(command: string, ...args: string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = execFile(command, args, (error, stdout) => {
      clearTimeout(timer);
      resolve(error === null ? stdout : undefined);
    });
    follow(child);
    const timer = setTimeout(() => {
      abandon(child);
      resolve(undefined);
    }, 1000 * seconds).unref();
  });
}
