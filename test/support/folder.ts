// A folder that is removed after the tests of the file, and the log of a run.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll } from "vitest";
import type { LogLine } from "../../lib/run-folder/log-lines.js";

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "onehour-test-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function logOf(run: string): LogLine[] {
  return readFileSync(join(run, "log.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

/** Steps and their losses, rates and factors: what must not depend on how a run was cut. */
export function stepsOf(run: string): { step: number; epoch: number; loss: number; lr: number }[] {
  return logOf(run)
    .filter((line) => line.type === "step")
    .map(({ step, epoch, loss, lr }) => ({ step, epoch, loss, lr }));
}

/** The recipe.json of a run. */
export const recipeOf = (run: string) => JSON.parse(readFileSync(join(run, "recipe.json"), "utf8"));

/** Writes files below a folder, by their paths in it; makes the folders on the way. */
export function writeFiles(folder: string, files: Record<string, Buffer | string>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
}
