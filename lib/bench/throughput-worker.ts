// One worker of `onehour bench throughput`: loads the training step, then runs it when asked to.
import { connect as connectSocket } from "node:net";
import { createInterface } from "node:readline";
import { openDevice } from "../device/open.js";
import { openModel } from "../models/models.js";
import { connect } from "../ranks/connect.js";
import type { Round } from "./contender.js";
import { compileStep, loadStep } from "./step.js";
import type { WorkerHello, WorkerSettings } from "./workers.js";

const settings = JSON.parse(process.argv[2]!) as WorkerSettings;
const world = await connect();
const device = openDevice({ device: settings.device, threads: settings.threads, bind: true });
await openModel(settings.model);
const compiled = compileStep(settings, device, world.worldSize);
const executor = await loadStep(
  device,
  compiled,
  settings,
  world.worldSize > 1
    ? { gradients: await world.communicator("gradients", undefined, device) }
    : {},
);
if (device.properties.kind === "cuda") {
  // All ranks replay graphs, or none does.
  const reasons = await world.gather("record", (await executor.record()) ?? "");
  if (reasons.some(({ length }) => length > 0)) await executor.forget();
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
