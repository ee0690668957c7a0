// What all ranks must have alike: the run at its start, the replicas of the model later.

import { resumeCommand } from "../command.js";
import { nameRanks } from "../distributed/rendezvous.js";
import { OnehourError } from "../errors.js";
import { plural } from "../words.js";
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

/** Which ranks have another checksum than most, or who differs from whom where there is no majority. */
function whoDiffers(sums: readonly (string | undefined)[]): string {
  const bySum = new Map<string | undefined, number[]>();
  for (const [rank, sum] of sums.entries()) bySum.set(sum, [...(bySum.get(sum) ?? []), rank]);
  const groups = [...bySum.values()].sort((a, b) => b.length - a.length);
  const [most = []] = groups;
  if (2 * most.length <= sums.length) {
    return `differs between ${groups.map(nameRanks).join(", ")}, and which is right cannot be told`;
  }
  const others = nameRanks(
    groups
      .slice(1)
      .flat()
      .sort((a, b) => a - b),
  );
  return `of ${others} is not that of the other ${most.length} ranks`;
}

/**
 * Compares checksums of tensors, by name, over the ranks. Throws ERR_ONEHOUR_RANKS_DIFFER naming the
 * first tensor that differs and, by majority, the rank whose is another.
 */
export async function requireSameTensors(
  team: Team,
  { step, out }: { step: number; out: string },
  checksums: Record<string, string>,
): Promise<void> {
  const all = (await team.gather(`replicas-${step}`, JSON.stringify(checksums))).map(
    (text) => JSON.parse(text) as Record<string, string>,
  );
  const names = new Set(all.flatMap((theirs) => Object.keys(theirs)));
  for (const name of names) {
    const sums = all.map((theirs) => theirs[name]);
    if (new Set(sums).size === 1) continue;
    throw new OnehourError(
      "ERR_ONEHOUR_RANKS_DIFFER",
      `after ${plural(step, "step")} ${name} ${whoDiffers(sums)}: a fault of memory, or unequal machines in one ` +
        `run. Continue from the last checkpoint, without the machine at fault: ${resumeCommand(out)}`,
    );
  }
}
