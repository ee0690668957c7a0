// Checks that CUDA kernels stay within their register limits and spill none, by the assembler's
// report: for two GPUs, or, with ONEHOUR_ALL_PLANS=1 (npm run test:plans), in a build of its own
// for every default compute capability that the compiler knows.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { findGpus } from "../../lib/device/gpus.js";
import { minutes, root, run, tellWithoutCuda, withoutCuda } from "../support/cuda.js";

tellWithoutCuda("test/native/registers.heavy.ts");

const all = process.env.ONEHOUR_ALL_PLANS === "1";
const build = join(root, all ? "build/architectures" : "build/cmake");

/** Compiles the kernels for all compute capabilities. */
async function buildAll() {
  const { ONEHOUR_CUDA_ARCHITECTURES: _, ...env } = process.env;
  const options = ["-G", "Ninja", "-DONEHOUR_MODULES=OFF", "-DONEHOUR_WERROR=ON"];
  const cuda = ["-DONEHOUR_CUDA=ON", "-DONEHOUR_CUDA_ARCHITECTURES=all"];
  await run("cmake", ["-S", root, "-B", build, ...options, ...cuda], { env });
  await run("cmake", ["--build", build, "--target", "onehour_cuda_backend"], { env });
}

interface KernelUse {
  name: string;
  target: string;
  registers: number;
  stack: number;
  spills: number;
}

/** The assembler's report of each kernel. */
function readKernelUse(): KernelUse[] {
  const folder = join(build, "CMakeFiles/onehour_cuda_backend.dir/native/cuda/ops");
  // A build folder in use for long also holds reports of sources that are gone.
  const isCurrent = (file: string) =>
    file.endsWith(".o.registers") &&
    existsSync(join(root, "native/cuda/ops", file.replace(/\.o\.registers$/, "")));
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

/** Kernels that may take more, each with a comment that says why. */
const mayTake: Readonly<Record<string, number>> = {};

describe.runIf(withoutCuda === undefined)("the kernels", () => {
  let uses: KernelUse[] = [];
  beforeAll(async () => {
    if (all) await buildAll();
    uses = readKernelUse();
  }, 60 * minutes);

  it("are compiled for every compute capability that was asked for", () => {
    const [summary] = /^cuda\tfound\t.*$/m.exec(readFileSync(join(build, "backends.txt"), "utf8"))!;
    const asked = summary.match(/sm_\d+/g)!;
    const expected = all ? ["sm_80", "sm_86", "sm_89", "sm_90"] : ["sm_80", "sm_90"];
    // Where there are GPUs, scripts/setup builds for those alone.
    if (all || findGpus().usable.length === 0)
      expect(asked).toEqual(expect.arrayContaining(expected));
    expect(new Set(uses.map(({ target }) => target))).toEqual(new Set(asked));
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
