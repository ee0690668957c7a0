// Opens devices and wraps the native objects in types.

import { OnehourError } from "../errors.js";
import { requireOptions } from "../recipe/options.js";
import { oneLine } from "../text/words.js";
import type { NativeDevice, NativeExecutor } from "./addon.js";
import { call, settle } from "./call.js";
import { Communicator, OpenArray } from "./communicator.js";
import { defaultThreads, requireThreads } from "./cores.js";
import {
  type Device,
  type DeviceArray,
  type DeviceChoice,
  type DeviceOptions,
  type DeviceProperties,
  deviceChoices,
  type Executor,
  type NativeCommunicator,
  type ProgramSource,
  type Trace,
} from "./device.js";
import { chooseGpu, findGpus, type Gpus } from "./gpus.js";
import { loadAddon } from "./native.js";
import { bindNear } from "./numa.js";

class LoadedExecutor implements Executor {
  readonly memory: Executor["memory"];
  readonly slots: number;
  readonly #native: NativeExecutor;
  readonly #inputs = new Map<number, Uint8Array>();
  readonly #outputs = new Map<number, Uint8Array>();
  #failed = false;

  constructor(native: NativeExecutor) {
    this.#native = native;
    this.memory = native.memory;
    this.slots = native.slots;
  }

  input(slot: number): Uint8Array {
    return this.#view(this.#inputs, slot, () => this.#native.input(slot));
  }

  output(slot: number): Uint8Array {
    return this.#view(this.#outputs, slot, () => this.#native.output(slot));
  }

  submit(program: string, slot: number): Promise<void> {
    return this.#follow(this.#native.submit(program, slot));
  }

  trace(program: string, slot: number): Promise<Trace> {
    return this.#follow(this.#native.trace(program, slot));
  }

  write(arena: string, offset: number, bytes: Uint8Array): Promise<void> {
    return this.#follow(this.#native.write(arena, offset, bytes));
  }

  read(arena: string, offset: number, length: number): Promise<Uint8Array> {
    return this.#follow(this.#native.read(arena, offset, length));
  }

  record(): Promise<string | undefined> {
    return this.#follow(this.#native.record());
  }

  forget(): Promise<void> {
    return this.#follow(this.#native.forget());
  }

  measure(program: string, slot: number, repeats: number) {
    return this.#follow(this.#native.measure(program, slot, repeats));
  }

  dispose(): void {
    this.#native.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #view(views: Map<number, Uint8Array>, slot: number, make: () => Uint8Array): Uint8Array {
    let view = views.get(slot);
    if (!view) {
      view = call(make);
      views.set(slot, view);
    }
    return view;
  }

  // One failure rejects everything that is in flight. The first is the caller's to handle; the others need
  // not be awaited too.
  #follow<T>(promise: Promise<T>): Promise<T> {
    const result: Promise<T> = settle(promise, new Error(), (error) => {
      if (error instanceof OnehourError && error.code === "ERR_USAGE") return;
      if (this.#failed) result.catch(() => {});
      this.#failed = true;
    });
    return result;
  }
}

class OpenDevice implements Device {
  readonly properties: DeviceProperties;
  readonly operations: ReadonlySet<string>;
  readonly #native: NativeDevice;

  constructor(native: NativeDevice, operations: readonly string[]) {
    this.#native = native;
    this.properties = native.properties as DeviceProperties;
    this.operations = new Set(operations);
  }

  get availableBytes(): number | undefined {
    return call(() => this.#native.availableBytes);
  }

  async load(
    programs: readonly ProgramSource[],
    options: { communicators?: Record<string, NativeCommunicator> } = {},
  ): Promise<Executor> {
    const communicators = Object.fromEntries(
      Object.entries(options.communicators ?? {}).map(([name, communicator]) => [
        name,
        communicator instanceof Communicator ? communicator.native : communicator,
      ]),
    );
    const loading = this.#native.load(programs, communicators);
    return new LoadedExecutor(await settle(loading, new Error()));
  }

  createCommunicator(
    rank: number,
    size: number,
    timeoutSeconds: number,
    acrossHosts = false,
    name?: string,
  ): NativeCommunicator {
    return new Communicator(
      call(() => this.#native.createCommunicator(rank, size, timeoutSeconds, acrossHosts, name)),
    );
  }

  async array<T extends Float32Array | Int32Array>(data: T): Promise<DeviceArray<T>> {
    const making = this.#native.array(data);
    const type = data instanceof Int32Array ? "i32" : "f32";
    return new OpenArray<T>(await settle(making, new Error()), this, type, data.length);
  }

  dispose(): void {
    this.#native.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Opens a device of one backend. */
export function openBackend(backend: string, threads: number, ordinal = 0): Device {
  const addon = loadAddon(backend);
  const device = call(() => new addon.Device({ threads, ordinal }));
  return new OpenDevice(device, Object.keys(addon.operations()));
}

/**
 * Opens a device of this machine; "auto" falls back on the CPU and warns of GPUs that are there but
 * cannot be used.
 * Throws OnehourError: ERR_ONEHOUR_NOT_BUILT or ERR_ONEHOUR_LOAD with the command that helps,
 * ERR_ONEHOUR_DEVICE for "cuda" where it is not built or for more workers than GPUs, NativeError
 * ERR_DEVICE or ERR_MEMORY for "cuda" where no GPU is or the GPU cannot be opened, ERR_USAGE for other
 * options and for an impossible thread count.
 */
export function openDevice(options: DeviceOptions = {}): Device {
  requireOptions(options, "openDevice", ["device", "threads", "ordinal", "bind"]);
  const { device = "auto", threads = defaultThreads() } = options;
  requireThreads(threads);
  const gpus = decide(device);
  if (gpus === undefined) return openBackend("cpu", threads);
  const ordinal = options.ordinal ?? chooseGpu(gpus);
  // Before the GPU is opened, so that what its driver allocates then is near, too.
  const bus = gpus.usable.find((gpu) => gpu.ordinal === ordinal)?.bus ?? "";
  const moveBack = options.bind ? bindNear(bus) : undefined;
  try {
    return openBackend("cuda", options.threads ?? defaultThreads(), ordinal);
  } catch (error) {
    moveBack?.();
    if (device === "cuda" || !(error instanceof OnehourError)) throw error;
    warnOfCpu([...gpus.problems, error.message]);
    return openBackend("cpu", threads);
  }
}

function warnOfCpu(problems: readonly string[]): void {
  if (problems.length > 0)
    process.emitWarning(`the CPU computes, not a GPU: ${problems.map(oneLine).join("; ")}`);
}

/** The GPUs to choose from, none of them opened; undefined for the CPU. */
function decide(device: DeviceChoice): Gpus | undefined {
  if (device === "cpu") return undefined;
  if (device !== "auto" && device !== "cuda") {
    throw new OnehourError(
      "ERR_USAGE",
      `device is "${device}", expected ${deviceChoices.join(", ")}`,
    );
  }
  const gpus = findGpus();
  const { usable, problems, error } = gpus;
  if (usable.length > 0) return gpus;
  if (device === "auto") {
    warnOfCpu(problems);
    return undefined;
  }
  if (error && error.code !== "ERR_ONEHOUR_NOT_BUILT") throw error;
  throw new OnehourError(
    "ERR_ONEHOUR_DEVICE",
    `device "cuda" was asked for, but ` +
      (error
        ? `the CUDA backend is not built here. Use device "cpu" or "auto". ${error.message}`
        : `no GPU here can be used: ${problems.join("; ")}`),
  );
}

/**
 * What `openDevice` is expected to open, for a process that leaves it to others: a GPU that is opened
 * keeps some of its memory until the process ends. Throws as `openDevice` does.
 */
export function expectDevice(device: DeviceChoice): Pick<DeviceProperties, "kind"> {
  if (decide(device) !== undefined) return { kind: "cuda" };
  using cpu = openBackend("cpu", 1);
  return cpu.properties;
}
