// Runs small trainings in this process, alone or with several ranks, and compares what must not
// depend on interruptions.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "../../lib/ranks/connect.js";
import { RendezvousServer } from "../../lib/ranks/rendezvous-server.js";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import {
  type Checkpoint,
  checkpointName,
  readCheckpoint,
} from "../../lib/run-folder/checkpoint.js";
import type { LogLine } from "../../lib/run-folder/log-lines.js";
import type { RunEvent } from "../../lib/train/events.js";
import { train } from "../../lib/train/train.js";
import { lasting } from "../support/lasting.js";

const common: RecipeInput = {
  dataset: "synthetic:8x8x1:2:32",
  model: "resnet8",
  batch: 8,
  epochs: 2,
  milestones: [1],
  momentumForm: "velocity",
  checkpointMinutes: 60,
  timeout: 10,
  device: "cpu",
  threads: 1,
};

/** What a run carries from step to step besides weights and momentum. */
const carrying = { emaDecay: 0.75, noiseScale: true } satisfies RecipeInput;

/** The trainings: 8 or 10 steps in 2 or 3 epochs, the last of them not whole. */
export const trainings = {
  alone: common,
  accumulating: { ...common, ...carrying, batch: 4, accumulate: 2, epochs: 2.5 },
  pair: { ...common, ...carrying, batch: 4, workers: 2 },
} satisfies Record<string, RecipeInput>;
export type Training = keyof typeof trainings;

export interface Outcome {
  /** Absent where the run failed. */
  status?: "finished" | "interrupted";
  error?: Error & { code?: string };
  /** Its messages, one a line. */
  said: string;
}

/** Trains or resumes in `out`; calls `watch` with rank 0's events. */
export async function run(
  training: Training,
  out: string,
  resume: boolean,
  watch: (event: RunEvent) => void = () => {},
): Promise<Outcome> {
  const recipe: RecipeInput = resume ? { out } : { ...trainings[training], out };
  const messages: string[] = [];
  const onEvent = (event: RunEvent) => {
    if (event.type === "message") messages.push(event.text);
    watch(event);
  };
  const { workers = 1 }: RecipeInput = trainings[training];
  try {
    const { status } =
      workers === 1
        ? await train(recipe, { output: null, resume, onEvent })
        : await trainTogether(recipe, workers, resume, onEvent);
    return { status, said: messages.join("\n") };
  } catch (error) {
    return { error: error as Error, said: messages.join("\n") };
  }
}

/** Trains with several ranks in this process. */
async function trainTogether(
  recipe: RecipeInput,
  workers: number,
  resume: boolean,
  onEvent: (event: RunEvent) => void,
) {
  const token = "faults";
  const server = await RendezvousServer.listen({ worldSize: workers, token });
  const before = { ...process.env };
  const rank = async (index: number) => {
    Object.assign(process.env, {
      ONEHOUR_RANK: String(index),
      ONEHOUR_WORLD_SIZE: String(workers),
      ONEHOUR_LOCAL_RANK: String(index),
      ONEHOUR_LOCAL_WORLD_SIZE: String(workers),
      ONEHOUR_RENDEZVOUS: `127.0.0.1:${server.port}`,
      ONEHOUR_TOKEN: token,
    });
    const world = await connect({ timeoutSeconds: 10 }); // which has read them before it waits
    try {
      const tell = index === 0 ? onEvent : () => {};
      const job = { ...recipe, ...(resume ? {} : { workers }) };
      return await train(job, { world, resume, output: null, onEvent: tell });
    } finally {
      await world.close();
    }
  };
  try {
    const ends = await Promise.allSettled(Array.from({ length: workers }, (_, i) => rank(i)));
    for (const end of ends) if (end.status === "rejected") throw end.reason;
    return (ends[0] as PromiseFulfilledResult<Awaited<ReturnType<typeof rank>>>).value;
  } finally {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
    await server.close();
  }
}

/** Remains of a run: its log without what depends on the clock, and its last state. */
export interface Trace {
  /** Steps and epochs by their number, each once. */
  lines: Map<string, string>;
  checkpoint: Checkpoint;
}

function parseLine(text: string): LogLine | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Reads what a run left; throws what is wrong with the log by itself, unless its lines may be `wrong`. A
 * run that was finished when its last checkpoint was `damaged` leaves that, and the one before it.
 */
export async function traceOf(
  out: string,
  { wrong = false, damaged = false } = {},
): Promise<Trace> {
  const lines = new Map<string, string>();
  let last: LogLine | undefined;
  for (const text of readFileSync(join(out, "log.jsonl"), "utf8").trim().split("\n")) {
    last = parseLine(text);
    if (wrong && !last) continue;
    if (!last) throw new Error(`a line of log.jsonl is "${text}"`);
    if (last.type !== "step" && last.type !== "epoch") continue;
    const name = last.type === "step" ? `step ${last.step}` : `epoch ${last.epoch}`;
    if (lines.has(name) && !wrong) throw new Error(`log.jsonl holds ${name} twice`);
    lines.set(name, JSON.stringify(lasting(last)));
  }
  if (last?.type !== "end" && !wrong) throw new Error("log.jsonl does not record the end");
  const whole = damaged ? await wholeCheckpoint(out) : undefined;
  return { lines, checkpoint: whole ?? (await readCheckpoint(join(out, checkpointName))) };
}

/**
 * How a run differs from the unbroken one; undefined if in nothing. `holes` may be in the log, or lines
 * that are `wrong`.
 */
export function difference(
  unbroken: Trace,
  found: Trace,
  { holes, wrong }: { holes: boolean; wrong: boolean },
): string | undefined {
  const other = [...found.lines].find(([name, line]) => unbroken.lines.get(name) !== line);
  if (other && !wrong) {
    const [name, line] = other;
    return `${name} is ${line}, unbroken ${unbroken.lines.get(name)}`;
  }
  const missing = [...unbroken.lines.keys()].filter((name) => !found.lines.has(name));
  if (missing.length > 0 && !holes) return `the log lacks ${missing.join(", ")}, which nobody said`;
  const [order, own] = [unbroken, found].map(({ lines }) => [...lines.keys()]);
  if (!holes && `${order}` !== `${own}`) return `the log's order is ${own}`;
  const parts = {
    weights: ({ weights }: Checkpoint) => weights,
    momentum: ({ momentum }: Checkpoint) => momentum,
    "moving averages": ({ ema }: Checkpoint) => ema?.weights,
  };
  for (const [part, of] of Object.entries(parts)) {
    const [a, b] = [of(unbroken.checkpoint), of(found.checkpoint)];
    for (const [name, values] of a ?? []) {
      const other = b?.get(name);
      if (!other || !Buffer.from(values.buffer).equals(Buffer.from(other.buffer)))
        return `${part} of ${name} differ at the end`;
    }
  }
  return undefined;
}

/** File names that a finished run folder may hold. */
const known: ReadonlySet<string> = new Set([
  "best.safetensors",
  "checkpoint.previous.safetensors",
  "checkpoint.safetensors",
  "environment.json",
  "log.jsonl",
  "log.unreadable.txt",
  "recipe.json",
  "report.html",
]);

/** Files that a run should have removed from its folder. */
export function leftovers(out: string): string[] {
  return readdirSync(out).filter((name) => !known.has(name));
}

/** The last checkpoint of a folder that is whole; undefined where there is none. */
async function wholeCheckpoint(out: string): Promise<Checkpoint | undefined> {
  for (const name of [checkpointName, "checkpoint.previous.safetensors"]) {
    const file = join(out, name);
    if (!existsSync(file)) continue;
    const checkpoint = await readCheckpoint(file).catch(() => undefined);
    if (checkpoint?.position) return checkpoint;
  }
  return undefined;
}

/** Its steps. */
export async function lastWhole(out: string): Promise<number | undefined> {
  return (await wholeCheckpoint(out))?.position?.step;
}

/** Why an error is not one of ours that says what to do; undefined if it is. */
export function unnamed(error: Error & { code?: string }): string | undefined {
  const { code = "", message, stack } = error;
  if (!/^ERR_(ONEHOUR|COLLECTIVE)/.test(code)) return `a raw error: ${stack}`;
  return /\n\s+at /.test(message) ? `a stack within a message: ${message}` : undefined;
}
