// Checks where evaluate() puts constants and results, without arithmetic: the device only records.
import { describe, expect, it } from "vitest";
import type { Device, Executor } from "../../lib/device/device.js";
import { evaluate } from "../../lib/graph/evaluate.js";
import { bf16FromFloat32, float32FromBf16, Graph, type Value } from "../../lib/graph/graph.js";
import { parse } from "../../lib/graph/parse.js";
import { add, allReduce, cast, relu, sgd } from "../../lib/ops/index.js";
import { commonOps } from "../support/op-book.js";
import { replay, Symbols } from "./replay.js";

/** Runs nothing: `output` and `state` keep what is written into them here. */
function recorder(fill: (memory: Record<string, Uint8Array>) => void = () => {}) {
  const memory: Record<string, Uint8Array> = {};
  const record = { text: "", submissions: 0, disposed: 0, memory };
  const executor: Partial<Executor> = {
    input: () => memory.input!,
    output: () => memory.output!,
    submit: async () => {
      record.submissions++;
      fill(memory);
    },
    write: async (arena, offset, bytes) => memory[arena]!.set(bytes, offset),
    read: async (arena, offset, length) => memory[arena]!.slice(offset, offset + length),
    dispose: () => {
      record.disposed++;
    },
  };
  const device: Partial<Device> = {
    operations: commonOps,
    load: async ([program]) => {
      record.text = program!.text;
      for (const { name, bytes } of parse(record.text).arenas) memory[name] = new Uint8Array(bytes);
      return executor as Executor;
    },
  };
  return { device: device as Device, record };
}

const problems = (text: string) => replay(parse(text), new Symbols()).problems;

describe("evaluate", () => {
  it("puts constants in the input and results in the output", async () => {
    const { device, record } = recorder((memory) => {
      new Float32Array(memory.output!.buffer, 0, 2).set([7, 8]);
    });
    const y = await evaluate(device, (g) =>
      relu(add(g.constant(Float32Array.of(1, 2), [2]), g.constant(Float32Array.of(3, 4), [2]))),
    );
    expect(y).toEqual(Float32Array.of(7, 8));
    expect(record.submissions).toBe(1);
    expect(record.disposed).toBe(1);
    const { instructions } = parse(record.text);
    expect(instructions.map((i) => i.op)).toEqual(["add"]);
    const [a, b] = instructions[0]!.inputs;
    const at = (offset: number) => new Float32Array(record.memory.input!.buffer, offset, 2);
    expect(at(a!.offset)).toEqual(Float32Array.of(1, 2));
    expect(at(b!.offset)).toEqual(Float32Array.of(3, 4));
    expect(instructions[0]!.outputs[0]!.arena).toBe("output");
  });

  it("reads several results by name, also those that feed others", async () => {
    const { device, record } = recorder();
    const results = await evaluate(device, (g) => {
      const h = relu(g.constant(new Float32Array(6), [2, 3]));
      return { h, sum: add(h, h), low: cast(h, "bf16"), same: h };
    });
    expect(Object.keys(results)).toEqual(["h", "sum", "low", "same"]);
    expect(results.low).toBeInstanceOf(Float32Array);
    expect(results.sum).toHaveLength(6);
    expect(problems(record.text)).toEqual([]);
  });

  it("keeps what an op overwrites in state and reads it afterwards", async () => {
    const { device, record } = recorder((memory) => memory.state!.fill(0));
    const w = Float32Array.of(1, 2);
    const results = await evaluate(device, (g) => {
      const vector = (data: Float32Array) => g.constant(data, [2]);
      return sgd(
        { w: vector(w), g: vector(w), v: vector(w), schedule: vector(w) },
        {
          form: "gradient",
          nesterov: false,
          momentum: 0.9,
          segments: [{ length: 2, decay: 0 }],
        },
      );
    });
    expect(results.w).toEqual(Float32Array.of(0, 0));
    expect(w).toEqual(Float32Array.of(1, 2));
    const [update] = parse(record.text).instructions;
    expect(update!.inputs.map((o) => o.arena)).toEqual(["state", "input", "state", "input"]);
  });

  it("returns the constant itself, and converts bf16 exactly", async () => {
    const { device } = recorder();
    const numbers = Float32Array.of(1, -0.15625, Math.PI, Number.NaN, Number.POSITIVE_INFINITY);
    const { x, labels } = await evaluate(device, (g) => ({
      x: g.constant(numbers, [5], "bf16"),
      labels: g.constant(Int32Array.of(-1, 2), [2]),
    }));
    expect(x).toEqual(Float32Array.of(1, -0.15625, 3.140625, Number.NaN, Number.POSITIVE_INFINITY));
    expect(labels).toEqual(Int32Array.of(-1, 2));
  });

  it("orders collectives with what they read and write", async () => {
    const { device, record } = recorder();
    await evaluate(device, (g) => {
      const x = g.constant(new Float32Array(4), [4]);
      return { sum: relu(allReduce(relu(x), { communicator: "gradients" })), x: relu(x) };
    });
    expect(problems(record.text)).toEqual([]);
    expect(record.text).toContain("comm wait event=0");
  });

  it("refuses a value without contents", async () => {
    const { device } = recorder();
    await expect(evaluate(device, (g) => relu(g.input([4])))).rejects.toThrow(
      /\[relu\] x has no contents; make it with g.constant/,
    );
  });

  it("frees the memory when the run fails", async () => {
    const { device, record } = recorder(() => {
      throw new Error("no such kernel");
    });
    const run = evaluate(device, (g) => relu(g.constant(new Float32Array(4), [4])));
    await expect(run).rejects.toThrow("no such kernel");
    expect(record.disposed).toBe(1);
  });
});

describe("bf16", () => {
  it("is rounded to nearest, ties to even", () => {
    const bits = (x: number) => bf16FromFloat32(Float32Array.of(x))[0]!;
    expect(bits(1)).toBe(0x3f80);
    expect(bits(1 + 2 ** -8)).toBe(0x3f80); // half-way, 0x3f80 is even
    expect(bits(1 + 3 * 2 ** -8)).toBe(0x3f82); // half-way, 0x3f81 is odd
    expect(bits(1 + 2 ** -8 + 2 ** -20)).toBe(0x3f81);
    expect(bits(3.4e38)).toBe(0x7f80); // rounds up to infinity
    expect(bits(Number.NaN) & 0x7fff).toBeGreaterThan(0x7f80);
    const exact = Float32Array.of(0, -2.5, 2 ** 127, 2 ** -126);
    expect(float32FromBf16(bf16FromFloat32(exact))).toEqual(exact);
  });

  it("constants are copied: what is given may change afterwards", () => {
    const data = Float32Array.of(1, 2);
    const g = new Graph();
    g.constant(data, [2]);
    data.fill(9);
    expect(new Float32Array(g.constants[0]!.bytes.buffer)).toEqual(Float32Array.of(1, 2));
  });
});

it.each<[string, (g: Graph) => unknown, RegExp]>([
  ["nothing", () => undefined, /returned undefined; expected a value of the graph/],
  ["null", () => null, /returned null;/],
  ["a number", () => 5, /returned Number;/],
  ["no values", () => ({}), /returned Object;/],
  ["an array of numbers", () => Float64Array.of(1, 2), /returned Float64Array;/],
  ["a number among values", (g) => ({ x: g.constant(Float32Array.of(1), [1]), y: 1 }), /Object;/],
  ["another graph's value", () => new Graph().constant(Float32Array.of(1), [1]), /Value;/],
])("a function that returns %s is refused", async (_, build, message) => {
  const { device, record } = recorder();
  const run = evaluate(device, build as (g: Graph) => Value);
  await expect(run).rejects.toMatchObject({
    code: "ERR_ONEHOUR_GRAPH",
    message: expect.stringMatching(message),
  });
  expect(record.text).toBe("");
});
