// A folder that is removed after the tests of the file, and the log of a run.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
