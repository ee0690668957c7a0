// Measures what a run will do most: sums over ranks, decoding and matrix products, each for a second or two.
import { buildCommand } from "../device/native.js";
import { inTemporaryFolder } from "../system/temporary-folder.js";
import { commandLine } from "../text/command.js";
import { count, plural } from "../text/words.js";
import { ask, NoAnswer } from "./ask.js";
import { bad, type Check, good, type Line, type ModuleReport, warn } from "./check.js";
import { pairText, socketsAdvice } from "./compare.js";
import { loads } from "./facts.js";
import { loopbackMissing } from "./network.js";
import type { PairRate } from "./pairs.js";
import type { Answers } from "./probe.js";

/** What one probe measures. */
interface Measurement<N extends keyof Answers> {
  name: string;
  probe: N;
  seconds: number;
  /** Whether it is given a folder to make them in, which is removed whatever becomes of the process. */
  makesFiles?: true;
  /** Modules that it needs, of each list one. */
  needs: readonly (readonly ModuleReport["name"][])[];
  /** A line that says why it cannot be measured, where that is known before. */
  missing?: (name: string) => Line | undefined;
  judge: (name: string, answer: Answers[N]) => Line;
  /** The line where it cannot be measured. */
  failed: typeof bad;
  advice: string;
}

function checkOf<N extends keyof Answers>(measurement: Measurement<N>): Check {
  const { name, probe, seconds, makesFiles, needs, missing, judge, failed, advice } = measurement;
  return {
    ...{ name, advice, seconds: seconds + 1 },
    look: async ({ modules }) => {
      const reports = await modules();
      if (!needs.every((names) => loads(reports, ...names)))
        return [failed(name, "not measured: a module that it needs does not load", buildCommand())];
      const lacking = missing?.(name);
      if (lacking !== undefined) return [lacking];
      try {
        const measure = (folder: string) => ask(probe, folder, seconds);
        return [judge(name, await (makesFiles ? inTemporaryFolder(measure) : measure("")))];
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error;
        return [
          failed(name, error.isLost ? `its process ${error.message}` : error.message, advice),
        ];
      }
    },
  };
}

/** 87.3 GFLOP/s */
export function rateText(rate: number): string {
  const [value, unit] = rate >= 1e12 ? [rate / 1e12, "TFLOP/s"] : [rate / 1e9, "GFLOP/s"];
  return `${value >= 99.5 ? Math.round(value) : value.toPrecision(3)} ${unit}`;
}

/** How two ranks of this machine exchange. */
function judgePair(name: string, rate: PairRate): Line {
  const { transport } = rate;
  const found = `two ranks: ${pairText(rate)}, through ${transport}`;
  if (transport === "shared memory") return good(name, found);
  return warn(name, `${found}; memory would be faster`, socketsAdvice());
}

function judgeDecoding(name: string, { images, cores }: Answers["decoding"]): Line {
  const [all, each] = [images, images / cores].map((rate) => count(Math.round(rate)));
  return good(name, `${all} crops of 224×224 a second, ${each} a core`);
}

function judgeProducts(name: string, answer: Answers["products"]): Line {
  const { device, kind, threads, precision, rate } = answer;
  const by = kind === "cpu" ? plural(threads, "thread") : device;
  return good(name, `${rateText(rate)} in ${precision} on ${by}`);
}

const device = ["cpu", "cuda"] as const;

export const measuredChecks: readonly Check[] = [
  checkOf({
    ...{ name: "all-reduce", probe: "allReduce", seconds: 25, needs: [["cpu"]] },
    ...{ missing: loopbackMissing, judge: judgePair, failed: warn },
    advice: commandLine("launch", "--workers", "2", "--doctor"),
  }),
  checkOf({
    ...{ name: "decoding", probe: "decoding", seconds: 20, needs: [["data"], device] },
    ...{ judge: judgeDecoding, failed: warn, makesFiles: true },
    advice: commandLine("bench", "loader"),
  }),
  checkOf({
    ...{ name: "matrix products", probe: "products", seconds: 20, needs: [device] },
    // No run starts either.
    ...{ judge: judgeProducts, failed: bad },
    advice: commandLine("bench", "ops", "--model", "resnet8"),
  }),
];
