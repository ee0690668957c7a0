// Runs the parts of the stages one after another, each as a process with a limit of time, and writes the
// results so far after each.
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { type EndingSignal, listenForEnd, signalStatus } from "#lib/ranks/signals.js";
import { type Part, parts, type Stage, stageSeconds } from "./parts.js";
import type { Settings } from "./results/report.js";
import { leastSeconds, type Run, writeResults, writeRun } from "./results/results.js";
import { root } from "./root.js";

interface StageOptions {
  device: Settings["device"];
  small: boolean;
  /** Both where there is none. */
  stage?: Stage | undefined;
  /** Names of parts; all where there are none. */
  wanted?: readonly string[] | undefined;
  /** Where the results go; by default bench/results, or next to the parts' files for a dry run. */
  out?: string | undefined;
  /** Seconds that the start took. */
  elapsed?: number;
}

/** The parts to run, and the folder of their programs. */
interface Programs {
  table: readonly Part[];
  folder: string;
  /** How many times a part's seconds a dry run may take, however few and busy its cores. */
  slowness: number;
}

const programs: Programs = { table: parts, folder: join(root, "dist/proof/parts"), slowness: 10 };

/** A part plans to end so long before its limit. */
const marginSeconds = 4;
/** From SIGTERM to SIGKILL for a part that runs over its limit. */
const killSeconds = 3;
const collectSeconds = 2;

/** 20261129-174204 */
const dateText = () =>
  new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");

/** A verification under way. */
class Verification {
  private readonly work: string;
  private readonly run: Run;
  private readonly failed: string[] = [];
  private signal: EndingSignal | undefined;
  private endPart = () => {};
  /** When the stage began, in seconds since the start. */
  private begin = 0;

  constructor(
    private readonly options: StageOptions,
    private readonly programs: Programs,
  ) {
    const { device, stage, out } = options;
    const date = dateText();
    this.work = join(root, "build/verify", date);
    // Figures of a dry run are not kept.
    const results = device === "cuda" ? "bench/results" : join(this.work, "results");
    this.run = {
      device,
      date,
      stage: String(stage ?? ""),
      out: resolve(out ?? results),
      plans: join(this.cache, "onehour/plans"),
      parts: [],
      done: false,
      ended: "",
    };
    for (const folder of [this.work, this.run.out]) mkdirSync(folder, { recursive: true });
  }

  /** Of plans, the verification's alone, which its results hold; the stages share it. */
  private get cache(): string {
    return join(root, "build/verify/cache");
  }

  /** Seconds since the start. */
  private get now(): number {
    return Math.floor((this.options.elapsed ?? 0) + performance.now() / 1000);
  }

  /** Runs the stages and returns the exit status. */
  async runAll(): Promise<number> {
    const forget = listenForEnd((signal) => {
      this.signal = signal;
      this.endPart();
    });
    try {
      for (const stage of [1, 2] as const) {
        if (this.run.ended !== "" || ![stage, undefined].includes(this.options.stage)) continue;
        await this.runStage(stage);
        this.begin = this.now;
      }
    } finally {
      forget();
    }
    this.run.done = true;
    writeRun(this.work, this.run);
    console.log(`\n${writeResults(this.work, true)!.overview}`);
    console.log(`\nverify-gpu: results in ${this.run.out} (${this.now} s)`);
    return this.conclude();
  }

  private conclude(): number {
    const { ended } = this.run;
    if (this.failed.length > 0)
      console.log(
        `verify-gpu: FAILED in ${this.failed.join(" ")}${ended === "" ? "" : `; ${ended}`}`,
      );
    else console.log("verify-gpu: all parts passed");
    if (this.signal !== undefined) return signalStatus(this.signal);
    return this.failed.length > 0 ? 1 : 0;
  }

  private async runStage(stage: Stage): Promise<void> {
    const { device, wanted } = this.options;
    const slowness = device === "cuda" ? 1 : this.programs.slowness;
    const close = this.begin + stageSeconds[stage] * slowness;
    let end = this.begin; // of the part
    for (const part of this.programs.table) {
      const { name, seconds, longest = seconds } = part;
      if (part.stage !== stage || wanted?.includes(name) === false) continue;
      if (this.run.parts.some((other) => other.name === name)) continue;
      end += seconds * slowness;
      const { now } = this;
      const limit = Math.min(
        Math.max(end - now, longest * slowness),
        close - now - killSeconds - collectSeconds,
      );
      const isGood = await this.runPart(part, limit);
      if (!isGood) this.failed.push(name);
      if (this.signal !== undefined) this.run.ended = `${this.signal} ended ${name}`;
      else if (!isGood && part.isVital) this.run.ended = `${name} failed`;
      else continue;
      this.run.ended += ": nothing after it was run";
      return;
    }
  }

  /** Runs a part; returns whether it passed. */
  private async runPart({ name, settings }: Part, limit: number): Promise<boolean> {
    this.run.parts.push({ name, seconds: limit });
    if (limit < leastSeconds) {
      console.log(`verify-gpu: no time is left for ${name}`);
      return false;
    }
    console.log(`\n-- ${name}, at most ${limit} s (${this.now} s since the start)`);
    writeRun(this.work, this.run);
    const { device, small } = this.options;
    const file = join(this.work, `${name}.json`);
    const seconds = limit - marginSeconds;
    const start = performance.now();
    const status = await this.execute(name, limit, {
      settings: { device, file, small, seconds },
      // The build looks for NVIDIA's libraries in the user's own cache.
      environment: { ...settings, ...(name === "build" ? {} : { XDG_CACHE_HOME: this.cache }) },
    });
    if ((performance.now() - start) / 1000 >= limit)
      console.log(`verify-gpu: ${name} was ended after its ${limit} s`);
    console.log(writeResults(this.work, true)!.last);
    return status === 0;
  }

  /** The exit status of a part's process: timeout(1) ends all of its group. */
  private execute(
    name: string,
    limit: number,
    { settings, environment }: { settings: Settings; environment: NodeJS.ProcessEnv },
  ): Promise<number | null> {
    const node = [process.execPath, join(this.programs.folder, `${name}.js`)];
    const child = spawn(
      "timeout",
      [`--kill-after=${killSeconds}`, String(limit), ...node, JSON.stringify(settings)],
      {
        stdio: ["ignore", "inherit", "inherit"],
        // As nvidia-smi counts, which is asked too.
        env: { ...process.env, CUDA_DEVICE_ORDER: "PCI_BUS_ID", ...environment },
        detached: true, // a terminal's signal is the command's alone
      },
    );
    this.endPart = () => child.kill();
    return new Promise((ended, failed) => child.on("exit", ended).on("error", failed));
  }
}

/** Runs the parts of the stages and returns the exit status. */
export function runStages(options: StageOptions, changes: Partial<Programs> = {}): Promise<number> {
  return new Verification(options, { ...programs, ...changes }).runAll();
}
