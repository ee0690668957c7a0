// Drops output that cannot be written, and reports that for the log.
import { writeSync } from "node:fs";
import { Socket } from "node:net";
import type { Writable } from "node:stream";
import { OnehourError } from "../errors.js";

type Stream = "stdout" | "stderr";
type Listener = (text: string) => void;

const names: Record<Stream, string> = { stdout: "standard output", stderr: "standard error" };
/** What was reported, once each. */
const losses = new Set<string>();
const listeners = new Set<Listener>();
let isGuarded = false;

/** From here on no error of standard output or standard error ends this process. */
export function guardOutput(): void {
  if (isGuarded) return;
  isGuarded = true;
  for (const name of ["stdout", "stderr"] as const) {
    const stream: Writable & { fd: number } = process[name];
    const drop = ({ message }: Error) =>
      tellLoss(`${names[name]} cannot be written (${message}); what is printed there is lost`);
    // A pipe or a terminal that failed stays so. A file's next lines may find room again.
    stream.on("error", drop);
    if (stream instanceof Socket) continue;
    stream._write = (chunk: Buffer, _encoding, done) => {
      try {
        for (let rest = chunk; rest.length > 0; ) rest = rest.subarray(writeSync(stream.fd, rest));
      } catch (error) {
        drop(error as Error);
      }
      done();
    };
  }
}

/** Reports lost output, of this process or of its launcher, to the listeners, once each. */
export function tellLoss(text: string): void {
  if (losses.has(text)) return;
  losses.add(text);
  for (const listener of listeners) listener(text);
}

/** Calls `listener` with what is lost, and was before, until the function that it returns is called. */
export function listenForLosses(listener: Listener): () => void {
  for (const text of losses) listener(text);
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Resolves when all that was printed is on its way, or lost. */
export async function printed(): Promise<void> {
  for (const name of ["stdout", "stderr"] as const)
    await new Promise((resolve) => process[name].write("", resolve));
}

/**
 * Writes what a command was run for to standard output.
 * @throws OnehourError ERR_ONEHOUR_OUTPUT where it cannot be written.
 */
export async function printResult(text: string): Promise<void> {
  const error = await new Promise<unknown>((resolve) => process.stdout.write(text, resolve));
  const [loss] = [...losses].filter((other) => other.startsWith(names.stdout));
  if (!error && loss === undefined) return;
  throw new OnehourError(
    "ERR_ONEHOUR_OUTPUT",
    `the result is lost: ${loss ?? `${names.stdout} cannot be written (${(error as Error).message})`}. ` +
      "Free some space there, or write elsewhere, and run the command again",
  );
}
