// Which GPU a worker takes, and how many workers there are for them.
import { afterEach, describe, expect, it, vi } from "vitest";
import { chooseGpu, defaultWorkers, requireGpus } from "../lib/gpus.js";
import type { DeviceListing } from "../lib/native.js";
import * as native from "../lib/native.js";

const gpu = (ordinal: number, problem = ""): DeviceListing => ({
  ordinal,
  name: "NVIDIA A100",
  kind: "cuda",
  capability: problem === "" ? "8.0" : "7.5",
  memoryBytes: 4e10,
  problem,
});
const old = gpu(1, "has compute capability 7.5, expected 8.0 or later");
const usable = [gpu(0), gpu(2)];
const problems = ["GPU 1 (NVIDIA T4) has compute capability 7.5, expected 8.0 or later"];

/** Makes the CUDA module list these. */
function list(...devices: DeviceListing[]): void {
  vi.spyOn(native, "loadAddon").mockReturnValue({
    listDevices: () => devices,
  } as unknown as native.Addon);
}

vi.mock("../lib/native.js", { spy: true });
afterEach(() => {
  vi.unstubAllEnvs();
  vi.mocked(native.loadAddon).mockReset();
});

describe("a worker", () => {
  it("takes the GPU of its local rank, of those that can be used", () => {
    expect(chooseGpu({ usable, problems })).toBe(0);
    vi.stubEnv("ONEHOUR_RANK", "5");
    vi.stubEnv("ONEHOUR_LOCAL_RANK", "1");
    expect(chooseGpu({ usable, problems })).toBe(2);
  });

  it("is refused where it is one too many, and told of GPUs that cannot be used", () => {
    vi.stubEnv("ONEHOUR_RANK", "2");
    vi.stubEnv("ONEHOUR_LOCAL_RANK", "2");
    expect(() => chooseGpu({ usable, problems })).toThrow(
      /^this is worker 2 of its machine.*2 GPUs can be used here.*GPU 1 \(NVIDIA T4\) has compute/,
    );
  });

  it("takes the only one that another launcher shows it", () => {
    vi.stubEnv("SLURM_STEP_ID", "0");
    vi.stubEnv("SLURM_PROCID", "3");
    vi.stubEnv("SLURM_LOCALID", "3");
    expect(chooseGpu({ usable: [gpu(0)], problems: [] })).toBe(0);
    vi.stubEnv("ONEHOUR_RANK", "3");
    vi.stubEnv("ONEHOUR_LOCAL_RANK", "3");
    expect(() => chooseGpu({ usable: [gpu(0)], problems: [] })).toThrow(/1 GPU can be used/);
  });

  it("takes the one that ONEHOUR_GPU names", () => {
    vi.stubEnv("ONEHOUR_GPU", "3");
    expect(chooseGpu({ usable, problems })).toBe(3);
    vi.stubEnv("ONEHOUR_GPU", "all");
    expect(() => chooseGpu({ usable, problems })).toThrow(/ONEHOUR_GPU is "all", expected the/);
  });
});

describe("the number of workers", () => {
  it("is that of the GPUs that can be used, or one", () => {
    list(gpu(0), old, gpu(2));
    expect(defaultWorkers()).toBe(2);
    list();
    expect(defaultWorkers()).toBe(1);
    list(gpu(0), gpu(1));
    vi.stubEnv("ONEHOUR_GPU", "1");
    expect(defaultWorkers()).toBe(1);
  });

  it("is refused beyond that of the GPUs", () => {
    list(gpu(0), old, gpu(2));
    expect(() => requireGpus(2)).not.toThrow();
    expect(() => requireGpus(3)).toThrow(
      /^--workers: 3 workers take a GPU each, but 2 GPUs can be used here.*GPU 1 \(NVIDIA A100\)/,
    );
    vi.stubEnv("ONEHOUR_GPU", "0");
    expect(() => requireGpus(3)).not.toThrow();
  });
});
