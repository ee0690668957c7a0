// Starts the worker processes of `onehour bench throughput`: one world of the largest number of workers, of
// which each smaller number is a group while the others idle.
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { OnehourError } from "../errors.js";
import { launch } from "../ranks/launch.js";
import { nameOf } from "../recipe/voice.js";
import { inTemporaryFolder } from "../system/temporary-folder.js";
import type { Contender, Round, StepSettings } from "./contender.js";
import type { StepParts } from "./parts.js";
import type { Count, Variant } from "./variants.js";

/** Handed to a worker as its only argument. */
export interface WorkerSettings extends Omit<StepSettings, "batch"> {
  /** In rising order; the last is the size of the world. */
  counts: readonly Count[];
  /** Whether rank 0 measures the device's peak at the start. */
  measuresPeak: boolean;
  /** Unix socket on which the benchmark says what to run. */
  control: string;
}

/** What the workers compute on. */
export interface Device {
  name: string;
  kind: "cpu" | "cuda";
}

/** The first line of a worker on the control socket. */
export interface Hello {
  rank: number;
  device: Device;
  /** Of the programs that it takes part in. */
  plannedBytes: number;
  /** The device's peak in floating-point operations a second, where it was measured. */
  rate: number | undefined;
}

/** Asks a worker to run a number's program, or without `steps` to measure its instructions. */
export interface Request {
  variant: Variant;
  workers: number;
  steps?: number;
}

/** One line of JSON a message, in both directions. */
class Worker {
  private readonly lines;

  constructor(private readonly socket: Socket) {
    socket.on("error", () => {});
    this.lines = createInterface(socket)[Symbol.asyncIterator]();
  }

  send(message: unknown): void {
    this.socket.write(`${JSON.stringify(message)}\n`);
  }

  async receive<T>(): Promise<T> {
    const { value, done } = await this.lines.next();
    // The launcher's error says why a worker ended, and ends this wait.
    return done ? new Promise<never>(() => {}) : JSON.parse(value);
  }

  end(): void {
    this.socket.end();
  }
}

function accept(server: Server, count: number): Promise<Worker[]> {
  return new Promise((resolve) => {
    const workers: Worker[] = [];
    server.on("connection", (socket) => {
      workers.push(new Worker(socket));
      if (workers.length === count) resolve(workers);
    });
  });
}

/** The processes of all counts. */
export interface Crew {
  readonly device: Device;
  /** The device's peak in floating-point operations a second; NaN where it was not measured. */
  readonly peak: number;
  /** A number of workers, with its collectives or with these left out. */
  contender(workers: number, variant?: Variant): Contender;
  /** Measures the step of a number of workers without its collectives, instruction by instruction. */
  measure(workers: number): Promise<StepParts>;
  close(): Promise<void>;
}

interface Started {
  connected: Worker[];
  /** Resolves when the processes have ended. */
  ended: Promise<unknown>;
  /** Rejects when they have. */
  failed: Promise<never>;
}

/** Starts the processes and waits until each has connected, from when on the socket needs no file. */
async function connectWorkers(
  size: number,
  settings: Omit<WorkerSettings, "control">,
): Promise<Started> {
  const server = createServer();
  return await inTemporaryFolder(async (folder) => {
    const control = join(folder, "control");
    await once(server.listen(control), "listening");
    const accepted = accept(server, size);
    const argument = JSON.stringify({ ...settings, control } satisfies WorkerSettings);
    const program = fileURLToPath(new URL("./throughput-worker.js", import.meta.url));
    let failure: OnehourError | undefined;
    const ended = launch({
      workers: size,
      command: () => [program, argument],
      timeoutSeconds: 600,
      remedy: `measure a smaller ${nameOf("batch")}`,
      onLine: (_rank, line) => process.stderr.write(`${line}\n`),
      onFailure: (cause, code = "ERR_ONEHOUR_WORKERS") => {
        failure = new OnehourError(code, cause);
      },
    });
    const failed = ended.then((status) => {
      throw (
        failure ??
        new OnehourError("ERR_ONEHOUR_WORKERS", `the workers ended early, with status ${status}`)
      );
    });
    failed.catch(() => {});
    return { connected: await Promise.race([accepted, failed]), ended, failed };
  }).finally(() => server.close());
}

/** Starts the workers and waits until each has loaded its programs. */
export async function startWorkers(
  counts: readonly Count[],
  settings: StepSettings,
  measuresPeak = false,
): Promise<Crew> {
  const size = counts.at(-1)!.workers;
  const { connected, ended, failed } = await connectWorkers(size, {
    ...settings,
    counts,
    measuresPeak,
  });
  // Everything that waits for workers also ends when they do.
  const all = <T>(answers: Promise<T>[]) => Promise.race([Promise.all(answers), failed]);

  const met = await all(
    connected.map(async (worker) => ({ worker, hello: await worker.receive<Hello>() })),
  );
  met.sort((a, b) => a.hello.rank - b.hello.rank);
  const ask = <T>(request: Request): Promise<T[]> => {
    const group = met.slice(0, request.workers).map(({ worker }) => worker);
    for (const worker of group) worker.send(request);
    return all(group.map((worker) => worker.receive<T>()));
  };
  const [first] = met as [(typeof met)[number]];
  return {
    device: first.hello.device,
    peak: first.hello.rate ?? Number.NaN,
    contender: (workers, variant = "step") => ({
      name: variant === "step" ? "onehour" : "onehour, collectives left out",
      workers,
      minibatch: workers * counts.find((count) => count.workers === workers)!.batch,
      // The last of a group takes part in no smaller number.
      plannedBytes: met[workers - 1]!.hello.plannedBytes,
      async run(steps) {
        const rounds = await ask<Round>({ variant, workers, steps });
        const slowest = rounds.reduce((a, b) => (b.seconds > a.seconds ? b : a));
        return { ...slowest, peakBytes: rounds.at(-1)!.peakBytes };
      },
    }),
    async measure(workers) {
      const [parts] = await ask<StepParts>({ variant: "alone", workers });
      return parts!;
    },
    async close() {
      for (const { worker } of met) worker.end();
      await ended;
    },
  };
}
