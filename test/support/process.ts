// Starts processes, and reads what they write until they end.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export interface Ended {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** Since the start. */
  seconds: number;
}

/** A process, what it has written so far, and its end. */
export interface Run {
  child: ChildProcess;
  stdout: string;
  stderr: string;
  ended: Promise<Ended>;
}

type Output = "pipe" | "ignore" | "inherit" | number;

export interface StartOptions {
  cwd?: string;
  /** Variables on top of this process' own without those of any launcher; undefined takes one away. */
  env?: Record<string, string | undefined>;
  stdout?: Output;
  stderr?: Output;
  /** Runs as long as the tests of the file: its standard input ends with this process. */
  lasting?: boolean;
}

export function start(
  [file, ...args]: readonly string[],
  { cwd, env, stdout = "pipe", stderr = "pipe", lasting = false }: StartOptions = {},
): Run {
  const begun = performance.now();
  const child = spawn(file!, args, {
    cwd,
    env: { ...launcherFree(), ...env },
    stdio: [lasting ? "pipe" : "ignore", stdout, stderr],
    // Only what hangs takes so long.
    ...(lasting ? {} : { timeout: 500_000 }),
    killSignal: "SIGKILL",
  });
  const run: Run = {
    child,
    stdout: "",
    stderr: "",
    ended: new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (status, signal) => {
        const seconds = (performance.now() - begun) / 1000;
        resolve({ status, signal, stdout: run.stdout, stderr: run.stderr, seconds });
      });
    }),
  };
  for (const name of ["stdout", "stderr"] as const)
    child[name]?.setEncoding("utf8").on("data", (text) => {
      run[name] += text;
    });
  return run;
}

/** Signals several processes as if at one moment: none of them runs before all have the signal. */
export function signalAll(signals: readonly (readonly [Run, NodeJS.Signals])[]): void {
  for (const [run] of signals) run.child.kill("SIGSTOP");
  for (const [run, signal] of signals) run.child.kill(signal);
  for (const [run] of signals) run.child.kill("SIGCONT");
}

/** Names of variables by which launchers say what a process is, or how it is to meet the others. */
const launchers =
  /RANK|WORLD|SLURM|MASTER|ONEHOUR|_SOCKET_IFNAME$|^(PET_|JOB_COMPLETION|KUBERNETES|PMI|PALS|FLUX|TORCHELASTIC)/;

/** This process' environment without the variables of any launcher. */
export function launcherFree(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !launchers.test(name)));
}

/** The variables of rank `rank` of two on this machine, as torchrun sets them. */
export const torchrun = (rank: number, port: number | string, host = "127.0.0.1") => ({
  ...{ RANK: String(rank), WORLD_SIZE: "2", LOCAL_RANK: String(rank), LOCAL_WORLD_SIZE: "2" },
  ...{ MASTER_ADDR: host, MASTER_PORT: String(port) },
});

/** A port of this machine on which nothing listens. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

/** A compiled module of the package as a program imports it: its URL in quotes. */
export const compiled = (name: string) =>
  JSON.stringify(new URL(`../../dist/${name}.js`, import.meta.url).href);

/** Resolves when `condition` holds; throws after `seconds`. */
export async function until(condition: () => boolean, seconds = 300): Promise<void> {
  const deadline = performance.now() + seconds * 1000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not true after ${seconds} s: ${condition}`);
    await sleep(20);
  }
}

/** Whether a process that was started here has ended. */
export const hasEnded = ({ child }: Run) => child.exitCode !== null || child.signalCode !== null;

/** Whether a process exists and is not merely waiting for its parent to notice its end. */
export function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

/** The processes that `pid` started, in that order. */
export function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return text === "" ? [] : text.split(" ").map(Number);
}

export function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1) ?? "";
}
