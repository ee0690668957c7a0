// The case list and the references that scripts/oracle.py wrote.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { ParameterRole } from "../../lib/models/model.js";
import { parseSafetensors } from "../../lib/run-folder/safetensors.js";

type Shape = readonly number[];
type Pair = readonly [number, number];
type Computed = { name: string; dtype: "f32" | "bf16" };

/** What the rows of cases.json hold, by family. */
export interface Cases {
  conv: (Computed & {
    x: Shape;
    filters: number;
    window: Pair;
    stride: Pair;
    padding: Pair;
  })[];
  "batch-norm": (Computed & { x: Shape; relu: number; residual: number; offset: number })[];
  "max-pool": (Computed & {
    x: Shape;
    window: Pair;
    stride: Pair;
    padding: Pair;
    values: "distinct" | "negative" | "ties";
  })[];
  "global-average-pool": (Computed & { x: Shape })[];
  relu: (Computed & { x: Shape })[];
  add: (Computed & { x: Shape; relu: number })[];
  "normalize-input": (Computed & {
    x: Shape;
    channels: number;
    flip: number;
    mean: number[];
    std: number[];
  })[];
  linear: (Computed & { x: Shape; classes: number })[];
  loss: (Computed & { logits: Shape; smoothing: number; scale: number })[];
  sgd: {
    name: string;
    form: "gradient" | "velocity";
    nesterov: number;
    momentum: number;
    segments: [number, number][];
  }[];
  norms: { name: string; lengths: number[]; limit: number }[];
  /** Tensors have a length, a role and a scale. */
  lars: {
    name: string;
    momentum: number;
    decay: number;
    tensors: [number, ParameterRole, number][];
  }[];
}

/** A tensor of a fixture; f32 unless it holds labels (i32) or pixels (u8). */
export interface Reference {
  shape: number[];
  data: Float32Array | Int32Array | Uint8Array;
}

function path(name: string): string {
  return fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
}

export const cases = JSON.parse(readFileSync(path("cases.json"), "utf8")) as Cases;

/** The tensors of `test/fixtures/<name>.safetensors` whose names begin with `prefix`, without it. */
export function readFixture(name: string, prefix = ""): Map<string, Reference> {
  const file = path(`${name}.safetensors`);
  const result = new Map<string, Reference>();
  for (const [key, { dtype, shape, bytes }] of parseSafetensors(file, readFileSync(file)).tensors) {
    if (!key.startsWith(prefix)) continue;
    const aligned = Uint8Array.from(bytes).buffer;
    const data =
      dtype === "U8"
        ? new Uint8Array(aligned)
        : dtype === "I32"
          ? new Int32Array(aligned)
          : new Float32Array(aligned);
    result.set(key.slice(prefix.length), { shape, data });
  }
  return result;
}

/** A lookup in a fixture that names what is missing. */
export function lookup<T>(map: ReadonlyMap<string, T>): (name: string) => T {
  return (name) => {
    const value = map.get(name);
    if (value === undefined) throw new Error(`the fixture lacks ${name}; run scripts/oracle.py`);
    return value;
  };
}
