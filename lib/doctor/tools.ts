// Checks Node, and the tools that build the native modules: a run needs none of them once these are built.
import { join } from "node:path";
import { driverVersion } from "../system/environment.js";
import { bad, type Check, type Facts, good, type Line, warn } from "./check.js";
import { loads, secondsToLoad } from "./facts.js";
import { outputOf } from "./output-of.js";

const seconds = 5;
const leastNode = [20, 19] as const;

/** The first version in a text: "cmake version 3.25.1" is 3.25.1. */
export const versionIn = (text: string) => /\d+\.\d+(\.\d+)*/.exec(text)?.[0];

/** Whether a version is at least another one, in its first numbers. */
export function isAtLeast(version: string, least: readonly number[]): boolean {
  const numbers = version.replace(/^v/, "").split(".").map(Number);
  for (const [i, number] of least.entries())
    if ((numbers[i] ?? 0) !== number) return (numbers[i] ?? 0) > number;
  return true;
}

export function judgeNode(version: string): Line {
  const name = "Node";
  if (isAtLeast(version, leastNode)) return good(name, version);
  const found = `${version}; expected ${leastNode.join(".")} or later`;
  return bad(name, found, "npx --yes n 22");
}

/** A package as two package managers call it. */
interface Package {
  apt: string;
  dnf: string;
}

/** What the build's own script knows: the tools that it needs, and the package manager. */
interface Build {
  tools: readonly Tool[];
  installCommand: (missing: Package[]) => string;
}

interface Tool extends Package {
  title: string;
  /** The first that runs counts. */
  commands: readonly string[];
  least?: readonly number[];
}

const loadBuild = async () =>
  (await import(new URL("../../scripts/build.mjs", import.meta.url).href)) as Build;

async function lookForTool(tool: Tool, { installCommand }: Build, { modules }: Facts) {
  const { title: name, commands, least } = tool;
  for (const command of commands) {
    const text = await outputOf(command, "--version");
    if (text === undefined) continue;
    const version = versionIn(text);
    const found = `${command} ${version ?? "of an unknown version"}`;
    if (least === undefined || version === undefined || isAtLeast(version, least))
      return good(name, found);
    const expected = `${found}; expected ${least.join(".")} or later to build`;
    return warn(name, expected, installCommand([tool]));
  }
  const isBuilt = loads(await modules(), "cpu", "cuda", "data");
  const need = isBuilt ? "a run needs none, but a new build does" : "needed to build the modules";
  return warn(name, `not found on PATH; ${need}`, installCommand([tool]));
}

async function lookForTools(facts: Facts): Promise<Line[]> {
  const build = await loadBuild();
  return await Promise.all(build.tools.map((tool) => lookForTool(tool, build, facts)));
}

/** Where the build looks for nvcc. */
function cudaCompilers(): string[] {
  const { CUDACXX, CUDA_HOME, CUDA_PATH } = process.env;
  const homes = [CUDA_HOME, CUDA_PATH].filter((home): home is string => Boolean(home));
  const inside = homes.map((home) => join(home, "bin", "nvcc"));
  return [...(CUDACXX ? [CUDACXX] : []), ...inside, "nvcc", "/usr/local/cuda/bin/nvcc"];
}

export const toolChecks: readonly Check[] = [
  {
    name: "Node",
    seconds,
    advice: "node --version",
    look: () => [judgeNode(process.version)],
  },
  {
    name: "build tools",
    seconds: secondsToLoad + 10, // whether the modules load decides how much a tool is missed
    advice: "cmake --version",
    look: lookForTools,
  },
  {
    name: "nvcc",
    seconds,
    advice: "nvcc --version",
    look: async ({ hasGpu }) => {
      for (const compiler of cudaCompilers()) {
        const text = await outputOf(compiler, "--version");
        if (text === undefined) continue;
        return [good("nvcc", /release ([\d.]+)/.exec(text)?.[1] ?? "of an unknown version")];
      }
      if (!hasGpu) return [good("nvcc", "not here, not needed for the CPU")];
      const found = "not found; a run needs none, but a build for this machine's GPU does";
      const toolkit = { apt: "cuda-toolkit", dnf: "cuda-toolkit" };
      return [warn("nvcc", found, (await loadBuild()).installCommand([toolkit]))];
    },
  },
  {
    name: "NVIDIA driver",
    seconds,
    advice: "nvidia-smi",
    look: async ({ hasGpu }) => {
      const name = "NVIDIA driver";
      const version = driverVersion();
      if (version !== undefined) return [good(name, version)];
      if (!hasGpu) return [good(name, "not here, not needed for the CPU")];
      const found =
        "not here, though an NVIDIA GPU is; in a container, start it with its GPUs (--gpus all)";
      const driver = { apt: "nvidia-driver", dnf: "nvidia-driver" };
      return [warn(name, found, (await loadBuild()).installCommand([driver]))];
    },
  },
];
