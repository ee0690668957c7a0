// One worker of `onehour bench throughput`: loads the training step, then runs it when told to.
import { randomBytes } from "node:crypto";
import { connect as connectSocket } from "node:net";
import { createInterface } from "node:readline";
import { openDevice } from "../device.js";
import { connect } from "../distributed/connect.js";
import { compile } from "../graph/compile.js";
import { resnet } from "../models/resnet.js";
import { initialWeights } from "../train/initialize.js";
import { writeWeights } from "../train/state.js";
import type { Round } from "./contender.js";
import type { WorkerHello, WorkerSettings } from "./workers.js";

const settings = JSON.parse(process.argv[2]!) as WorkerSettings;
const { images, classes, batch } = settings;

const world = await connect();
const device = openDevice({ threads: settings.threads });
const compiled = compile(resnet(settings.model, { images, classes }), {
  batch,
  accumulate: 1,
  workers: world.worldSize,
  syncBatchNorm: 1,
  precision: settings.precision,
  momentum: 0.9,
  momentumForm: "gradient",
  nesterov: true,
  weightDecay: 1e-4,
  labelSmoothing: 0,
  mean: Array(images.channels).fill(0.5),
  std: Array(images.channels).fill(0.25),
  operations: device.operations,
  channelMultiple: device.properties.channelMultiple,
  slots: 2,
});
const executor = await device.load(compiled.programs, {
  communicators:
    world.worldSize > 1
      ? { gradients: await world.communicator("gradients", undefined, device) }
      : {},
});

/** Random images and labels, and a small constant learning rate, which stay in their slots. */
function fillSlot(slot: number): void {
  const bytes = executor.input(slot);
  const { images: pixels, labels, schedule } = compiled.input;
  bytes.set(randomBytes(pixels.bytes), pixels.offset);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let image = 0; image < batch; image++)
    view.setInt32(labels.offset + 4 * image, image % classes, true);
  view.setFloat32(schedule.offset, 0.01, true);
  view.setFloat32(schedule.offset + 4, 1, true);
}

async function run(steps: number): Promise<Round> {
  const start = performance.now();
  const slots: Promise<void>[] = [];
  for (let step = 0; step < steps; step++) {
    const slot = step % executor.slots;
    await slots[slot];
    slots[slot] = executor.submit("last", slot);
  }
  await Promise.all(slots);
  return {
    seconds: (performance.now() - start) / 1000,
    peakBytes: process.resourceUsage().maxRSS * 1024,
  };
}

for (let slot = 0; slot < executor.slots; slot++) fillSlot(slot);
const layouts = [...compiled.parameters, ...compiled.statistics];
await writeWeights(executor, compiled, { weights: initialWeights(layouts, 0) });

const control = connectSocket(settings.control);
const send = (message: WorkerHello | Round) => control.write(`${JSON.stringify(message)}\n`);
send({
  device: { name: device.properties.name, kind: device.properties.kind },
  plannedBytes: executor.memory.total,
});
for await (const line of createInterface(control))
  send(await run((JSON.parse(line) as { steps: number }).steps));

executor.dispose();
device.dispose();
await world.close();
