// The training step that benchmarks run: compiled, loaded, with weights and images in place.
import { randomBytes } from "node:crypto";
import type { Device, Executor, NativeCommunicator } from "../device/device.js";
import { type CompiledModel, compile, type Target } from "../graph/compile.js";
import { buildModel } from "../models/models.js";
import { optimizers } from "../ops/optimizers/index.js";
import { initialWeights } from "../train/initialize.js";
import { writeWeights } from "../train/state.js";
import type { StepSettings } from "./contender.js";

/** The step's programs for a device with these kernels. */
export function compileStep(
  { model, images, classes, batch, precision }: StepSettings,
  device: Target,
  workers: number,
): CompiledModel {
  const { channels } = images;
  const [mean, std] = [Array(channels).fill(0.5), Array(channels).fill(0.25)];
  return compile(
    buildModel(model, { channels, classes }),
    { device, image: images, mean, std, batch, workers, precision },
    { optimizer: optimizers.sgd() },
  );
}

/** Loads the programs and writes weights, and a batch into every slot. */
export async function loadStep(
  device: Device,
  compiled: CompiledModel,
  settings: StepSettings,
  communicators: Record<string, NativeCommunicator> = {},
): Promise<Executor> {
  const executor = await device.load(compiled.programs, { communicators });
  fillSlots(executor, compiled, settings);
  const layouts = [...compiled.parameters, ...compiled.statistics];
  await writeWeights(executor, compiled, { weights: initialWeights(layouts, { seed: 0 }) });
  return executor;
}

/** Writes random images, labels and a small rate into every slot. */
export function fillSlots(
  executor: Executor,
  compiled: CompiledModel,
  { batch, classes }: StepSettings,
): void {
  for (let slot = 0; slot < executor.slots; slot++) {
    const bytes = executor.input(slot);
    const { images, labels, schedule } = compiled.input;
    bytes.set(randomBytes(images.bytes), images.offset);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let image = 0; image < batch; image++)
      view.setInt32(labels.offset + 4 * image, image % classes, true);
    view.setFloat32(schedule.offset, 0.01, true);
    view.setFloat32(schedule.offset + 4, 1, true);
  }
}
