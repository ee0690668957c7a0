// Proves that no kernel reads or writes outside of its operands or races in shared memory: the ops part
// at small sizes under compute-sanitizer, each program in memory that ends with its last operand.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runPart, type Settings } from "../results/report.js";

const ops = fileURLToPath(new URL("./ops.js", import.meta.url));

/**
 * Which tool looks at which programs, and its share of the part's time. Libraries try calls that may fail,
 * which memcheck would count as errors.
 */
const tools = [
  { tool: "memcheck", sanitizing: "memory", share: 0.6, options: ["--report-api-errors", "no"] },
  { tool: "racecheck", sanitizing: "races", share: 0.4, options: [] },
] as const;

function findSanitizer(): string | undefined {
  const named = [process.env.CUDA_HOME, "/usr/local/cuda"].flatMap((folder) =>
    folder === undefined ? [] : [join(folder, "bin", "compute-sanitizer")],
  );
  const onPath = (process.env.PATH ?? "")
    .split(":")
    .map((folder) => join(folder, "compute-sanitizer"));
  return [...onPath, ...named].find(existsSync);
}

await runPart("sanitize", async (report) => {
  const { settings } = report;
  if (settings.device !== "cuda") {
    report.skip("compute-sanitizer needs a GPU");
    return;
  }
  const sanitizer = findSanitizer();
  report.check(
    "compute-sanitizer is there",
    sanitizer !== undefined,
    "not on the path nor in CUDA_HOME",
  );
  if (sanitizer === undefined) return;
  for (const { tool, sanitizing, share, options } of tools) {
    const seconds = settings.seconds * share - 5;
    const file = settings.file.replace(/\.json$/, `-${tool}.txt`);
    const inner: Settings = { ...settings, small: true, sanitizing, seconds, file };
    // timeout(1) ends the process group, the traced process too: nothing stays on the GPU.
    const { status, stdout, stderr } = spawnSync(
      "timeout",
      [
        ...["--kill-after", "1", String(seconds + 4), sanitizer],
        ...["--tool", tool, ...options, "--target-processes", "all"],
        ...[process.execPath, ops, JSON.stringify(inner)],
      ],
      { encoding: "utf8", maxBuffer: 2 ** 28 },
    );
    const lines = `${stdout}${stderr}`.trim().split("\n");
    const refusal = lines.find((line) => /device not supported/i.test(line));
    if (refusal !== undefined) {
      report.skip(`compute-sanitizer does not support this device: ${refusal.replace(/^=+ /, "")}`);
      return;
    }
    const summary =
      lines.findLast((line) => /(ERROR|RACECHECK) SUMMARY/.test(line)) ?? "no summary";
    const clean = /SUMMARY: 0 (errors|hazards)/.test(summary);
    report.check(tool, clean, `${summary}\n${lines.slice(0, 100).join("\n")}`);
    report.check(`${tool}: the comparisons hold`, status === 0, `status ${status}`);
    report.note(
      `${tool}: ${summary.replace(/^=+ /, "")}; ${lines.findLast((line) => /programs,/.test(line)) ?? ""}`,
    );
  }
});
