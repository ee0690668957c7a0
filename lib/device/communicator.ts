// Communicators, and arrays in a device's memory that they work on.

import type { AddonArray, AddonCommunicator } from "./addon.js";
import { call, settle } from "./call.js";
import type { Device, DeviceArray, NativeCommunicator } from "./device.js";

export class OpenArray<T extends Float32Array | Int32Array> implements DeviceArray<T> {
  constructor(
    readonly native: AddonArray,
    readonly device: Device,
    readonly type: "f32" | "i32",
    readonly length: number,
  ) {}

  write(data: T): Promise<void> {
    return settle(this.native.write(data), new Error());
  }

  async read(): Promise<T> {
    const bytes = await settle(this.native.read(), new Error());
    const Type = this.type === "i32" ? Int32Array : Float32Array;
    return new Type(bytes.buffer as ArrayBuffer) as T;
  }

  dispose(): void {
    this.native.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Whether a value is an array in a device's memory. */
export function isDeviceArray(value: unknown): value is DeviceArray {
  return value instanceof OpenArray;
}

/** What the addon knows an array by. */
function nativeArray<T>(data: T | DeviceArray): T | AddonArray {
  return data instanceof OpenArray ? data.native : (data as T);
}

export class Communicator implements NativeCommunicator {
  readonly rank: number;
  readonly size: number;
  readonly remark: string;

  constructor(readonly native: AddonCommunicator) {
    this.rank = native.rank;
    this.size = native.size;
    this.remark = native.remark;
  }

  address(): Uint8Array {
    return call(() => this.native.address());
  }

  linkTo(peer: number): string {
    return call(() => this.native.linkTo(peer));
  }

  connect(addresses: Uint8Array[]): Promise<boolean> {
    return settle(this.native.connect(addresses), new Error());
  }

  allReduce(data: Float32Array | Float64Array | Int32Array | DeviceArray): Promise<void> {
    return settle(this.native.allReduce(nativeArray(data)), new Error());
  }

  broadcast(data: NodeJS.TypedArray | DeviceArray, root: number): Promise<void> {
    return settle(this.native.broadcast(nativeArray(data), root), new Error());
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
