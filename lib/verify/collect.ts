// Makes the one results file and the summary table of a verification from its parts' files; run after
// each part, so that both are whole whenever the verification is cut off.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { table } from "../bench/table.js";
import { queryGpu } from "./nvidia-smi.js";
import type { PartResult } from "./report.js";

/** What scripts/verify-gpu hands over, as JSON in the only argument. */
interface CollectSettings {
  /** Of the parts' files, PART.json. */
  folder: string;
  /** Where the results go. */
  out: string;
  device: string;
  /** When the verification began: part of the results' names. */
  date: string;
  /** The parts that have ended, in order, with the seconds that each was given. */
  parts: { name: string; seconds: number }[];
  /** Whether these are all parts. */
  done: boolean;
}

interface Part extends Partial<PartResult> {
  part: string;
  limit: number;
}

const notesShown = 40;

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

const settings = JSON.parse(process.argv[2]!) as CollectSettings;
const { folder, out, device, date, done } = settings;
const gpu = device === "cuda" ? readGpu() : undefined;

const parts = settings.parts.map(({ name, seconds }): Part => {
  const file = join(folder, `${name}.json`);
  const limit = seconds;
  if (!existsSync(file)) return { part: name, limit };
  return { ...(JSON.parse(readFileSync(file, "utf8")) as PartResult), limit };
});

function stateOf({ ok, complete }: Part): string {
  return ok ? "ok" : complete === true ? "FAILED" : "CUT OFF";
}

const rows = parts.map((part) => [
  part.part,
  stateOf(part),
  String(part.checks ?? 0),
  String(part.failures?.length ?? 0),
  `${(part.seconds ?? 0).toFixed(0)} s`,
  `${part.limit} s`,
  part.skipped?.length ? `left out: ${part.skipped.length}` : "",
]);
const summary = [
  `onehour on ${gpu?.name ?? device}, ${date}\n\n`,
  table([["part", "", "checks", "failures", "took", "limit", ""], ...rows]),
  ...parts.flatMap(({ part, notes = [], skipped = [], failures = [] }) => [
    `\n${part}\n`,
    ...notes.slice(0, notesShown).map((note) => `  ${note}\n`),
    ...skipped.map((text) => `  left out: ${text}\n`),
    ...failures.slice(0, notesShown).map(({ name, detail }) => `  FAILED ${name}: ${detail}\n`),
  ]),
].join("");

const name = `${(gpu?.name ?? device).toLowerCase().replaceAll(/[^a-z0-9]+/g, "-")}-${date}`;
mkdirSync(out, { recursive: true });
const ok = done && parts.every((part) => part.ok);
const result = { date, device, gpu, node: process.version, ok, done, parts };
writeFileSync(join(out, `${name}.json`), `${JSON.stringify(result, undefined, 1)}\n`);
writeFileSync(join(out, `${name}.txt`), summary);
if (done) console.log(`\n${summary.split("\n\n").slice(0, 2).join("\n\n")}`);
else {
  const [part, state, checks, failures, took] = rows.at(-1)!;
  console.log(`== ${part}: ${state}, ${checks} checks, ${failures} failures, ${took}`);
}
