// The ranks of a run, as one of them sees them: its own rank, messages to the others, and collectives.
import { bytesOf } from "../arrays/bytes-of.js";
import { isDeviceArray } from "../device/communicator.js";
import { agreeOnShare } from "../device/cores.js";
import type { Device, DeviceArray, NativeCommunicator } from "../device/device.js";
import { useLocalRank } from "../device/gpus.js";
import { isBuilt, native } from "../device/native.js";
import { openDevice } from "../device/open.js";
import { OnehourError } from "../errors.js";
import { plural } from "../text/words.js";
import type { Ending } from "./ending.js";
import { introduce } from "./introduce.js";
import type { Meeting } from "./meeting.js";
import { nameRanks } from "./rendezvous.js";
import type { RendezvousClient } from "./rendezvous-client.js";
import type { RendezvousServer } from "./rendezvous-server.js";

/** Arrays that are summed over ranks: of the host, or of a device. */
type Summable = Float32Array | Float64Array | Int32Array | DeviceArray;

/** All ranks of a run, as one of them sees them. Every rank makes the same calls in the same order. */
export interface World extends Meeting {
  /** The rank among the processes of this machine. */
  readonly localRank: number;
  readonly localWorldSize: number;
  /**
   * As `gather`, for secret bytes: only a process with the token can read or replace them on their way.
   */
  exchange(key: string, value: Uint8Array): Promise<Uint8Array[]>;
  /**
   * Sends a text to every rank, this one too, without waiting for any. All ranks hear it before the end of
   * whatever they gather next with this one.
   */
  announce(key: string, value: string): void;
  /**
   * Calls `listener` with what is announced with this key, once each, also with what came while nobody
   * listened. Returns a function that ends it. One listener a key at a time.
   */
  listen(key: string, listener: (value: string) => void): () => void;
  /**
   * Sums an array over all ranks, in place, and returns it. All ranks get the same bits. An array of
   * a device must not be used otherwise before this ends.
   * @throws OnehourError ERR_ONEHOUR_RANKS_DIFFER when the ranks called something else;
   * NativeError ERR_COLLECTIVE when a rank is gone.
   */
  allReduce<T extends Summable>(data: T): Promise<T>;
  /** Copies `root`'s array (rank 0's by default) over that of every rank, and returns it. */
  broadcast<T extends NodeJS.TypedArray | DeviceArray>(data: T, root?: number): Promise<T>;
  /** Every rank's array in rank order; the same type and length on all ranks. */
  allGather<T extends NodeJS.TypedArray>(data: T): Promise<T[]>;
  /** Resolves when every rank has called it. */
  barrier(): Promise<void>;
  /**
   * Compares a value over the ranks, e.g. the hash of a program.
   * @throws OnehourError ERR_ONEHOUR_RANKS_DIFFER showing both values.
   */
  agree(name: string, value: string): Promise<void>;
  /**
   * A new communicator for programs, over groups of `groupSize` consecutive ranks (all by default).
   * Every rank asks for the same names in the same order. It belongs to `device`, by default the
   * one that the world's own collectives go over.
   */
  communicator(name: string, groupSize?: number, device?: Device): Promise<NativeCommunicator>;
  /** Leaves; the other ranks may go on as long as they do not call this one. */
  close(): Promise<void>;
}

type Place = Pick<World, "rank" | "worldSize" | "localRank" | "localWorldSize">;

export class ConnectedWorld implements World {
  readonly rank: number;
  readonly worldSize: number;
  readonly localRank: number;
  readonly localWorldSize: number;
  private own: Promise<NativeCommunicator> | undefined;
  private readonly byDevice = new Map<Device, Promise<NativeCommunicator>>();
  private readonly communicators = new Set<NativeCommunicator>();
  private device: Device | undefined;
  /** Remarks of communicators that were shown. */
  private readonly remarks = new Set<string>();
  // Operations run one after another, in the order of the calls.
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    place: Place,
    /** Machines that the ranks are on. */
    private readonly hosts: number,
    /** Where the ranks meet; undefined in a world of one. */
    private readonly rendezvous: RendezvousClient | undefined,
    private readonly server: RendezvousServer | undefined,
    private readonly collectiveSeconds: number,
    /** Where no launcher of ours watches over the ranks. */
    readonly ending?: Ending,
  ) {
    this.rank = place.rank;
    this.worldSize = place.worldSize;
    this.localRank = place.localRank;
    this.localWorldSize = place.localWorldSize;
    if (ending) ending.onEnd = () => this.abort();
  }

  async gather(key: string, value: string): Promise<string[]> {
    const { rendezvous } = this;
    if (rendezvous === undefined) return [value];
    return (await this.waiting(() => rendezvous.gather(key, value))).map(String);
  }

  async exchange(key: string, value: Uint8Array): Promise<Uint8Array[]> {
    const { rendezvous } = this;
    if (rendezvous === undefined) return [value];
    return await this.waiting(() => rendezvous.exchange(key, value));
  }

  private waiting<T>(wait: () => Promise<T>): Promise<T> {
    return this.explained(native.whileWaiting(wait));
  }

  /** A wait for other ranks, which names the one that broke it. */
  private async explained<T>(wait: Promise<T>): Promise<T> {
    try {
      return await wait;
    } catch (error) {
      throw await explain(this, error);
    }
  }

  async collect(
    key: string,
    value: Uint8Array,
    onSent?: (bytes: number) => void,
  ): Promise<Uint8Array[]> {
    const { rendezvous } = this;
    if (rendezvous === undefined) return [value];
    return await this.waiting(() => rendezvous.collect(key, value, onSent));
  }

  announce(key: string, value: string): void {
    this.rendezvous?.announce(key, value);
  }

  listen(key: string, listener: (value: string) => void): () => void {
    return this.rendezvous?.listen(key, listener) ?? (() => {});
  }

  async allReduce<T extends Summable>(data: T): Promise<T> {
    if (
      !(
        data instanceof Float32Array ||
        data instanceof Float64Array ||
        data instanceof Int32Array ||
        isDeviceArray(data)
      )
    )
      throw usage(
        "allReduce takes a Float32Array, Float64Array, Int32Array or an array of a device, got " +
          kind(data),
      );
    await this.together("allReduce", data, (communicator) => communicator.allReduce(data));
    return data;
  }

  async broadcast<T extends NodeJS.TypedArray | DeviceArray>(data: T, root = 0): Promise<T> {
    if (!Number.isInteger(root) || root < 0 || root >= this.worldSize)
      throw usage(`broadcast from rank ${root}, expected a rank from 0 to ${this.worldSize - 1}`);
    if (!isTypedArray(data) && !isDeviceArray(data))
      throw usage(`broadcast takes a typed array or an array of a device, got ${kind(data)}`);
    await this.together(`broadcast from rank ${root}`, data, (communicator) =>
      communicator.broadcast(data, root),
    );
    return data;
  }

  async allGather<T extends NodeJS.TypedArray>(data: T): Promise<T[]> {
    if (!isTypedArray(data)) throw usage(`allGather takes a typed array, got ${kind(data)}`);
    const copy = bytesOf(data).slice();
    let all: Uint8Array = copy;
    await this.together("allGather", data, async (communicator) => {
      all = await communicator.allGather(copy);
    });
    const Type = data.constructor as new (buffer: ArrayBuffer) => T;
    return Array.from({ length: this.worldSize }, (_, rank) => {
      const part = all.slice(rank * copy.length, (rank + 1) * copy.length);
      return new Type(part.buffer as ArrayBuffer);
    });
  }

  async barrier(): Promise<void> {
    await this.together("barrier", undefined, async () => {});
  }

  async agree(name: string, value: string): Promise<void> {
    differ(
      await this.gather(`agree ${name}`, value),
      (first, other, ranks) => `${name} differs: rank 0 has ${first}, ${ranks} ${other}`,
    );
  }

  async communicator(
    name: string,
    groupSize: number = this.worldSize,
    device?: Device,
  ): Promise<NativeCommunicator> {
    if (!Number.isInteger(groupSize) || groupSize < 1 || this.worldSize % groupSize !== 0)
      throw usage(
        `communicator "${name}": groups of ${groupSize} do not divide ${plural(this.worldSize, "rank")}; ` +
          "take a divisor",
      );
    const place = this.rank % groupSize;
    const communicator = (device ?? this.openOwn()).createCommunicator(
      place,
      groupSize,
      this.collectiveSeconds,
      this.hosts > 1,
      name,
    );
    if (this.rendezvous === undefined) return communicator;
    this.communicators.add(communicator);
    if (this.rank === 0 && communicator.remark !== "" && !this.remarks.has(communicator.remark)) {
      this.remarks.add(communicator.remark);
      process.emitWarning(communicator.remark, { code: "ONEHOUR_COLLECTIVES" });
    }
    const ranks = Array.from({ length: groupSize }, (_, i) => this.rank - place + i);
    await this.explained(introduce(communicator, this, `communicator ${name}`, ranks));
    return communicator;
  }

  /** Ends this rank's collectives, those of its programs too. */
  private abort(): void {
    for (const communicator of this.communicators) communicator.abort();
  }

  async close(): Promise<void> {
    await this.last.catch(() => {});
    this.ending?.close();
    if (!this.ending?.isFailure) {
      await this.rendezvous?.close();
      await this.server?.close();
    }
    agreeOnShare(undefined);
    useLocalRank(undefined);
    this.device?.dispose();
    this.device = undefined;
  }

  /** The CPU, which leaves a GPU to the programs; a GPU where only its backend is built. */
  private openOwn(): Device {
    this.device ??= openDevice({
      device: isBuilt("cpu") ? "cpu" : "cuda",
      threads: 1,
    });
    return this.device;
  }

  /** The world's communicator for arrays of a device; its name counts the devices by first use. */
  private over(device: Device): Promise<NativeCommunicator> {
    let communicator = this.byDevice.get(device);
    if (communicator === undefined) {
      communicator = this.communicator(
        `world, device ${this.byDevice.size}`,
        this.worldSize,
        device,
      );
      this.byDevice.set(device, communicator);
    }
    return communicator;
  }

  /**
   * Runs a collective on the world's own communicator, after all ranks have said what they are about
   * to do: lengths that differ would break the transport, operations that differ would hang.
   */
  private together(
    what: string,
    data: NodeJS.TypedArray | DeviceArray | undefined,
    operation: (communicator: NativeCommunicator) => Promise<void>,
  ): Promise<void> {
    if (this.rendezvous === undefined) return Promise.resolve();
    const intent = `${what}${data === undefined ? "" : ` of ${kind(data)}`}`;
    const run = async () => {
      this.own ??= this.communicator("world");
      const communicator = await this.own;
      const intents = await communicator.allGather(padded(intent));
      const texts = Array.from({ length: this.worldSize }, (_, rank) =>
        unpadded(intents.subarray(rank * intentBytes, (rank + 1) * intentBytes)),
      );
      differ(
        texts,
        (first, other, ranks) =>
          `the ranks call different collectives: rank 0 ${first}, ${ranks} ${other}. ` +
          "All ranks must make the same calls in the same order",
      );
      if (data?.length === 0) return;
      await operation(isDeviceArray(data) ? await this.over(data.device) : communicator);
    };
    const result = this.explained(this.last.then(run));
    this.last = result.catch(() => {});
    return result;
  }
}

const intentBytes = 64;

function padded(text: string): Uint8Array {
  const bytes = new Uint8Array(intentBytes);
  new TextEncoder().encodeInto(text, bytes);
  return bytes;
}

function unpadded(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString().replace(/\0+$/, "");
}

/** Throws if a rank's text is not rank 0's; `explain` words it for the first text that differs. */
function differ(
  texts: readonly string[],
  explain: (first: string, other: string, ranks: string) => string,
): void {
  const first = texts[0]!;
  const other = texts.find((text) => text !== first);
  if (other === undefined) return;
  const ranks = texts.flatMap((text, rank) => (text === other ? [rank] : []));
  throw new OnehourError("ERR_ONEHOUR_RANKS_DIFFER", explain(first, other, nameRanks(ranks)));
}

function isTypedArray(data: unknown): data is NodeJS.TypedArray {
  return ArrayBuffer.isView(data) && !(data instanceof DataView);
}

/** "Float32Array[10]", or "f32[10] on cuda". */
function kind(data: unknown): string {
  if (isDeviceArray(data)) return `${data.type}[${data.length}] on ${data.device.properties.kind}`;
  return isTypedArray(data) ? `${data.constructor.name}[${data.length}]` : typeof data;
}

export function usage(message: string): OnehourError {
  return new OnehourError("ERR_ONEHOUR_USAGE", message);
}

/** What ends a rank that no launcher of ours watches. */
const endingOf = (world: World): Ending | undefined =>
  world instanceof ConnectedWorld ? world.ending : undefined;

/**
 * An error as its rank is to show it: that of a broken wait names the rank that broke it, for which it waits
 * some seconds to hear from that one.
 */
export async function explain(world: World, error: unknown): Promise<unknown> {
  return (await endingOf(world)?.explain(error)) ?? error;
}

/**
 * Tells the other ranks of an error that ends this one, and blocks until they have ended, so that it is shown
 * last. Returns it with this rank's name. Under a launcher of ours, which does all that, it passes unchanged.
 */
export function lastWords(world: World, error: unknown): unknown {
  return endingOf(world)?.fail(error) ?? error;
}

/** Says that this process is for the run of this world alone: it may be ended when another rank has failed. */
export function dedicate(world: World): void {
  const ending = endingOf(world);
  if (ending) ending.isOurs = true;
}

/** Says that a signal is to end the run of this world: a rank that cannot take part is then named soon. */
export function expectEnd(world: World): void {
  endingOf(world)?.expectEnd();
}

/** A world of one, for a process that has met no others. */
export const alone: World = new ConnectedWorld(
  { rank: 0, worldSize: 1, localRank: 0, localWorldSize: 1 },
  1,
  undefined,
  undefined,
  600,
);
