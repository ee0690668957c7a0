// Proves that a run takes the memory that was planned before its first step, measured from outside.
import { stepSettings } from "#lib/bench/settings.js";
import { compileStep, loadStep } from "#lib/bench/step.js";
import { queryGpu } from "../results/nvidia-smi.js";
import { runPart } from "../results/report.js";

const MB = 1e6;

/**
 * What may come on top of the plan: code that the driver loads when a kernel runs first, and, where a
 * process is measured as a whole, JavaScript's own heap.
 */
const slack = { cuda: 512 * MB, cpu: 256 * MB };

/** Bytes in use on the GPU, by all processes. */
function gpuBytes(): number {
  return Number(queryGpu(["memory.used"])[0]) * 2 ** 20;
}

await runPart("memory", async (report) => {
  const { device: module, small } = report.settings;
  const isGpu = module === "cuda";
  const used = isGpu ? gpuBytes : () => process.memoryUsage().rss;
  using device = report.open();
  const stepOf = (model: string, batch: number) => {
    const kind = isGpu ? "cuda" : "cpu";
    const settings = stepSettings({ model, batch, precision: "bf16", device: kind, threads: 1 });
    return { settings, compiled: compileStep(settings, device, 1) };
  };
  // What the libraries take for themselves when they are used first is no part of a plan.
  {
    const { settings, compiled } = stepOf("resnet8", 8);
    using executor = await loadStep(device, compiled, settings);
    await executor.submit("last", 0);
  }
  const { settings, compiled } = small
    ? stepOf("resnet8", 128)
    : stepOf("resnet50", isGpu ? 256 : 16);
  const opened = used();
  using executor = await loadStep(device, compiled, settings);
  let peak = used();
  for (let i = 0; i < 4; i++) {
    await executor.submit("last", i % executor.slots);
    peak = Math.max(peak, used());
  }
  const planned = executor.memory.total;
  const taken = peak - opened;
  const allowed = planned + slack[isGpu ? "cuda" : "cpu"];
  report.atMost(
    "bytes beyond those in use when the device and its libraries were open",
    taken,
    allowed,
  );
  report.check(
    "the plan is what was compiled",
    planned >= compiled.memory.arenas.temp!,
    "it is less",
  );
  const megabytes = (bytes: number) => `${Math.round(bytes / MB).toLocaleString("en")} MB`;
  report.note(
    `${settings.model}, batch ${settings.batch}: planned ${megabytes(planned)} (${megabytes(
      compiled.memory.arenas.temp!,
    )} temporary, lower bound ${megabytes(compiled.memory.temporaryLowerBound)}), ` +
      `measured ${megabytes(taken)}`,
  );
  report.record("memory", { settings, planned, taken, opened, ...executor.memory });
});
