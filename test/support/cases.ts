// Tests that compare the op book's cases to PyTorch, on the device under test.
import { expect, it } from "vitest";
import { caseFamilies, updateFamilies } from "../../lib/ops/book.js";
import {
  compareCase,
  compareUpdate,
  describeFinding,
  type OracleFinding,
} from "../../proof/ops/oracle.js";
import { device } from "./device.js";

function expectGood(findings: readonly OracleFinding[]): void {
  expect(findings.length).toBeGreaterThan(0);
  const bad = findings.filter(({ error, tolerance }) => !(error <= tolerance));
  expect(bad.map((finding) => describeFinding(finding))).toEqual([]);
}

/** Tests the cases of these families, of all by default. */
export function testCases(families?: readonly string[]): void {
  for (const family of caseFamilies.filter((each) => families?.includes(each.family) ?? true))
    it.each(family.rows)(`${family.family}: $name`, async (row) =>
      expectGood(await compareCase(device, family, row)),
    );
  for (const family of updateFamilies.filter((each) => families?.includes(each.family) ?? true))
    it.each(family.rows)(`${family.family}: $name`, async (row) =>
      expectGood(await compareUpdate(device, family, row)),
    );
}
