// Draws damaged recipes, variables, checkpoints and logs from seeds: whatever they hold, the
// command ends as documented, names the fault in one line without control characters, and writes
// nothing. `ONEHOUR_FUZZ_SEED=n` starts with another seed, `ONEHOUR_FUZZ_CASES=n` draws more.
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { openDataset } from "../../lib/data/datasets.js";
import { defaultThreads } from "../../lib/device/cores.js";
import { OnehourError } from "../../lib/errors.js";
import { readEnvironment, readPlace } from "../../lib/ranks/environment.js";
import type { RecipeInput } from "../../lib/recipe/fields.js";
import { resolveRecipe } from "../../lib/recipe/recipe.js";
import { rows } from "../../lib/recipe/table.js";
import { checkpointName, parseCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { seal, unsealed } from "../../lib/run-folder/header-checksum.js";
import { readLog } from "../../lib/run-folder/log.js";
import { readSetting } from "../../lib/system/variables.js";
import { oneLine } from "../../lib/text/words.js";
import {
  flux,
  hydra,
  openmpi,
  pals,
  pytorchJob,
  srun,
  srunANode,
  srunScript,
  torchrun,
  trainJob,
} from "../ranks/engine-variables.js";
import { headOf } from "../run-folder/layout.js";
import { temporaryFolder } from "../support/folder.js";
import { start } from "../support/process.js";
import { parseRecipe } from "../support/recipe.js";
import { trained } from "../support/training.js";
import { main } from "./command.js";

const firstSeed = Number(process.env.ONEHOUR_FUZZ_SEED ?? 1);
const cases = (usual: number) => Number(process.env.ONEHOUR_FUZZ_CASES ?? usual);

/** Draws from a seed (Mulberry32). */
class Draw {
  constructor(private state: number) {}

  below(limit: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) % limit;
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }
}

const texts: readonly string[] = [
  ..." null {} [] true -0 0 -1 1.5 1e400 NaN Infinity 0x10 65536 99999 18446744073709551616 ١".split(
    " ",
  ),
  ..."__proto__ toString constructor hasOwnProperty valueOf:1 ../.. /dev/null %s%n".split(" "),
  ...[" ", "9".repeat(400), "x".repeat(10_000), "\x1b[2J\x1b]0;owned\x07", "two\nlines"],
  ...["\r\x1b[Aup", "\u202etxt.exe", "'; exit 3; '"],
];
/** Characters that an environment variable or a file name cannot hold. */
const halves: readonly string[] = ["\0", "a\0b", "\ud800", "a\udfff"];
const numbers: readonly number[] = [
  ...[0, -0, -1, 0.5, 1.5, 5e-324, 1e9, 1e12, 2 ** 53, 1e300, 1e308, -1e308],
];
const deep = `${"[".repeat(20_000)}${"]".repeat(20_000)}`;
const nested: unknown = JSON.parse(deep);
const others: readonly unknown[] = [
  ...[null, true, [], [[]], [1], {}, { toString: 1 }, JSON.parse('{"__proto__":1}'), nested],
];
const anything: readonly unknown[] = [...texts, ...halves, ...numbers, ...others];

/** A value as JSON; what is nested deep can be read as that, but not be written. */
function json(value: unknown): string {
  const mark = "deep down";
  const text = JSON.stringify(value, (_, part) => (part === nested ? mark : part));
  return text.replaceAll(JSON.stringify(mark), deep);
}

/** Runs a case per seed; a failure names the seed that repeats it. */
async function withSeeds(count: number, body: (draw: Draw, seed: number) => unknown) {
  for (let seed = firstSeed; seed < firstSeed + count; seed++) {
    try {
      await body(new Draw(seed), seed);
    } catch (error) {
      (error as Error).message += ` (repeat: ONEHOUR_FUZZ_SEED=${seed} ONEHOUR_FUZZ_CASES=1)`;
      throw error;
    }
  }
}

/** Control characters but line feeds, and what turns text around. */
const obeyed = /[^\P{Cc}\n]|[\u202a-\u202e]|\p{Cs}/u;

/** The error that `body` throws, which must be one of ours; undefined if it throws none. */
async function refusal(body: () => unknown): Promise<OnehourError | undefined> {
  try {
    await body();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(OnehourError);
    const line = oneLine((error as Error).message);
    expect(line).not.toMatch(obeyed);
    expect(line.length).toBeLessThan(4100);
    return error as OnehourError;
  }
}

const folder = temporaryFolder();
const base: RecipeInput & { dataset: string } = {
  dataset: "synthetic:8x8x1:4:32",
  ...{ model: "resnet8", batch: 4, threads: 1, steps: 1, epochs: 1, device: "cpu" },
};
const run = join(folder, "run");
let header: { __metadata__: Record<string, string> };
let tensors: Buffer;

beforeAll(async () => {
  await trained({ ...base, out: run });
  const bytes = readFileSync(join(run, checkpointName));
  const end = 8 + Number(bytes.readBigUInt64LE(0));
  header = JSON.parse(bytes.toString("utf8", 8, end));
  tensors = bytes.subarray(end);
});

/** A checkpoint's bytes with other metadata and the checksum that belongs to them. */
function checkpointWith(metadata: object): Buffer {
  const head = headOf({ ...header, __metadata__: { ...metadata, ...unsealed } });
  seal(head);
  return Buffer.concat([head, tensors]);
}

const fields = [...rows.map(([name]) => name), "__proto__", "toString", "epoch", ""];

/** A recipe with one field replaced. */
function damagedRecipe(draw: Draw): { field: string; recipe: Record<string, unknown> } {
  const field = draw.of(fields);
  const recipe = { ...base };
  const value = draw.of(anything);
  Object.defineProperty(recipe, field, { value, enumerable: true });
  return { field, recipe };
}

/** A field as a message may call it. */
const words = (field: string) => field.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

test("a recipe is refused with its field named, or means the same to the workers", async () => {
  const dataset = await openDataset(base.dataset);
  const facts = { dataset, device: { kind: "cpu" } } as const;
  await withSeeds(cases(1000), async (draw) => {
    const { field, recipe } = damagedRecipe(draw);
    const resolve = (input: unknown) => resolveRecipe(parseRecipe(input as RecipeInput), facts);
    const error = await refusal(() => {
      const resolved = resolve(recipe);
      expect(resolve(JSON.parse(JSON.stringify(resolved)))).toEqual(
        JSON.parse(JSON.stringify(resolved)),
      );
    });
    const others = ["--batch", "--sync-bn", "--precise-bn", "--minibatch", "--epochs"];
    const names = [field, words(field), ...others];
    if (error)
      expect(names.some((name) => error.message.includes(name)) || error.message).toBe(true);
  });
});

const dialects = [
  { RANK: "0", WORLD_SIZE: "2", LOCAL_RANK: "0", LOCAL_WORLD_SIZE: "2" },
  {
    ONEHOUR_RANK: "1",
    ONEHOUR_WORLD_SIZE: "2",
    ONEHOUR_LOCAL_RANK: "1",
    ONEHOUR_LOCAL_WORLD_SIZE: "2",
  },
  ...[flux, hydra, openmpi, pals, pytorchJob, srun, srunANode, srunScript, torchrun, trainJob],
];
const meeting = { MASTER_ADDR: "127.0.0.1", MASTER_PORT: "1", ONEHOUR_RENDEZVOUS: "127.0.0.1:1" };
const settings = ["ONEHOUR_THREADS", "ONEHOUR_GPU", "ONEHOUR_TIMEOUT"] as const;

/** A launcher's variables, some of them replaced. */
function damagedVariables(draw: Draw): { changed: string[]; env: Record<string, string> } {
  const env: Record<string, string> = { ...draw.of(dialects), ...meeting };
  if (draw.below(2) === 0) delete env.ONEHOUR_RENDEZVOUS;
  const changed = Array.from({ length: 1 + draw.below(2) }, () =>
    draw.of([...Object.keys(env), ...settings]),
  );
  for (const name of changed) env[name] = draw.of(texts);
  return { changed, env };
}

test("variables are refused by name, or make sense", async () => {
  await withSeeds(cases(2000), async (draw) => {
    const { changed, env } = damagedVariables(draw);
    const readers = [
      () => {
        const place = readPlace(env, { gpus: () => 8 });
        if (place.level === "node") expect(place.nodeRank).toBeLessThan(place.nodes);
        if (place.level !== "rank") return;
        expect(place.rank).toBeLessThan(place.worldSize);
        expect(place.localRank).toBeLessThan(place.localWorldSize ?? place.worldSize);
      },
      () => {
        const place = readPlace(env);
        if (place.level === "node" && (place.workersPerNode ?? 1) > 1) {
          expect(() => readEnvironment(env)).toThrow(/by `onehour launch`/);
          return;
        }
        const { rank, worldSize } = readEnvironment(env);
        expect(rank).toBeLessThan(worldSize);
      },
      () => expect(defaultThreads(env)).toBeGreaterThan(0),
      () => settings.map((name) => readSetting(name, env)),
    ];
    for (const reader of readers) {
      const error = await refusal(reader);
      if (!error) continue;
      expect(error.code).toBe("ERR_ONEHOUR_ENVIRONMENT");
      expect(
        [...changed, "list of nodes", "RANK"].some((name) => error.message.includes(name)),
      ).toBe(true);
    }
  });
});

/** A checkpoint with one thing of its metadata changed, added or missing, its checksum made anew. */
function damagedMetadata(draw: Draw): { key: string; bytes: Buffer } {
  const metadata: Record<string, unknown> = { ...header.__metadata__ };
  const key = draw.of([...Object.keys(metadata), "imageSize", "__proto__", "toString"]);
  delete metadata[key];
  const value = draw.of([...texts, ...halves, ...numbers.map(String), deep, undefined, 5, null]);
  if (value !== undefined) Object.defineProperty(metadata, key, { value, enumerable: true });
  return { key, bytes: checkpointWith(metadata) };
}

test("a checkpoint is refused with its fault named, or read", async () => {
  const file = join(folder, "some.safetensors");
  await withSeeds(cases(300), async (draw) => {
    const { key, bytes } = damagedMetadata(draw);
    const error = await refusal(() => {
      const { position } = parseCheckpoint(file, bytes);
      if (position) expect(Number.isSafeInteger(position.step)).toBe(true);
    });
    if (error) expect(error.message).toMatch(file);
    if (error) expect(error.message).toContain(key === "headerChecksum" ? "header" : key);
    // What is not sealed again is damaged wherever it is hit.
    const torn = Buffer.from(bytes);
    const place = draw.below(torn.length);
    torn[place] = torn[place]! ^ (1 << draw.below(8));
    const cut = torn.subarray(0, draw.below(torn.length));
    for (const other of [torn, cut]) {
      const refused = await refusal(() => parseCheckpoint(file, other));
      if (refused) expect(refused.message).toMatch(file);
    }
    expect(await refusal(() => parseCheckpoint(file, cut))).toBeDefined();
  });
});

const line = {
  ...{ type: "step", step: 0, epoch: 0, loss: 1, lr: 1, momentumFactor: 1, imagesPerSecond: 1 },
};

/** A log with some lines replaced. */
function damagedLog(draw: Draw): string {
  const lines = readFileSync(join(run, "log.jsonl"), "utf8").split("\n");
  const wrong = Array.from({ length: 3 }, () => {
    const key = draw.of([...Object.keys(line), "epochs", "__proto__"]);
    const changed = Object.defineProperty({ ...line }, key, {
      value: draw.of(anything),
      enumerable: true,
    });
    return draw.of([json(changed), draw.of(texts), json(draw.of(anything))]);
  });
  return [...lines, ...wrong].join("\n");
}

test("every line of a log is read or kept aside", async () => {
  const at = join(folder, "log");
  mkdirSync(at);
  await withSeeds(cases(200), async (draw) => {
    writeFileSync(join(at, "log.jsonl"), damagedLog(draw));
    const { lines, unreadable } = await readLog(at);
    expect(lines.length + unreadable.length).toBeGreaterThan(2);
    for (const { type } of lines) expect(type).toMatch(/^(step|epoch|warning|end)$/);
  });
});

/** Runs the command with limits on memory and time. */
function onehour(args: string[], env: Record<string, string>, cwd: string) {
  const limits = 'ulimit -v 16000000; exec timeout -s KILL 50 "$@"';
  const node = [process.execPath, "--max-old-space-size=512", main];
  return start(["sh", "-c", limits, "sh", ...node, ...args], { cwd, env }).ended;
}

/** Every file of a folder with its bytes. */
function contents(of: string): Record<string, string> {
  const files = readdirSync(of, { recursive: true, encoding: "utf8" }).sort();
  const isFile = (name: string) => statSync(join(of, name)).isFile();
  return Object.fromEntries(
    files.map((name) => [name, isFile(name) ? readFileSync(join(of, name), "latin1") : ""]),
  );
}

/** Commands that read damaged input; each may write to its folder `at`. */
const commands: readonly ((
  draw: Draw,
  at: string,
) => { args: string[]; env?: Record<string, string> })[] = [
  (draw, at) => {
    const file = join(at, "recipe.json");
    writeFileSync(file, json({ ...damagedRecipe(draw).recipe, ...draw.of([{}, { workers: 2 }]) }));
    return { args: ["train", "--recipe", file] };
  },
  (draw) => {
    const { env } = damagedVariables(draw);
    const small = Object.entries({ batch: 4, threads: 1, steps: 1, timeout: 1 });
    const flags = small.flatMap(([name, value]) => [`--${name}`, String(value)]);
    // Of several ranks the others never come.
    return { args: ["train", base.dataset, ...flags], env: { ONEHOUR_START_TIMEOUT: "1", ...env } };
  },
  (draw, at) => {
    cpSync(run, join(at, "run"), { recursive: true });
    writeFileSync(join(at, "run", checkpointName), damagedMetadata(draw).bytes);
    const resume = ["train", "--resume", "--out", join(at, "run"), "--steps", "2"];
    return { args: draw.of([resume, ["evaluate", join(at, "run"), base.dataset]]) };
  },
  (draw, at) => {
    cpSync(run, join(at, "run"), { recursive: true });
    writeFileSync(join(at, "run", "log.jsonl"), damagedLog(draw));
    return { args: ["train", "--resume", "--out", join(at, "run"), "--steps", "2"] };
  },
];

test("the command ends as documented, says no more than it should, and writes nothing", async () => {
  await withSeeds(cases(8), async (draw, seed) => {
    const at = join(folder, String(seed));
    const cwd = join(at, "here");
    mkdirSync(cwd, { recursive: true });
    const { args, env = {} } = commands[seed % commands.length]!(draw, at);
    const before = contents(at);
    const { status, stdout, stderr } = await onehour(args, env, cwd);
    const output = `${stdout}\n${stderr}`;
    expect(output).not.toMatch(/this is a bug|^\s+at |node:internal/m);
    expect(output).not.toMatch(obeyed);
    expect([0, 1, 2]).toContain(status);
    if (status === 0) return;
    expect(output).toMatch(/^onehour: \S.{20,}/m);
    expect(contents(at)).toEqual(before);
  });
});
