// Parses program text through the addon. Every malformed line and mutated texts are native/test's.
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
    for (const text of ["", "\0", "\ud800", "\u{1f4a9}"]) expect(refusal(text).line).toBe(1);
    expect(() => native.parseProgram(7 as unknown as string)).toThrow("must be a string");
  });
});
