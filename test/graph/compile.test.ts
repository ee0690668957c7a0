// Compiles models: a tiny network's program word for word, and what options change in it.
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { compile } from "../../lib/graph/compile.js";
import type { Value } from "../../lib/graph/graph.js";
import { operandBytes, parse } from "../../lib/graph/parse.js";
import type { Instruction } from "../../lib/graph/program.js";
import type { Network } from "../../lib/models/model.js";
import { book } from "../../lib/ops/book.js";
import { optimizers } from "../../lib/ops/optimizers/index.js";
import { commonOps } from "../support/op-book.js";
import { modelOf, optionsFor } from "./options.js";
import { compileTiny, tiny } from "./tiny.js";

const golden = `onehour-program 1
name last
arena param 896
arena weight 0
arena grad 960
arena state 1152
arena input 256 slots=2
arena output 128 slots=2
arena temp 2368
compute normalize-input mean=0.286 std=0.353 | x=input+0:u8[2,4,4,1] flip=input+64:u8[2] -> y=temp+2048:f32[2,4,4,1] # input
compute conv2d stride=1,1 padding=1,1 | x=temp+2048:f32[2,4,4,1] w=param+512:f32[8,3,3,1] -> y=temp+0:f32[2,4,4,8]
compute batch-norm-statistics | x=temp+0:f32[2,4,4,8] -> statistics=temp+1024:f32[1,17]
compute batch-norm-finalize epsilon=0.00001 decay=0.9 gain=0.1 | statistics=temp+1024:f32[1,17] running-mean=state+896:f32[8] running-variance=state+1024:f32[8] -> mean=temp+2176:f32[8] inverse-std=temp+2240:f32[8] running-mean=state+896:f32[8] running-variance=state+1024:f32[8]
compute batch-norm-apply relu=1 | x=temp+0:f32[2,4,4,8] mean=temp+2176:f32[8] inverse-std=temp+2240:f32[8] gamma=param+256:f32[8] beta=param+384:f32[8] -> y=temp+1024:f32[2,4,4,8]
compute global-average-pool | x=temp+1024:f32[2,4,4,8] -> y=temp+2304:f32[2,8]
compute linear | x=temp+2304:f32[2,8] w=param+0:f32[2,8] b=param+128:f32[2] -> y=temp+1024:f32[2,2]
compute softmax-cross-entropy smoothing=0 scale=0.5 | logits=temp+1024:f32[2,2] labels=input+128:i32[2] -> metrics=grad+896:f32[4] probabilities=temp+1088:f32[2,2] # loss
compute softmax-cross-entropy-backward smoothing=0 scale=0.5 | probabilities=temp+1088:f32[2,2] labels=input+128:i32[2] -> dlogits=temp+1024:f32[2,2] # loss
compute linear-backward-weight | x=temp+2304:f32[2,8] dy=temp+1024:f32[2,2] -> dw=grad+0:f32[2,8] db=grad+128:f32[2]
compute linear-backward-data | dy=temp+1024:f32[2,2] w=param+0:f32[2,8] -> dx=temp+2304:f32[2,8]
compute global-average-pool-backward | dy=temp+2304:f32[2,8] -> dx=temp+1024:f32[2,4,4,8]
compute batch-norm-reduce relu=1 | dy=temp+1024:f32[2,4,4,8] x=temp+0:f32[2,4,4,8] mean=temp+2176:f32[8] inverse-std=temp+2240:f32[8] gamma=param+256:f32[8] beta=param+384:f32[8] -> sums=temp+2304:f32[16] dgamma=grad+256:f32[8] dbeta=grad+384:f32[8]
compute batch-norm-backward relu=1 count=32 | dz=temp+1024:f32[2,4,4,8] x=temp+0:f32[2,4,4,8] mean=temp+2176:f32[8] inverse-std=temp+2240:f32[8] gamma=param+256:f32[8] beta=param+384:f32[8] sums=temp+2304:f32[16] -> dx=temp+1024:f32[2,4,4,8]
compute conv2d-backward-weight stride=1,1 padding=1,1 | x=temp+2048:f32[2,4,4,1] dy=temp+1024:f32[2,4,4,8] -> dw=grad+512:f32[8,3,3,1]
compute sgd form=gradient nesterov=1 momentum=0.9 segments=64:0.0001,64:0,96:0.0001 zero=0 | w=param+0:f32[224] g=grad+0:f32[224] v=state+0:f32[224] schedule=input+192:f32[2] -> w=param+0:f32[224] v=state+0:f32[224] finite=output+64:f32[1] # bucket 0
compute copy | x=grad+896:f32[4] -> y=output+0:f32[4] # metrics
`;

const attributes = (found: Instruction[], key: string) => found.map((i) => i.attributes[key]);

describe("compile", () => {
  it("writes the program of a tiny network", () => {
    expect(compileTiny().texts.last).toBe(golden);
  });

  it("writes the same program for the same options: ranks compare its hash", () => {
    const { compiled, texts } = compileTiny({ workers: 2 });
    const again = compileTiny({ workers: 2 }).compiled;
    expect(again).toEqual(compiled);
    const hash = createHash("sha256").update(Object.values(texts).join("")).digest("hex");
    expect(compiled.hash).toBe(hash);
    expect(compileTiny({ workers: 3 }).compiled.hash).not.toBe(hash);
  });

  it.each([
    [{}, ["last", "evaluate"]],
    [{ accumulate: 2 }, ["micro", "last", "evaluate"]],
    [{ preciseBatchNorm: 4 }, ["last", "evaluate", "statistics"]],
    [{ workers: 2 }, ["last", "evaluate", "average", "broadcast"]],
    [{ precision: "bf16" as const }, ["last", "evaluate", "weights"]],
  ])("with %o makes %s", (changes, names) => {
    expect(Object.keys(compileTiny(changes).texts)).toEqual(names);
  });

  it("returns the offsets of a slot's parts", () => {
    const { compiled, ops } = compileTiny();
    const { images, flips, labels, schedule } = compiled.input;
    expect([images, flips, labels, schedule].map(({ bytes }) => bytes)).toEqual([32, 2, 8, 8]);
    const [normalize] = ops("last", "normalize-input");
    expect(normalize!.inputs.map((o) => o.offset)).toEqual([images.offset, flips.offset]);
    expect(ops("last", "softmax-cross-entropy")[0]!.inputs[1]!.offset).toBe(labels.offset);
    expect(ops("last", "sgd")[0]!.inputs[3]!.offset).toBe(schedule.offset);
    expect(compiled.memory.arenas.input).toBe(2 * 256);
    expect(compiled.output.finite.bytes).toBe(4 * compiled.buckets.length);
  });

  it("widens the filter gradients of a bucket together where a GPU rounds them", () => {
    const changes = { precision: "bf16", operations: new Set(book.keys()) } as const;
    const { compiled, ops } = compileTiny(changes);
    const rounded = ops("last", "conv2d-backward-weight-rounded").map(({ outputs }) => outputs[0]!);
    const [widen, metrics] = ops("last", "copy");
    const [x, y] = [widen!.inputs[0]!, widen!.outputs[0]!];
    expect(rounded.map(({ dtype }) => dtype)).toEqual(["bf16"]);
    expect(Math.min(...rounded.map(({ offset }) => offset))).toBe(x.offset);
    expect(x).toMatchObject({ arena: "grad", dtype: "bf16" });
    expect(y).toMatchObject({ arena: "grad", dtype: "f32", offset: compiled.buckets[0]!.offset });
    const end = metrics!.inputs[0]!.offset;
    expect(compiled.memory.arenas.grad).toBe(x.offset + end / 2);
    // Micro-batches are added up in f32.
    const sums = compileTiny({ ...changes, accumulate: 2 });
    for (const program of ["micro", "last"])
      expect(sums.ops(program, "conv2d-backward-weight-rounded")).toEqual([]);
  });

  it("uses one layout for parameters, gradients and momentum", () => {
    const { compiled, instructions } = compileTiny();
    const operands = instructions("last").flatMap((i) => [...i.inputs, ...i.outputs]);
    for (const { name, offset, stored } of compiled.parameters) {
      const bytes = operandBytes({ shape: stored, dtype: "f32" });
      for (const arena of ["param", "grad"]) {
        const found = operands.filter((o) => o.arena === arena && o.offset === offset);
        expect(
          found.some((o) => operandBytes(o) === bytes),
          `${name} in ${arena}`,
        ).toBe(true);
      }
    }
    const end = compiled.momentum.bytes;
    expect(compiled.statistics.map(({ offset }) => offset)).toEqual([end, end + 128]);
    expect(compiled.memory.arenas).toMatchObject({ param: end, grad: end + 64, state: end + 256 });
  });

  it("spreads the loss and the running statistics over micro-batches", () => {
    const { ops } = compileTiny({ accumulate: 4, workers: 3 });
    for (const name of ["micro", "last"])
      expect(attributes(ops(name, "softmax-cross-entropy"), "scale")).toEqual([String(1 / 24)]);
    const factors = (name: string) => {
      const { decay, gain } = ops(name, "batch-norm-finalize")[0]!.attributes;
      return { decay: Number(decay), gain: Number(gain) };
    };
    // Three micro-batches with statistics 1 and a last one with 5 have mean 2.
    const [micro, last] = [factors("micro"), factors("last")];
    let running = 3;
    for (const s of [1, 1, 1]) running = micro.decay * running + micro.gain * s;
    running = last.decay * running + last.gain * 5;
    expect(running).toBeCloseTo(0.9 * 3 + 0.1 * 2, 12);
  });

  it("accumulates gradients and metrics, and clears them after the update", () => {
    const { ops, instructions } = compileTiny({ accumulate: 2 });
    for (const name of ["micro", "last"]) {
      const writers = instructions(name).filter((i) =>
        i.outputs.some((o) => o.arena === "grad" && !["sgd", "scale"].includes(i.op)),
      );
      expect(writers).toHaveLength(4);
      for (const { attributes, inputs, outputs } of writers) {
        expect(attributes.accumulate).toBe("1");
        for (const output of outputs.filter((o) => o.arena === "grad"))
          expect(inputs).toContainEqual(output);
      }
    }
    expect(ops("last", "sgd")[0]!.attributes.zero).toBe("1");
    expect(ops("last", "sgd")[0]!.outputs.map((o) => o.name)).toContain("g");
    expect(instructions("last").at(-1)).toMatchObject({ op: "scale", attributes: { factor: "0" } });
    expect(ops("micro", "sgd")).toEqual([]);
    expect(attributes(compileTiny().ops("last", "sgd"), "zero")).toEqual(["0"]);
  });

  it("computes in bf16 with copies of the weights that the update writes", () => {
    const { ops, compiled } = compileTiny({ precision: "bf16" });
    const { parameters, memory } = compiled;
    expect(memory.arenas.weight).toBe(memory.arenas.param! / 2);
    const offset = (name: string) => parameters.find((p) => p.name === name)!.offset;
    const conv = ops("last", "conv2d")[0]!;
    expect(conv.inputs.map((o) => o.dtype)).toEqual(["bf16", "bf16"]);
    expect(conv.inputs[1]).toMatchObject({ arena: "weight", offset: offset("conv.weight") / 2 });
    expect(ops("last", "conv2d-backward-weight")[0]!.outputs[0]).toMatchObject({ dtype: "f32" });
    const fc = ops("last", "linear")[0]!;
    expect(fc.inputs.map((o) => `${o.arena} ${o.dtype}`)).toEqual([
      "temp bf16",
      "weight bf16",
      "param f32",
    ]);
    expect(fc.outputs[0]!.dtype).toBe("f32");
    const loss = ops("last", "softmax-cross-entropy-backward")[0]!;
    expect(loss.outputs[0]!.dtype).toBe("bf16");
    const apply = ops("last", "batch-norm-apply")[0]!;
    expect(apply.inputs.find((o) => o.name === "gamma")).toMatchObject({
      arena: "param",
      dtype: "f32",
      offset: offset("bn.weight"),
    });
    const copy = ops("last", "sgd")[0]!.outputs.find((o) => o.name === "copy");
    expect(copy).toMatchObject({ arena: "weight", offset: 0, dtype: "bf16" });
  });

  it("writes tf32 as fp32 with an attribute on convolutions and the classifier", () => {
    const { texts, instructions } = compileTiny({ precision: "tf32" });
    expect(texts.last!.replaceAll(" precision=tf32", "")).toBe(compileTiny().texts.last);
    const marked = instructions("last").filter((i) => i.attributes.precision === "tf32");
    expect(marked.map((i) => i.op)).toEqual([
      "conv2d",
      "linear",
      "linear-backward-weight",
      "linear-backward-data",
      "conv2d-backward-weight",
    ]);
  });

  it("fuses only what the backend has", () => {
    const without = new Set([...commonOps].filter((op) => op !== "batch-norm-apply"));
    const { instructions } = compileTiny({ operations: without });
    expect(instructions("last").map((i) => i.op)).toContain("relu");
    const more = compileTiny({ operations: new Set(book.keys()) });
    expect(more.ops("last", "conv2d-moments")).toHaveLength(1);
    expect(more.ops("evaluate", "conv2d-moments")).toEqual([]);
  });

  it("updates with the settings of the recipe, no decay on γ and β", () => {
    const momentum = { momentum: 0.8, momentumForm: "velocity", nesterov: false } as const;
    const { ops } = compileTiny({ labelSmoothing: 0.1 }, { ...momentum, weightDecay: 0.001 });
    expect(ops("last", "sgd")[0]!.attributes).toMatchObject({
      form: "velocity",
      nesterov: "0",
      momentum: "0.8",
      segments: "64:0.001,64:0,96:0.001",
    });
    expect(attributes(ops("last", "softmax-cross-entropy"), "smoothing")).toEqual(["0.1"]);
    expect(attributes(ops("last", "softmax-cross-entropy-backward"), "smoothing")).toEqual(["0.1"]);
    expect(attributes(ops("evaluate", "softmax-cross-entropy"), "smoothing")).toEqual(["0"]);
  });

  it("decays γ and β too where that is asked for, whatever the optimizer spares", () => {
    const segmentsOf = (name: "sgd" | "lars") => {
      const optimizer = optimizers[name]({ weightDecay: 0.001, normWeightDecay: true });
      const model = modelOf("resnet8");
      const compiled = compile(model, optionsFor(model), { optimizer });
      const last = parse(compiled.programs.find(({ name }) => name === "last")!.text);
      const updates = last.instructions.filter(({ op }) => op === "sgd");
      return { compiled, decays: updates.flatMap((i) => i.attributes.segments!.split(",")) };
    };
    expect(segmentsOf("sgd").decays.map((segment) => segment.split(":")[1])).toEqual(["0.001"]);
    const { compiled, decays } = segmentsOf("lars");
    // LARS spares biases all the same.
    expect(decays.map((segment) => segment.split(":")[1])).toEqual(
      compiled.parameters.map(({ role }) => (role === "bias" ? "0" : "0.001")),
    );
  });

  it("computes all norms once every bucket is summed, where the rule needs the whole gradient", () => {
    const lars = { optimizer: optimizers.lars({ weightDecay: 0.001 }), clipNorm: 2 };
    const model = modelOf("resnet18");
    const compiled = compile(model, optionsFor(model, { workers: 2, accumulate: 2 }), lars);
    const last = compiled.programs.find(({ name }) => name === "last")!;
    const { instructions } = parse(last.text);
    const after = instructions.slice(instructions.findIndex(({ op }) => op === "norms"));
    const count = compiled.buckets.length;
    expect(count).toBeGreaterThan(2);
    expect(after.filter(({ op }) => op === "wait" || op === "all-reduce")).toEqual([]);
    const updates = Array.from({ length: count }, () => "sgd");
    expect(after.map(({ op }) => op)).toEqual(["norms", "clip-norm", ...updates, "copy", "scale"]);
    // A segment a tensor; decay on weights alone, which adapt.
    const [norms] = after;
    const lengths = norms!.attributes.lengths!.split(",");
    expect(lengths).toHaveLength(compiled.parameters.length);
    const segments = after.filter(({ op }) => op === "sgd").map((i) => i.attributes.segments!);
    const decays = compiled.parameters.map(({ role }) =>
      role === "convolution" || role === "linear" ? "0.001" : "0",
    );
    expect(segments.join(",").split(",")).toEqual(lengths.map((n, i) => `${n}:${decays[i]}`));
    expect(
      attributes(
        after.filter(({ op }) => op === "sgd"),
        "form",
      ),
    ).toEqual(Array(count).fill("velocity"));
  });

  it("clips SGD's gradient too, and keeps its segments", () => {
    const update = { optimizer: optimizers.sgd(), clipNorm: 0.5 };
    const { programs } = compile(tiny, optionsFor(tiny), update);
    const { instructions } = parse(programs[0]!.text);
    const after = instructions.slice(-4);
    expect(after.map(({ op }) => op)).toEqual(["norms", "clip-norm", "sgd", "copy"]);
    expect(after[1]!.attributes).toEqual({ limit: "0.5" });
    expect(after[2]!.attributes.segments).toBe("64:0.0001,64:0,96:0.0001");
  });

  it("evaluates with the running statistics, without mirroring or a gradient", () => {
    const { instructions } = compileTiny({ workers: 2, syncBatchNorm: 2 });
    const evaluate = instructions("evaluate");
    expect(evaluate.map((i) => i.op)).toEqual([
      "normalize-input",
      "conv2d",
      "batch-norm-inference",
      "global-average-pool",
      "linear",
      "softmax-cross-entropy",
    ]);
    expect(evaluate[0]!.inputs.map((o) => o.name)).toEqual(["x"]);
    expect(evaluate.at(-1)!.attributes.scale).toBe("1");
    expect(evaluate.at(-1)!.outputs[0]).toMatchObject({
      name: "metrics",
      arena: "output",
      offset: 0,
    });
  });

  it("compiles an evaluation without an update: no gradients, momentum or communication", () => {
    const options = optionsFor(tiny, { precision: "bf16", workers: 2 });
    const { programs, memory, momentum, buckets, statistics } = compile(tiny, options);
    expect(programs.map(({ name }) => name)).toEqual(["evaluate", "weights"]);
    expect(memory.arenas).toMatchObject({ param: 896, weight: 448, grad: 0, state: 256 });
    expect(momentum.bytes).toBe(0);
    expect(buckets).toEqual([]);
    expect(statistics.map(({ offset }) => offset)).toEqual([0, 128]);
    const ops = (text: string) => parse(text).instructions.map(({ op }) => op);
    const trained = compileTiny({ precision: "bf16", workers: 2 }).texts.evaluate!;
    expect(ops(programs[0]!.text)).toEqual(ops(trained));
  });

  it("takes images of any size", () => {
    for (const side of [4, 9]) {
      const image = { height: side, width: side + 1 };
      const { texts, compiled } = compileTiny({ image });
      const line = texts.last!.split("\n").find((text) => text.includes(" conv2d "));
      expect(line).toContain(`:f32[2,${side},${side + 1},8]`);
      expect(compiled.memory.arenas.param).toBe(896);
    }
  });

  it("gathers batch statistics with the forward pass of training alone", () => {
    const { ops, instructions } = compileTiny({ preciseBatchNorm: 4, accumulate: 2 });
    const [finalize] = ops("statistics", "batch-norm-finalize");
    expect(finalize!.attributes).toMatchObject({ decay: "1", gain: "0.25" });
    expect(ops("statistics", "normalize-input")[0]!.inputs.length).toBe(2); // mirrored
    const written = instructions("statistics").flatMap(({ outputs }) => outputs);
    const arenas = new Set(written.map(({ arena }) => arena));
    expect([...arenas].sort()).toEqual(["output", "state", "temp"]);
  });

  it("gives synchronised statistics a stream and a communicator of their own", () => {
    const { instructions } = compileTiny({ workers: 4, syncBatchNorm: 2 });
    const collectives = instructions("last").filter((i) => /all-/.test(i.op));
    expect(collectives.map((i) => [i.stream, i.op, i.attributes.communicator])).toEqual([
      ["statistics", "all-gather", "statistics"],
      ["statistics", "all-reduce", "statistics"],
      ["comm", "all-reduce", "gradients"],
    ]);
    expect(collectives[0]!.outputs[0]!.shape).toEqual([2, 17]);
  });

  it("averages the running statistics and broadcasts everything", () => {
    const { instructions, compiled } = compileTiny({ workers: 4, precision: "bf16" });
    const kernels = (name: string) =>
      instructions(name)
        .filter((i) => i.op !== "signal" && i.op !== "wait")
        .map((i) => [i.op, ...i.outputs.map((o) => `${o.arena}+${o.offset} ${operandBytes(o)}`)]);
    const { param, state } = compiled.memory.arenas as { param: number; state: number };
    expect(kernels("average")).toEqual([
      ["all-reduce", `state+${param} ${state - param}`],
      ["scale", `state+${param} ${state - param}`],
    ]);
    expect(instructions("average").find((i) => i.op === "scale")!.attributes.factor).toBe("0.25");
    expect(kernels("broadcast")).toEqual([
      ["broadcast", `param+0 ${param}`],
      ["broadcast", `state+0 ${state}`],
      ["copy", `weight+0 ${param / 2}`],
    ]);
    expect(kernels("weights")).toEqual([["copy", `weight+0 ${param / 2}`]]);
  });

  it("reports the memory of the largest program, slots included", () => {
    const { compiled, texts } = compileTiny({ accumulate: 2, slots: 3 });
    const temps = Object.values(texts).map(
      (text) => parse(text).arenas.find((a) => a.name === "temp")!.bytes,
    );
    expect(compiled.memory.arenas.temp).toBe(Math.max(...temps));
    expect(compiled.memory.arenas.input).toBe(3 * 256);
  });

  it.each([
    [{ batch: 0 }, /batch is 0; expected a whole number/],
    [{ workers: 1.5 }, /workers is 1.5/],
    [{ workers: 4, syncBatchNorm: 3 }, /groups of 3 of 4 workers; use a divisor of 4/],
    [{ mean: [0, 0, 0] }, /mean has 3 numbers for images of 1 channel;/],
  ])("refuses %o", (changes, message) => {
    expect(() => compileTiny(changes)).toThrow(message);
  });

  it("refuses images that do not suit the model", () => {
    const model = { ...tiny, channels: 3, build: (_: Network, x: Value) => x };
    expect(() => compile(model, optionsFor(model, { channelMultiple: 2 }))).toThrow(
      /\[softmax-cross-entropy\]/,
    );
  });
});
