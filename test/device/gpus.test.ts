// Assigns GPUs to workers, and chooses the number of workers.
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Addon, DeviceListing } from "../../lib/device/addon.js";
import {
  chooseGpu,
  defaultWorkers,
  findGpus,
  requireGpus,
  useLocalRank,
} from "../../lib/device/gpus.js";
import * as native from "../../lib/device/native.js";

const gpu = (ordinal: number, problem = ""): DeviceListing => ({
  ordinal,
  name: "NVIDIA A100",
  kind: "cuda",
  capability: problem === "" ? "8.0" : "7.5",
  memoryBytes: 4e10,
  bus: `0000:1${ordinal}:00.0`,
  problem,
});
const old = gpu(1, "has compute capability 7.5, expected 8.0 or later");
const usable = [gpu(0), gpu(2)];
const problems = ["GPU 1 (NVIDIA T4) has compute capability 7.5, expected 8.0 or later"];

/** Makes the CUDA module list these. */
function list(...devices: DeviceListing[]): void {
  vi.spyOn(native, "loadAddon").mockReturnValue({
    listDevices: () => devices,
  } as unknown as Addon);
}

vi.mock("../../lib/device/native.js", { spy: true });
afterEach(() => {
  vi.unstubAllEnvs();
  useLocalRank(undefined);
  vi.mocked(native.loadAddon).mockReset();
});

describe("a worker", () => {
  it("takes the GPU of its local rank among those that can be used", () => {
    expect(chooseGpu({ usable, problems })).toBe(0);
    vi.stubEnv("ONEHOUR_RANK", "5");
    vi.stubEnv("ONEHOUR_LOCAL_RANK", "1");
    expect(chooseGpu({ usable, problems })).toBe(2);
  });

  it("is refused beyond the number of GPUs; the message lists those that cannot be used", () => {
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

  it("takes that of the local rank that it found when the ranks met", () => {
    vi.stubEnv("RANK", "1");
    vi.stubEnv("WORLD_SIZE", "2");
    expect(chooseGpu({ usable, problems })).toBe(0);
    useLocalRank(1);
    expect(chooseGpu({ usable, problems })).toBe(2);
  });

  it("takes the one that ONEHOUR_GPU names", () => {
    vi.stubEnv("ONEHOUR_GPU", "3");
    expect(chooseGpu({ usable, problems })).toBe(3);
    vi.stubEnv("ONEHOUR_GPU", "all");
    expect(() => chooseGpu({ usable, problems })).toThrow(
      /ONEHOUR_GPU is "all", expected a whole number from 0/,
    );
  });
});

describe("MIG instances", () => {
  const instances = ["MIG-11111111-aa", "MIG-22222222-bb", "MIG-33333333-cc"];

  it("go to one worker each, though CUDA shows a process only one", () => {
    vi.stubEnv("CUDA_VISIBLE_DEVICES", instances.join(", "));
    vi.stubEnv("ONEHOUR_MIG", undefined);
    list(gpu(0));
    expect(defaultWorkers()).toBe(3);
    expect(() => requireGpus(3)).not.toThrow();
    expect(() => requireGpus(4)).toThrow(/4 workers take a GPU each, but 3 GPUs can be used/);
    // A worker of this process, whose own was shown to it.
    vi.stubEnv("ONEHOUR_RANK", "2");
    vi.stubEnv("ONEHOUR_LOCAL_RANK", "2");
    expect(chooseGpu(findGpus())).toBe(0);
    expect(process.env.CUDA_VISIBLE_DEVICES).toBe(instances[2]);
    vi.stubEnv("ONEHOUR_LOCAL_RANK", "3");
    expect(() => chooseGpu(findGpus())).toThrow(/takes MIG instance 3.*names 3/);
    vi.stubEnv("ONEHOUR_GPU", "1");
    expect(chooseGpu(findGpus())).toBe(0);
    expect(process.env.CUDA_VISIBLE_DEVICES).toBe(instances[1]);
  });

  it("count as GPUs where one is named alone", () => {
    vi.stubEnv("CUDA_VISIBLE_DEVICES", instances[1]);
    vi.stubEnv("ONEHOUR_MIG", undefined);
    list(gpu(0));
    expect(defaultWorkers()).toBe(1);
    expect(chooseGpu(findGpus())).toBe(0);
    expect(process.env.CUDA_VISIBLE_DEVICES).toBe(instances[1]);
    expect(process.env.ONEHOUR_MIG).toBeUndefined();
  });
});

describe("the number of workers", () => {
  it("equals the number of GPUs that can be used, or is one", () => {
    list(gpu(0), old, gpu(2));
    expect(defaultWorkers()).toBe(2);
    list();
    expect(defaultWorkers()).toBe(1);
    list(gpu(0), gpu(1));
    vi.stubEnv("ONEHOUR_GPU", "1");
    expect(defaultWorkers()).toBe(1);
  });

  it("is refused beyond the number of GPUs", () => {
    list(gpu(0), old, gpu(2));
    expect(() => requireGpus(2)).not.toThrow();
    expect(() => requireGpus(3)).toThrow(
      /^workers: 3 workers take a GPU each, but 2 GPUs can be used here.*GPU 1 \(NVIDIA A100\)/,
    );
    vi.stubEnv("ONEHOUR_GPU", "0");
    expect(() => requireGpus(3)).not.toThrow();
  });
});
