// Refuses runs that do not fit a GPU's free memory, and suggests a batch that fits.
import { afterAll, afterEach, expect, test } from "vitest";
import { openBackend } from "../../lib/device/open.js";
import { NativeError } from "../../lib/errors.js";
import { alone } from "../../lib/ranks/world.js";
import { largestBatch, loadPrograms, requireMemory } from "../../lib/train/memory.js";
import type { RunOptions } from "../../lib/train/prepare.js";
import { compileFor, modelOf } from "../graph/options.js";

const device = openBackend("emulated", 1);
afterAll(() => device.dispose());

/** What a GPU keeps for the driver and the libraries. */
const reserve = 2 ** 29;
const leave = (bytes: number) => {
  process.env.ONEHOUR_EMULATED_FREE = String(Math.floor(reserve + bytes));
};
afterEach(() => {
  delete process.env.ONEHOUR_EMULATED_FREE;
});

const model = modelOf("resnet8");
function given(batch: number) {
  const { operations } = device;
  const compiled = compileFor(model, { batch, operations, channelMultiple: 4 });
  const { arenas } = compiled.memory;
  const run = {
    recipe: { model: "resnet8", batch },
    device,
    world: alone,
  } as unknown as RunOptions;
  return { run, compiled, planned: Object.values(arenas).reduce((sum, bytes) => sum + bytes, 0) };
}

const large = given(128);

test("the largest batch leaves what does not grow with it in its place", () => {
  const arenas = { temp: 600, input: 40, param: 50, grad: 50, state: 60 };
  expect(largestBatch(arenas, 64, 800)).toBe(64);
  expect(largestBatch(arenas, 64, 799)).toBe(63);
  expect(largestBatch(arenas, 64, 160)).toBe(0);
  expect(largestBatch(arenas, 64, 100)).toBe(0);
});

test("a plan that fits the GPU, but not its free memory, is refused with a batch that fits", () => {
  expect(large.planned).toBeLessThan(device.properties.memoryBytes);
  requireMemory(large.run, large.compiled);
  leave(0.6 * large.planned);
  let text = "";
  try {
    requireMemory(large.run, large.compiled);
  } catch (error) {
    text = (error as Error).message;
  }
  expect(text).toMatch(
    /^resnet8 with batch: 128 needs [\d.]+ MB a worker, but .* has [\d.]+ [MG]B free of 8\.6 GB; /,
  );
  const batch = Number(/about batch: (\d+) fits/.exec(text)?.[1]);
  const fits = given(batch);
  requireMemory(fits.run, fits.compiled);
  const more = given(batch + 4);
  expect(() => requireMemory(more.run, more.compiled)).toThrow(/needs/);

  leave(0);
  expect(() => requireMemory(large.run, large.compiled)).toThrow(/; try a smaller model$/);
});

test("reports an allocation that fails on loading programs with the plan and a batch", async () => {
  const refused = async () => {
    const error = await loadPrograms(large.run, large.compiled, {}).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: "ERR_ONEHOUR_MEMORY" });
    expect(error.cause).toBeInstanceOf(NativeError);
    expect(error.message).toMatch(/^resnet8 with batch: 128 needs [\d.]+ MB a worker/);
    expect(error.message).toMatch(/cannot allocate \d+ MB for the programs: \d+ MB are available$/);
    return Number(/at most batch: (\d+) fits/.exec(error.message)?.[1]);
  };
  leave(0.6 * large.planned);
  const batch = await refused();
  expect(batch).toBe(
    largestBatch(large.compiled.memory.arenas, 128, Math.floor(0.6 * large.planned)),
  );
  // Room for the plan, but not for what the kernels work in.
  leave(large.planned);
  requireMemory(large.run, large.compiled);
  expect(await refused()).toBe(127);

  leave(2 * large.planned);
  const executor = await loadPrograms(large.run, large.compiled, {});
  expect(executor.memory.total).toBeGreaterThan(large.planned);
  executor.dispose();
  await expect(
    loadPrograms(large.run, { ...large.compiled, programs: [{ name: "p", text: "" }] }, {}),
  ).rejects.toMatchObject({ code: "ERR_PROGRAM" });
});
