// Races ResNet-50's training step against eager PyTorch's with plans that need no compilation: they are
// found in seconds, so there is a figure before anything that takes longer is tried.
import { stepSettings } from "#lib/bench/settings.js";
import { defaultThreads } from "#lib/device/cores.js";
import { dryRun, throughput } from "../race.js";
import { runPart } from "../results/report.js";

await runPart("eager", async (report) => {
  if (report.settings.device !== "cuda") {
    await dryRun(report);
    return;
  }
  const common = { model: "resnet50", precision: "bf16", device: "cuda" } as const;
  const threads = defaultThreads(); // which make plans too
  await throughput(report, stepSettings({ ...common, threads, batch: 256 }), ["eager"]);
});
