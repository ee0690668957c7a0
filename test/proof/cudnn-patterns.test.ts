// What the program that times cuDNN's patterns is given, and what is made of its lines.
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { stepSettings } from "../../lib/bench/settings.js";
import { book } from "../../lib/ops/book.js";
import { shapesOf } from "../../proof/convolutions.js";
import {
  describeFindings,
  type PatternFinding,
  shapeLines,
  timePatterns,
} from "../../proof/cudnn-patterns.js";
import { temporaryFolder } from "../support/folder.js";

const folder = temporaryFolder();
const settings = stepSettings({
  ...{ model: "resnet50", batch: 256, precision: "bf16" },
  ...{ device: "cuda", threads: 1 },
} as const);
const device = { operations: new Set(book.keys()), properties: { channelMultiple: 4 } };
const shapes = shapesOf(device, settings);

/** A program that does this instead. */
function program(name: string, ...lines: string[]): string {
  const path = join(folder, name);
  writeFileSync(path, ["#!/bin/sh", ...lines, ""].join("\n"));
  chmodSync(path, 0o755);
  return path;
}

it("gives a line a shape: N H W C K R S stride padding, and whether its input has a gradient", () => {
  const lines = shapeLines(shapes).trim().split("\n");
  expect(lines).toHaveLength(23);
  expect(lines.filter((line) => line.endsWith(" 0"))).toEqual(["256 224 224 4 64 7 7 2 3 0"]);
  expect(lines).toContain("256 56 56 64 256 1 1 1 0 1");
  expect(lines).toContain("256 56 56 128 128 3 3 2 1 1");
});

it("reads a finding a line", async () => {
  const findings: PatternFinding[] = [];
  const lines = [
    '{"shape":0,"type":"f16","pattern":"forward","bytes":2000000,"engine":"engine 1","milliseconds":0.5}',
    '{"shape":0,"type":"f16","pattern":"forward + sums","bytes":1,"engine":null,"reason":"none"}',
  ];
  const echo = lines.map((line) => `echo '${line}'`);
  const path = program("good", '[ "$*" = "2 9" ] || exit 1', "cat > /dev/null", ...echo);
  await timePatterns(path, ["2", "9"], shapes, (finding) => findings.push(finding));
  expect(describeFindings(findings)).toBe("forward 0.500 ms, 4 GB/s; no engine: forward + sums");
});

it("throws what the program writes to stderr, or its status", async () => {
  const none = () => {};
  const failing = program("failing", "echo no memory >&2", "exit 2");
  await expect(timePatterns(failing, [], shapes, none)).rejects.toThrow(/^no memory$/);
  const silent = program("silent", "exit 3");
  await expect(timePatterns(silent, [], shapes, none)).rejects.toThrow(/ended with 3$/);
});
