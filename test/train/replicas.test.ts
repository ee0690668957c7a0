// Flips bits in one rank's memory after a step of a real run: the others notice, and name it.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { onehour } from "../cli/command.js";
import { logOf, temporaryFolder } from "../support/folder.js";
import { compiled } from "../support/process.js";

const folder = temporaryFolder();

interface Fault {
  workers: number;
  rank: number;
  arena: "param" | "state" | "weight";
  /** Submissions of the program `last` before it; 0 for the moment of the first comparison. */
  steps: number;
  /** Byte of the arena, from its end where it is negative. */
  at?: number;
  recipe?: object;
}

/** Runs workers, one of which flips a bit of its device's memory after a step. */
async function trainWithFault(
  name: string,
  { workers, rank, arena, steps, at = 2, recipe }: Fault,
) {
  const out = join(folder, name);
  const program = `${out}.mjs`;
  const common = {
    ...{ dataset: "synthetic:12x12x1:4:224", model: "resnet8", batch: 8, epochs: 1, device: "cpu" },
    ...{ threads: 1, milestones: [], out },
  };
  writeFileSync(
    program,
    `import { openDevice } from ${compiled("device/open")};
     import { train } from ${compiled("train/train")};
     if (process.env.ONEHOUR_RANK === "${rank}") {
       const device = openDevice({ device: "cpu", threads: 1 });
       const text = ${JSON.stringify("onehour-program 1\nname none\narena input 64 slots=1\n")};
       const executor = await device.load([{ name: "none", text }]);
       const methods = Object.getPrototypeOf(executor);
       const { read } = methods;
       let count = 0;
       const spoil = async (executor) => {
         const size = executor.memory.arenas[${JSON.stringify(arena)}];
         const at = (${at} + size) % size;
         const byte = await read.call(executor, ${JSON.stringify(arena)}, at, 1);
         await executor.write(${JSON.stringify(arena)}, at, Uint8Array.of(byte[0] ^ 1));
       };
       // Some steps are traced.
       for (const name of ["submit", "trace"]) {
         const run = methods[name];
         methods[name] = async function (program, slot) {
           const result = await run.call(this, program, slot);
           if (program === "last" && ++count === ${steps}) await spoil(this);
           return result;
         };
       }
       // Where the ranks are about to compare, with nothing in flight.
       methods.read = async function (from, ...range) {
         if (${steps} === 0 && from === "param" && !this.isSpoilt) {
           this.isSpoilt = true;
           await spoil(this);
         }
         return await read.call(this, from, ...range);
       };
       executor.dispose();
       device.dispose();
     }
     await train(${JSON.stringify({ ...common, ...recipe })}, { output: null });`,
  );
  const ended = await onehour(["launch", "--workers", String(workers), program]);
  return { ...ended, out };
}

test.each<[string, Fault, RegExp]>([
  [
    "a parameter, at an epoch's end",
    { workers: 3, rank: 1, arena: "param", steps: 9 },
    /after 9 steps \w[\w.]* of rank 1 is not that of the other 2 ranks/,
  ],
  [
    "momentum, at an epoch's end",
    { workers: 3, rank: 0, arena: "state", steps: 9 },
    /after 9 steps the momentum of \w[\w.]* of rank 0 is not that of the other 2 ranks/,
  ],
  [
    "a low-precision copy, at an epoch's end",
    { workers: 3, rank: 2, arena: "weight", steps: 9, recipe: { precision: "bf16" } },
    /after 9 steps the low-precision copy of \w[\w.]* of rank 2 is not that of the other 2 ranks/,
  ],
  [
    "momentum of one of two, before a checkpoint within the epoch",
    { workers: 2, rank: 1, arena: "state", steps: 0, recipe: { checkpointMinutes: 1e-7 } },
    /after [1-9] steps the momentum of .* differs between rank 0, rank 1, and nothing says which is right/,
  ],
])("%s", async (name, fault, message) => {
  const { status, stderr, out } = await trainWithFault(name.replaceAll(/\W+/g, "-"), fault);
  expect(stderr).toMatch(message);
  expect(stderr).toMatch(` train --resume --out ${out}`);
  expect(status).toBe(1);
  expect(logOf(out).filter(({ type }) => type === "epoch")).toEqual([]);
  expect(readFileSync(join(out, "log.jsonl"), "utf8")).toMatch(/"status":"failed"/);
  // What differs is not saved.
  expect(existsSync(join(out, "checkpoint.safetensors"))).toBe(false);
});

test("running statistics are each rank's own", async () => {
  const fault: Fault = { workers: 2, rank: 1, arena: "state", steps: 14, at: -254 };
  const { status, stderr, out } = await trainWithFault("statistics", fault);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  expect(logOf(out).at(-1)).toMatchObject({ type: "end", status: "finished" });
});
