// The results of a verification, one file for programs and one for people, made from its parts' files.
// Written while a part runs and after it, so that both are whole whenever the verification is cut off.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { table } from "#lib/bench/table.js";
import { queryGpu } from "./nvidia-smi.js";
import type { PartResult } from "./part-result.js";
import { describeSearches, readPlans, readSearches } from "./plans.js";

/** A verification as far as it has come: run.json in the folder of its parts' files. */
export interface Run {
  device: string;
  /** When the verification began: part of the results' names. */
  date: string;
  /** "1", "2", or empty for both. */
  stage: string;
  /** Where the results go. */
  out: string;
  /** The folder of cuDNN's plans. */
  plans: string;
  /** The parts that have begun, in order, with the seconds that each was given. */
  parts: { name: string; seconds: number }[];
  /** Whether none is to come. */
  done: boolean;
  /** Why it ended before the last part, if it did. */
  ended: string;
}

interface Part extends Partial<PartResult> {
  part: string;
  limit: number;
}

const RUN = "run.json";
const GPU = "gpu.json";

const notesShown = 80;

/** A part is not begun for less. */
export const leastSeconds = 6;

/** What one GPU cannot show, whatever passes. */
const notProven = [
  "transfers between GPUs: NVLink, NVSwitch, NVLS",
  "several GPUs: speed-up, collectives during the backward pass, synchronised batch norm's cost",
  "several machines: InfiniBand, RoCE, GPUDirect",
];

/** Name, driver, memory in MiB and clock in MHz of the GPU; undefined without nvidia-smi. */
function readGpu(): Record<string, string> | undefined {
  const fields = ["name", "driver_version", "memory.total", "compute_cap", "clocks.max.sm"];
  try {
    const list = queryGpu(fields);
    return Object.fromEntries(fields.map((field, i) => [field, list[i] ?? ""]));
  } catch {
    return undefined;
  }
}

/** The same, asked once in a verification. */
function gpuOf(folder: string): Record<string, string> | undefined {
  const file = join(folder, GPU);
  if (!existsSync(file)) writeWhole(file, JSON.stringify(readGpu() ?? null));
  return (JSON.parse(readFileSync(file, "utf8")) as Record<string, string> | null) ?? undefined;
}

/** Puts the content into the place of an earlier one, whole or not at all. */
export function writeWhole(file: string, content: string | Uint8Array): void {
  writeFileSync(`${file}.new`, content);
  renameSync(`${file}.new`, file);
}

export function writeRun(folder: string, run: Run): void {
  writeWhole(join(folder, RUN), JSON.stringify(run));
}

function readPart(folder: string, { name, seconds }: Run["parts"][number]): Part {
  const file = join(folder, `${name}.json`);
  const found = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as PartResult) : {};
  return { ...found, part: name, limit: seconds };
}

function stateOf({ ok, complete, limit, seconds }: Part): string {
  if (ok) return "ok";
  if (complete === true) return "FAILED";
  return seconds === undefined && limit < leastSeconds ? "NO TIME" : "CUT OFF";
}

/** What is known so far. */
export interface Results {
  /** One line on the part that began last. */
  last: string;
  /** The table of the parts. */
  overview: string;
  done: boolean;
}

/**
 * Writes the files from the parts' in `folder`; nothing where no verification runs there. The plans, of
 * which each that was compiled has a quarter of a megabyte, are written between parts alone.
 */
export function writeResults(folder: string, withPlans = false): Results | undefined {
  if (!existsSync(join(folder, RUN))) return undefined;
  const run = JSON.parse(readFileSync(join(folder, RUN), "utf8")) as Run;
  const { device, date, stage, out, done, ended } = run;
  const gpu = device === "cuda" ? gpuOf(folder) : undefined;
  const parts = run.parts.map((part) => readPart(folder, part));
  const unproven =
    device === "cuda" ? notProven : [`anything of a GPU: this is a dry run on ${device}`];

  const searches = readSearches(run.plans);

  const rows = parts.map((part) => [
    part.part,
    stateOf(part),
    String(part.checks ?? 0),
    String(part.failures?.length ?? 0),
    `${(part.seconds ?? 0).toFixed(0)} s`,
    `${part.limit} s`,
    part.skipped?.length ? `left out: ${part.skipped.length}` : "",
  ]);
  const overview = [
    `onehour on ${gpu?.name ?? device}, ${date}${stage && `, stage ${stage}`}\n\n`,
    table([["part", "", "checks", "failures", "took", "limit", ""], ...rows]),
    ended && `${ended}\n`,
  ].join("");
  const summary = [
    overview,
    ...parts.flatMap(({ part, notes = [], skipped = [], failures = [] }) => [
      `\n${part}\n`,
      ...notes.slice(0, notesShown).map((note) => `  ${note}\n`),
      ...skipped.map((text) => `  left out: ${text}\n`),
      ...failures.slice(0, notesShown).map(({ name, detail }) => `  FAILED ${name}: ${detail}\n`),
    ]),
    ...(searches.length > 0 ? ["\nplans\n"] : []),
    ...describeSearches(searches).map((text) => `  ${text}\n`),
    "\nnot proven\n",
    ...unproven.map((text) => `  ${text}\n`),
  ].join("");

  const label = (gpu?.name ?? device).toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
  const name = `${label}-${date}${stage && `-stage${stage}`}`;
  mkdirSync(out, { recursive: true });
  const ok = done && ended === "" && parts.every((part) => part.ok);
  const result = {
    date,
    device,
    stage,
    gpu,
    node: process.version,
    ok,
    done,
    ended,
    notProven: unproven,
    searches,
    parts,
  };
  writeWhole(join(out, `${name}.json`), `${JSON.stringify(result, undefined, 1)}\n`);
  writeWhole(join(out, `${name}.txt`), summary);
  const plans = withPlans ? readPlans(run.plans) : "";
  if (plans !== "") writeWhole(join(out, `${name}.plans.jsonl.gz`), gzipSync(plans));
  const [part, state, checks, failures, took] = rows.at(-1) ?? [];
  const last = `== ${part}: ${state}, ${checks} checks, ${failures} failures, ${took}`;
  return { last, overview, done };
}
