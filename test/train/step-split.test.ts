// How a step's time is split.
import { expect, test } from "vitest";
import type { Trace } from "../../lib/device/device.js";
import { lineKinds, splitOf } from "../../lib/train/step-split.js";

const program = (lines: string) => `onehour-program 1\nname last\narena param 64\n${lines}\n`;
const text = program(`compute relu | x=temp+0:f32[4] -> y=temp+64:f32[4]
compute relu-backward | x=temp+0:f32[4] -> dw=grad+0:f32[4]
compute signal event=0
comm wait event=0
comm all-reduce communicator=gradients | x=grad+0:f32[4] -> x=grad+0:f32[4] # bucket 0
comm signal event=1
compute wait event=1
compute sgd | g=grad+0:f32[4] w=param+0:f32[4] -> w=param+0:f32[4] # bucket 0
compute copy | x=grad+0:f32[4] -> y=output+0:f32[4] # metrics`);

/** One line after another on each stream, of so many ms, after `first` ms. */
function traceOf(kinds: readonly unknown[], durations: readonly number[], first: number): Trace {
  const streams = text
    .trimEnd()
    .split("\n")
    .slice(3)
    .map((line) => line.split(" ")[0]!);
  const at: Record<string, number> = { compute: first, comm: first };
  const times = kinds.flatMap((_, i) => {
    const stream = streams[i]!;
    const begin = at[stream]!;
    at[stream] = begin + durations[i]!;
    return [begin, at[stream]!];
  });
  return { began: 0, times: Float64Array.from(times) };
}

test("the lines of the compute stream are computing, communication and the update", () => {
  expect(lineKinds(text)).toEqual([
    ...["compute", "compute", "exposedCommunication"],
    ...[undefined, undefined, undefined],
    ...["exposedCommunication", "update", "update"],
  ]);
  const norms = text.replace("compute relu-backward", "compute norms");
  expect(lineKinds(norms)[1]).toBe("update");
});

test("a step's split is that of its programs", () => {
  const micro = program("compute relu | x=temp+0:f32[4] -> y=temp+64:f32[4]");
  const programs = [
    { kinds: lineKinds(micro), trace: traceOf([0], [50], 0) },
    { kinds: lineKinds(text), trace: traceOf(lineKinds(text), [5, 6, 0, 11, 20, 0, 20, 3, 1], 2) },
  ];
  const split = splitOf(programs, 0.25);
  expect(split.compute).toBeCloseTo(0.061, 12);
  expect(split.exposedCommunication).toBeCloseTo(0.02, 12);
  expect(split.update).toBeCloseTo(0.004, 12);
  expect(split.inputWait).toBeCloseTo(0.252, 12);
  expect(splitOf([])).toEqual({ compute: 0, exposedCommunication: 0, inputWait: 0, update: 0 });
});
