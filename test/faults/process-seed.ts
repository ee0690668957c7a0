// Runs one seed of a real run in processes of its own: one of them is killed, stopped or
// disconnected, or strangers connect to every open port; then the run is resumed.
import type { ChildProcess } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { start } from "../support/process.js";
import { Draws } from "./draws.js";
import { type Greeting, greetings, visit } from "./sockets.js";
import { difference, run, type Trace, traceOf, trainings, unnamed } from "./training.js";

export interface ProcessPlan {
  /** The process that the fault hits. */
  rank: "launcher" | "0" | "1";
  /** The kind of operation, and how many of it succeed first. */
  on: "files" | "sockets";
  after: number;
  what: "SIGKILL" | "SIGSTOP" | "reset";
  /** Whether a stopped process is continued, or left for the launcher to detect. */
  continues: boolean;
  strangers: Greeting[];
}

function drawProcess(draws: Draws): ProcessPlan {
  const on = draws.pick(["files", "sockets"] as const);
  return {
    rank: on === "files" ? "0" : draws.pick(["launcher", "0", "1"]),
    on,
    after: draws.below(on === "files" ? 40 : 20),
    what: draws.pick(on === "files" ? ["SIGKILL", "SIGSTOP"] : ["SIGKILL", "SIGSTOP", "reset"]),
    continues: draws.chance(0.7),
    strangers: draws.chance(0.5)
      ? [draws.pick(Object.keys(greetings) as Greeting[]), "numbers"]
      : [],
  };
}

const main = fileURLToPath(new URL("../../lib/cli/main.js", import.meta.url));
const program = existsSync(main) ? main : main.replace("/lib/", "/dist/");

/** The command line of the training "pair". */
function commandOf(out: string, { what, continues }: ProcessPlan): string[] {
  const { dataset, model, batch, workers, epochs, milestones } = trainings.pair;
  const { momentumForm, emaDecay } = trainings.pair;
  const flags = {
    ...{ model, batch, workers, epochs, milestones },
    ...{ "momentum-form": momentumForm, "ema-decay": emaDecay },
  };
  return [
    ...[program, "train", dataset!, "--device", "cpu", "--threads", "1"],
    ...["--timeout", what === "SIGSTOP" && !continues ? "3" : "60"],
    ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]),
    ...["--noise-scale", "--out", out],
  ];
}

const read = (file: string) => {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // the process is gone
  }
};

/** A process and all its descendants. */
function tree(pid: number): number[] {
  const children = read(`/proc/${pid}/task/${pid}/children`).trim().split(" ").filter(Boolean);
  return [pid, ...children.flatMap((child) => tree(Number(child)))];
}

const isStopped = (pid: number) => /\) T /.test(read(`/proc/${pid}/stat`));

/** TCP ports on which a process listens. */
function portsOf(pid: number): number[] {
  let descriptors: string[] = [];
  try {
    descriptors = readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return "";
      }
    });
  } catch {
    // It is gone.
  }
  const own = new Set(descriptors.flatMap((name) => /^socket:\[(\d+)\]$/.exec(name)?.[1] ?? []));
  const lines = ["tcp", "tcp6"].flatMap((name) => read(`/proc/${pid}/net/${name}`).split("\n"));
  return lines.flatMap((line) => {
    const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
    return state === "0A" && own.has(inode) ? [Number.parseInt(local.split(":")[1]!, 16)] : [];
  });
}

/** Watches a run's processes until it ends: continues stopped ones, connects to open ports. */
async function follow(child: ChildProcess, plan: ProcessPlan): Promise<void> {
  const visited = new Set<number>();
  while (child.exitCode === null && child.signalCode === null) {
    for (const pid of tree(child.pid!)) {
      // Nobody watches the launcher, so it is always continued.
      if (isStopped(pid) && (plan.continues || pid === child.pid)) process.kill(pid, "SIGCONT");
      for (const port of plan.strangers.length > 0 ? portsOf(pid) : []) {
        if (visited.has(port)) continue;
        visited.add(port);
        for (const greeting of plan.strangers) void visit(port, greeting);
      }
    }
    await sleep(20);
  }
}

/** Runs a seed; throws where the product breaks a promise. */
export async function processSeed(
  seed: number,
  out: string,
  unbroken: Trace,
  report: (plan: ProcessPlan) => void,
): Promise<void> {
  const plan = drawProcess(new Draws(seed));
  report(plan);
  const inject = new URL("inject.mjs", import.meta.url).href;
  const { child, ended } = start([process.execPath, ...commandOf(out, plan)], {
    env: { NODE_OPTIONS: `--import=${inject}`, ONEHOUR_FAULTS_PROCESS: JSON.stringify(plan) },
  });
  await follow(child, plan);
  const { status, signal, stdout, stderr } = await ended;
  const text = `${stdout}${stderr}`;
  const broke = plan.what !== "SIGSTOP" || !plan.continues;
  const problem =
    status === 0 || signal === "SIGKILL"
      ? undefined
      : status !== 1
        ? `it ended with ${signal ?? `status ${status}`}`
        : !broke
          ? "it failed, although nothing broke"
          : /\n\s+at /.test(text) || !/^onehour: /.test(text.trim().split("\n").at(-1)!)
            ? "it failed with a raw error"
            : undefined;
  if (problem !== undefined) throw new Error(`${problem}:\n${text}`);

  // At once: what is left of the processes may not write any more.
  const { status: end, error } = await run("pair", out, existsSync(`${out}/recipe.json`));
  if (end !== "finished")
    throw new Error(`it cannot go on: ${error && (unnamed(error) ?? error.stack)}`);
  const other = difference(unbroken, await traceOf(out), { holes: false, wrong: false });
  if (other !== undefined) throw new Error(other);
}
