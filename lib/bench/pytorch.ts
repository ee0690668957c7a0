// The same step in PyTorch: a python3 process that waits for rounds on its standard input.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { OnehourError } from "../errors.js";
import type { Contender, Round, StepSettings } from "./contender.js";

/** The version that the documented figures were measured with. */
const torch = "2.13.0";

const script = fileURLToPath(new URL("../../scripts/throughput-pytorch.py", import.meta.url));

function missing(python: string, what: string): OnehourError {
  return new OnehourError(
    "ERR_ONEHOUR_PYTORCH",
    `--against pytorch needs PyTorch, but ${python} ${what}. Get it with\n` +
      `  python3 -m venv ~/torch && ~/torch/bin/pip install torch==${torch}\n` +
      "and run this command again with ONEHOUR_PYTHON=~/torch/bin/python",
  );
}

/**
 * Starts PyTorch with the python3 of `ONEHOUR_PYTHON`, or else the one on the path; eager, or with
 * torch.compile. It is ended after `limitSeconds`, if given.
 */
export async function startPyTorch(
  settings: StepSettings,
  device: "cpu" | "cuda",
  mode: "eager" | "compiled" = "eager",
  limitSeconds?: number,
): Promise<Contender> {
  const python = process.env.ONEHOUR_PYTHON || "python3";
  const { height, width, channels } = settings.images;
  const child = spawn(
    python,
    [
      ...[script, "--model", settings.model, "--batch", settings.batch, "--device", device],
      ...["--image", height, width, channels, "--classes", settings.classes],
      ...["--precision", settings.precision, "--threads", settings.threads],
      ...(mode === "compiled" ? ["--compile"] : []),
    ].map(String),
    {
      stdio: ["pipe", "pipe", "inherit"],
      timeout: limitSeconds === undefined ? undefined : Math.round(limitSeconds * 1000),
    },
  );
  const ended = new Promise<string>((resolve) => {
    child.on("error", () => resolve("was not found"));
    child.on("close", (code, signal) => resolve(`ended with ${signal ?? `status ${code}`}`));
  });
  // A write to a child that has gone shows as its end.
  child.stdin.on("error", () => {});
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();

  /** The next line as JSON; undefined when there is none any more. */
  async function answer(): Promise<Record<string, unknown> | undefined> {
    const { value, done } = await lines.next();
    return done ? undefined : JSON.parse(value);
  }

  const hello = await answer();
  if (hello === undefined) throw missing(python, await ended);
  if (hello.missing) throw missing(python, `has no ${hello.missing}`);
  return {
    name: String(hello.name),
    workers: 1,
    async run(steps) {
      child.stdin.write(`${JSON.stringify({ steps })}\n`);
      const round = await answer();
      if (round === undefined)
        throw new OnehourError(
          "ERR_ONEHOUR_PYTORCH",
          `PyTorch ${await ended} while it ran the step. A smaller --batch needs less memory.`,
        );
      return round as unknown as Round;
    },
    async close() {
      child.stdin.end();
      await ended;
    },
  };
}
