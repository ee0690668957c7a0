// Checks the place of loss scaling in the programs of fp16.
import { describe, expect, it } from "vitest";
import { compile } from "../../lib/graph/compile.js";
import { parse } from "../../lib/graph/parse.js";
import { sgd } from "../../lib/ops/index.js";
import { optimizers } from "../../lib/ops/optimizers/index.js";
import type { Optimizer } from "../../lib/ops/optimizers/optimizer.js";
import { modelOf, optionsFor } from "./options.js";

describe("the programs of fp16", () => {
  const model = modelOf("resnet18");
  const changes = { precision: "fp16", workers: 2, accumulate: 2 } as const;
  const update = { optimizer: optimizers.sgd(), clipNorm: 1 };
  const compiled = compile(model, optionsFor(model, changes), update);
  const { scaling, momentum, buckets } = compiled;
  const programs = new Map(
    compiled.programs.map(({ name, text }) => [name, parse(text).instructions]),
  );
  const last = programs.get("last")!;

  it("begin back-propagation of each micro-batch with the scale that lies after the momentum", () => {
    expect(scaling).toEqual({ offset: momentum.bytes, bytes: 12 });
    for (const name of ["micro", "last"]) {
      const loss = programs.get(name)!.find(({ op }) => op === "softmax-cross-entropy-backward")!;
      const dloss = loss.inputs.find((operand) => operand.name === "dloss");
      expect(dloss).toMatchObject({ arena: "state", offset: scaling.offset, shape: [1] });
      expect(loss.outputs[0]!.dtype).toBe("f16");
    }
  });

  it("decide once the whole gradient is summed, before it is clipped and any bucket is updated", () => {
    const ordered = /^(all-reduce|norms|loss-scale|clip-norm|sgd)$/;
    const all = (op: string) => buckets.map(() => op);
    expect(last.map(({ op }) => op).filter((op) => ordered.test(op))).toEqual([
      ...[...all("all-reduce"), "norms", "loss-scale", "clip-norm", ...all("sgd")],
    ]);
    const factor = last.find(({ op }) => op === "loss-scale")!.outputs.at(-1)!;
    for (const { inputs, outputs } of last.filter(({ op }) => op === "sgd")) {
      const given = inputs.find(({ name }) => name === "factor")!;
      expect([given.arena, given.offset]).toEqual([factor.arena, factor.offset]);
      expect(outputs.find(({ name }) => name === "copy")!.dtype).toBe("f16");
    }
  });

  it("are refused for an optimizer that takes the scaled gradient for the gradient itself", () => {
    const own: Optimizer = {
      update: ({ w, g, v, schedule, tensors, writes: { factor, ...writes } }) => {
        const segments = tensors.map(({ length }) => ({ length, decay: 0 }));
        const rule = { form: "gradient", nesterov: false, momentum: 0.9, segments } as const;
        sgd({ w, g, v, schedule }, { ...rule, ...writes });
      },
    };
    const inPrecision = (precision: "fp16" | "bf16") =>
      compile(model, optionsFor(model, { precision }), { optimizer: own });
    expect(() => inPrecision("bf16")).not.toThrow();
    expect(() => inPrecision("fp16")).toThrow(
      expect.objectContaining({
        code: "ERR_ONEHOUR_COMPILE",
        message: expect.stringContaining("writes.factor"),
      }),
    );
  });

  it("bring the scale to every rank and to the output, and average running statistics alone", () => {
    const sent = programs.get("broadcast")!.filter(({ op }) => op === "broadcast");
    expect(sent.some(({ inputs: [x] }) => x!.arena === "state" && x!.offset === 0)).toBe(true);
    const averaged = programs.get("average")!.flatMap(({ outputs }) => outputs);
    expect(compiled.statistics[0]!.offset).toBe(momentum.bytes + 64);
    for (const { offset } of averaged) expect(offset).toBe(momentum.bytes + 64);
    expect(last.at(-1)).toMatchObject({
      op: "copy",
      inputs: [{ arena: "state", offset: scaling.offset }],
      outputs: [{ arena: "output", offset: compiled.output.scaling.offset }],
    });
  });
});
