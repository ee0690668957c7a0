// A cluster of Slurm: munged and slurmctld on the machine in front, one slurmd on each host.
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { writeFiles } from "../support/folder.js";
import { hasEnded, type Run, type StartOptions, start, until } from "../support/process.js";
import type { Cluster } from "./cluster.js";
import { sh } from "./hosts.js";

const configuration = (folder: string, { addresses, hosts }: Cluster) => `
ClusterName=test
SlurmctldHost=${hostname()}(${addresses.front})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
StateSaveLocation=${folder}/state
SlurmdSpoolDir=${folder}/spool/%n
SlurmctldPidFile=${folder}/ctld.pid
SlurmdPidFile=${folder}/%n.pid
SlurmctldLogFile=${folder}/ctld.log
SlurmdLogFile=${folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0
ReturnToService=2
KillWait=5
SlurmdTimeout=20
JobRequeue=1
LaunchParameters=use_interactive_step
SlurmdParameters=config_overrides
${hosts.map(({ name }, index) => `NodeName=${name} NodeAddr=${addresses.of(index + 1)} CPUs=4 RealMemory=2000 State=UNKNOWN`).join("\n")}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
`;

export class Slurm {
  /** What tells Slurm's commands of this cluster. */
  readonly env: { SLURM_CONF: string };

  private constructor(
    folder: string,
    private readonly daemons: readonly Run[],
  ) {
    this.env = { SLURM_CONF: join(folder, "slurm.conf") };
  }

  static async start(folder: string, cluster: Cluster): Promise<Slurm> {
    const { hosts } = cluster;
    for (const path of ["state", ...hosts.map(({ name }) => `spool/${name}`)])
      mkdirSync(join(folder, path), { recursive: true });
    writeFiles(folder, { "slurm.conf": configuration(folder, cluster) });
    const munged = await startMunge();
    const options = { lasting: true, env: { SLURM_CONF: join(folder, "slurm.conf") } };
    const nodes = hosts.map((host) => host.start(["slurmd", "-D", "-N", host.name], options));
    const daemons = [start(["slurmctld", "-D"], options), munged];
    const slurm = new Slurm(folder, daemons);
    const idle = "sinfo --noheader --states idle --format %D";
    await until(() => slurm.ask(idle) === `${hosts.length}`, 120).catch(() => {
      const said = [...daemons, ...nodes].map(({ stderr }) => stderr);
      const states = slurm.ask("sinfo --long --Node");
      throw new Error(["not all nodes are idle:", states, ...said].join("\n"));
    });
    return slurm;
  }

  /** Starts a command of Slurm's on the machine in front. */
  run(command: readonly string[], options: StartOptions = {}): Run {
    return start(command, { ...options, env: { ...options.env, ...this.env } });
  }

  /** Runs a short command of Slurm's; throws if it fails. */
  tell(command: string): string {
    return sh(`export SLURM_CONF="$1"; ${command}`, this.env.SLURM_CONF).trim();
  }

  /** What such a command answers; undefined where it fails, as all do while slurmctld is slow. */
  private ask(command: string): string | undefined {
    try {
      return this.tell(`${command} 2>/dev/null`);
    } catch {
      return undefined;
    }
  }

  /** Resolves when this job, or every job, has left the queue. */
  async leaves(job?: string): Promise<void> {
    await until(() => {
      // All jobs: squeue fails for one that Slurm has forgotten.
      const queued = this.ask("squeue --noheader --format %A")?.split("\n");
      return queued !== undefined && (job === undefined ? queued[0] === "" : !queued.includes(job));
    });
  }

  /** Ends the daemons in front; those of the hosts end with them. */
  async stop(): Promise<void> {
    for (const { child, ended } of this.daemons) {
      child.kill("SIGTERM");
      await ended;
    }
  }
}

/** Starts munged, by which Slurm's daemons know each other; all hosts share its socket in /run. */
async function startMunge(): Promise<Run> {
  const home = "/run/munge";
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, "key"), randomBytes(64), { mode: 0o600 });
  sh('chown -R munge: "$1"', home);
  const files = ["key", "pid", "seed"].map((file) => `--${file}-file=${join(home, file)}`);
  const munged = start(
    [
      "setpriv",
      "--reuid=munge",
      "--regid=munge",
      "--clear-groups",
      "munged",
      "--foreground",
      ...files,
    ],
    {
      lasting: true,
      cwd: "/",
    },
  );
  await until(() => hasEnded(munged) || sh("munge -n 2>&1 || true").startsWith("MUNGE:"), 120);
  if (hasEnded(munged)) throw new Error(`munged does not start: ${munged.stderr}`);
  return munged;
}
