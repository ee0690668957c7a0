// Collects what a part finds and writes it to the part's JSON file as it goes, so that nothing is lost
// where the part is cut off.
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { defaultThreads } from "#lib/device/cores.js";
import type { Device } from "#lib/device/device.js";
import { openBackend } from "#lib/device/open.js";
import type { PartResult } from "./part-result.js";
import { writeResults, writeWhole } from "./results.js";

/** What a part is called with, as JSON in its only argument. */
export interface Settings {
  /** The module to verify: onehour_<device>.node. The CPU's is the reference. */
  device: "cuda" | "emulated" | "cpu";
  /** The JSON file to write. */
  file: string;
  /** Sizes for a dry run on two slow cores, or under compute-sanitizer. */
  small: boolean;
  /** Seconds that the part may take in all; it begins nothing that would end later. */
  seconds: number;
  /** Only this much of the ops, for compute-sanitizer: each op's program in memory of its own. */
  sanitizing?: "memory" | "races";
}

const failuresKept = 100;
const writeEvery = 1000; // ms
const collectEvery = 5000; // ms

/** Collects a part's checks; `finish` ends it. */
export class Report {
  readonly settings: Settings;
  private readonly started = performance.now();
  private written = 0;
  private collected = Number.NEGATIVE_INFINITY;
  private readonly result: PartResult;

  constructor(part: string) {
    this.settings = JSON.parse(process.argv[2]!) as Settings;
    this.result = {
      part,
      device: this.settings.device,
      ok: false,
      complete: false,
      seconds: 0,
      checks: 0,
      failures: [],
      skipped: [],
      notes: [],
      data: {},
    };
    mkdirSync(dirname(this.settings.file), { recursive: true });
    this.write();
  }

  /** Opens the device to verify; without the module there is nothing to report but that. */
  open(): Device {
    const device = openBackend(this.settings.device, defaultThreads());
    this.result.deviceName = device.properties.name;
    return device;
  }

  get secondsLeft(): number {
    return this.settings.seconds - (performance.now() - this.started) / 1000;
  }

  check(name: string, ok: boolean, detail: string): void {
    this.result.checks++;
    if (!ok) {
      console.log(`FAILED ${name}: ${detail}`);
      if (this.result.failures.length < failuresKept)
        this.result.failures.push({ name, ok, detail });
    }
    if (!ok || performance.now() - this.written > writeEvery) this.write();
  }

  /** A number that must not exceed a limit; NaN does. */
  atMost(name: string, value: number, limit: number): void {
    this.check(name, value <= limit, `${value.toPrecision(3)}, at most ${limit.toPrecision(3)}`);
  }

  note(text: string): void {
    console.log(text);
    this.result.notes.push(text);
    this.write();
  }

  skip(text: string): void {
    console.log(`left out: ${text}`);
    this.result.skipped.push(text);
    this.write();
  }

  record(name: string, value: unknown): void {
    this.result.data[name] = value;
    this.write();
  }

  finish(): void {
    const { failures, checks, skipped } = this.result;
    this.result.complete = true;
    this.result.ok = failures.length === 0 && checks + skipped.length > 0;
    this.write();
    process.exitCode = this.result.ok ? 0 : 1;
  }

  private write(): void {
    this.written = performance.now();
    this.result.seconds = (this.written - this.started) / 1000;
    writeWhole(this.settings.file, `${JSON.stringify(this.result, undefined, 1)}\n`);
    // As after each part, for the case that all of the verification is killed before that.
    if (this.written - this.collected < collectEvery) return;
    this.collected = this.written;
    writeResults(dirname(this.settings.file));
  }
}

/** Runs a part from its beginning to its end; an error that nothing else caught fails it. */
export async function runPart(
  name: string,
  body: (report: Report) => Promise<void>,
): Promise<void> {
  const report = new Report(name);
  try {
    await body(report);
  } catch (error) {
    const { message, stack = message } = error as Error;
    report.check("no error", false, stack);
  }
  report.finish();
}
