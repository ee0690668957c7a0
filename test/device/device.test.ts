// Opens devices: their threads and properties, and the errors where there is none.
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
import { call } from "../../lib/device/call.js";
import { defaultThreads, requireProcesses, usableCores } from "../../lib/device/cores.js";
import { explainLoadError, native } from "../../lib/device/native.js";
import { openDevice } from "../../lib/device/open.js";
import { NativeError, OnehourError, toNativeError } from "../../lib/errors.js";
import { setVoice } from "../../lib/recipe/voice.js";
import { temporaryFolder } from "../support/folder.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

function refusal(body: () => unknown): OnehourError {
  try {
    body();
  } catch (error) {
    expect(error).toBeInstanceOf(OnehourError);
    return error as OnehourError;
  }
  throw new Error("nothing was thrown");
}

describe("openDevice", () => {
  it("opens the CPU with the threads asked for", () => {
    using device = openDevice({ device: "cpu", threads: 2 });
    expect(device.properties).toMatchObject({ kind: "cpu", threads: 2 });
    expect(device.properties.memoryBytes).toBeGreaterThan(2 ** 28);
    expect(device.properties.channelMultiple).toBeGreaterThanOrEqual(1);
    expect(device.operations.has("conv2d")).toBe(true);
    expect(device.operations.has("fail")).toBe(false);
  });

  it("refuses what it cannot open", () => {
    expect(refusal(() => openDevice({ threads: 0 })).message).toContain("whole number from 1");
    expect(refusal(() => openDevice({ threads: 1.5 })).code).toBe("ERR_USAGE");
    expect(refusal(() => openDevice({ threads: 999_999 })).message).toMatch(
      /from 1 to \d+ on \d+ core/,
    );
    expect(refusal(() => openDevice({ device: "gpu" as never })).message).toContain(
      "expected auto, cpu, cuda",
    );
    for (const options of ["cpuu", 1, null, []])
      expect(refusal(() => openDevice(options as never)).message).toMatch(
        /^openDevice takes options, \{ device, threads, ordinal, bind \}, and not /,
      );
    expect(refusal(() => openDevice({ devices: "cpu" } as never)).message).toBe(
      'openDevice has no option "devices"; did you mean device?',
    );
    using device = openDevice({ device: "cpu", threads: 1 });
    device.dispose();
    expect(refusal(() => device.createCommunicator(0, 1, 1)).code).toBe("ERR_DISPOSED");
  });

  it("refuses more processes than a machine can be meant to start", () => {
    expect(refusal(() => requireProcesses(1e6)).message).toMatch(
      /^workers is 1000000, expected a whole number from 1 to \d+ on \d+ core/,
    );
    for (const workers of [0, 1.5, Number.NaN, -1])
      expect(() => requireProcesses(workers)).toThrow();
    requireProcesses(64);
  });

  it("counts threads by cores, workers and the environment", () => {
    const cores = usableCores();
    expect(cores).toBeGreaterThanOrEqual(1);
    expect(cores).toBeLessThanOrEqual(availableParallelism());
    expect(defaultThreads({})).toBe(cores);
    expect(defaultThreads({ ONEHOUR_LOCAL_WORLD_SIZE: "2" })).toBe(
      Math.max(1, Math.floor(cores / 2)),
    );
    expect(defaultThreads({ ONEHOUR_LOCAL_WORLD_SIZE: "1000" })).toBe(1);
    expect(defaultThreads({ ONEHOUR_LOCAL_WORLD_SIZE: "2", ONEHOUR_THREADS: "3" })).toBe(3);
    expect(refusal(() => defaultThreads({ ONEHOUR_THREADS: "many" })).message).toContain(
      'ONEHOUR_THREADS is "many"',
    );
    expect(refusal(() => defaultThreads({ ONEHOUR_LOCAL_WORLD_SIZE: "0" })).code).toBe(
      "ERR_ONEHOUR_ENVIRONMENT",
    );
  });
});

describe("load errors", () => {
  const message = (fault: string) => explainLoadError("onehour_cpu", fault).message;

  it("name the cause and a command", () => {
    for (const [fault, cause] of [
      [
        "libdnnl.so.2: cannot open shared object file: No such file or directory",
        "the library libdnnl.so.2 that it needs is not here",
      ],
      [
        "libcudnn.so.9: cannot open shared object file: No such file or directory",
        "the CUDA library libcudnn.so.9 that it needs is not where it was then",
      ],
      ["/lib/libc.so.6: version `GLIBC_2.38' not found (required by x)", "newer C or C++ library"],
      ["undefined symbol: napi_create_object", "another Node"],
      ["The module was compiled using NODE_MODULE_VERSION 115", "another Node"],
      ["undefined symbol: dnnl_sgemm", "other versions of its libraries"],
      ["invalid ELF header", "damaged or was built for another processor"],
      ["something new", "does not load: something new"],
    ] as const) {
      expect(message(fault)).toContain(cause);
      expect(message(fault)).toContain("scripts/setup");
      expect(message(fault)).toMatch(/\. To see what works here: npx onehour doctor$/);
      expect(message(fault)).toContain(fault);
    }
    expect(message("libdnnl.so.2: cannot open shared object file")).toContain(
      "apt-get install libdnnl-dev",
    );
  });

  // A copy of the package without native modules, as an installation that could not build.
  const folder = temporaryFolder();

  it("say when nothing was built, and what was missing then", async () => {
    cpSync(join(root, "dist"), join(folder, "dist"), { recursive: true });
    writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    mkdirSync(join(folder, "build/Release"), { recursive: true });
    writeFileSync(join(folder, "build/missing.txt"), "The native build needs CMake\n");
    const copy = (await import(
      join(folder, "dist/device/open.js")
    )) as typeof import("../../lib/device/open.js");
    const error = await Promise.resolve()
      .then(() => copy.openDevice({ device: "auto", threads: 1 }))
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "ERR_ONEHOUR_NOT_BUILT" });
    expect((error as Error).message).toContain("never built here. Build it: npx onehour build");
    expect((error as Error).message).toMatch(/works here: npx onehour doctor\. .* needs CMake/);
    expect(() => copy.openDevice({ device: "cuda", threads: 1 })).toThrow(
      /the CUDA backend is not built here. Use device "cpu" or "auto"/,
    );
    writeFileSync(join(folder, "build/Release/onehour_cpu.node"), "not a library");
    expect(() => copy.openDevice({ device: "cpu", threads: 1 })).toThrow(
      /damaged.* To see what works here: npx onehour doctor/,
    );
  });
});

describe("errors", () => {
  it("of the addon become NativeErrors, others stay", () => {
    const raw = Object.assign(new Error("m"), {
      code: "ERR_X",
      library: "Gloo",
      line: 3,
      text: "t",
    });
    const error = toNativeError(raw);
    expect(error).toBeInstanceOf(NativeError);
    expect(error).toMatchObject({ name: "NativeError", code: "ERR_X", library: "Gloo", line: 3 });
    expect(toNativeError(error)).toBe(error);
    const other = new Error("other");
    expect(toNativeError(other)).toBe(other);
    expect(toNativeError("text")).toBe("text");
  });

  it.each(["flags", "fields"] as const)("of the addon name %s to those who know them", (voice) => {
    setVoice(voice);
    onTestFinished(() => setVoice("fields"));
    const thrown = Object.assign(
      new Error("try a smaller --batch or --sync-bn, or --device cpu; --ipc=host"),
      { code: "ERR_X", library: "NCCL" },
    );
    const fail = () =>
      call(() => {
        throw thrown;
      });
    expect(fail).toThrow(
      voice === "flags"
        ? thrown.message
        : 'try a smaller batch or syncBatchNorm, or device: "cpu"; --ipc=host',
    );
  });
});

describe("process functions", () => {
  it("refuse wrong arguments", () => {
    expect(() => native.startHeartbeat(-1, 100)).toThrow(NativeError);
    expect(() => native.startHeartbeat(3, 0)).toThrow("the interval must be a number from 1");
    expect(() => native.dieWithParent(Number.NaN)).toThrow("the parent's id");
  });

  it("count waiting while a promise is pending, whatever becomes of it", async () => {
    expect(await native.whileWaiting(async () => 7)).toBe(7);
    await expect(native.whileWaiting(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
  });
});
