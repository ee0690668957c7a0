// Checks where the build finds the CUDA compiler and libraries, and its message where it does not.
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { root } from "../support/cuda.js";
import { temporaryFolder } from "../support/folder.js";

const folder = temporaryFolder();

const toolkit = join(folder, "toolkit");
const cache = join(folder, "cache");
const tools = join(folder, "tools"); // a path without Python, so without its packages
const cmake = spawnSync("sh", ["-c", "command -v cmake"], { encoding: "utf8" }).stdout.trim();

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** A toolkit that has a compiler and no libraries. */
function writeCompiler(version: string): void {
  const nvcc = join(toolkit, "bin/nvcc");
  write(nvcc, `#!/bin/sh\necho "Cuda compilation tools, release ${version}, V${version}.88"\n`);
  chmodSync(nvcc, 0o755);
}

const versionText = (prefix: string, version: string) =>
  version
    .split(".")
    .map((part, i) => `#define ${prefix}${["MAJOR", "MINOR", "PATCHLEVEL"][i]} ${part}\n`)
    .join("");

function writeCudnn(place: string, version: string): void {
  write(join(place, "include/cudnn_version.h"), versionText("CUDNN_", version));
  write(join(place, "lib/libcudnn.so.9"), "");
}

function writeNccl(place: string, version: string): void {
  const text = versionText("NCCL_", version).replace("PATCHLEVEL", "PATCH");
  write(join(place, "include/nccl.h"), text);
  write(join(place, "lib/libnccl.so.2"), "");
}

function writeCublas(place: string, version: string): void {
  const text = versionText("CUBLAS_VER_", version).replace("PATCHLEVEL", "PATCH");
  write(join(place, "include/cublas_api.h"), text);
  write(join(place, `lib/libcublasLt.so.${version.split(".")[0]}`), "");
}

function writeNvrtc(place: string, major: string): void {
  write(join(place, "include/nvrtc.h"), "");
  write(join(place, `lib/libnvrtc.so.${major}`), "");
}

/** Runs locate.cmake, as the build does, and returns its variables. */
function locate(env: Record<string, string> = {}): Record<string, string> {
  const script = join(folder, "script.cmake");
  const names = ["missing", "advice", "nvcc", "nvcc_version"];
  for (const library of ["cudnn", "nccl", "cublasLt", "nvrtc"])
    names.push(`${library}_library`, `${library}_version`);
  const lines = names.map((name) => `message("@${name}=\${cuda_${name}}")`);
  write(script, `include(${root}/native/cuda/locate.cmake)\n${lines.join("\n")}\n`);
  const { stderr, stdout } = spawnSync(cmake, ["-P", script], {
    encoding: "utf8",
    env: { PATH: tools, HOME: folder, XDG_CACHE_HOME: cache, CUDA_HOME: toolkit, ...env },
  });
  const values = stderr.split(/^@/m).slice(1);
  return Object.fromEntries([
    ["state", stdout.trim()],
    ...values.map((text) => {
      const end = text.indexOf("=");
      return [text.slice(0, end), text.slice(end + 1).trim()];
    }),
  ]);
}

beforeEach(() => {
  for (const part of [toolkit, cache, tools]) rmSync(part, { recursive: true, force: true });
  mkdirSync(tools);
  symlinkSync("/bin/sh", join(tools, "sh"));
  writeCompiler("13.0");
});

describe("the CUDA compiler", () => {
  it("must be of CUDA 12.4 or later", () => {
    writeCompiler("12.2");
    expect(locate()).toMatchObject({
      missing: expect.stringMatching(/^CUDA 12.4 or later .*toolkit\/bin\/nvcc is of CUDA 12.2/),
      advice: expect.stringContaining("CUDA_HOME"),
    });
  });

  it("must work", () => {
    expect(locate({ CUDACXX: "/nowhere/nvcc" }).missing).toContain(
      "/nowhere/nvcc does not print its version",
    );
  });
});

describe("the CUDA libraries", () => {
  it("are all named when missing, with the command that gets them", () => {
    const { missing, advice, state } = locate();
    expect(missing).toBe(
      "cuDNN 9.8 or later, NCCL 2.20 or later, cuBLAS 13 or later, NVRTC 13 or later",
    );
    expect(advice).toContain(`pip install --no-deps --target ${cache}/onehour/cuda13 -r `);
    expect(advice).toContain("native/cuda/wheels-cuda13.txt");
    expect(advice).toContain("CUDNN_ROOT");
    expect(state).toBe("missing 13");
  });

  it("are found in the cache of wheels", () => {
    const nvidia = join(cache, "onehour/cuda13/nvidia");
    writeCudnn(join(nvidia, "cudnn"), "9.24.0");
    writeNccl(join(nvidia, "nccl"), "2.30.7");
    writeCublas(join(nvidia, "cu13"), "13.1.1");
    writeNvrtc(join(nvidia, "cu13"), "13");
    expect(locate()).toMatchObject({
      state: "found 13",
      missing: "",
      cudnn_library: join(nvidia, "cudnn/lib/libcudnn.so.9"),
      cudnn_version: "9.24.0",
      nccl_version: "2.30.7",
      cublasLt_version: "13.1.1",
      nvrtc_library: join(nvidia, "cu13/lib/libnvrtc.so.13"),
    });
  });

  it("of CUDA 12 are found in its wheels, in the toolkit and in conda's folders", () => {
    writeCompiler("12.6");
    const conda = join(folder, "conda");
    writeNvrtc(toolkit, "12");
    writeCublas(join(cache, "onehour/cuda12/nvidia/cublas"), "12.6.4");
    writeCudnn(conda, "9.8.0");
    writeNccl(conda, "2.20.5");
    expect(locate({ CONDA_PREFIX: conda })).toMatchObject({
      state: "found 12",
      nvrtc_library: join(toolkit, "lib/libnvrtc.so.12"),
      cublasLt_version: "12.6.4",
      cudnn_library: join(conda, "lib/libcudnn.so.9"),
      nccl_version: "2.20.5",
    });
  });

  it("that are too old are passed over, and named where there is no other", () => {
    const [old, recent] = [join(folder, "old"), join(folder, "recent")];
    writeCudnn(old, "9.1.0");
    writeCudnn(recent, "9.10.2");
    expect(locate({ CUDNN_ROOT: old }).missing).toContain(
      `cuDNN 9.8 or later (passed over: 9.1.0, too old, in ${old})`,
    );
    expect(locate({ CUDNN_ROOT: recent, CONDA_PREFIX: old }).cudnn_version).toBe("9.10.2");
    expect(locate({ CUDNN_ROOT: old, CONDA_PREFIX: recent }).cudnn_version).toBe("9.10.2");
  });
});

describe("Python's wheels", () => {
  const packages = join(folder, "packages");
  const nvidia = join(packages, "nvidia");

  /** A Python that finds packages there, and cuDNN and NCCL as its wheels, for this CUDA. */
  function writePython(major: string): Record<string, string> {
    rmSync(packages, { recursive: true, force: true });
    writeCudnn(join(nvidia, "cudnn"), "9.24.0");
    writeNccl(join(nvidia, "nccl"), "2.30.7");
    for (const name of ["cudnn", "nccl"])
      write(join(packages, `nvidia_${name}_cu${major}-1.2.dist-info/METADATA`), "");
    const python = join(folder, "python-of-mine");
    write(python, `#!/bin/sh\necho "${nvidia}"\n`);
    chmodSync(python, 0o755);
    return { ONEHOUR_PYTHON: python };
  }

  it("are found by the Python that ONEHOUR_PYTHON names", () => {
    expect(locate(writePython("13"))).toMatchObject({
      cudnn_library: join(nvidia, "cudnn/lib/libcudnn.so.9"),
      nccl_library: join(nvidia, "nccl/lib/libnccl.so.2"),
    });
    expect(locate().missing).toContain("cuDNN");
  });

  it("of another CUDA than the compiler's are passed over, and named where there is no other", () => {
    const python = writePython("12");
    const { missing } = locate(python);
    expect(missing).toContain(
      `cuDNN 9.8 or later (passed over: for CUDA 12 in ${nvidia}), ` +
        `NCCL 2.20 or later (passed over: for CUDA 12 in ${nvidia})`,
    );
    write(join(packages, "nvidia_nccl_cu13-1.2.dist-info/METADATA"), "");
    expect(locate(python).nccl_version).toBe("2.30.7");
    writeCompiler("12.6");
    expect(locate(python).cudnn_version).toBe("9.24.0");
  });

  it("come after the cache that scripts/setup fills", () => {
    const cached = join(cache, "onehour/cuda13/nvidia/cudnn");
    writeCudnn(cached, "9.23.0");
    writeCudnn(toolkit, "9.22.0");
    expect(locate(writePython("13"))).toMatchObject({
      cudnn_version: "9.23.0",
      nccl_version: "2.30.7",
    });
  });
});

describe("the GPUs of this machine", () => {
  /** What gpus.cmake prints with an nvidia-smi of this output and exit status. */
  function gpus(output: string, status = 0): string {
    const smi = join(tools, "nvidia-smi");
    write(smi, `#!/bin/sh\nprintf '${output}'\nexit ${status}\n`);
    chmodSync(smi, 0o755);
    const script = join(root, "native/cuda/gpus.cmake");
    const run = spawnSync(cmake, ["-P", script], { encoding: "utf8", env: { PATH: tools } });
    expect(run).toMatchObject({ status: 0, stderr: "" });
    return run.stdout;
  }

  it("are what nvidia-smi lists, each kind once", () => {
    expect(gpus("9.0\\n9.0\\n12.0\\n")).toBe("90,120\n");
  });

  it("are none without nvidia-smi, a driver or a GPU", () => {
    expect(gpus("")).toBe("");
    expect(gpus("No devices were found\\n", 6)).toBe("");
    expect(gpus("Driver/library version mismatch\\nNVML library version: 535.161\\n", 18)).toBe("");
    rmSync(join(tools, "nvidia-smi"));
    const script = join(root, "native/cuda/gpus.cmake");
    expect(spawnSync(cmake, ["-P", script], { env: { PATH: tools } }).stdout.toString()).toBe("");
  });
});

describe("the configuration", () => {
  const configure = (...options: string[]) => {
    const build = mkdtempSync(join(folder, "build-"));
    const { status, stderr } = spawnSync(
      "cmake",
      ["-S", root, "-B", build, "-DONEHOUR_MODULES=OFF", "-DONEHOUR_CPU=OFF", ...options],
      { encoding: "utf8", env: { ...process.env, CUDACXX: "/nowhere/nvcc" } },
    );
    return { build, status, stderr };
  };

  it("fails with the reason where CUDA is asked for and missing", () => {
    const { status, stderr } = configure("-DONEHOUR_CUDA=ON");
    expect(status).not.toBe(0);
    expect(stderr).toContain("the CUDA backend needs a working CUDA compiler (/nowhere/nvcc");
  });

  it("goes on without it otherwise, and keeps the reason for the build's last words", () => {
    const { build, status, stderr } = configure();
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const backends = readFileSync(join(build, "backends.txt"), "utf8");
    expect(backends).toMatch(/^cuda\tmissing\tthe CUDA backend needs a working CUDA compiler/);
  });
});
