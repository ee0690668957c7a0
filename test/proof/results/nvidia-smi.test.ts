// What is read from nvidia-smi: of which GPU, and while something runs.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { describeState, GpuWatch, queryGpu } from "../../../proof/results/nvidia-smi.js";
import { temporaryFolder } from "../../support/folder.js";

const folder = temporaryFolder();

const { PATH } = process.env;
afterEach(() => {
  process.env.PATH = PATH;
  delete process.env.CUDA_VISIBLE_DEVICES;
});

it("asks nvidia-smi of the GPU that CUDA sees first", () => {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  // Two GPUs, the second with MIG instances; else its last argument for a name, and four values.
  const echo = `#!/bin/sh
if [ "$1" = -L ]; then
echo 'GPU 0: NVIDIA H100 (UUID: GPU-0a)'
echo 'GPU 1: NVIDIA H100 (UUID: GPU-1b)'
echo '  MIG 3g.40gb     Device  0: (UUID: MIG-77aa)'
echo '  MIG 3g.40gb     Device  1: (UUID: MIG-88bb)'
exit
fi
for last; do :; done
echo "$last, 1, 2, 3, 4"
`;
  writeFileSync(join(bin, "nvidia-smi"), echo, { mode: 0o755 });
  process.env.PATH = bin;
  const nameOf = (visible: string | undefined) => {
    if (visible === undefined) delete process.env.CUDA_VISIBLE_DEVICES;
    else process.env.CUDA_VISIBLE_DEVICES = visible;
    return queryGpu(["name"])[0];
  };
  expect([undefined, "3,1", "GPU-5c8a"].map(nameOf)).toEqual(["--id=0", "--id=3", "--id=GPU-5c8a"]);
  expect(["MIG-88bb", "MIG-GPU-5c8a/2/0"].map(nameOf)).toEqual(["--id=GPU-1b", "--id=GPU-5c8a"]);
});

describe("what nvidia-smi prints while something runs", () => {
  const bin = join(folder, "smi");

  it("is read again and again, and what the driver does not know is absent", async () => {
    mkdirSync(bin);
    // Knows clocks, power and the older name of throttle reasons; no temperature.
    const script = [
      "#!/bin/sh",
      'case "$1" in',
      "*temperature* | *event_reasons*) exit 2 ;;",
      '*clocks.sm,*) line="1980, 2619, 412.5, 0x0000000000000024" ;;',
      "*) line=0 ;;",
      "esac",
      'while echo "$line"; do',
      '  case "$*" in *--loop-ms*) sleep 0.05 ;; *) exit ;; esac',
      "done",
    ];
    writeFileSync(join(bin, "nvidia-smi"), `${script.join("\n")}\n`, { mode: 0o755 });
    process.env.PATH = `${bin}:${PATH}`;
    using watch = new GpuWatch();
    const start = performance.now();
    while (watch.since(start).samples < 2) await sleep(20);
    expect(watch.since(start)).toMatchObject({
      smMhz: { least: 1980, median: 1980, most: 1980 },
      watts: { median: 412.5 },
      celsius: "absent",
      throttle: ["power cap", "software thermal slowdown"],
    });
    expect(describeState(watch.since(start))).toBe(
      "1980 MHz, 413 W, power cap and software thermal slowdown",
    );
  });

  it("is all absent without nvidia-smi", () => {
    process.env.PATH = "";
    using watch = new GpuWatch();
    const state = watch.since(0);
    expect(state).toMatchObject({ samples: 0, smMhz: "absent", throttle: "absent" });
    expect(describeState(state)).toBe("clock and power absent");
  });
});
