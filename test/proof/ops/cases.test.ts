// The cases whose races compute-sanitizer looks for.
import { expect, it } from "vitest";
import { book } from "../../../lib/ops/book.js";
import { comparedOf } from "../../../proof/ops/case.js";
import { raceCases } from "../../../proof/ops/cases.js";
import { device } from "../../support/device.js";

it("have every op of the device among the first few, and each case once", () => {
  const cases = raceCases(device.operations);
  expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
  const first = cases.slice(0, Math.floor(cases.length / 4));
  const looked = new Set(first.flatMap((opCase) => comparedOf(opCase).map(({ op }) => op)));
  const missing = [...device.operations].filter(
    (op) => !looked.has(op) && !book.get(op)?.communicates,
  );
  expect(missing).toEqual([]);
});
