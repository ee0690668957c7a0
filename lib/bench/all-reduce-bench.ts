// `onehour bench all-reduce`: starts the ranks, or is one of those that an engine has started, and shows what
// they measure.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type DeviceChoice, deviceChoices } from "../device/device.js";
import { defaultWorkers } from "../device/gpus.js";
import { expectDevice, openDevice } from "../device/open.js";
import { OnehourError, UsageError } from "../errors.js";
import { readPart } from "../ranks/cluster.js";
import { type ClusterOptions, refuseOption, restartOptions } from "../ranks/cluster-options.js";
import { connect } from "../ranks/connect.js";
import { launchOn } from "../ranks/launch.js";
import { signalOf } from "../ranks/signals.js";
import type { World } from "../ranks/world.js";
import { requireOptions } from "../recipe/options.js";
import { nameOf, optionName } from "../recipe/voice.js";
import { environment, type MachineEnvironment } from "../system/environment.js";
import { exists } from "../system/exists.js";
import { inTemporaryFolder } from "../system/temporary-folder.js";
import { count, plural, shown } from "../text/words.js";
import { type AllReduceRow, measureAllReduce, sizesBetween } from "./all-reduce.js";
import { type Link, linksOf, listenToNccl } from "./links.js";

export interface AllReduceBenchOptions {
  /** k, on all machines; by default one for each GPU, or 2 on the CPU. */
  workers?: number;
  /** Where the arrays lie; "auto" by default. */
  device?: DeviceChoice;
  /** The smallest array in bytes, a multiple of 4; 1,024 by default. */
  minBytes?: number;
  /** The largest array in bytes; 256 MiB by default. */
  maxBytes?: number;
  /** The machines, as for `launch`, but without restarts; this one alone by default. */
  cluster?: Omit<ClusterOptions, (typeof restartOptions)[number]>;
  /** Called with each row as it is measured, and what is measured, where rank 0 is this process or its child. */
  onRow?: (row: AllReduceRow, of: Pick<AllReduceResult, "workers" | "device">) => void;
}

export interface AllReduceResult {
  workers: number;
  /** The device in whose memory the arrays lie. */
  device: string;
  links: Link[];
  rows: AllReduceRow[];
  environment: MachineEnvironment;
}

const optionNames = [
  ...["workers", "device", "minBytes", "maxBytes", "cluster", "onRow"],
] as const satisfies (keyof AllReduceBenchOptions)[];

/** What a worker is told, as its only argument. */
export interface AllReduceJob {
  device: DeviceChoice;
  sizes: number[];
  /** The node's folder, which its launcher removes: NCCL's log, and the result that rank 0 writes. */
  folder: string;
}

/** The file in a job's folder that rank 0 writes the result to. */
export const resultIn = (folder: string) => join(folder, "result");

const mostBytes = 2 ** 31; // of a typed array that is copied to a device

/**
 * Measures how fast k processes sum arrays, size by size, each twice the one before. Where this process is one
 * of the ranks that `onehour launch` or an engine has started, all of them call it; otherwise it starts the ranks.
 * The result is rank 0's: for other ranks, and nodes other than node 0, it resolves to undefined.
 *
 * @throws OnehourError ERR_ONEHOUR_USAGE for options that cannot be meant, ERR_ONEHOUR_MEMORY for an array that does
 * not fit, or the error of a rank that fails
 */
export async function allReduceBench(
  options: AllReduceBenchOptions = {},
): Promise<AllReduceResult | undefined> {
  requireOptions(options, "allReduceBench", optionNames);
  const { device = "auto", cluster: given } = options;
  if (!deviceChoices.includes(device))
    throw refuse(`${nameOf("device")} is ${shown(device)}, expected ${deviceChoices.join(", ")}`);
  const sizes = readSizes(options);
  const own = () => (expectDevice(device).kind === "cuda" ? defaultWorkers() : 2);
  if (options.workers !== undefined && !(Number.isInteger(options.workers) && options.workers > 0))
    throw refuse(
      `${nameOf("workers")} is ${shown(options.workers)}, expected a whole number of at least 1`,
    );
  for (const name of restartOptions)
    if ((given as ClusterOptions | undefined)?.[name] !== undefined)
      throw refuseOption(name, "a benchmark is not started again; leave it out");
  const part = readPart(given, { workers: options.workers, own });
  if (part.cluster === undefined) requireSameWorkers(options.workers, part.workers!);
  return await inTemporaryFolder(async (folder) => {
    const job = { device, sizes, folder };
    if (part.cluster === undefined) return await measureAsRank(job, options.onRow);
    const workersPerNode = part.workers === undefined ? own() : part.cluster.workersPerNode;
    return await startRanks(options, job, { ...part.cluster, workersPerNode });
  });
}

/** The part of a rank that was started already. */
async function measureAsRank(
  job: AllReduceJob,
  onRow: AllReduceBenchOptions["onRow"],
): Promise<AllReduceResult | undefined> {
  const world = await connect();
  const result = await measureInWorld(world, job, onRow);
  await world.close();
  return world.rank === 0 ? result : undefined;
}

const refuse = (text: string) => new UsageError("ERR_ONEHOUR_USAGE", text);

function readSizes({ minBytes = 1024, maxBytes = 2 ** 28 }: AllReduceBenchOptions): number[] {
  const isSize = (bytes: number) =>
    Number.isSafeInteger(bytes) && bytes >= 4 && bytes % 4 === 0 && bytes <= mostBytes;
  for (const [name, bytes] of Object.entries({ minBytes, maxBytes }))
    if (!isSize(bytes))
      throw refuse(
        `${optionName(name)} is ${shown(bytes)}, expected bytes of whole f32 elements, a multiple of 4 from 4 to ` +
          `${count(mostBytes)}`,
      );
  if (minBytes > maxBytes)
    throw refuse(
      `${optionName("minBytes")}, ${minBytes}, is more than ${optionName("maxBytes")}, ${maxBytes}`,
    );
  return sizesBetween(minBytes, maxBytes);
}

function requireSameWorkers(asked: number | undefined, ranks: number): void {
  if (asked === undefined || asked === ranks) return;
  throw refuse(
    `${plural(asked, "worker")} were asked for, but this is one of ${plural(ranks, "rank")} that were started ` +
      "already; leave the number out",
  );
}

async function startRanks(
  { onRow = () => {} }: AllReduceBenchOptions,
  job: AllReduceJob,
  cluster: NonNullable<ReturnType<typeof readPart>["cluster"]>,
): Promise<AllReduceResult | undefined> {
  let failure: OnehourError | undefined;
  let thrown: { error: unknown } | undefined;
  const program = fileURLToPath(new URL("./all-reduce-worker.js", import.meta.url));
  const status = await launchOn({
    cluster,
    command: () => [program, JSON.stringify(job)],
    facts: { sizes: job.sizes, device: job.device },
    timeoutSeconds: 120,
    remedy: `measure a smaller ${optionName("maxBytes")}`,
    onLine: (rank, line, stream) => {
      const call = rank === 0 && stream === "stdout" ? callIn(line) : undefined;
      if (call === undefined) process.stderr.write(`${line}\n`);
      else if (thrown === undefined)
        try {
          onRow(...call);
        } catch (error) {
          thrown = { error }; // in a stream's listener it would end the process
        }
    },
    onFailure: (cause, code = "ERR_ONEHOUR_WORKERS") => {
      failure = new OnehourError(code, cause);
    },
  });
  if (thrown) throw thrown.error;
  if (failure) throw failure;
  const signal = signalOf(status);
  if (signal) throw new OnehourError("ERR_ONEHOUR_WORKERS", `${signal} ended the benchmark`);
  if (status !== 0)
    throw new OnehourError("ERR_ONEHOUR_WORKERS", `the ranks ended early, with status ${status}`);
  const file = resultIn(job.folder);
  if (!exists(file)) return undefined; // rank 0 is on another node
  return JSON.parse(readFileSync(file, "utf8")) as AllReduceResult;
}

type RowCall = Parameters<NonNullable<AllReduceBenchOptions["onRow"]>>;

/** A row as a line of rank 0's output. */
export const lineOf = (...call: RowCall) => `${JSON.stringify(call)}\n`;

function callIn(line: string): RowCall | undefined {
  try {
    return JSON.parse(line) as RowCall;
  } catch {
    return undefined;
  }
}

/** One rank's part; all ranks get the result. */
export async function measureInWorld(
  world: World,
  { device: choice, sizes, folder }: AllReduceJob,
  onRow: AllReduceBenchOptions["onRow"] = () => {},
): Promise<AllReduceResult> {
  const usesNccl = world.worldSize > 1 && expectDevice(choice).kind === "cuda";
  const ncclLog = usesNccl ? listenToNccl(folder) : () => "";
  using device = openDevice({ device: choice });
  const { worldSize } = world;
  const communicator = await world.communicator("bench", worldSize, device);
  const measured = { workers: worldSize, device: device.properties.name };
  const rows = await measureAllReduce(world, device, communicator, sizes, (row) => {
    if (world.rank === 0) onRow(row, measured);
  });
  const links = await linksOf(world, communicator, ncclLog());
  return { ...measured, links, rows, environment: environment() };
}

/** Throws ERR_ONEHOUR_COLLECTIVE where a sum was wrong. */
export function requireRight({ rows }: AllReduceResult): void {
  const wrong = rows.filter((row) => row.wrong > 0);
  if (wrong.length === 0) return;
  throw new OnehourError(
    "ERR_ONEHOUR_COLLECTIVE",
    `${wrong.map((row) => `${count(row.wrong)} elements of ${count(row.size)} bytes`).join(", ")} were not the ` +
      "sum over the ranks: the memory, a GPU or the network of a machine is at fault. Measure with fewer ranks " +
      "to find which",
  );
}
