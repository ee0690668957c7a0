// The references that scripts/oracle.py wrote.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseSafetensors } from "#lib/run-folder/safetensors.js";
import { root } from "../root.js";

/** A tensor of a fixture; f32 unless it holds labels (i32) or pixels (u8). */
export interface Reference {
  shape: number[];
  data: Float32Array | Int32Array | Uint8Array;
}

const folder = join(root, "test/fixtures");

/** Whether they are here: a bundle has none. */
export const hasFixtures = existsSync(folder);

/** The tensors of `test/fixtures/<name>.safetensors` whose names begin with `prefix`, without it. */
export function readFixture(name: string, prefix = ""): Map<string, Reference> {
  const file = join(folder, `${name}.safetensors`);
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
