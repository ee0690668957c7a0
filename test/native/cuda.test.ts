// The CUDA module on a machine without a GPU: it is built, loads, says what it misses, and its kernels
// keep within their registers.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { openDevice } from "../../lib/device.js";
import { NativeError } from "../../lib/errors.js";
import { findGpus } from "../../lib/gpus.js";
import { loadAddon } from "../../lib/native.js";
import { root, tellWithoutCuda, withoutCuda } from "../support/cuda.js";

tellWithoutCuda("test/native/cuda.test.ts");
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

interface KernelUse {
  name: string;
  target: string;
  registers: number;
  stack: number;
  spills: number;
}

/** What the assembler said of each kernel in a build of this project's own (scripts/setup). */
function readKernelUse(): KernelUse[] {
  const folder = join(root, "build/cmake/CMakeFiles/onehour_cuda_backend.dir/native/cuda");
  // A folder that is built in for long also keeps those of sources that are gone.
  const isCurrent = (file: string) =>
    file.endsWith(".o.registers") &&
    existsSync(join(root, "native/cuda", file.replace(/\.o\.registers$/, "")));
  const text = readdirSync(folder)
    .filter(isCurrent)
    .map((file) => readFileSync(join(folder, file), "utf8"))
    .join("");
  const kernel =
    /Compiling entry function '(\w+)' for '(\w+)'[\s\S]*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads[\s\S]*?Used (\d+) registers/g;
  const uses = [...text.matchAll(kernel)].map(
    ([, name, target, stack, stores, loads, registers]) => ({
      name: name!,
      target: target!,
      registers: Number(registers),
      stack: Number(stack),
      spills: Number(stores) + Number(loads),
    }),
  );
  // As one reads them in the sources, where the tool for it is.
  const names = spawnSync("c++filt", { input: uses.map(({ name }) => name).join("\n") });
  const demangled = names.status === 0 ? names.stdout.toString().split("\n") : [];
  return uses.map((use, i) => ({ ...use, name: demangled[i] ?? use.name }));
}

/** 128 let two blocks of 256 threads share a multiprocessor's 65,536 registers. */
const mostRegisters = 128;

/** Kernels that may take more, with the reason beside each. */
const mayTake: Readonly<Record<string, number>> = {};

describe.runIf(built)("the kernels", () => {
  const uses = built ? readKernelUse() : [];

  it("are compiled for compute capability 8.0 and 9.0 at least", () => {
    const targets = new Set(uses.map(({ target }) => target));
    expect([...targets]).toEqual(expect.arrayContaining(["sm_80", "sm_90"]));
  });

  it("spill nothing and keep within their registers", () => {
    const most = Math.max(...uses.map(({ registers }) => registers));
    console.info(`${uses.length} kernels, each target counted: at most ${most} registers`);
    const beyond = uses.filter(({ name, registers, stack, spills }) => {
      const limit = Object.entries(mayTake).find(([part]) => name.includes(part))?.[1];
      return spills > 0 || stack > 0 || registers > (limit ?? mostRegisters);
    });
    expect(beyond).toEqual([]);
  });
});
