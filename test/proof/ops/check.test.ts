// The comparison of ops passes on devices that are right and notices one that is not.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Device } from "../../../lib/device/device.js";
import { elements } from "../../../lib/graph/graph.js";
import { operandBytes } from "../../../lib/graph/parse.js";
import type { OpCase } from "../../../proof/ops/case.js";
import { opCases } from "../../../proof/ops/cases.js";
import { checkOps, type OpFinding } from "../../../proof/ops/check.js";
import { computed, dataName, recorded, resultsOf } from "../../../proof/ops/expected.js";
import { place, strayWrite } from "../../../proof/ops/placement.js";
import { device } from "../../support/device.js";
import { temporaryFolder } from "../../support/folder.js";

const folder = temporaryFolder();

/** A device whose results `spoil` changes, given the program and the arena after it ran. */
function spoiled(spoil: (text: string, arena: Uint8Array) => void): Device {
  return {
    properties: device.properties,
    operations: device.operations,
    async load(programs: { name: string; text: string }[]) {
      const executor = await device.load(programs);
      let last = "";
      return {
        write: executor.write.bind(executor),
        submit(name: string, slot: number) {
          last = programs.find((program) => program.name === name)!.text;
          return executor.submit(name, slot);
        },
        async read(arena: string, offset: number, length: number) {
          const bytes = Uint8Array.from(await executor.read(arena, offset, length));
          spoil(last, bytes);
          return bytes;
        },
        [Symbol.dispose]: () => executor.dispose(),
      };
    },
  } as unknown as Device;
}

/** The small case `name`, as it is before its first instruction. */
function caseOf(name: string): OpCase {
  const { operations, properties } = device;
  const { channelMultiple } = properties;
  const options = { operations, channelMultiple, small: true, tf32: false };
  for (const opCase of opCases(options)) if (opCase.name === name) return opCase;
  throw new Error(`there is no case ${name}`);
}

/** Findings of the case `name` on a device. */
async function findings(name: string, wrong: Device): Promise<OpFinding[]> {
  const found: OpFinding[] = [];
  const opCase = caseOf(name);
  const onFinding = (finding: OpFinding) => found.push(finding);
  using expected = await computed(opCase, device);
  await checkOps(opCase, { expected, device: wrong, onFinding });
  return found;
}

describe("the comparison of ops", () => {
  const outputOf = (text: string, op: string) =>
    new RegExp(` ${op} .*-> \\w+=state\\+(\\d+):(\\w+)\\[([\\d,]+)\\]`).exec(text);

  it("notices one wrong element in f32", async () => {
    const wrong = spoiled((text, arena) => {
      const match = outputOf(text, "conv2d");
      if (!match) return;
      const view = new DataView(arena.buffer);
      const at = Number(match[1]) + 4 * 11;
      // Sums of 144 products of numbers around 1 are around 12.
      view.setFloat32(at, view.getFloat32(at, true) + 12 * 2e-3, true);
    });
    const bad = (await findings("conv: 3x3 sixteen channels, f32", wrong)).filter(
      ({ problem }) => problem,
    );
    expect(bad.map(({ op }) => op)).toEqual(["conv2d"]);
    expect(bad[0]!.problem).toMatch(/^element 11 is/);
  });

  it("notices an element of bf16 that was not written, and one byte after the output", async () => {
    const unwritten = spoiled((text, arena) => {
      const match = outputOf(text, "relu");
      if (match) arena.fill(0xff, Number(match[1]) + 2, Number(match[1]) + 4);
    });
    const after = spoiled((text, arena) => {
      const match = outputOf(text, "relu");
      if (!match) return;
      const shape = match[3]!.split(",").map(Number);
      expect(elements(shape)).toBe(1155);
      arena[Number(match[1]) + operandBytes({ shape, dtype: "bf16" })] = 0;
    });
    const problems = async (wrong: Device) =>
      (await findings("relu: odd elements, bf16", wrong)).map(({ problem }) => problem ?? "");
    expect((await problems(unwritten)).some((text) => /element 1 is NaN/.test(text))).toBe(true);
    expect((await problems(after)).some((text) => /byte 0 after the last/.test(text))).toBe(true);
  });

  it("notices a loop that goes one element too far, though a NaN goes in and out", async () => {
    const length = 2 * 1155;
    const wrong = spoiled((text, arena) => {
      const match = / relu .*x=state\+(\d+).*-> y=state\+(\d+):bf16/.exec(text);
      if (!match) return;
      const [x, y] = [Number(match[1]) + length, Number(match[2]) + length];
      arena.copyWithin(y, x, x + 2);
    });
    const found = await findings("relu: odd elements, bf16", wrong);
    expect(found.map(({ problem }) => problem)).toContainEqual(
      expect.stringMatching(/byte \d after the last operand was written/),
    );
  });

  it("notices an input that was overwritten", () => {
    const operand = (name: string, offset: number) =>
      ({ name, arena: "temp", offset, dtype: "f32", shape: [4] }) as const;
    const placement = place("p", {
      stream: "compute",
      op: "relu",
      attributes: {},
      inputs: [{ ...operand("x", 0), shape: [4] }],
      outputs: [{ ...operand("y", 64), shape: [4] }],
      comment: "",
    });
    const before = new Uint8Array(placement.bytes);
    const after = before.slice();
    after[placement.places[0]!.offset] = 1;
    expect(strayWrite(placement, before, after)).toBe("its input x was written");
    after.set(before);
    after[placement.places[1]!.offset] = 1;
    expect(strayWrite(placement, before, after)).toBe(undefined);
  });
});

describe("results that a bundle carries", () => {
  const name = "BN + add + ReLU, f32";
  const data = join(folder, "op-data");

  it("are what the CPU computes at hand", async () => {
    expect(recorded(caseOf(name), data)).toBe(undefined);
    mkdirSync(data);
    const results = await resultsOf(caseOf(name), device);
    writeFileSync(join(data, dataName(caseOf(name))), results);
    const again = caseOf(name);
    using expected = recorded(again, data)!;
    const found: OpFinding[] = [];
    await checkOps(again, { expected, device, onFinding: (finding) => found.push(finding) });
    expect(found).toEqual(await findings(name, device));
    expect(found.length).toBeGreaterThan(10);
    expect(found.filter(({ problem }) => problem)).toEqual([]);
  });

  it("are compared with: a wrong one is noticed", async () => {
    const file = join(data, dataName(caseOf(name)));
    const results = readFileSync(file);
    results.writeFloatLE(results.readFloatLE(0) + 1, 0);
    writeFileSync(file, results);
    const again = caseOf(name);
    using expected = recorded(again, data)!;
    const found: OpFinding[] = [];
    await checkOps(again, { expected, device, onFinding: (finding) => found.push(finding) });
    expect(found.find(({ problem }) => problem)!.problem).toMatch(/^element 0 is/);
  });
});
