// Says whether this checkout has the CUDA module, and if not, why its tests are skipped.
import { execFile, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export const root = fileURLToPath(new URL("../..", import.meta.url));

/** The build of the modules, where programs for tests are made too. */
export const build = join(root, "build/cmake");

export const run = promisify(execFile);

export const minutes = 60_000;

/** Why there is no module; undefined if there is one, or nothing excuses that there is none. */
function leftOut(): string | undefined {
  if (existsSync(join(root, "build/Release/onehour_cuda.node"))) return undefined;
  try {
    // What scripts/setup noted where there is a CUDA compiler.
    return readFileSync(join(root, "build/cuda-left-out.txt"), "utf8").trim();
  } catch {
    const locate = spawnSync("cmake", ["-P", join(root, "native/cuda/locate.cmake")]);
    return locate.stdout.toString().trim() === "" ? "there is no CUDA compiler here" : undefined;
  }
}

/** Why the tests of the CUDA module are skipped; undefined where they run. */
export const withoutCuda: string | undefined = leftOut();

/** Reports, once a file, that tests of the CUDA module are skipped. */
export function tellWithoutCuda(file: string): void {
  if (withoutCuda !== undefined) console.warn(`${file}: tests of CUDA left out: ${withoutCuda}`);
}
