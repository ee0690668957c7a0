// Checks that tensors hold numbers that a network can compute with: finite ones, and no variance below 0.

import { refuseFile } from "./refuse-file.js";

/** What is wrong with a tensor, in words; undefined where nothing is. */
export function unsound(name: string, values: Float32Array): string | undefined {
  const least = name.endsWith("running_var") ? 0 : Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (Number.isFinite(value) && value >= least) continue;
    const expected = Number.isFinite(value) ? "a variance is 0 or more" : "it must be finite";
    return `tensor ${name} holds ${value} (element ${i}), and ${expected}`;
  }
  return undefined;
}

/** Throws ERR_ONEHOUR_CHECKPOINT naming the first tensor of a file that is unsound, `prefix` before it. */
export function requireSound(
  file: string,
  tensors: Iterable<[name: string, values: Float32Array]>,
  prefix = "",
): void {
  for (const [name, values] of tensors) {
    const problem = unsound(prefix + name, values);
    if (problem === undefined) continue;
    throw refuseFile(
      file,
      problem,
      "such weights are of a training that diverged, or were damaged: name a file from before that",
    );
  }
}
