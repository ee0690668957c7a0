// Runs scripts/verify-gpu, or the stages with parts of a test's own, and reads the results.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { PartResult } from "../../proof/results/part-result.js";
import { temporaryFolder } from "../support/folder.js";
import { start } from "../support/process.js";

export const script = fileURLToPath(new URL("../../scripts/verify-gpu", import.meta.url));
export const folder = temporaryFolder();

interface Results {
  ok: boolean;
  done: boolean;
  ended: string;
  notProven: string[];
  parts: (PartResult & { limit: number })[];
}

/** Runs scripts/verify-gpu, which writes to a folder of this name. */
export function verify(name: string, ...options: string[]) {
  const out = join(folder, name);
  const run = spawnSync(script, ["--out", out, ...options], { encoding: "utf8" });
  const files = existsSync(out) ? readdirSync(out) : [];
  const json = files.find((file) => file.endsWith(".json"));
  const results = json && (JSON.parse(readFileSync(join(out, json), "utf8")) as Results);
  return { ...run, files, results: results as Results };
}

const passed = { part: "ranks", ok: true, complete: true, checks: 1, failures: [], seconds: 0 };
const write = "require('node:fs').writeFileSync(JSON.parse(process.argv[2]).file";
const stages = new URL("../../dist/proof/stages.js", import.meta.url);

/** Starts a part `ops` and one that passes, in a process of their own. */
export function startParts(name: string, ops: { code: string; seconds: number }) {
  const [parts, out] = [join(folder, name), join(folder, name, "out")];
  mkdirSync(parts);
  writeFileSync(join(parts, "ops.js"), ops.code);
  writeFileSync(join(parts, "ranks.js"), `${write}, ${JSON.stringify(JSON.stringify(passed))});`);
  const table = [
    { name: "ops", stage: 2, seconds: ops.seconds, settings: {} },
    { name: "ranks", stage: 2, seconds: 50, settings: {} },
  ];
  const options = { device: "cpu", small: true, stage: 2, out };
  const call = [options, { table, folder: parts, slowness: 1 }].map((x) => JSON.stringify(x));
  const runner = join(parts, "runner.mjs");
  writeFileSync(
    runner,
    `import { runStages } from "${stages}";\nprocess.exitCode = await runStages(${call});\n`,
  );
  const run = start([process.execPath, runner], { stderr: "inherit" });
  const results = () => {
    const file = readdirSync(out).find((name) => name.endsWith("-stage2.json"))!;
    return JSON.parse(readFileSync(join(out, file), "utf8")) as Results;
  };
  return { run, results };
}
