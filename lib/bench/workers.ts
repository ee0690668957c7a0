// Starts k worker processes of `onehour` that run training steps when the benchmark asks them to.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { OnehourError } from "../errors.js";
import { launch } from "../ranks/launch.js";
import type { Contender, Round, StepSettings } from "./contender.js";

/** Handed to a worker as its only argument. */
export interface WorkerSettings extends StepSettings {
  /** Unix socket on which the benchmark says how many steps to run. */
  control: string;
}

/** What the workers compute on. */
export interface Device {
  name: string;
  kind: "cpu" | "cuda";
}

/** The first line of a worker on the control socket. */
export interface WorkerHello {
  device: Device;
  plannedBytes: number;
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

/** Starts k workers and waits until each has loaded its programs. */
export async function startWorkers(
  workers: number,
  settings: StepSettings,
): Promise<Contender & { device: Device }> {
  const folder = mkdtempSync(join(tmpdir(), "onehour-bench-"));
  const control = join(folder, "control");
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(control, resolve));
  const accepted = accept(server, workers);

  const argument = JSON.stringify({ ...settings, control } satisfies WorkerSettings);
  const program = fileURLToPath(new URL("./throughput-worker.js", import.meta.url));
  let failure: OnehourError | undefined;
  const ended = launch({
    workers,
    command: () => [program, argument],
    timeoutSeconds: 600,
    remedy: "measure a smaller --batch",
    onLine: (_rank, line) => process.stderr.write(`${line}\n`),
    onFailure: (cause, code = "ERR_ONEHOUR_WORKERS") => {
      failure = new OnehourError(code, cause);
    },
  }).finally(() => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const failed = ended.then((status) => {
    throw (
      failure ??
      new OnehourError("ERR_ONEHOUR_WORKERS", `the workers ended early, with status ${status}`)
    );
  });
  failed.catch(() => {});
  // Everything that waits for workers also ends when they do.
  const all = <T>(answers: Promise<T>[]) => Promise.race([Promise.all(answers), failed]);

  const connected = await Promise.race([accepted, failed]);
  const hellos = await all(connected.map((worker) => worker.receive<WorkerHello>()));
  return {
    name: "onehour",
    workers,
    device: hellos[0]!.device,
    plannedBytes: Math.max(...hellos.map(({ plannedBytes }) => plannedBytes)),
    async run(steps) {
      for (const worker of connected) worker.send({ steps });
      const rounds = await all(connected.map((worker) => worker.receive<Round>()));
      return {
        seconds: Math.max(...rounds.map(({ seconds }) => seconds)),
        peakBytes: Math.max(...rounds.map(({ peakBytes }) => peakBytes)),
      };
    },
    async close() {
      for (const worker of connected) worker.end();
      await ended;
    },
  };
}
