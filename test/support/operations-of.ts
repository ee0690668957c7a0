// Tests that a backend has a kernel for each op of each program of each model, with the op book's
// operands.
import { expect, it } from "vitest";
import { loadAddon } from "../../lib/device/native.js";
import { compile, type Precision } from "../../lib/graph/compile.js";
import { parse } from "../../lib/graph/parse.js";
import { models } from "../../lib/models/models.js";
import { book } from "../../lib/ops/book.js";
import { optimizers } from "../../lib/ops/optimizers/index.js";
import type { MomentumSettings } from "../../lib/ops/optimizers/optimizer.js";
import { type Changes, modelOf, optionsFor } from "../graph/options.js";
import { commonOps } from "./op-book.js";

/** Instructions that the executor runs itself. */
const own: ReadonlySet<string> = new Set(["signal", "wait"]);

/** Tests the module of `backend` in these precisions, with channels padded to a multiple. */
export function testOperationsOf(
  backend: string,
  precisions: readonly Precision[],
  channelMultiple: number,
): void {
  it("takes the operands that the op book says, and lacks no op that fusion does not replace", () => {
    const operations = loadAddon(backend).operations();
    const expected = [...book.values()].filter(
      ({ name }) => commonOps.has(name) || Object.hasOwn(operations, name),
    );
    expect(operations).toEqual(
      Object.fromEntries(expected.map(({ name, signature }) => [name, signature])),
    );
  });

  it.each(Object.keys(models))("has every op of %s", (name) => {
    const operations = new Set(Object.keys(loadAddon(backend).operations()));
    const model = modelOf(name);
    const lacking = new Set<string>();
    const programs = new Set<string>();
    const check = (changes: Changes, settings: Partial<MomentumSettings> = {}) => {
      const options = optionsFor(model, { ...changes, operations, channelMultiple });
      const update = { optimizer: optimizers.sgd(settings) };
      for (const { name: program, text } of compile(model, options, update).programs) {
        programs.add(program);
        for (const { op } of parse(text).instructions)
          if (!own.has(op) && !operations.has(op)) lacking.add(`${op} of ${program}`);
      }
    };
    for (const precision of precisions) {
      check({ precision });
      check({ precision, workers: 4, accumulate: 2, syncBatchNorm: 2 });
    }
    check({ labelSmoothing: 0.1 }, { momentumForm: "velocity", nesterov: false });
    expect([...lacking]).toEqual([]);
    expect([...programs].sort()).toEqual(
      ["average", "broadcast", "evaluate", "last", "micro", "weights"].sort(),
    );
  });
}
