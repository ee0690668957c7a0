// The interfaces of a device, a loaded program, an array and a communicator.

/** What can be asked for. */
export const deviceChoices = ["auto", "cpu", "cuda"] as const;
export type DeviceChoice = (typeof deviceChoices)[number];

/** How to open a device. */
export interface DeviceOptions {
  /** "auto" is a GPU where one can be used, else the CPU; a worker takes that of its local rank. */
  device?: DeviceChoice;
  /** Compute threads on the CPU; by default this worker's share of the usable cores. */
  threads?: number;
  /**
   * Which of the GPUs that this process sees, from 0; by default ONEHOUR_GPU, else that of this
   * worker's number on the machine.
   */
  ordinal?: number;
  /**
   * Whether this process moves to the processors next to the GPU, on a machine of several NUMA nodes,
   * and stays there; by default it does not.
   */
  bind?: boolean;
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

/** When a program ran, line by line. */
export interface Trace {
  /** When it began, in milliseconds of the clock of `process.hrtime`; late by what its end was noticed late. */
  began: number;
  /** Begin and end of each instruction, waits and signals too, in the order of the text: milliseconds from `began`. */
  times: Float64Array;
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
  /**
   * As `submit`, and resolves with when each line ran: all streams at once, in the order that the text asks
   * for, kernel by kernel even where the program was recorded. A `wait` lasts as long as its stream waited. On
   * several ranks all trace the same submissions.
   */
  trace(program: string, slot: number): Promise<Trace>;
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
   * Runs a program `repeats` times kernel by kernel, on whatever the arenas hold, and returns what
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
  /** A warning about the library for the user, in a sentence; empty where there is none. */
  readonly remark: string;
  /** What the other ranks need to know next to reach this one; secret. */
  address(): Uint8Array;
  /**
   * Meets the other ranks, given all addresses in rank order. False when another round is needed: then
   * all exchange their addresses, which are new ones, and call again.
   */
  connect(addresses: Uint8Array[]): Promise<boolean>;
  /**
   * How this rank is connected to another of the group: "shared memory", "Unix socket" or "TCP to 10.0.0.2:4000"; empty before
   * that, and where the library does not say.
   */
  linkTo(peer: number): string;
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
  /** Bytes that can be allocated now, with what other processes hold; undefined where that is unknown. */
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
  /**
   * `acrossHosts`: some of the ranks that this process works with are on other machines. `name`: what
   * programs call it; on a GPU "statistics" takes few of the multiprocessors.
   */
  createCommunicator(
    rank: number,
    size: number,
    timeoutSeconds: number,
    acrossHosts?: boolean,
    name?: string,
  ): NativeCommunicator;
  /** A copy of `data` in the device's memory. Rejects with ERR_MEMORY when it does not fit. */
  array<T extends Float32Array | Int32Array>(data: T): Promise<DeviceArray<T>>;
  dispose(): void;
}
