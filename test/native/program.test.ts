// Parses untrusted program text: whatever it holds, the parser returns or throws with the line.
import { describe, expect, it } from "vitest";
import { native } from "../../lib/device/native.js";
import { NativeError } from "../../lib/errors.js";

const example = `onehour-program 1
name last
arena param 309120
arena grad 309184
arena input 100480 slots=3
arena output 128 slots=3
arena temp 12345600
compute normalize-input mean=0.286 std=0.353 | x=input+0:u8[32,28,28,1] flip=input+25088:u8[32] -> y=temp+0:f32[32,28,28,1] # input
compute conv2d stride=1,1 padding=1,1 | x=temp+0:f32[32,28,28,1] w=param+0:f32[16,3,3,1] -> y=temp+100352:f32[32,28,28,16] # conv1
compute signal event=3
comm wait event=3
comm all-reduce communicator=gradients | x=grad+0:f32[1000] -> x=grad+0:f32[1000]
`;

/** A sequence of 32-bit numbers (Mulberry32), the same on every machine. */
function generator(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) % bound;
  };
}

const snippets = ["-1", "99999999999999999999", "[", "]", "|", "->", "=", "+", ":", ",", " ", "\n"];
snippets.push("#", "\0", "\u{1f4a9}", "\ud800", "f64", "slots=0", "event=3", "temp+0:f32[1]");

function mutate(text: string, random: (bound: number) => number): string {
  const at = random(text.length);
  const other = random(text.length);
  const snippet = snippets[random(snippets.length)]!;
  switch (random(5)) {
    case 0:
      return text.slice(0, at) + snippet + text.slice(at);
    case 1:
      return text.slice(0, at) + text.slice(at + 1 + random(20));
    case 2:
      return text.slice(0, at) + String.fromCharCode(random(300)) + text.slice(at + 1);
    case 3:
      return text.slice(0, at) + text.slice(other, other + random(100)) + text.slice(at);
    default:
      return text.slice(0, at).replace(/\d+/g, (n) => (random(9) === 0 ? `${2 ** random(70)}` : n));
  }
}

function refusal(text: string): NativeError {
  try {
    native.parseProgram(text);
  } catch (error) {
    if (error instanceof NativeError) return error;
    throw error;
  }
  throw new Error("the text was accepted");
}

describe("program text", () => {
  it("parses", () => {
    expect(native.parseProgram(example)).toEqual({
      name: "last",
      arenas: { param: 309120, grad: 309184, input: 100480, output: 128, temp: 12345600 },
      instructions: 5,
    });
  });

  it("is refused with code, line and text", () => {
    const error = refusal(example.replace("temp+0:f32[32,28,28,1] w", "temp+2:f32[32,28,28,1] w"));
    expect(error).toMatchObject({ code: "ERR_PROGRAM", library: "onehour", line: 9 });
    expect(error.text).toContain("compute conv2d stride=1,1");
    expect(error.message).toContain("line 9: operand x: offset 2 is not a multiple of 4");
    expect(refusal("").line).toBe(1);
    expect(() => native.parseProgram(7 as unknown as string)).toThrow("must be a string");
  });

  it("survives 3,000 mutations", () => {
    const random = generator(1706);
    let refused = 0;
    for (let round = 0; round < 3000; round++) {
      let text = example;
      for (let mutation = 0; mutation <= random(4); mutation++) text = mutate(text || "\n", random);
      try {
        native.parseProgram(text);
      } catch (error) {
        refused++;
        const known = error instanceof NativeError && error.code === "ERR_PROGRAM";
        if (!known || !(error.line! >= 1 && error.line! <= text.split("\n").length)) throw error;
      }
    }
    expect(refused).toBeGreaterThan(1500);
    expect(refused).toBeLessThan(3000);
  });
});
