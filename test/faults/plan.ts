// Draws from a seed what happens to a run: its rounds, and the faults of each.
import type { Draws } from "./draws.js";
import { type FileFault, type Kind, kinds } from "./files.js";
import { type Training, trainings } from "./training.js";

/** One start or resumption of the run, and the faults that it meets. */
export interface Round {
  files: FileFault[];
  /** Moves the clocks once this step is done. */
  jump?: { step: number; milliseconds: number };
  /** Asks the run to save and end once this step is done. */
  signal?: { step: number; name: NodeJS.Signals };
  /** Damages a file after the run. */
  damage?: Damage;
}

/** Damage to a file that nobody writes: share is in [0, 1). */
export interface Damage {
  /** Index into the files, sorted by name. */
  file: number;
  effect: "flip" | "cut" | "zeros" | "empty" | "gone" | "garbage";
  share: number;
  /** Damages only this many bytes from the file's beginning: headers are small, tensors large. */
  within: number;
}

export interface Plan {
  training: Training;
  rounds: Round[];
}

const codes = ["EIO", "ENOSPC", "EACCES", "EDQUOT", "EROFS", "EMFILE", "ESTALE", "EPERM"] as const;
const effects: { [K in Kind]?: readonly FileFault["effect"][] } = {
  write: ["error", "short", "torn", "torn", "crash", "power", "power"],
  read: ["error", "flip", "cut", "crash"],
  close: ["error", "crash"],
  look: ["error", "crash"],
};
const others: readonly FileFault["effect"][] = ["error", "crash", "power"];
const hour = 3_600_000;
const steps = 10;

/** Draws a fault. `counts` holds how many operations of each kind an unbroken run makes. */
function drawFault(draws: Draws, counts: Record<Kind, number>): FileFault {
  const kind = draws.pick(kinds.filter((name) => counts[name] > 0));
  return {
    kind,
    after: draws.below(counts[kind]),
    times: draws.pick([1, 1, 1, 2, 5, 1000]),
    effect: draws.pick(effects[kind] ?? others),
    code: draws.pick(codes),
    share: draws.share(),
  };
}

function drawRound(draws: Draws, counts: Record<Kind, number>): Round {
  const round: Round = {
    files: Array.from({ length: draws.pick([0, 1, 1, 1, 2]) }, () => drawFault(draws, counts)),
  };
  if (draws.chance(0.25)) {
    const milliseconds = draws.pick([-24 * hour, -hour, -1000, 1000, 2 * hour, 24 * hour]);
    round.jump = { step: draws.below(steps), milliseconds };
  }
  if (draws.chance(0.2)) {
    const name = draws.pick(["SIGTERM", "SIGINT", "SIGHUP"] as const);
    round.signal = { step: draws.below(steps), name };
  }
  if (draws.chance(0.25)) {
    const effect = draws.pick([
      "flip",
      "flip",
      "cut",
      "zeros",
      "empty",
      "gone",
      "garbage",
    ] as const);
    round.damage = {
      file: draws.below(1000),
      effect,
      share: draws.share(),
      within: draws.pick([400, 12_000, Number.MAX_SAFE_INTEGER]),
    };
  }
  return round;
}

export function drawPlan(
  draws: Draws,
  countsOf: (training: Training) => Record<Kind, number>,
): Plan {
  const training = draws.pick<Training>([
    "alone",
    "alone",
    ...(Object.keys(trainings) as Training[]),
  ]);
  const counts = countsOf(training);
  return {
    training,
    rounds: Array.from({ length: draws.pick([1, 1, 2, 3]) }, () => drawRound(draws, counts)),
  };
}
