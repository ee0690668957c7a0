// Devices, loaded programs and communicators: the typed face of the native side.

import { OnehourError } from "../errors.js";
import { oneLine } from "../text/words.js";
import { call, settle } from "./call.js";
import { Communicator, OpenArray } from "./communicator.js";
import { defaultThreads, requireThreads } from "./cores.js";
import { chooseGpu, findGpus, type Gpus } from "./gpus.js";
import type { NativeDevice, NativeExecutor } from "./native.js";
import { loadAddon } from "./native.js";

/** How to open a device. */
export interface DeviceOptions {
  /** "auto" is a GPU where one can be used, else the CPU; a worker takes that of its local rank. */
  device?: "auto" | "cpu" | "cuda";
  /** Compute threads on the CPU; by default this worker's share of the usable cores. */
  threads?: number;
  /**
   * Which of the GPUs that this process sees, from 0; by default ONEHOUR_GPU, else that of this
   * worker's number on the machine.
   */
  ordinal?: number;
}

/** What a device is and can do. */
export interface DeviceProperties {
  name: string;
  kind: "cpu" | "cuda";
  threads: number;
  memoryBytes: number;
  /** bf16 arithmetic is fast here. */
  bf16: boolean;
  /** Channels of images are padded with zeros to a multiple of this. */
  channelMultiple: number;
  /** The newest CUDA that a GPU's driver serves, e.g. "12.8". */
  driver?: string;
}

/** A program under the name that it is submitted by. */
export interface ProgramSource {
  name: string;
  text: string;
}

/** Loaded programs with their memory on a device. */
export interface Executor extends Disposable {
  /** Bytes, slots included. */
  readonly memory: {
    arenas: Record<string, number>;
    workspaces: Record<string, number>;
    total: number;
  };
  readonly slots: number;
  /** Host memory of a slot; not to be touched between a submission of the slot and its end. */
  input(slot: number): Uint8Array;
  /** Valid from the end of a submission of the slot until the slot is submitted again. */
  output(slot: number): Uint8Array;
  /**
   * Runs a program on a slot after all that was submitted before; any number may be in flight, one
   * a slot. Rejects with NativeError; after an error every later call rejects alike.
   */
  submit(program: string, slot: number): Promise<void>;
  /** Writes bytes of an arena when all earlier submissions are done. */
  write(arena: string, offset: number, bytes: Uint8Array): Promise<void>;
  /** Reads bytes of an arena when all earlier submissions are done. */
  read(arena: string, offset: number, length: number): Promise<Uint8Array>;
  /**
   * Records every program and slot, so that the device replays each as a whole (a CUDA graph).
   * Resolves with why nothing is replayed, or with undefined; programs run alike in both cases. All
   * ranks must replay the same programs: call `forget` where another rank's did not record.
   */
  record(): Promise<string | undefined>;
  /** Goes back to running kernel by kernel. */
  forget(): Promise<void>;
  /**
   * Runs a program `repeats` times kernel by kernel, on whatever the arenas hold, and tells what
   * each instruction took, by its line in the program text.
   */
  measure(
    program: string,
    slot: number,
    repeats: number,
  ): Promise<{ line: number; milliseconds: number[] }[]>;
  /** Ends pending work with ERR_DISPOSED and frees the memory; views of slots stay readable. */
  dispose(): void;
}

/**
 * An array in a device's own memory, f32 or i32 as the data that it was made of. Operations on it,
 * its communicators' included, run in the order of the calls.
 */
export interface DeviceArray<T extends Float32Array | Int32Array = Float32Array | Int32Array>
  extends Disposable {
  readonly device: Device;
  readonly type: "f32" | "i32";
  readonly length: number;
  /** Copies data of the array's type and length to the device. */
  write(data: T): Promise<void>;
  /** A copy of the whole array. */
  read(): Promise<T>;
  /** Frees the memory when the operations in progress have ended. */
  dispose(): void;
}

/**
 * A group of ranks. Operations run one after another on a thread of their own; arrays are held
 * until they end and must neither be changed nor transferred before that.
 */
export interface NativeCommunicator {
  readonly rank: number;
  readonly size: number;
  /** What its library had better not do here, in a sentence for people; empty if that is nothing. */
  readonly remark: string;
  /** What the other ranks need to know next to reach this one; for their eyes only. */
  address(): Uint8Array;
  /**
   * Meets the other ranks, given all addresses in rank order. False when they have more to tell:
   * then all exchange their addresses, which are new ones, and call again.
   */
  connect(addresses: Uint8Array[]): Promise<boolean>;
  /** Sums over the ranks, in place: an array of the host, or of the communicator's device. */
  allReduce(data: Float32Array | Float64Array | Int32Array | DeviceArray): Promise<void>;
  /** Copies `root`'s data to every rank, in place. */
  broadcast(data: NodeJS.TypedArray | DeviceArray, root: number): Promise<void>;
  /** All ranks' bytes, one after another in rank order; the same length everywhere. */
  allGather(data: Uint8Array): Promise<Uint8Array>;
  /** Resolves when every rank has called it. */
  barrier(): Promise<void>;
  /** Ends the operation in progress and all later ones with ERR_COLLECTIVE. */
  abort(): void;
}

/** An open device. */
export interface Device extends Disposable {
  readonly properties: DeviceProperties;
  /** Names of the operations that this device has kernels for. */
  readonly operations: ReadonlySet<string>;
  /** What can be allocated now, beside what other processes hold; undefined where it is unknown. */
  readonly availableBytes: number | undefined;
  /**
   * Allocates the programs' arenas (each the largest of all programs) and prepares every kernel,
   * off the JavaScript thread. Rejects with NativeError: ERR_PROGRAM, ERR_SHAPE, ERR_KERNEL or
   * ERR_MEMORY, with the program's line.
   */
  load(
    programs: readonly ProgramSource[],
    options?: { communicators?: Record<string, NativeCommunicator> },
  ): Promise<Executor>;
  /** `acrossHosts`: some of the ranks that this process works with are on other machines. */
  createCommunicator(
    rank: number,
    size: number,
    timeoutSeconds: number,
    acrossHosts?: boolean,
  ): NativeCommunicator;
  /** A copy of `data` in the device's memory. Rejects with ERR_MEMORY when it does not fit. */
  array<T extends Float32Array | Int32Array>(data: T): Promise<DeviceArray<T>>;
  dispose(): void;
}

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

  // One failure rejects everything that is in flight: whoever awaits the first hears of it, and the
  // others need not be awaited too.
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
  ): NativeCommunicator {
    return new Communicator(
      call(() => this.#native.createCommunicator(rank, size, timeoutSeconds, acrossHosts)),
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
  return new OpenDevice(device, addon.operations());
}

/**
 * Opens a device of this machine; "auto" falls back on the CPU and warns of GPUs that are there but
 * cannot be used.
 * Throws OnehourError: ERR_ONEHOUR_NOT_BUILT or ERR_ONEHOUR_LOAD with the command that helps,
 * ERR_ONEHOUR_DEVICE for "cuda" where it is not built or for more workers than GPUs, NativeError
 * ERR_DEVICE or ERR_MEMORY for "cuda" where no GPU is or the GPU cannot be opened, ERR_USAGE for an
 * impossible thread count.
 */
export function openDevice(options: DeviceOptions = {}): Device {
  const { device = "auto", threads = defaultThreads() } = options;
  requireThreads(threads);
  const gpus = decide(device);
  if (gpus === undefined) return openBackend("cpu", threads);
  const ordinal = options.ordinal ?? chooseGpu(gpus);
  try {
    return openBackend("cuda", threads, ordinal);
  } catch (error) {
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
function decide(device: NonNullable<DeviceOptions["device"]>): Gpus | undefined {
  if (device === "cpu") return undefined;
  if (device !== "auto" && device !== "cuda") {
    throw new OnehourError("ERR_USAGE", `device is "${device}", expected auto, cpu or cuda`);
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
export function expectDevice(
  device: NonNullable<DeviceOptions["device"]>,
): Pick<DeviceProperties, "kind"> {
  if (decide(device) !== undefined) return { kind: "cuda" };
  using cpu = openBackend("cpu", 1);
  return cpu.properties;
}
