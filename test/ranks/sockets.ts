// Lists the ports and Unix sockets on which a process and its descendants listen, as the system
// shows them.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Of each process that was seen once. */
const parents = new Map<number, number>();

/** A process and those that it started, and they in turn. */
function family(pid: number): number[] {
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || parents.has(Number(name))) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")")).split(" ")[2]));
    } catch {
      // It has ended.
    }
  }
  const all = [pid];
  for (const one of all) for (const [child, parent] of parents) if (parent === one) all.push(child);
  return all;
}

function lines(path: string): string[][] {
  try {
    const text = readFileSync(path, "utf8").trim().split("\n").slice(1);
    return text.map((line) => line.trim().split(/\s+/));
  } catch {
    return []; // It has ended, or there is no IPv6.
  }
}

/** By inode: "tcp 45123" (a port of this machine), or "unix @00a2f". */
function listening(pid: number): Map<string, string> {
  const all = new Map<string, string>();
  for (const [, local, , state, , , , , , inode] of [
    ...lines(`/proc/${pid}/net/tcp`),
    ...lines(`/proc/${pid}/net/tcp6`),
  ])
    if (state === "0A") all.set(inode!, `tcp ${Number.parseInt(local!.split(":").at(-1)!, 16)}`);
  const accepts = 0x10000; // the flag of a Unix socket that listens
  for (const [, , , flags, , , inode, path] of lines(`/proc/${pid}/net/unix`))
    if (Number.parseInt(flags!, 16) & accepts) all.set(inode!, `unix ${path ?? ""}`);
  return all;
}

/** Where a process and its descendants wait for connections now. */
export function listenersOf(pid: number): string[] {
  const result: string[] = [];
  for (const one of family(pid)) {
    const sockets = listening(one);
    try {
      for (const name of readdirSync(`/proc/${one}/fd`)) {
        const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${one}/fd/${name}`))?.[1];
        const listener = inode === undefined ? undefined : sockets.get(inode);
        if (listener !== undefined) result.push(listener);
      }
    } catch {
      // It has ended, or closed something meanwhile.
    }
  }
  return result;
}
