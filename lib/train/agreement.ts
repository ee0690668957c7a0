// Checks that all ranks agree: on the run at its start, on the replicas of the model later.

import { OnehourError } from "../errors.js";
import { nameRanks } from "../ranks/rendezvous.js";
import type { World } from "../ranks/world.js";
import { resumeCommand } from "../text/command.js";
import { plural } from "../text/words.js";

/** What all ranks must have alike: a text, or an object of which only the fields that differ are shown. */
type Fact = string | Readonly<Record<string, unknown>>;

/** Two facts as a message shows them. */
function differences(...facts: [Fact, Fact]): string[] {
  if (facts.some((fact) => typeof fact === "string")) return facts.map(String);
  const fields = [...new Set(facts.flatMap((fact) => Object.keys(fact)))];
  const shown = (facts as Record<string, unknown>[]).map((fact) =>
    fields.map((field) => `${field} ${JSON.stringify(fact[field]) ?? "unset"}`),
  );
  const differing = fields.flatMap((_, i) => (shown[0]![i] === shown[1]![i] ? [] : [i]));
  return shown.map((parts) => differing.map((i) => parts[i]).join(", "));
}

/** Throws ERR_ONEHOUR_RANKS_DIFFER, showing both values, unless all ranks give the same facts. */
export async function requireSameFacts(world: World, facts: Record<string, Fact>): Promise<void> {
  const all = (await world.gather("start", JSON.stringify(facts))).map(
    (text) => JSON.parse(text) as Record<string, Fact>,
  );
  for (const [rank, theirs] of all.entries()) {
    for (const [what, first] of Object.entries(all[0]!)) {
      if (JSON.stringify(theirs[what]) === JSON.stringify(first)) continue;
      const [other, own] = differences(theirs[what] ?? "nothing", first);
      throw new OnehourError(
        "ERR_ONEHOUR_RANKS_DIFFER",
        `rank ${rank} has ${what} ${other}, rank 0 has ${own}. ` +
          "Start all ranks with the same command, version and data",
      );
    }
  }
}

/** The ranks whose value is not the majority's, or all groups that differ where there is no majority. */
function whoDiffers(values: readonly unknown[]): string {
  const byValue = new Map<unknown, number[]>();
  for (const [rank, value] of values.entries())
    byValue.set(value, [...(byValue.get(value) ?? []), rank]);
  const groups = [...byValue.values()].sort((a, b) => b.length - a.length);
  const [most = []] = groups;
  if (2 * most.length <= values.length) {
    return `differs between ${groups.map(nameRanks).join(", ")}, and nothing says which is right`;
  }
  const others = nameRanks(
    groups
      .slice(1)
      .flat()
      .sort((a, b) => a - b),
  );
  return `of ${others} is not that of the other ${plural(most.length, "rank")}`;
}

/**
 * Compares checksums of tensors, by name, over the ranks after `step` steps. Throws
 * ERR_ONEHOUR_RANKS_DIFFER naming the first tensor that differs and, by majority, the rank whose is
 * another, or the ranks that have done another number of steps.
 */
export async function requireSameTensors(
  world: World,
  { step, out }: { step: number; out: string },
  checksums: Record<string, string>,
): Promise<void> {
  // The key does not hold the steps: ranks that differ in them would wait for each other.
  const own = JSON.stringify({ step, checksums });
  const all = (await world.gather("replicas", own)).map(
    (text) => JSON.parse(text) as { step: number; checksums: Record<string, string> },
  );
  requireAlike(
    all.map((theirs) => theirs.step),
    "the number of steps done",
    out,
  );
  const names = new Set(all.flatMap((theirs) => Object.keys(theirs.checksums)));
  for (const name of names)
    requireAlike(
      all.map((theirs) => theirs.checksums[name]),
      `after ${plural(step, "step")} ${name}`,
      out,
    );
}

function requireAlike(values: readonly unknown[], what: string, out: string): void {
  if (new Set(values).size === 1) return;
  throw new OnehourError(
    "ERR_ONEHOUR_RANKS_DIFFER",
    `${what} ${whoDiffers(values)}: a fault of memory, or unequal machines in one run. Continue from ` +
      `the last checkpoint, without the machine at fault: ${resumeCommand(out)}`,
  );
}
