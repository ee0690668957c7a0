// `connect()`: the public way into a run of several ranks, for scripts and for training.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { bytesOf } from "../arrays/bytes-of.js";
import { isDeviceArray } from "../device/communicator.js";
import type { Device, DeviceArray, NativeCommunicator } from "../device/device.js";
import { isBuilt, native } from "../device/native.js";
import { openDevice } from "../device/open.js";
import { OnehourError } from "../errors.js";
import { readSetting } from "../system/variables.js";
import { plural } from "../text/words.js";
import { type RendezvousAddress, readEnvironment } from "./environment.js";
import { introduce } from "./introduce.js";
import { nameRanks, type Rendezvous } from "./rendezvous.js";
import { joinRendezvous } from "./rendezvous-client.js";
import { hostRendezvous, type RendezvousServer } from "./rendezvous-server.js";
import { hasLauncher } from "./report.js";
import { Solitude } from "./solitude.js";

/** Arrays that are summed over ranks: of the host, or of a device. */
type Summable = Float32Array | Float64Array | Int32Array | DeviceArray;

export interface ConnectOptions {
  /**
   * Seconds to wait for ranks that do not come; ONEHOUR_TIMEOUT, else 60, by default. Under
   * `onehour launch` and `onehour train` the launcher watches over progress instead: it ends a run in which
   * a rank makes none for as long.
   */
  timeoutSeconds?: number;
}

/** All ranks of a run, as one of them sees them. Every rank makes the same calls in the same order. */
export interface World {
  /** From 0 to `worldSize` − 1. */
  readonly rank: number;
  readonly worldSize: number;
  /** The rank among the processes of this machine. */
  readonly localRank: number;
  readonly localWorldSize: number;
  readonly rendezvous: Rendezvous;
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

// A launcher that watches progress ends a hang itself, and knows a long step from one.
const supervisedSeconds = 100 * 3600;
// Node's timers end at once when they are to last longer than 2³¹ ms.
const longestTimer = 2e6;
// Elsewhere nobody does: a collective then gives up after this many timeouts.
const unsupervisedFactor = 10;

/**
 * Meets the other ranks of this run and returns the world; a process that no launcher started is a
 * world of one and needs no network. A process is in one world at a time: to meet again, every rank
 * closes its world first.
 *
 * @throws OnehourError ERR_ONEHOUR_ENVIRONMENT for launcher variables that make no sense,
 * ERR_ONEHOUR_RENDEZVOUS naming the ranks that did not come.
 */
export async function connect(options: ConnectOptions = {}): Promise<World> {
  const place = readEnvironment();
  const { rank, worldSize, localRank, localWorldSize } = place;
  // Devices divide this machine's cores by it, whoever started the ranks.
  process.env.ONEHOUR_LOCAL_WORLD_SIZE ??= String(localWorldSize);
  // Devices choose their GPU by it.
  process.env.ONEHOUR_LOCAL_RANK ??= String(localRank);
  const asked = options.timeoutSeconds ?? readSetting("ONEHOUR_TIMEOUT") ?? 60;
  if (!(asked > 0)) throw usage(`a timeout of ${asked} seconds, expected a number above 0`);
  const timeoutSeconds = Math.min(asked, longestTimer);
  const collectiveSeconds = hasLauncher() ? supervisedSeconds : timeoutSeconds * unsupervisedFactor;
  let server: RendezvousServer | undefined;
  let rendezvous: Rendezvous = new Solitude();
  let hosts = 1;

  if (place.rendezvous !== undefined) {
    const { host, port } = place.rendezvous;
    const token = place.rendezvous.token ?? identity(`${place.source} ${host} ${port}`);
    if (rank === 0 && place.source !== "onehour")
      server = await hostRendezvous({ worldSize, token, host, port, timeoutSeconds });
    rendezvous = await joinRendezvous({ rank, worldSize, token, host, port, timeoutSeconds });
    hosts = new Set((await gathered(rendezvous, "meet", thisHost())).map(String)).size;
    if (rank === 0) warn(place.rendezvous, hosts);
    // Collectives listen where this machine is reached, unless ONEHOUR_HOST says where.
    process.env.ONEHOUR_OWN_ADDRESS = server?.reachedAt ?? rendezvous.localAddress;
  }
  return new ConnectedWorld(
    { rank, worldSize, localRank, localWorldSize },
    hosts,
    rendezvous,
    server,
    collectiveSeconds,
  );
}

/** What the native side tells machines by, too. */
function thisHost(): string {
  let start = hostname();
  try {
    start = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    // A sandbox without it.
  }
  return `${start} ${process.env.ONEHOUR_HOST ?? ""}`;
}

/** Says, once a run, what keeps nobody out. */
function warn({ token }: RendezvousAddress, hosts: number): void {
  if (token === undefined)
    process.emitWarning(
      "ONEHOUR_TOKEN is not set, so whoever can reach the ranks and guess the public name of this " +
        "job may join them. Set it to the same random text for all ranks",
      { code: "ONEHOUR_TOKEN" },
    );
  if (hosts > 1)
    process.emitWarning(
      `the ranks are on ${hosts} hosts. What they send each other is not encrypted: the network ` +
        "between the hosts must be one that you trust (SECURITY.md)",
      { code: "ONEHOUR_NETWORK" },
    );
}

/** Stands for a secret where the launcher gives none: it only keeps strangers' runs apart. */
function identity(meeting: string): string {
  const { TORCHELASTIC_RUN_ID, SLURM_JOB_ID, PMIX_NAMESPACE } = process.env;
  const parts = [meeting, TORCHELASTIC_RUN_ID, SLURM_JOB_ID, PMIX_NAMESPACE];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

function gathered(rendezvous: Rendezvous, key: string, value: string): Promise<Buffer[]> {
  return native.whileWaiting(() => rendezvous.gather(key, value));
}

type Place = Pick<World, "rank" | "worldSize" | "localRank" | "localWorldSize">;

class ConnectedWorld implements World {
  readonly rank: number;
  readonly worldSize: number;
  readonly localRank: number;
  readonly localWorldSize: number;
  readonly rendezvous: Rendezvous;
  private own: Promise<NativeCommunicator> | undefined;
  private readonly byDevice = new Map<Device, Promise<NativeCommunicator>>();
  private device: Device | undefined;
  /** What was said of communicators. */
  private readonly told = new Set<string>();
  // Operations run one after another, in the order of the calls.
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    place: Place,
    /** Machines that the ranks are on. */
    private readonly hosts: number,
    rendezvous: Rendezvous,
    private readonly server: RendezvousServer | undefined,
    private readonly collectiveSeconds: number,
  ) {
    this.rank = place.rank;
    this.worldSize = place.worldSize;
    this.localRank = place.localRank;
    this.localWorldSize = place.localWorldSize;
    this.rendezvous = {
      rank: place.rank,
      worldSize: place.worldSize,
      localAddress: rendezvous.localAddress,
      gather: (key, value) =>
        place.worldSize === 1
          ? rendezvous.gather(key, value)
          : native.whileWaiting(() => rendezvous.gather(key, value)),
      exchange: (key, value) => native.whileWaiting(() => rendezvous.exchange(key, value)),
      announce: (key, value) => rendezvous.announce(key, value),
      listen: (key, listener) => rendezvous.listen(key, listener),
      close: () => rendezvous.close(),
    };
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
    const values = await this.rendezvous.gather(`agree ${name}`, value);
    const texts = values.map((bytes) => bytes.toString());
    differ(
      texts,
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
    );
    if (this.worldSize === 1) return communicator;
    if (this.rank === 0 && communicator.remark !== "" && !this.told.has(communicator.remark)) {
      this.told.add(communicator.remark);
      process.emitWarning(communicator.remark, { code: "ONEHOUR_COLLECTIVES" });
    }
    await introduce(communicator, this.rendezvous, `communicator ${name}`, this.rank - place);
    return communicator;
  }

  async close(): Promise<void> {
    await this.last.catch(() => {});
    await this.rendezvous.close();
    await this.server?.close();
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
    if (this.worldSize === 1) return Promise.resolve();
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
    const result = this.last.then(run);
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

/** Throws if a rank's text is not rank 0's; `tell` words it for the first kind that differs. */
function differ(
  texts: readonly string[],
  tell: (first: string, other: string, ranks: string) => string,
): void {
  const first = texts[0]!;
  const other = texts.find((text) => text !== first);
  if (other === undefined) return;
  const ranks = texts.flatMap((text, rank) => (text === other ? [rank] : []));
  throw new OnehourError("ERR_ONEHOUR_RANKS_DIFFER", tell(first, other, nameRanks(ranks)));
}

function isTypedArray(data: unknown): data is NodeJS.TypedArray {
  return ArrayBuffer.isView(data) && !(data instanceof DataView);
}

/** "Float32Array[10]", or "f32[10] on cuda". */
function kind(data: unknown): string {
  if (isDeviceArray(data)) return `${data.type}[${data.length}] on ${data.device.properties.kind}`;
  return isTypedArray(data) ? `${data.constructor.name}[${data.length}]` : typeof data;
}

function usage(message: string): OnehourError {
  return new OnehourError("ERR_ONEHOUR_USAGE", message);
}
