// The command `npm run proof`, and what scripts/verify-gpu runs: see docs/gpu-verification.md.
import { parseArgs } from "node:util";
import { OnehourError } from "#lib/errors.js";
import { compareOps, unknownOp } from "./named.js";
import { parts, type Stage } from "./parts.js";
import type { Settings } from "./results/report.js";
import { runStages } from "./stages.js";

const usage = `usage: npm run proof -- [op…] [--device cpu|emulated|cuda] [--stage 1|2] [--parts a,b] [--out DIR] [--small]
       scripts/verify-gpu, with the same flags and --bundle DIR, on cuda
With names of ops it compares their cases alone; else it runs the parts of the stages.`;

/** Ends the command, which was called wrongly. */
function refuse(problem: string): never {
  process.stderr.write(`proof: ${problem}\n${usage}\n`);
  process.exit(2);
}

const options = {
  device: { type: "string", default: "cpu" },
  stage: { type: "string" },
  parts: { type: "string" },
  out: { type: "string" },
  small: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
  elapsed: { type: "string", default: "0" }, // seconds that scripts/verify-gpu took to get here
} as const;

function parse() {
  try {
    return parseArgs({ options, allowPositionals: true });
  } catch (error) {
    return refuse((error as Error).message);
  }
}

/** Whether a text is one of some words. */
const isOneOf = <T extends string>(text: string, words: readonly T[]): text is T =>
  (words as readonly string[]).includes(text);

const { values, positionals: ops } = parse();
const { device, stage, out } = values;
if (values.help) {
  process.stdout.write(`${usage}\n`);
  process.exit();
}
if (!isOneOf(device, ["cpu", "emulated", "cuda"] satisfies Settings["device"][]))
  refuse(`there is no device ${device}; expected cpu, emulated or cuda`);
if (stage !== undefined && !isOneOf(stage, ["1", "2"]))
  refuse(`there is no stage ${stage}; expected 1 or 2`);
const wanted = values.parts?.split(",");
for (const name of wanted ?? [])
  if (!parts.some((part) => part.name === name)) refuse(`there is no part ${name}`);
for (const problem of ops.map(unknownOp)) if (problem !== undefined) refuse(problem);
if (ops.length > 0 && (stage ?? wanted ?? out) !== undefined)
  refuse("--stage, --parts and --out are for the parts of the stages, not for ops by name");

// A dry run is for any machine.
const small = values.small || device !== "cuda";
const prove = () =>
  ops.length > 0
    ? compareOps(ops, { device, small })
    : runStages({
        device,
        small,
        stage: stage === undefined ? undefined : (Number(stage) as Stage),
        wanted,
        out,
        elapsed: Number(values.elapsed),
      });
try {
  process.exitCode = await prove();
} catch (error) {
  if (!(error instanceof OnehourError)) throw error;
  process.stderr.write(`proof: ${error.message}\n`);
  process.exitCode = 1;
}
