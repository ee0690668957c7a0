// Steps of ResNet-8, kernel by kernel and as recorded programs.
import type { Device } from "#lib/device/device.js";
import { TestNetwork } from "./network.js";
import type { Report } from "./results/report.js";

/** Parameters after some steps of ResNet-8, and why nothing was replayed where that was asked for. */
export async function steps(
  device: Device,
  precision: "fp32" | "bf16" | "fp16",
  recorded: boolean,
) {
  const network = await TestNetwork.load(device, "resnet8", 16, { precision, accumulate: 2 });
  try {
    await network.initialize("paper");
    const reason = recorded ? await network.executor.record() : undefined;
    const losses: number[] = [];
    for (let i = 0; i < 6; i++) {
      await network.run("micro", 2 * i);
      losses.push((await network.run("last", 2 * i + 1))[0]!);
    }
    const bytes = network.executor.memory.arenas.param!;
    return { losses, parameters: await network.executor.read("param", 0, bytes), reason };
  } finally {
    network.dispose();
  }
}

/** Steps that are replayed give the bits of steps run kernel by kernel, whose losses are returned. */
export async function checkReplay(
  report: Report,
  device: Device,
  precision: "fp32" | "bf16" | "fp16",
): Promise<number[]> {
  const plain = await steps(device, precision, false);
  const again = await steps(device, precision, false);
  const replayed = await steps(device, precision, true);
  const same = (other: typeof plain) =>
    Buffer.compare(plain.parameters, other.parameters) === 0 &&
    JSON.stringify(plain.losses) === JSON.stringify(other.losses);
  report.check(`${precision}: twice the same steps`, same(again), "parameters or losses differ");
  report.check(`${precision}: replayed steps`, same(replayed), "parameters or losses differ");
  const { reason } = replayed;
  if (device.properties.kind === "cuda" && report.settings.device === "cuda")
    report.check(`${precision}: steps are replayed`, reason === undefined, String(reason));
  report.note(
    reason === undefined
      ? `${precision}: steps recorded and replayed like steps run kernel by kernel`
      : `${precision}: nothing was replayed: ${reason}`,
  );
  return plain.losses;
}
