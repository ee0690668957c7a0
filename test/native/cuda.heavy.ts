// Builds and loads the CUDA module on a machine without a GPU: it says what it lacks; and checks
// for which GPUs it is built.
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { findGpus } from "../../lib/device/gpus.js";
import { loadAddon } from "../../lib/device/native.js";
import { openDevice } from "../../lib/device/open.js";
import { NativeError } from "../../lib/errors.js";
import { root, tellWithoutCuda, withoutCuda } from "../support/cuda.js";
import { temporaryFolder } from "../support/folder.js";

tellWithoutCuda("test/native/cuda.heavy.ts");
const built = withoutCuda === undefined;

describe.runIf(built)("the CUDA module", () => {
  it("loads without a driver and knows its operations", () => {
    expect(loadAddon("cuda").operations()).toHaveProperty("conv2d");
  });

  const hasGpus = built && findGpus().usable.length > 0;

  it.skipIf(hasGpus)("says plainly that there is no GPU", () => {
    expect(() => openDevice({ device: "cuda" })).toThrow(NativeError);
    expect(() => openDevice({ device: "cuda" })).toThrow(
      /^there is no GPU here that CUDA can use.*device: "cpu"/,
    );
    expect(() => loadAddon("cuda").listDevices()).toThrow(/there is no GPU here/);
    expect(findGpus()).toMatchObject({ usable: [], error: { code: "ERR_DEVICE" } });
  });

  it.skipIf(hasGpus)("leaves the CPU to auto", () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    using device = openDevice({ device: "auto", threads: 1 });
    expect(device.properties.kind).toBe("cpu");
    // Silent unless a GPU is there and cannot be used.
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

describe.runIf(built)("the compute capabilities that are built for", () => {
  const folder = temporaryFolder();

  /** Architectures chosen with an nvidia-smi that lists these GPUs, or fails if there are none. */
  function chosen(gpus: readonly string[], asked = ""): string {
    const tools = mkdtempSync(join(folder, "tools-"));
    const smi = join(tools, "nvidia-smi");
    const lines = gpus.map((gpu) => `echo ${gpu}\n`).join("");
    writeFileSync(smi, `#!/bin/sh\n${lines || "exit 9\n"}`);
    chmodSync(smi, 0o755);
    const build = join(tools, "build");
    mkdirSync(build);
    const options = ["-DONEHOUR_MODULES=OFF", "-DONEHOUR_CPU=OFF", "-DONEHOUR_CUDA=ON"];
    const { ONEHOUR_CUDA_ARCHITECTURES: _, ...env } = process.env;
    const { status, stderr } = spawnSync(
      "cmake",
      ["-S", root, "-B", build, ...options, `-DONEHOUR_CUDA_ARCHITECTURES=${asked}`],
      { encoding: "utf8", env: { ...env, PATH: `${tools}:${env.PATH}` } },
    );
    expect(status, stderr).toBe(0);
    const summary = readFileSync(join(build, "backends.txt"), "utf8");
    return (summary.match(/sm_\d+/g) ?? []).join(" ");
  }

  it("are those of this machine's GPUs, or all without a GPU or on request", {
    timeout: 900_000,
  }, () => {
    const every = chosen([]);
    expect(every).toMatch(/^sm_80 sm_86 sm_89 sm_90/);
    expect(chosen(["9.0", "9.0", "7.5"])).toBe("sm_90");
    expect(chosen(["9.0"], "all")).toBe(every);
    expect(chosen(["9.0"], "80,86")).toBe("sm_80 sm_86");
    // A GPU that this compiler does not know yet runs what is made for the last before it.
    expect(chosen(["99.9"])).toMatch(/^sm_\d+$/);
  });
});
