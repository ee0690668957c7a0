// The CUDA module on a machine without a GPU: it is built, loads and says what it misses.
import { describe, expect, it, vi } from "vitest";
import { openDevice } from "../../lib/device.js";
import { NativeError } from "../../lib/errors.js";
import { findGpus } from "../../lib/gpus.js";
import { loadAddon } from "../../lib/native.js";
import { tellWithoutCuda, withoutCuda } from "../support/cuda.js";

tellWithoutCuda("test/native/cuda.heavy.ts");
const built = withoutCuda === undefined;

describe.runIf(built)("the CUDA module", () => {
  it("loads without a driver and knows its operations", () => {
    expect(loadAddon("cuda").operations()).toContain("conv2d");
  });

  const hasGpus = built && findGpus().usable.length > 0;

  it.skipIf(hasGpus)("says plainly that there is no GPU", () => {
    expect(() => openDevice({ device: "cuda" })).toThrow(NativeError);
    expect(() => openDevice({ device: "cuda" })).toThrow(
      /^there is no GPU here that CUDA can use.*--device cpu/,
    );
    expect(() => loadAddon("cuda").listDevices()).toThrow(/there is no GPU here/);
    expect(findGpus()).toMatchObject({ usable: [], error: { code: "ERR_DEVICE" } });
  });

  it.skipIf(hasGpus)("leaves the CPU to auto", () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    using device = openDevice({ device: "auto", threads: 1 });
    expect(device.properties.kind).toBe("cpu");
    // Only a GPU that is there and cannot be used is worth a word.
    expect(warn).toHaveBeenCalledTimes(findGpus().problems.length);
    warn.mockRestore();
  });

  it.runIf(hasGpus)("lists the GPUs and opens the first", () => {
    const [first] = findGpus().usable;
    expect(Number(first!.capability)).toBeGreaterThanOrEqual(8);
    using device = openDevice({ device: "cuda" });
    expect(device.properties).toMatchObject({ kind: "cuda", name: first!.name });
  });
});
