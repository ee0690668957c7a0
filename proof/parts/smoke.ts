// Proves that the GPU trains at all: some steps of ResNet-8 and one of ResNet-50 at the size that is
// measured later, kernel by kernel and as recorded programs.
import { stepSettings } from "#lib/bench/settings.js";
import { compileStep, loadStep } from "#lib/bench/step.js";
import { defaultThreads } from "#lib/device/cores.js";
import type { Device } from "#lib/device/device.js";
import { openBackend } from "#lib/device/open.js";
import { checkReplay, steps } from "../replay.js";
import { type Report, runPart } from "../results/report.js";

/** Of each loss of ResNet-8 in bf16, against the CPU's: coarse, since `parity` measures the errors. */
const tolerance = 1e-2;

async function resnet8(report: Report, device: Device): Promise<void> {
  using reference = openBackend("cpu", defaultThreads());
  const losses = await checkReplay(report, device, "bf16");
  const expected = await steps(reference, "bf16", false);
  losses.forEach((loss, i) => {
    report.atMost(`resnet8: loss ${i}`, Math.abs(loss / expected.losses[i]! - 1), tolerance);
  });
  report.note(`resnet8: losses ${losses.map((loss) => loss.toFixed(4)).join(", ")}`);
}

/** ResNet-50, or in a dry run something smaller. */
async function wholeStep(report: Report, device: Device): Promise<void> {
  const { small, device: module } = report.settings;
  const model = small ? "resnet20" : "resnet50";
  const batch = small ? 4 : 256;
  const settings = stepSettings({ model, batch, precision: "bf16", device: "cuda", threads: 1 });
  const compiled = compileStep(settings, device, 1);
  const start = performance.now();
  const seconds = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
  using executor = await loadStep(device, compiled, settings);
  report.note(`${model}: loaded after ${seconds()}`);
  const { param, state } = executor.memory.arenas;
  const before = {
    param: await executor.read("param", 0, param!),
    state: await executor.read("state", 0, state!),
  };
  const step = async () => {
    await executor.submit("last", 0);
    const { offset, bytes } = compiled.output.metrics;
    const [loss] = new Float32Array(executor.output(0).slice(offset, offset + bytes).buffer);
    return { loss: loss!, parameters: await executor.read("param", 0, param!) };
  };
  const plain = await step();
  // A network that knows nothing yet gives each class about the same probability.
  const guess = Math.log(settings.classes);
  const isLoss = plain.loss > guess / 2 && plain.loss < 2 * guess;
  report.check(`${model}: the loss of a first step`, isLoss, `${plain.loss}, about ${guess}`);
  const changed = Buffer.compare(plain.parameters, before.param) !== 0;
  report.check(`${model}: the step changes the parameters`, changed, "they are as before");

  const reason = await executor.record();
  if (module === "cuda") report.check(`${model}: recorded`, reason === undefined, String(reason));
  await executor.write("param", 0, before.param);
  await executor.write("state", 0, before.state);
  if (compiled.programs.some(({ name }) => name === "weights")) await executor.submit("weights", 0);
  const replayed = await step();
  const same = Buffer.compare(plain.parameters, replayed.parameters) === 0;
  report.check(
    `${model}: the recorded step`,
    same && plain.loss === replayed.loss,
    `its loss is ${replayed.loss}, expected ${plain.loss}; parameters ${same ? "alike" : "differ"}`,
  );
  report.note(
    `${model}: a step of ${settings.batch} images, loss ${plain.loss.toFixed(4)}, plain and ` +
      `${reason === undefined ? "recorded" : `not recorded (${reason})`}, after ${seconds()}`,
  );
}

await runPart("smoke", async (report) => {
  using device = report.open();
  await resnet8(report, device);
  await wholeStep(report, device);
});
