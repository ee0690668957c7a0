// The types of what the native modules export.

import type { Executor, NativeCommunicator } from "./device.js";

/** What the addon's Device makes; lib/device/open.ts wraps them. */
export interface NativeDevice {
  readonly properties: {
    name: string;
    kind: string;
    threads: number;
    memoryBytes: number;
    bf16: boolean;
    channelMultiple: number;
    driver?: string;
  };
  readonly availableBytes: number | undefined;
  load(
    programs: readonly { name: string; text: string }[],
    communicators?: Record<string, unknown>,
  ): Promise<NativeExecutor>;
  createCommunicator(
    rank: number,
    size: number,
    timeoutSeconds: number,
    acrossHosts: boolean,
    name: string | undefined,
  ): AddonCommunicator;
  array(data: Float32Array | Int32Array): Promise<AddonArray>;
  dispose(): void;
}

/** A device as its module finds it without opening it. */
export interface DeviceListing {
  ordinal: number;
  name: string;
  kind: string;
  /** Compute capability, e.g. "9.0"; empty on the CPU. */
  capability: string;
  memoryBytes: number;
  /** Its place on the PCI bus as sysfs names it, "0000:1b:00.0"; empty on the CPU. */
  bus: string;
  /** Why it cannot be used, as far as that is known; empty if nothing is. */
  problem: string;
}

/** The version of a library, "" where it does not say. */
export interface LibraryVersion {
  /** Of the headers that the module was built with. */
  built: string;
  loaded: string;
}

/** What lib/device/open.ts wraps: the same members, as the addon has them. */
export type NativeExecutor = Omit<Executor, typeof Symbol.dispose>;
export type AddonCommunicator = Omit<NativeCommunicator, "allReduce" | "broadcast"> & {
  allReduce(data: Float32Array | Float64Array | Int32Array | AddonArray): Promise<void>;
  broadcast(data: NodeJS.TypedArray | AddonArray, root: number): Promise<void>;
};

/** An array in a device's memory; it knows its type and length by itself. */
export interface AddonArray {
  write(data: Float32Array | Int32Array): Promise<void>;
  read(): Promise<Uint8Array>;
  dispose(): void;
}

/** The exports of a native module. */
export interface Addon {
  readonly Device: new (options: { threads: number; ordinal: number }) => NativeDevice;
  /** The devices that the module could open; opens none. */
  listDevices(): DeviceListing[];
  /** Versions of the libraries that compute and communicate, by name. */
  libraryVersions(): Record<string, LibraryVersion>;
  /** The signature of each operation that the module has a kernel for, by name. */
  operations(): Record<string, string>;
  /** The kernels that an instruction of each operation starts on the device, at most, by name. */
  launches(): Record<string, number>;
  parseProgram(text: string): {
    name: string;
    arenas: Record<string, number>;
    instructions: number;
  };
  startHeartbeat(fd: number, intervalMs: number): void;
  dieWithParent(parent?: number): void;
  endWhenSilent(descriptor: number, milliseconds: number): void;
  /** Keeps all threads of the process on these processors; false where the system refuses that. */
  bindProcess(processors: number[]): boolean;
  tryLockFile(descriptor: number): "taken" | "held" | "unsupported";
  advanceProgress(): void;
  beginWait(): void;
  endWait(): void;
  beginRead(): void;
  endRead(): void;
  /** What the heartbeat writes. */
  readProgress(): { progress: number; waiting: number; running: number; reading: number };
  /** The counters of the heartbeat, for another module's `shareProgress`. */
  progressCounters(): unknown;
  /** Counts in another module's counters, so that one heartbeat sees the work of all modules. */
  shareProgress(counters: unknown): void;
  shutDown(): void;
}

/** Images asked of the module `data` at once; see native/data/decoders.h. */
export interface ImageRequest {
  files: readonly string[];
  /** Where each image's bytes lie in its file; all of the file by default. */
  offsets?: Float64Array;
  lengths?: Float64Array;
  /** u8[files, size, size, 3]. */
  target: Uint8Array;
  /** Pixels of both sides of the output. */
  size: number;
  /** Pixels of the shorter side before the centre is cut out, where there are no crops. */
  shortSide: number;
  /** f64[files, 22]: ten areas, ten aspects, and the place across and down. */
  crops?: Float64Array;
  /** f64[files, 3]: factors of brightness, contrast and saturation. */
  jitters?: Float64Array;
}

/** Decoding results. */
interface ImageOutcome {
  problems: {
    /** Index in the request. */
    image: number;
    /**
     * Partly made up; not decoded, its place being unchanged or spoilt; in a format of another
     * decoder's; or the file not readable.
     */
    trouble: "damaged" | "undecoded" | "foreign" | "unreadable";
    message: string;
  }[];
  /** Of all threads together. */
  readSeconds: number;
  decodeSeconds: number;
}

/** Threads of the module `data` that decode images. */
export interface AddonDecoder {
  decode(request: ImageRequest): Promise<ImageOutcome>;
  /** The same for one image, u8[height, width, 3], that was decoded elsewhere. */
  resample(
    request: Omit<ImageRequest, "files" | "offsets" | "lengths"> & {
      pixels: Uint8Array;
      width: number;
      height: number;
    },
  ): Promise<ImageOutcome>;
  dispose(): void;
}

/** What an image may have at most (native/data/limits.h). */
export interface ImageLimits {
  /** Of its pixels as they are stored. */
  bytes: number;
  pixels: number;
  /** Pixels on each side. */
  side: number;
}

export interface DataModule {
  readonly Decoder: new (options: { threads: number }) => AddonDecoder;
  readonly limits: ImageLimits;
  libraryVersions(): Record<string, LibraryVersion>;
  advanceProgress(): void;
  shareProgress(counters: unknown): void;
  shutDown(): void;
}
