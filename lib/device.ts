// Devices, loaded programs and communicators: the typed face of the native side.
import { defaultThreads } from "./cores.js";
import { OnehourError, toNativeError } from "./errors.js";
import type { AddonCommunicator, NativeDevice, NativeExecutor } from "./native.js";
import { loadAddon } from "./native.js";

/** How to open a device. */
export interface DeviceOptions {
  /** "auto" is a CUDA device where there is one, else the CPU. */
  device?: "auto" | "cpu" | "cuda";
  /** Compute threads on the CPU; by default this worker's share of the usable cores. */
  threads?: number;
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
  /** Ends pending work with ERR_DISPOSED and frees the memory; views of slots stay readable. */
  dispose(): void;
}

/**
 * A group of ranks. Operations run one after another on a thread of their own; arrays are held
 * until they end and must neither be changed nor transferred before that.
 */
export interface NativeCommunicator {
  readonly rank: number;
  readonly size: number;
  /** What the other ranks need to reach this one. */
  address(): Uint8Array;
  /** Meets the other ranks, given all addresses in rank order. */
  connect(addresses: Uint8Array[]): Promise<void>;
  /** Sums over the ranks, in place. */
  allReduce(data: Float32Array | Float64Array | Int32Array): Promise<void>;
  /** Copies `root`'s data to every rank, in place. */
  broadcast(data: NodeJS.TypedArray, root: number): Promise<void>;
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
  /**
   * Allocates the programs' arenas (each the largest of all programs) and prepares every kernel,
   * off the JavaScript thread. Rejects with NativeError: ERR_PROGRAM, ERR_SHAPE, ERR_KERNEL or
   * ERR_MEMORY, with the program's line.
   */
  load(
    programs: readonly ProgramSource[],
    options?: { communicators?: Record<string, NativeCommunicator> },
  ): Promise<Executor>;
  createCommunicator(rank: number, size: number, timeoutSeconds: number): NativeCommunicator;
  dispose(): void;
}

/** Runs a native call; its errors become NativeErrors. */
function call<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw toNativeError(error);
  }
}

/** Awaits a native call; its errors become NativeErrors with the caller's stack. */
async function settle<T>(
  promise: Promise<T>,
  site: Error,
  onError?: (error: unknown) => void,
): Promise<T> {
  try {
    return await promise;
  } catch (cause) {
    const error = toNativeError(cause, site);
    onError?.(error);
    throw error;
  }
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

  constructor(native: NativeDevice) {
    this.#native = native;
    this.properties = native.properties as DeviceProperties;
    this.operations = new Set(native.operations);
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

  createCommunicator(rank: number, size: number, timeoutSeconds: number): NativeCommunicator {
    return new Communicator(
      call(() => this.#native.createCommunicator(rank, size, timeoutSeconds)),
    );
  }

  dispose(): void {
    this.#native.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

class Communicator implements NativeCommunicator {
  readonly rank: number;
  readonly size: number;

  constructor(readonly native: AddonCommunicator) {
    this.rank = native.rank;
    this.size = native.size;
  }

  address(): Uint8Array {
    return call(() => this.native.address());
  }

  connect(addresses: Uint8Array[]): Promise<void> {
    return settle(this.native.connect(addresses), new Error());
  }

  allReduce(data: Float32Array | Float64Array | Int32Array): Promise<void> {
    return settle(this.native.allReduce(data), new Error());
  }

  broadcast(data: NodeJS.TypedArray, root: number): Promise<void> {
    return settle(this.native.broadcast(data, root), new Error());
  }

  allGather(data: Uint8Array): Promise<Uint8Array> {
    return settle(this.native.allGather(data), new Error());
  }

  barrier(): Promise<void> {
    return settle(this.native.barrier(), new Error());
  }

  abort(): void {
    this.native.abort();
  }
}

/** Opens a device of one backend. */
export function openBackend(backend: string, threads: number): Device {
  const addon = loadAddon(backend);
  return new OpenDevice(call(() => new addon.Device({ threads })));
}

/** Codes that mean "there is no such device here", which "auto" passes over in silence. */
const absent = new Set(["ERR_ONEHOUR_NOT_BUILT", "ERR_DEVICE"]);

/**
 * Opens a device of this machine.
 * Throws OnehourError: ERR_ONEHOUR_NOT_BUILT or ERR_ONEHOUR_LOAD with the command that helps,
 * ERR_ONEHOUR_DEVICE for "cuda" where there is none, ERR_USAGE for an impossible thread count.
 */
export function openDevice(options: DeviceOptions = {}): Device {
  const { device = "auto", threads = defaultThreads() } = options;
  if (!Number.isInteger(threads) || threads < 1) {
    throw new OnehourError(
      "ERR_USAGE",
      `threads is ${threads}, expected a whole number from 1; leave it out for this worker's ` +
        `share of the cores, ${defaultThreads()}`,
    );
  }
  if (device === "cpu") return openBackend("cpu", threads);
  if (device !== "auto" && device !== "cuda") {
    throw new OnehourError("ERR_USAGE", `device is "${device}", expected auto, cpu or cuda`);
  }
  try {
    return openBackend("cuda", threads);
  } catch (error) {
    const known = error instanceof OnehourError;
    if (device === "cuda") {
      if (!known || error.code !== "ERR_ONEHOUR_NOT_BUILT") throw error;
      throw new OnehourError(
        "ERR_ONEHOUR_DEVICE",
        `device "cuda" was asked for, but the CUDA backend is not built here. ` +
          `Use device "cpu" or "auto". ${error.message}`,
      );
    }
    if (!known || !absent.has(error.code)) {
      const reason = error instanceof Error ? error.message : String(error);
      process.emitWarning(`the CUDA backend cannot be used, so the CPU is: ${reason}`);
    }
  }
  return openBackend("cpu", threads);
}
