// Prints program text and reads it back, and refuses wrong lines.
import { describe, expect, it } from "vitest";
import { Graph } from "../../lib/graph/graph.js";
import { parse } from "../../lib/graph/parse.js";
import { print } from "../../lib/graph/program.js";
import { relu } from "../../lib/ops/index.js";

const text = `onehour-program 1
name example
arena param 64
arena input 256 slots=2
arena temp 128
compute scale factor=0.5 | x=param+0:f32[4,2] -> y=temp+64:f32[4,2] # layer1.0
compute signal event=0
comm wait event=0
comm all-reduce communicator=gradients | x=temp+64:f32[] -> x=temp+64:f32[]
`;

describe("program text", () => {
  it("reads back as it was printed", () => {
    const program = parse(text);
    expect(print(program)).toBe(text);
    expect(program.arenas[1]).toEqual({ name: "input", bytes: 256, slots: 2 });
    expect(program.instructions[0]).toEqual({
      stream: "compute",
      op: "scale",
      attributes: { factor: "0.5" },
      inputs: [{ name: "x", arena: "param", offset: 0, dtype: "f32", shape: [4, 2] }],
      outputs: [{ name: "y", arena: "temp", offset: 64, dtype: "f32", shape: [4, 2] }],
      comment: "layer1.0",
    });
    expect(program.instructions[3]!.inputs[0]!.shape).toEqual([]);
  });

  it("has a layer's label on one line", () => {
    const g = new Graph();
    const x = g.input([1]);
    const y = g.within("a\tb\n#", () => relu(x));
    expect(y.node!.label).toBe("a\\x09b\\x0a#");
  });

  it("ignores empty lines and comments", () => {
    expect(parse(text.replace("compute signal", "\n# a comment\ncompute signal"))).toEqual(
      parse(text),
    );
  });

  it.each([
    ["onehour-program 1", "onehour-program 2", /^line 1: expected "onehour-program 1"/],
    ["compute signal", "main signal", /^line 7: unknown stream "main": main signal event=0$/],
    ["param+0", "heap+0", /^line 6: unknown arena "heap"/],
    ["f32[]", "f64[]", /unknown element type "f64"/],
    ["temp+64:f32[4,2]", "temp+-4:f32[4,2]", /expected name=arena\+offset:dtype\[dims\]/],
    ["arena temp 128", "arena temp lots", /^line 5: expected arena NAME BYTES/],
    ["event=0", "event", /expected key=value, got "event"/],
  ])("refuses %s as %s", (from, to, message) => {
    expect(() => parse(text.replace(from, to))).toThrow(message);
  });
});
