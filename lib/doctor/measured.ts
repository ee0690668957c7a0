// Measures what a run will do most: sums over ranks, decoding and matrix products, each for a second or two.
import { buildCommand } from "../device/native.js";
import { commandLine } from "../text/command.js";
import { count, plural } from "../text/words.js";
import { ask, NoAnswer } from "./ask.js";
import { bad, type Check, type Facts, good, type Line, type ModuleReport, warn } from "./check.js";
import { bytesText } from "./machine.js";
import type { PairRate } from "./pairs.js";
import type { Answers } from "./probe.js";

/** What a probe measures, or why it cannot, as a line. */
async function measured<N extends keyof Answers>(
  name: N,
  seconds: number,
  words: (answer: Answers[N]) => Line,
  failed: (problem: string) => Line,
): Promise<Line[]> {
  try {
    return [words(await ask(name, "", seconds))];
  } catch (error) {
    if (error instanceof NoAnswer)
      return [failed(error.isLost ? `its process ${error.message}` : error.message)];
    throw error;
  }
}

const loads = async ({ modules }: Facts, ...names: ModuleReport["name"][]) =>
  (await modules()).some(({ name, state }) => names.includes(name) && state === "loads");

/** 87.3 GFLOP/s */
export function rateText(rate: number): string {
  const [value, unit] = rate >= 1e12 ? [rate / 1e12, "TFLOP/s"] : [rate / 1e9, "GFLOP/s"];
  return `${value >= 99.5 ? Math.round(value) : value.toPrecision(3)} ${unit}`;
}

const secondsEach = 20;

const products: Check = {
  name: "matrix products",
  seconds: secondsEach + 1,
  advice: commandLine("bench", "ops", "--model", "resnet8"),
  look: async (facts) => {
    const { name, advice } = products;
    if (!(await loads(facts, "cpu", "cuda")))
      return [bad(name, "not measured: no module of a device loads", buildCommand())];
    return await measured(
      "products",
      secondsEach,
      ({ device, kind, threads, precision, rate }) =>
        good(
          name,
          `${rateText(rate)} in ${precision} on ${kind === "cpu" ? plural(threads, "thread") : device}`,
        ),
      (problem) => bad(name, problem, advice),
    );
  },
};

const decoding: Check = {
  name: "decoding",
  seconds: secondsEach + 1,
  advice: commandLine("bench", "loader"),
  look: async (facts) => {
    const { name, advice } = decoding;
    if (!(await loads(facts, "data")) || !(await loads(facts, "cpu", "cuda")))
      return [warn(name, "not measured: a module that it needs does not load", buildCommand())];
    return await measured(
      "decoding",
      secondsEach,
      ({ images, cores }) =>
        good(
          name,
          `${count(Math.round(images))} crops of 224×224 a second, ${count(Math.round(images / cores))} a core`,
        ),
      (problem) => warn(name, problem, advice),
    );
  },
};

const secondsOfRanks = 25;

/** How two ranks of this machine exchange. */
export function judgePair({ bandwidth, latency, transport }: PairRate): Line {
  const name = "all-reduce";
  const found = `two ranks: ${bytesText(bandwidth)}/s, ${(1e6 * latency).toFixed(0)} µs, through ${transport}`;
  if (transport === "shared memory") return good(name, found);
  return warn(name, `${found}; memory would be faster`, "unset ONEHOUR_SHM_DISABLE");
}

const allReduce: Check = {
  name: "all-reduce",
  seconds: secondsOfRanks + 1,
  advice: commandLine("launch", "--workers", "2", "--doctor"),
  look: async (facts) => {
    const { name, advice } = allReduce;
    if (!(await loads(facts, "cpu")))
      return [warn(name, "not measured: the module cpu does not load", buildCommand())];
    return await measured("allReduce", secondsOfRanks, judgePair, (problem) =>
      warn(name, problem, advice),
    );
  },
};

export const measuredChecks: readonly Check[] = [allReduce, decoding, products];
