// Replays every model's programs on symbols: no instruction reads bytes that were reused or not yet
// written, and no stream touches bytes that another may be using.
import { describe, expect, it } from "vitest";
import { lower } from "../../lib/graph/compile.js";
import { emit } from "../../lib/graph/emit.js";
import { operandBytes, parse } from "../../lib/graph/parse.js";
import { plan } from "../../lib/graph/plan.js";
import { type Program, print } from "../../lib/graph/program.js";
import { models } from "../../lib/models/models.js";
import { book } from "../../lib/ops/book.js";
import { compileFor, modelOf, optionsFor, update } from "./options.js";
import { type Replay, replay, Symbols } from "./replay.js";

type Lowered = ReturnType<typeof lower>;

const settings = [
  { workers: 1, syncBatchNorm: 1 },
  { workers: 2, syncBatchNorm: 1 },
  { workers: 2, syncBatchNorm: 2 },
].flatMap((ranks) =>
  (["fp32", "bf16"] as const).flatMap((precision) =>
    [1, 2].map((accumulate) => ({ ...ranks, precision, accumulate })),
  ),
);
const scaled = { workers: 2, syncBatchNorm: 2, precision: "fp16", accumulate: 2 } as const;
const rows = Object.keys(models).flatMap((model) =>
  [...settings, scaled].map((s) => ({ model, ...s })),
);
// With all that a GPU fuses.
const operations = new Set(book.keys());
const fused = [
  ...settings.filter(({ precision, accumulate }) => precision === "bf16" && accumulate === 1),
  { ...scaled, accumulate: 1 },
].map((s) => ({ model: "resnet50", ...s, operations }));

/** In `last` and `micro`: each gradient is written, complete before its all-reduce, used once. */
function expectGradients(program: Program, { layout }: Lowered, workers: number): void {
  const { instructions } = program;
  const writes = instructions.flatMap(({ op, outputs }) =>
    outputs
      .filter(({ arena }) => arena === "grad")
      .map((output) => ({ op, start: output.offset, end: output.offset + operandBytes(output) })),
  );
  for (const { name, offset, stored } of layout.parameters) {
    const bytes = 4 * stored.reduce((a, b) => a * b, 1);
    const touching = writes.filter(({ start, end }) => start <= offset && offset + bytes <= end);
    const expected = [
      /backward-weight|batch-norm-reduce|add-bias-backward|copy/,
      ...(program.name === "last" && workers > 1 ? [/all-reduce/] : []),
      ...(instructions.some((i) => i.op === "sgd" && i.attributes.zero === "1") ? [/sgd/] : []),
    ];
    expect(touching.length, name).toBe(expected.length);
    touching.forEach(({ op }, i) => {
      expect(op, name).toMatch(expected[i]!);
    });
  }
}

/** In `last`: every parameter is updated, once, and nothing but its update reads it afterwards. */
function expectUpdates(program: Program, { layout, output }: Lowered, { memory }: Replay): void {
  const sgd = (i: number | undefined) => program.instructions[i ?? -1]?.op === "sgd";
  for (const { name, offset, stored } of layout.parameters) {
    const bytes = 4 * stored.reduce((a, b) => a * b, 1);
    for (const arena of ["param", "state"] as const)
      for (const part of memory[arena].inside(offset, offset + bytes)) {
        expect(sgd(part.writer?.index), `${name} in ${arena}`).toBe(true);
        expect(part.readers, `${name} in ${arena}`).toEqual([]);
      }
  }
  const { metrics, finite } = output;
  for (const { offset, bytes } of [metrics, finite]) {
    const written = memory.output.inside(offset, offset + bytes);
    expect(written.reduce((sum, part) => sum + part.end - part.start, 0)).toBe(bytes);
  }
}

describe("replay", () => {
  const seen = new Set<string>();
  it.each([...rows, ...fused])(
    "$model on $workers, groups of $syncBatchNorm, $precision, $accumulate micro-batches",
    ({ model: name, ...changes }) => {
      const model = modelOf(name);
      const options = optionsFor(model, changes);
      const lowered = lower(model, options, update);
      const names = lowered.programs.map((p) => p.name);
      expect(names.slice(0, changes.accumulate + 1)).toEqual(
        changes.accumulate > 1 ? ["micro", "last", "evaluate"] : ["last", "evaluate"],
      );
      for (const { name, steps, arenas } of lowered.programs) {
        const text = print(emit(name, steps, plan(steps), arenas));
        // Programs that differ in nothing but the loss's scale are replayed once.
        const unscaled = text.replace(/ scale=\S+/g, "");
        if (seen.has(unscaled)) continue;
        seen.add(unscaled);
        const symbols = new Symbols();
        const program = parse(text);
        const planned = replay(program, symbols);
        expect(planned.problems).toEqual([]);
        // Where every value has bytes of its own, each instruction reads what it is meant to read.
        const apart = replay(emit(name, steps, plan(steps, false), arenas), symbols);
        expect(apart.problems).toEqual([]);
        expect(JSON.stringify(planned.reads)).toBe(JSON.stringify(apart.reads));
        if (name === "last" || name === "micro") expectGradients(program, lowered, changes.workers);
        if (name === "last") expectUpdates(program, lowered, planned);
      }
    },
  );
});

describe("the replay itself finds", () => {
  const model = modelOf("resnet8");
  const { programs } = compileFor(model, { workers: 2, syncBatchNorm: 2 });
  const text = programs.find(({ name }) => name === "last")!.text;
  const lines = text.split("\n");
  const problems = (changed: string[]) => replay(parse(changed.join("\n")), new Symbols()).problems;
  const at = (pattern: RegExp) => lines.findIndex((line) => pattern.test(line));

  it("nothing in the program as it is", () => {
    expect(problems(lines)).toEqual([]);
    expect(print(parse(text))).toBe(text);
  });

  it.each([
    ["a value that was never computed", /batch-norm-statistics/, /before it is written/],
    ["a missing wait before an update", /compute wait/, /may be (read|written)|still runs/],
    ["a missing wait before an all-reduce", /comm wait/, /may be|still runs/],
    ["a missing signal", /comm signal/, /before its signal/],
  ])("%s", (_, line, problem) => {
    const without = lines.toSpliced(at(line), 1);
    expect(problems(without).join("\n")).toMatch(problem);
  });

  it("an output over an input", () => {
    const moved = lines.map((line, i) =>
      i === at(/ conv2d /)
        ? line.replace(/y=temp\+\d+/, line.match(/temp\+\d+/)![0].replace(/^/, "y="))
        : line,
    );
    expect(problems(moved).join("\n")).toMatch(/overlaps/);
  });

  it("bytes that were reused", () => {
    const last = lower(model, optionsFor(model), update).programs[0]!;
    const memory = plan(last.steps);
    const output = (label: string, op: string) =>
      last.steps.flatMap((step) =>
        step.kind === "node" && step.node.label === label && step.node.op.name === op
          ? [step.node.outputs.y!.storage]
          : [],
      )[0]!;
    const symbols = new Symbols();
    const reads = () =>
      JSON.stringify(replay(emit("last", last.steps, memory, last.arenas), symbols).reads);
    const sound = reads();
    // What bn1 normalises is read again in its gradient.
    const kept = memory.offsets.get(output("conv1", "conv2d"))!;
    memory.offsets.set(output("layer1.0.bn1", "batch-norm-apply"), kept);
    expect(reads()).not.toBe(sound);
  });
});
