// Where a process belongs on a machine of several NUMA nodes, and that it moves there.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import type { Addon, DeviceListing } from "../../lib/device/addon.js";
import { shareOfCores, usableCores } from "../../lib/device/cores.js";
import { loadAddon, native } from "../../lib/device/native.js";
import { bindNear, ownProcessors, placeNear } from "../../lib/device/numa.js";
import { openDevice } from "../../lib/device/open.js";
import { OnehourError } from "../../lib/errors.js";

vi.mock("../../lib/device/native.js", { spy: true });

const sysfs = mkdtempSync(join(tmpdir(), "onehour-sysfs-"));
afterAll(() => rmSync(sysfs, { recursive: true }));

/** A device of the fake sysfs, next to these processors. */
function device(bus: string, node: number, processors: string): string {
  const folder = join(sysfs, "bus/pci/devices", bus);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "numa_node"), `${node}\n`);
  writeFileSync(join(folder, "local_cpulist"), `${processors}\n`);
  return bus;
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);
const first = device("0000:1b:00.0", 0, "0-3,8-11");
const second = device("0000:9b:00.0", 1, "4-7,12-15");

it("is next to the GPU", () => {
  expect(placeNear(first, upTo(16), sysfs)).toEqual([0, 1, 2, 3, 8, 9, 10, 11]);
  expect(placeNear(second, upTo(6), sysfs)).toEqual([4, 5]);
});

it.each([
  ["it runs there alone", first, [1, 9]],
  ["it may not run there", second, [0, 1]],
  ["the machine has one node", device("0000:01:00.0", 0, "0-15"), upTo(16)],
  ["the firmware does not say", device("0000:02:00.0", -1, "0-3"), upTo(16)],
  ["there is no such device", "0000:03:00.0", upTo(16)],
  ["the device is the CPU", "", upTo(16)],
])("stays where it is if %s", (_, bus, own) => {
  expect(placeNear(bus, own, sysfs)).toBeUndefined();
});

const own = ownProcessors();

/** The processors of each thread of this process. */
const ofThreads = () =>
  readdirSync("/proc/self/task").map(
    (thread) =>
      /^Cpus_allowed_list:\s*(\S+)/m.exec(
        readFileSync(join("/proc/self/task", thread, "status"), "utf8"),
      )![1],
  );

// With one processor there is nothing to leave.
it.skipIf(own.length === 1)("moves all threads there and back, and cuts their share", () => {
  const cores = usableCores();
  const last = own.at(-1)!;
  const moveBack = bindNear(device("0000:04:00.0", 1, String(last)), sysfs);
  try {
    expect(new Set(ofThreads())).toEqual(new Set([String(last)]));
    expect(ownProcessors()).toEqual([last]);
    expect(usableCores()).toBe(cores);
    expect(shareOfCores(1)).toBe(1);
  } finally {
    moveBack();
  }
  expect(ownProcessors()).toEqual(own);
  expect(new Set(ofThreads()).size).toBe(1);
  expect(shareOfCores(1)).toBe(cores);
});

describe.skipIf(own.length === 1)("a device", () => {
  const last = own.at(-1)!;
  const bus = device("0000:05:00.0", 1, String(last));

  /** Makes the CUDA module one with a GPU at `bus`, which `open` opens. */
  function provideGpu(open: (options: { threads: number }) => void): void {
    // Seen from where Linux keeps its devices, this one is in the fake sysfs.
    const from = relative("/sys/bus/pci/devices", join(sysfs, "bus/pci/devices", bus));
    vi.mocked(loadAddon).mockReturnValueOnce({
      listDevices: () => [{ ordinal: 0, bus: from, problem: "" } as DeviceListing],
    } as Addon);
    vi.mocked(loadAddon).mockReturnValueOnce({
      operations: () => ({}),
      Device: class {
        constructor(options: { threads: number }) {
          open(options);
        }
      },
    } as unknown as Addon);
  }

  it("is opened next to the GPU, with no more threads than processors there", () => {
    const open = vi.fn(() => expect(ownProcessors()).toEqual([last]));
    provideGpu(open);
    try {
      openDevice({ device: "cuda", ordinal: 0, bind: true });
      expect(open).toHaveBeenCalledWith({ threads: 1, ordinal: 0 });
    } finally {
      native.bindProcess(own);
    }
  });

  it("is the CPU with all its threads where the GPU cannot be opened", () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const refuse = () => {
      expect(ownProcessors()).toEqual([last]);
      throw new OnehourError("ERR_MEMORY", "the GPU is full");
    };
    const options = { ordinal: 0, bind: true };
    provideGpu(refuse);
    using cpu = openDevice({ device: "auto", ...options });
    expect(cpu.properties).toMatchObject({ kind: "cpu", threads: shareOfCores(1) });
    expect(warn).toHaveBeenCalledWith(expect.stringContaining("the GPU is full"));
    expect(ownProcessors()).toEqual(own);
    expect(new Set(ofThreads()).size).toBe(1);
    provideGpu(refuse);
    expect(() => openDevice({ device: "cuda", ...options })).toThrow("the GPU is full");
    expect(ownProcessors()).toEqual(own);
    warn.mockRestore();
  });
});

it("refuses processors that cannot be", () => {
  expect(() => native.bindProcess([8192])).toThrow(/processor 8192, expected 0 to 8191/);
  expect(() => native.bindProcess([-1])).toThrow(/a processor/);
});
