// What a run ran on: environment.json of its folder, as far as there is a sound one.

import { join } from "node:path";
import { z } from "zod";
import { isThere } from "../run-folder/files.js";
import { environmentName } from "../run-folder/run-folder.js";
import type { MachineEnvironment } from "../system/environment.js";
import { readRegular } from "../system/regular-file.js";

const text = z.string().optional();
const number = z.number().optional();

// Other versions may write less, or more.
const schema = z.looseObject({
  ...{ onehour: text, commit: text, node: text, system: text, kernel: text, processor: text },
  cores: z.looseObject({ usable: z.number(), present: z.number() }).optional(),
  memoryBytes: number,
  gpus: z.array(z.looseObject({ name: z.string(), memoryBytes: number, driver: text })).optional(),
  libraries: z.record(z.string(), z.looseObject({ built: text, loaded: text })).optional(),
});

export interface RunEnvironment {
  environment?: Partial<MachineEnvironment>;
  /** Why there is none, where there is a file. */
  environmentProblem?: string;
}

const mostBytes = 1 << 20;

/** Of rank 0, when the last process of the run began. Never throws for what the file holds. */
export async function readEnvironment(folder: string): Promise<RunEnvironment> {
  const file = join(folder, environmentName);
  if (!isThere(file)) return {};
  try {
    const value: unknown = JSON.parse((await readRegular(file, mostBytes)).toString());
    const { success, data, error } = schema.safeParse(value);
    if (success) return { environment: data as Partial<MachineEnvironment> };
    const { path, message } = error.issues[0]!;
    return { environmentProblem: [...path.map(String), message].join(": ") };
  } catch (error) {
    return { environmentProblem: (error as Error).message };
  }
}
