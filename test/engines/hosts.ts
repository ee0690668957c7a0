// Hosts that are namespaces of this machine: each has its own network, host name, processes and
// shared memory, and a cable to a switch. Runs inside those of scripts/namespaces.
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  childrenOf,
  hasEnded,
  type Run,
  type StartOptions,
  start,
  until,
} from "../support/process.js";

/** Runs a command to its end; throws if it fails. */
export const sh = (command: string, ...args: string[]) =>
  execFileSync("sh", ["-ec", command, "sh", ...args], { encoding: "utf8" });

/** A switch that hosts are plugged into; `address` is the one that it has itself, as 10.77.0.254/24. */
export class Switch {
  constructor(
    readonly name: string,
    address?: string,
  ) {
    sh('ip link add "$1" type bridge; ip link set "$1" up', name);
    if (address !== undefined) sh('ip address add "$2" dev "$1"', name, address);
  }

  remove(): void {
    sh('ip link delete "$1"', this.name);
  }
}

/** A host's network card: the switch that it is plugged into and its addresses. */
export interface Card {
  to: Switch;
  /** With their prefixes, as 10.77.0.1/24. */
  addresses: string[];
}

export interface HostOptions {
  /** eth0, eth1, …, in this order. */
  cards: Card[];
  /** The lines of its /etc/hosts; by default that of the machine in front. */
  etcHosts?: string;
}

// Where the stand-in for ssh finds a host's first process.
const pids = "/run/host-pids";

const boot = `
hostname "$1"
mount -t tmpfs tmpfs /dev/shm
mount --bind "$2/boot_id" /proc/sys/kernel/random/boot_id
[ ! -e "$2/hosts" ] || mount --bind "$2/hosts" /etc/hosts
ip link set lo up
echo up
# Until the test process ends, or powers it off.
exec bash -c 'read -r _'`;

/** One machine. Powering it off ends its processes at once, and its peers hear nothing. */
export class Host {
  private constructor(
    readonly name: string,
    private readonly init: Run,
    readonly pid: number,
    private readonly folder: string,
    readonly cards: readonly Card[],
  ) {}

  static async start(name: string, { cards, etcHosts }: HostOptions): Promise<Host> {
    const folder = join(tmpdir(), `host-${name}-${randomBytes(4).toString("hex")}`);
    mkdirSync(folder);
    writeFileSync(join(folder, "boot_id"), `${crypto.randomUUID()}\n`);
    if (etcHosts !== undefined) writeFileSync(join(folder, "hosts"), etcHosts);
    const namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child"];
    const init = start(
      ["unshare", ...namespaces, "--mount-proc", "bash", "-ec", boot, "boot", name, folder],
      { lasting: true },
    );
    await until(() => init.stdout.includes("up") || hasEnded(init), 120);
    if (hasEnded(init)) throw new Error(`host ${name} does not start: ${init.stderr}`);
    const pid = childrenOf(init.child.pid!)[0]!;
    const host = new Host(name, init, pid, folder, cards);
    try {
      for (const index of cards.keys()) host.plug(index);
    } catch (error) {
      await host.kill();
      throw error;
    }
    mkdirSync(pids, { recursive: true });
    writeFileSync(join(pids, name), `${pid}\n`);
    return host;
  }

  /** The words that run a command here. */
  words(command: readonly string[]): string[] {
    return [...enter(String(this.pid)), ...command];
  }

  start(command: readonly string[], options: StartOptions = {}): Run {
    return start(this.words(command), options);
  }

  /** Gives the host a disk of its own at this path of a folder, which ends with it. */
  mountDisk(path: string): void {
    mkdirSync(path, { recursive: true });
    this.run("mount", "-t", "tmpfs", "tmpfs", path);
  }

  /** A path as this host sees it, for the test process. */
  path(path: string): string {
    return `/proc/${this.pid}/root${path}`;
  }

  /** Whether a Node process here has `text` in its command line. */
  runs(text: string): boolean {
    return this.find(text) !== undefined;
  }

  /** Sends a signal to the Node process here that has `text` in its command line, the first one. */
  signal(name: string, text: string): void {
    this.run("kill", "-s", name, this.pidOf(text));
  }

  /** Sends it to the last process that this one has started: a worker. */
  signalWorker(name: string, text: string): void {
    this.run("pkill", `-${name}`, "--newest", "--parent", this.pidOf(text));
  }

  private pidOf(text: string): string {
    const pid = this.find(text);
    if (pid === undefined)
      throw new Error(`no Node process on ${this.name} has ${text} in its command line`);
    return pid;
  }

  /** Undefined where there is none, or the host is off. */
  private find(text: string): string | undefined {
    if (hasEnded(this.init)) return undefined;
    const [file, ...words] = this.words(["pgrep", "--oldest", "--full", `^[^ ]*node .*${text}`]);
    return spawnSync(file!, words, { encoding: "utf8" }).stdout.trim() || undefined;
  }

  /** Runs a short command here; throws if it fails. */
  private run(...command: readonly string[]): void {
    const [file, ...words] = this.words(command);
    execFileSync(file!, words, { encoding: "utf8" });
  }

  /** Takes the cable out of the switch; the host does not see it. */
  unplug(card = 0): void {
    sh('ip link set "$1" nomaster', this.cable(card));
  }

  replug(card = 0): void {
    sh('ip link set "$1" master "$2"', this.cable(card), this.cards[card]!.to.name);
  }

  async powerOff(): Promise<void> {
    // First of all: the kernel closes the connections of processes that it ends.
    if (!hasEnded(this.init)) for (const index of this.cards.keys()) this.unplug(index);
    await this.kill();
  }

  private async kill(): Promise<void> {
    if (!hasEnded(this.init)) process.kill(this.pid, "SIGKILL");
    await this.init.ended;
    rmSync(this.folder, { recursive: true, force: true });
  }

  private plug(index: number): void {
    const { addresses } = this.cards[index]!;
    const names = [this.cable(index), `eth${index}`, String(this.pid)];
    sh('ip link add "$1" type veth peer name "$2" netns "$3"; ip link set "$1" up', ...names);
    this.replug(index);
    const inside = (command: string, ...args: string[]) =>
      execFileSync("nsenter", ["-t", String(this.pid), "-n", "sh", "-ec", command, "sh", ...args]);
    for (const address of addresses)
      inside(
        'ip address add "$2" dev "$1" $(case $2 in *:*) echo nodad; esac)',
        `eth${index}`,
        address,
      );
    inside('ip link set "$1" up', `eth${index}`);
  }

  /** The name of the other end of a card's cable, on this machine. */
  cable(card = 0): string {
    // Linux takes 15 characters, and names of pods are longer.
    return `${this.pid}-${card}`;
  }
}

const enter = (pid: string) => ["nsenter", "-t", pid, "-m", "-u", "-i", "-n", "-p"];

/**
 * Writes a stand-in for ssh, which runs a command on the host of that name, and returns its path.
 */
export function writeSsh(folder: string): string {
  const path = join(folder, "ssh");
  writeFileSync(
    path,
    `#!/bin/sh
while :; do case $1 in -l | -p | -o) shift 2 ;; -*) shift ;; *) break ;; esac done
pid=$(cat ${pids}/"$1") || exit 255
shift
exec ${enter('"$pid"').join(" ")} sh -c "$*"
`,
    { mode: 0o755 },
  );
  return path;
}
