// What all ranks must have alike: the run at its start, the parameters after every epoch.

import { OnehourError } from "../errors.js";
import type { Team } from "./team.js";

/** Two texts; of two objects in JSON only the fields that differ. */
function differences(...texts: [string, string]): string[] {
  try {
    const objects: Record<string, unknown>[] = texts.map((text) => JSON.parse(text));
    const fields = [...new Set(objects.flatMap((object) => Object.keys(object)))];
    const shown = objects.map((object) =>
      fields.map((field) => `${field} ${JSON.stringify(object[field]) ?? "unset"}`),
    );
    const differing = fields.flatMap((_, i) => (shown[0]![i] === shown[1]![i] ? [] : [i]));
    return shown.map((parts) => differing.map((i) => parts[i]).join(", "));
  } catch {
    return texts; // no JSON
  }
}

/** Throws ERR_ONEHOUR_RANKS_DIFFER, showing both values, unless all ranks give the same facts. */
export async function requireSameFacts(team: Team, facts: Record<string, string>): Promise<void> {
  const all = (await team.gather("start", JSON.stringify(facts))).map(
    (text) => JSON.parse(text) as Record<string, string>,
  );
  for (const [rank, theirs] of all.entries()) {
    for (const [what, first] of Object.entries(all[0]!)) {
      if (theirs[what] === first) continue;
      const [other, own] = differences(theirs[what] ?? "nothing", first);
      throw new OnehourError(
        "ERR_ONEHOUR_RANKS_DIFFER",
        `the ${what} of rank ${rank} is not that of rank 0: ${other}, but rank 0 has ${own}. ` +
          "Start all ranks with the same command, version and data",
      );
    }
  }
}

/**
 * Compares checksums of tensors, by name, over the ranks. Throws ERR_ONEHOUR_RANKS_DIFFER naming
 * the first rank and tensor that differ from rank 0's.
 */
export async function requireSameTensors(
  team: Team,
  step: number,
  checksums: Record<string, string>,
): Promise<void> {
  const all = (await team.gather(`parameters-${step}`, JSON.stringify(checksums))).map(
    (text) => JSON.parse(text) as Record<string, string>,
  );
  for (const [rank, theirs] of all.entries()) {
    const differs = Object.keys(theirs).find((name) => theirs[name] !== all[0]![name]);
    if (differs === undefined) continue;
    throw new OnehourError(
      "ERR_ONEHOUR_RANKS_DIFFER",
      `after ${step} steps ${differs} of rank ${rank} is not that of rank 0: a fault of memory, ` +
        "or unequal machines in one run. Continue from the last checkpoint: onehour train --resume",
    );
  }
}
