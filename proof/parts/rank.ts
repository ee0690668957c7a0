// One rank of the part `ranks`, started by it: meets the others, plays one scene and prints each finding
// as a line of JSON.

import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { bytesOf } from "#lib/arrays/bytes-of.js";
import { median } from "#lib/arrays/median.js";
import type { Device, NativeCommunicator } from "#lib/device/device.js";
import { openBackend } from "#lib/device/open.js";
import { connect } from "#lib/ranks/connect.js";
import { introduce } from "#lib/ranks/introduce.js";
import type { World } from "#lib/ranks/world.js";
import { norm, relativeError } from "../compare.js";
import { errorScale, TestNetwork } from "../network.js";
import type { Check } from "../results/part-result.js";

/** What the part starts its ranks with. */
export interface RankSettings {
  scene: keyof typeof scenes;
  device: string;
}

/** Images of a step, all ranks together. */
const MINIBATCH = 8;
/** Seconds that a collective of the scene `deadline` waits, and NCCL's start in it too. */
const DEADLINE = 8;

const settings = JSON.parse(process.argv[2]!) as RankSettings;
// NCCL refuses two ranks on one GPU of one host; to it these are two hosts.
process.env.NCCL_HOSTID = `onehour-verify-${process.env.ONEHOUR_RANK}`;

function report(name: string, ok: boolean, detail = ""): void {
  console.log(JSON.stringify({ name, ok, detail } satisfies Check));
}

/** A communicator of all ranks on the device, whose operations give up after some seconds. */
async function join(
  world: World,
  device: Device,
  name: string,
  timeoutSeconds: number,
): Promise<NativeCommunicator> {
  const { rank, worldSize } = world;
  // As between hosts, which NCCL takes them for.
  const communicator = device.createCommunicator(rank, worldSize, timeoutSeconds, true);
  await introduce(communicator, world, name);
  return communicator;
}

const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Whether all ranks hold the same bytes. */
async function agree(world: World, name: string, bytes: Uint8Array): Promise<boolean> {
  const hashes = await world.gather(name, hashOf(bytes));
  return new Set(hashes.map(String)).size === 1;
}

/** A program of one collective on `length` numbers; the gathered rows lie in `temp`. */
function collective(line: string, length: number, ranks: number): string {
  return [
    "onehour-program 1",
    "name collective",
    `arena grad ${4 * length}`,
    `arena temp ${4 * length * ranks}`,
    line,
    "",
  ].join("\n");
}

/** Runs a program of one collective on this rank's numbers and reads an arena. */
async function runCollective(
  device: Device,
  gradients: NativeCommunicator,
  line: string,
  numbers: Float32Array,
  arena: "grad" | "temp",
): Promise<Float32Array> {
  const text = collective(line, numbers.length, gradients.size);
  using executor = await device.load([{ name: "collective", text }], {
    communicators: { gradients },
  });
  await executor.write("grad", 0, bytesOf(numbers));
  await executor.submit("collective", 0);
  const length = 4 * numbers.length * (arena === "temp" ? gradients.size : 1);
  return new Float32Array((await executor.read(arena, 0, length)).slice().buffer);
}

/** Sums, rows and copies are right, and the same on every rank. */
async function values(world: World, device: Device): Promise<void> {
  const { rank, worldSize: k } = world;
  const gradients = await join(world, device, "gradients", 60);
  const triangle = (k * (k + 1)) / 2;
  const same = (a: ArrayLike<number>, b: ArrayLike<number>) => relativeError(a, b) === 0;
  for (const length of [1, 37, 100_003]) {
    const x = `x=grad+0:f32[${length}]`;
    const ramp = (factor: number) => Float32Array.from({ length }, (_, i) => (i % 97) * factor);
    const reduce = `comm all-reduce communicator=gradients | ${x} -> ${x}`;
    const sums = await runCollective(device, gradients, reduce, ramp(rank + 1), "grad");
    report(`all-reduce of ${length}`, same(sums, ramp(triangle)), "wrong sums");

    const uneven = ramp(rank + 1).map((value) => Math.sin(value) / 3);
    const bits = bytesOf(await runCollective(device, gradients, reduce, uneven, "grad"));
    const alike = await agree(world, `bits ${length}`, bits);
    report(`all-reduce of ${length}: the same bits everywhere`, alike, "ranks differ");

    const root = k - 1;
    const copy = `comm broadcast communicator=gradients root=${root} | ${x} -> ${x}`;
    const copied = await runCollective(device, gradients, copy, ramp(rank + 1), "grad");
    report(`broadcast of ${length}`, same(copied, ramp(root + 1)), "not the root's");

    const gather =
      `comm all-gather communicator=gradients | x=grad+0:f32[1,${length}] ` +
      `-> y=temp+0:f32[${k},${length}]`;
    const rows = await runCollective(device, gradients, gather, ramp(rank + 1), "temp");
    const expected = Array.from({ length: k }, (_, r) => [...ramp(r + 1)]).flat();
    report(`all-gather of ${length}`, same(rows, expected), "wrong rows");
  }
  const ramp = (factor: number) => Array.from({ length: 1001 }, (_, i) => i * factor);
  const own = ramp(rank + 1);
  for (const array of [Float32Array.from(own), Float64Array.from(own), Int32Array.from(own)]) {
    await gradients.allReduce(array);
    report(`all-reduce of a ${array.constructor.name}`, same(array, ramp(triangle)), "wrong sums");
  }
  for (const data of [Float32Array.from(own), Int32Array.from(own)]) {
    using array = await device.array<Float32Array | Int32Array>(data);
    await gradients.allReduce(array);
    const sums = await array.read();
    report(`all-reduce of a device's ${array.type}`, same(sums, ramp(triangle)), "wrong sums");
  }
}

/** Losses and parameters after three steps from the same beginning. */
async function threeSteps(network: TestNetwork) {
  const { param, state } = network.executor.memory.arenas;
  await network.executor.write("state", 0, new Uint8Array(state!));
  await network.initialize("robust");
  const losses: number[] = [];
  for (let i = 0; i < 3; i++) losses.push((await network.run("last", i))[0]!);
  return { losses, parameters: await network.executor.read("param", 0, param!) };
}

/**
 * Steps whose collectives were recorded with them, gradients' and statistics' each on a communicator
 * of its own, give the bits of steps run kernel by kernel.
 */
async function replayed(world: World, network: TestNetwork): Promise<void> {
  const plain = await threeSteps(network);
  const reason = (await network.executor.record()) ?? "";
  const reasons = await world.gather("recorded", reason);
  if (reasons.every((text) => text === "")) {
    const again = await threeSteps(network);
    report("replayed: losses", `${again.losses}` === `${plain.losses}`, `${again.losses}`);
    const same = Buffer.compare(again.parameters, plain.parameters) === 0;
    report("replayed: parameters", same, "differ from those of steps run kernel by kernel");
  }
  if (settings.device !== "cpu") report("recorded", reason === "", reason);
  await network.executor.forget();
}

/** A step of k ranks with synchronised batch norm is the step of one. */
async function synchronised(world: World, device: Device): Promise<void> {
  const { rank, worldSize: workers } = world;
  const network = await TestNetwork.load(device, "resnet8", MINIBATCH / workers, {
    workers,
    syncBatchNorm: workers,
    rank,
    communicators: {
      gradients: await join(world, device, "gradients", 60),
      statistics: await join(world, device, "statistics", 60),
    },
  });
  await replayed(world, network);
  await network.executor.write("state", 0, new Uint8Array(network.executor.memory.arenas.state!));
  await network.initialize("robust");
  const [loss] = await network.run("last", 0);
  const bytes = network.executor.memory.arenas.param!;
  const parameters = await network.executor.read("param", 0, bytes);
  report("parameters: the same bits everywhere", await agree(world, "parameters", parameters));
  if (rank > 0) return;

  const single = await TestNetwork.load(device, "resnet8", MINIBATCH);
  await single.initialize("robust");
  const [expected] = await single.run("last", 0);
  const off = Math.abs(loss! / expected! - 1);
  // What two devices are allowed in fp32: the batch's size chooses another order of additions.
  report("loss", off <= 2e-5, `off by ${off}`);
  const layouts = single.compiled.parameters;
  const references = new Map<string, Float32Array>();
  for (const layout of layouts) references.set(layout.name, await single.read("grad", layout));
  const errors: number[] = [];
  for (const layout of layouts) {
    const scale = errorScale(layout, (name) => norm(references.get(name)!));
    const got = await network.read("grad", layout);
    errors.push(relativeError(got, references.get(layout.name)!, scale));
    report(`gradient of ${layout.name}`, errors.at(-1)! <= 4e-3, `off by ${errors.at(-1)}`);
  }
  report("median gradient", median(errors) <= 2e-4, `off by ${median(errors)}`);
}

/** Ranks that work together until rank 1 is killed. */
async function killed(world: World, device: Device): Promise<void> {
  const gradients = await join(world, device, "gradients", 60);
  const line = "comm all-reduce communicator=gradients | x=grad+0:f32[64] -> x=grad+0:f32[64]";
  const text = collective(line, 64, world.worldSize);
  const communicators = { gradients };
  const executor = await device.load([{ name: "collective", text }], { communicators });
  for (let round = 0; ; round++) {
    await executor.submit("collective", 0);
    if (round !== 20 || world.rank !== 1) continue;
    console.log(JSON.stringify({ killedAt: Date.now() }));
    await sleep(100); // until the line has left
    process.kill(process.pid, "SIGKILL");
  }
}

/** A rank that does not come to a collective lets the others' give up. */
async function deadline(world: World, device: Device): Promise<void> {
  const gradients = await join(world, device, "gradients", DEADLINE);
  if (world.rank === 0) {
    const line = "comm all-reduce communicator=gradients | x=grad+0:f32[64] -> x=grad+0:f32[64]";
    const start = performance.now();
    const numbers = new Float32Array(64);
    const message = await runCollective(device, gradients, line, numbers, "grad").then(
      () => "no error",
      (error) => `${error.code}: ${error.message}`,
    );
    const seconds = (performance.now() - start) / 1000;
    const inTime = seconds > DEADLINE / 2 && seconds < DEADLINE + 5;
    report("an error after the deadline", message.startsWith("ERR_COLLECTIVE"), message);
    report("the deadline is kept", inTime, `${seconds.toFixed(1)} s, ${DEADLINE} s asked for`);
  }
  await world.gather("deadline is over", "");
}

const scenes = { values, synchronised, killed, deadline };

const world = await connect();
const device = openBackend(settings.device, 1);
await scenes[settings.scene](world, device);
await world.gather("end of the scene", "");
await world.close();
process.exit(0); // an aborted communicator is not waited for
