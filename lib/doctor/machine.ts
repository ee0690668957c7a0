// Checks what a run takes of the machine: cores, memory, shared memory, open files, and the disk of its folder.
import { statfsSync } from "node:fs";
import { cpus, freemem, totalmem } from "node:os";
import { coreLimits, usableCores } from "../device/cores.js";
import { ownProcessors } from "../device/numa.js";
import { allowedMemory } from "../system/environment.js";
import { mostOpenFiles } from "../system/system-errors.js";
import { quoted } from "../text/command.js";
import { bytesText, plural } from "../text/words.js";
import { ask } from "./ask.js";
import { asRoot, bad, type Check, type Facts, good, type Line, warn } from "./check.js";
import { loads, usableGpus } from "./facts.js";
import type { Answers } from "./probe.js";

/** What keeps a process to fewer cores than there are. */
export interface CoreBounds {
  present: number;
  /** By the affinity mask. */
  allowed: number;
  /** Of the control group; infinite without one. */
  quota: number;
}

export function judgeCores({ present, allowed, quota }: CoreBounds): Line {
  const usable = Math.max(1, Math.min(allowed, Math.floor(quota)));
  const reasons = [
    ...(allowed < present ? [`its affinity leaves ${allowed}`] : []),
    ...(quota < present ? [`its control group's quota is ${quota}`] : []),
  ];
  const why = reasons.length > 0 ? `: ${reasons.join(", ")}` : "";
  const found = `this process may use ${usable} of ${plural(present, "core")}${why}`;
  if (usable > 1 || present === 1) return good("cores", found);
  const isBound = allowed <= quota;
  const advice = isBound
    ? `taskset -cp 0-${present - 1} $$`
    : 'cat "/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/cpu.max"';
  const help = isBound ? "" : "; docker run --cpus or the pod's resources.limits.cpu raise it";
  return warn("cores", `${found}${help}`, advice);
}

function coreBounds(): CoreBounds {
  const quotas = coreLimits().map(({ cores }) => cores);
  const present = Math.max(1, cpus().length, usableCores());
  let allowed = present;
  try {
    allowed = ownProcessors().length;
  } catch {
    // A sandbox without /proc.
  }
  return { present, allowed, quota: Math.min(Number.POSITIVE_INFINITY, ...quotas) };
}

const leastMemory = 1e9;

/** `allowed` is this process' part of the memory in all, `free` what nobody needs now. */
export function judgeMemory(total: number, allowed: number, free: number): Line {
  const bound = allowed < total ? `, of which the control group allows ${bytesText(allowed)}` : "";
  const found = `${bytesText(Math.min(free, allowed))} free of ${bytesText(total)}${bound}`;
  if (Math.min(free, allowed) >= leastMemory) return good("memory", found);
  return warn("memory", `${found}; ResNet-50 takes more`, "ps -eo pid,rss,args --sort=-rss | head");
}

const leastShared = 1e9;

/** Only NCCL works in /dev/shm; the ranks of a CPU share memory that has no name, nor a limit of its own. */
export function judgeShared(size: number | undefined, free: number, gpus: number): Line {
  const name = "/dev/shm";
  const found = size === undefined ? "not here" : `${bytesText(free)} free of ${bytesText(size)}`;
  if (size !== undefined && free >= leastShared) return good(name, found);
  if (gpus < 2)
    return good(name, `${found}; NCCL needs 1 GB between GPUs, the CPU's ranks need none`);
  const advice = `${asRoot}mount -o remount,size=8g /dev/shm`;
  return warn(name, `${found}; NCCL needs 1 GB (docker run --shm-size=8g)`, advice);
}

const fewFiles = 1024;
const leastFiles = 64;

/** Node has raised the soft limit to the hard one by now. */
export function judgeFiles(limit: number): Line {
  const name = "open files";
  const found = `${limit === Number.POSITIVE_INFINITY ? "no limit" : `at most ${limit}`} a process`;
  if (limit >= fewFiles) return good(name, found);
  const advice = `${asRoot}prlimit --pid $$ --nofile=4096:4096`;
  const reason = "each worker, each peer and each image that is read takes some";
  return (limit < leastFiles ? bad : warn)(name, `${found}; ${reason}`, advice);
}

const leastDisk = 2e9;
const secondsOnDisk = 10;

/** What shows why a folder cannot be written, by the system's code; for others it is its file system. */
const showing: Readonly<Record<string, (folder: string) => string>> = {
  EACCES: (folder) => `ls -ld ${quoted(folder)}`,
  EPERM: (folder) => `ls -ld ${quoted(folder)}`,
  ENOSPC: () => "df -h",
  EDQUOT: () => "df -h",
};
const showFileSystem = (folder: string) => `findmnt --target ${quoted(folder)}`;

/** `locks` is undefined where no module loads that could tell. */
export function judgeFolder({ folder, problem, free }: Answers["folder"], locks?: boolean): Line {
  const name = "run folder";
  if (problem !== undefined) {
    const found = `${folder} cannot be written (${problem}); name another with --out`;
    return bad(name, found, (showing[problem] ?? showFileSystem)(folder));
  }
  const found = `${folder} can be written, ${bytesText(free)} free`;
  if (free < leastDisk) {
    const few =
      "the checkpoints of ResNet-50 take 0.8 GB; name a folder of another disk with --out";
    return warn(name, `${found}; ${few}`, "df -h");
  }
  if (locks === false) {
    const unlocked = "its file system has no locks, so nothing keeps two runs out of one folder";
    return warn(name, `${found}; ${unlocked}`, showFileSystem(folder));
  }
  const told = locks ? ", locks files" : "; only a module that loads can try its locks";
  return good(name, `${found}${told}`);
}

async function lookAtFolder({ modules }: Facts): Promise<Line[]> {
  const found = await ask("folder", "runs", secondsOnDisk);
  if (!loads(await modules(), "cpu") || found.problem !== undefined) return [judgeFolder(found)];
  return [judgeFolder(found, await ask("locks", found.folder, secondsOnDisk))];
}

export const machineChecks: readonly Check[] = [
  {
    name: "cores",
    seconds: 2,
    advice: "nproc",
    look: () => [judgeCores(coreBounds())],
  },
  {
    name: "memory",
    seconds: 2,
    advice: "free -m",
    look: () => [judgeMemory(totalmem(), allowedMemory(), freemem())],
  },
  {
    name: "/dev/shm",
    seconds: 10,
    advice: "df -h /dev/shm",
    look: async ({ modules }) => {
      const gpus = usableGpus(await modules()).length;
      try {
        const { blocks, bavail, bsize } = statfsSync("/dev/shm");
        return [judgeShared(blocks * bsize, bavail * bsize, gpus)];
      } catch {
        return [judgeShared(undefined, 0, gpus)];
      }
    },
  },
  {
    name: "open files",
    seconds: 2,
    advice: "ulimit -n",
    look: () => [judgeFiles(mostOpenFiles())],
  },
  {
    name: "run folder",
    seconds: 2 * secondsOnDisk + 1,
    advice: "df -h .",
    look: lookAtFolder,
  },
];
