// A disk whose power can be cut: it keeps what was synced, and a part of the rest.
import fs from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Draws } from "./draws.js";

// Node's own functions, before faults are put into them.
const { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } = fs;

/** A file, whatever its names: what it held when it was last synced, and when it lost its last name. */
interface Content {
  synced: Buffer | undefined;
  last: Buffer | undefined;
}

/**
 * The files of one folder. Bytes are safe from a sync of the file on, names from a sync of the folder
 * on; until then they may have reached the disk or not, names in the order in which they changed.
 */
export class Disk {
  private names = new Map<string, Content>();
  private safe = new Map<string, Content>();
  private pending: ((names: Map<string, Content>) => void)[] = [];

  constructor(readonly folder: string) {}

  /** Counts everything in the folder as safe. */
  adopt(): void {
    const names = existsSync(this.folder) ? readdirSync(this.folder) : [];
    const files = names.filter((name) => statSync(join(this.folder, name)).isFile());
    this.names = new Map(files.map((name) => [name, { synced: this.read(name), last: undefined }]));
    this.safe = new Map(this.names);
    this.pending = [];
  }

  private read(name: string): Buffer | undefined {
    const file = join(this.folder, name);
    return existsSync(file) ? readFileSync(file) : undefined;
  }

  private change(apply: (names: Map<string, Content>) => void): void {
    apply(this.names);
    this.pending.push(apply);
  }

  /** Call when a file was opened for writing: if the file is new, so is its name. */
  opened(path: string): void {
    const name = basename(path);
    if (dirname(path) !== this.folder || this.names.has(name)) return;
    const content = { synced: undefined, last: undefined };
    this.change((names) => names.set(name, content));
  }

  synced(path: string): void {
    if (path === this.folder) {
      this.safe = new Map(this.names);
      this.pending = [];
      return;
    }
    const content = this.names.get(basename(path));
    if (content) content.synced = this.read(basename(path));
  }

  /** Call before a name comes to stand for another file, or for none. */
  replacing(path: string): void {
    const content = this.names.get(basename(path));
    if (content) content.last = this.read(basename(path));
  }

  linked(from: string, to: string): void {
    const content = this.names.get(basename(from));
    if (content) this.change((names) => names.set(basename(to), content));
  }

  renamed(from: string, to: string): void {
    this.linked(from, to);
    this.removed(from);
  }

  removed(path: string): void {
    this.change((names) => names.delete(basename(path)));
  }

  /** Cuts the power: leaves in the folder what would be found there afterwards. */
  lose(draws: Draws): void {
    const kept = draws.below(this.pending.length + 1);
    for (const apply of this.pending.slice(0, kept)) apply(this.safe);
    const found = [...this.safe].map(([name, content]) => {
      const now = [...this.names].find(([, other]) => other === content)?.[0];
      const bytes = (now === undefined ? undefined : this.read(now)) ?? content.last;
      return [name, remainder(content.synced, bytes, draws)] as const;
    });
    for (const name of readdirSync(this.folder)) rmSync(join(this.folder, name));
    for (const [name, bytes] of found) writeFileSync(join(this.folder, name), bytes);
    this.adopt();
  }
}

/** What the disk keeps of bytes that were written after the last sync. */
function remainder(synced: Buffer | undefined, written: Buffer | undefined, draws: Draws): Buffer {
  const before = synced ?? Buffer.alloc(0);
  if (!written || written.equals(before)) return before;
  const appended = written.subarray(0, before.length).equals(before);
  const torn = appended ? before.length + draws.below(written.length - before.length + 1) : 0;
  const at = appended ? torn : draws.below(written.length + 1);
  const fate = draws.pick(["before", "cut", "zeros", "whole"]);
  if (fate === "before") return before;
  if (fate === "whole") return written;
  const zeros = Buffer.alloc(fate === "zeros" ? written.length - at : 0);
  return Buffer.concat([written.subarray(0, at), zeros]);
}
