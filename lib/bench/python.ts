// A python3 process with one of this package's scripts: it answers each line of JSON with one.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { OnehourError } from "../errors.js";

/** The version that the documented figures were measured with. */
const torch = "2.13.0";

interface Python {
  /** The first line that the script wrote. */
  hello: Record<string, unknown>;
  /** Throws ERR_ONEHOUR_PYTORCH, ending in `hint`, when the process ended instead of answering. */
  ask<T>(question: object, hint: string): Promise<T>;
  close(): Promise<void>;
}

function missing(python: string, what: string, packages: string): OnehourError {
  return new OnehourError(
    "ERR_ONEHOUR_PYTORCH",
    `--against pytorch needs PyTorch, but ${python} ${what}. Get it with\n` +
      `  python3 -m venv ~/torch && ~/torch/bin/pip install torch==${torch}${packages}\n` +
      "and run this command again with ONEHOUR_PYTHON=~/torch/bin/python",
  );
}

interface PythonOptions {
  /** What the script needs besides torch. */
  packages?: readonly string[];
  /** When the process is ended, in seconds. */
  limitSeconds?: number | undefined;
}

/**
 * Starts `script` of scripts/ with the python3 of `ONEHOUR_PYTHON`, or else the one on the path.
 * Throws ERR_ONEHOUR_PYTORCH without PyTorch.
 */
export async function startPython(
  script: string,
  args: readonly (string | number)[],
  { packages = [], limitSeconds }: PythonOptions = {},
): Promise<Python> {
  const python = process.env.ONEHOUR_PYTHON || "python3";
  const path = fileURLToPath(new URL(`../../scripts/${script}`, import.meta.url));
  const child = spawn(python, [path, ...args.map(String)], {
    stdio: ["pipe", "pipe", "inherit"],
    timeout: limitSeconds === undefined ? undefined : Math.round(limitSeconds * 1000),
  });
  const ended = new Promise<string>((resolve) => {
    child.on("error", () => resolve("was not found"));
    child.on("close", (code, signal) => resolve(`ended with ${signal ?? `status ${code}`}`));
  });
  // A write to a child that has gone shows as its end.
  child.stdin.on("error", () => {});
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();

  /** The next line as JSON; undefined after the last one. */
  async function answer(): Promise<Record<string, unknown> | undefined> {
    const { value, done } = await lines.next();
    return done ? undefined : JSON.parse(value);
  }

  const more = packages.map((name) => ` ${name}`).join("");
  const hello = await answer();
  if (hello === undefined) throw missing(python, await ended, more);
  if (hello.missing) throw missing(python, `has no ${hello.missing}`, more);
  return {
    hello,
    async ask<T>(question: object, hint: string) {
      child.stdin.write(`${JSON.stringify(question)}\n`);
      const line = await answer();
      if (line !== undefined) return line as T;
      throw new OnehourError("ERR_ONEHOUR_PYTORCH", `PyTorch ${await ended} ${hint}`);
    },
    async close() {
      child.stdin.end();
      await ended;
    },
  };
}
