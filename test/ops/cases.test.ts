// Compares every case of the op book to PyTorch, on the device under test.
import { expect, it } from "vitest";
import { caseFamilies, updateFamilies } from "../../lib/ops/book.js";
import {
  compareCase,
  compareUpdate,
  describeFinding,
  type OracleFinding,
} from "../../proof/ops/oracle.js";
import { device } from "../support/device.js";

function expectGood(findings: readonly OracleFinding[]): void {
  expect(findings.length).toBeGreaterThan(0);
  const bad = findings.filter(({ error, tolerance }) => !(error <= tolerance));
  expect(bad.map((finding) => describeFinding(finding))).toEqual([]);
}

for (const family of caseFamilies)
  it.each(family.rows)(`${family.family}: $name`, async (row) =>
    expectGood(await compareCase(device, family, row)),
  );

for (const family of updateFamilies)
  it.each(family.rows)(`${family.family}: $name`, async (row) =>
    expectGood(await compareUpdate(device, family, row)),
  );
