// Versions of all that a verification depends on.
import { execFile, execFileSync } from "node:child_process";
import { promisify } from "node:util";
import { libraryVersions } from "#lib/device/native.js";
import { queryGpu } from "./nvidia-smi.js";

const ABSENT = "absent";

/** Of a tool, the first version in what `command` prints. */
function versionOf(command: string, ...args: string[]): string {
  try {
    const text = execFileSync(command, args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
    return /\d+\.\d+[\w.+-]*/.exec(text)?.[0] ?? ABSENT;
  } catch {
    return ABSENT;
  }
}

function driverVersion(): string {
  try {
    return queryGpu(["driver_version"])[0] || ABSENT;
  } catch {
    return ABSENT;
  }
}

const askTorch = `
import json, torch
nccl = torch.cuda.nccl.version() if torch.version.cuda else ()
print(json.dumps({
    "torch": torch.__version__,
    "CUDA of torch": str(torch.version.cuda),
    "cuDNN of torch": str(torch.backends.cudnn.version()),
    "NCCL of torch": ".".join(map(str, nccl)),
}))`;

/** PyTorch's, which takes seconds to start: meanwhile others can work. */
export async function torchVersions(): Promise<Record<string, string>> {
  const python = process.env.ONEHOUR_PYTHON || "python3";
  try {
    const { stdout } = await promisify(execFile)(python, ["-c", askTorch], { timeout: 60_000 });
    return JSON.parse(stdout) as Record<string, string>;
  } catch {
    return { torch: ABSENT };
  }
}

/** Those of the driver, the tools and the libraries that the module of a device has loaded. */
export function versionsWith(device: string): Record<string, string> {
  return {
    driver: driverVersion(),
    nvcc: versionOf("nvcc", "--version"),
    CMake: versionOf("cmake", "--version"),
    ...loadedBy(device),
    ...loadedBy("cpu"),
  };
}

/** Those of the libraries that the module of a device has loaded, where they say so. */
function loadedBy(device: string): Record<string, string> {
  const versions = Object.entries(libraryVersions(device)).map(([name, { loaded }]) => [
    name,
    loaded,
  ]);
  return Object.fromEntries(versions.filter(([, loaded]) => loaded !== ""));
}
