// Puts faults into Node's file functions: errors, short and torn writes, flipped bits, and the end
// of the process or of the power in the middle of any operation on the files of one folder.
import fs from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import type { Disk } from "./disk.js";

export const kinds = [
  "open",
  "read",
  "write",
  "sync",
  "close",
  "rename",
  "link",
  "remove",
  "make",
  "look",
] as const;
export type Kind = (typeof kinds)[number];

/** What happens to one operation, or to several of its kind in a row. */
export interface FileFault {
  kind: Kind;
  /** How many operations of this kind succeed first. */
  after: number;
  times: number;
  /**
   * "short" writes a part and says so, "torn" writes a part and fails; "flip" and "cut" are of what
   * is read; "crash" and "power" end everything, before, during or after the operation.
   */
  effect: "error" | "short" | "torn" | "flip" | "cut" | "crash" | "power";
  /** The error's code, e.g. EIO. */
  code: string;
  /** In [0, 1): the share of the bytes that gets through, or the place of the bit. */
  share: number;
}

function systemError(code: string, call: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: injected fault, ${call} '${path}'`), {
    code,
    syscall: call,
    path,
  });
}

/** What a fault does to one operation. */
interface Interference {
  /** Thrown instead of running the operation. */
  instead?: Error;
  /** The number of bytes of a write of this length that get through. */
  part?: (length: number) => number;
  /** Changes what was read. */
  spoil?: (bytes: Buffer) => Buffer;
  /** Thrown after the operation. */
  after?: Error;
}

/** The faults of one run on the files of a folder. */
export class Files {
  readonly counts = Object.fromEntries(kinds.map((kind) => [kind, 0])) as Record<Kind, number>;
  /** How everything ended, if it did. */
  end: "crash" | "power" | undefined;
  /** The faults that occurred. */
  readonly met = new Set<FileFault>();

  constructor(
    readonly folder: string,
    readonly disk: Disk,
    private readonly faults: readonly FileFault[],
    /** Called after each sync of a folder. */
    readonly onSynced: () => void = () => {},
  ) {}

  /** Counts an operation and returns the fault that it meets. */
  meet(kind: Kind, path: string): Interference {
    const gone = systemError("EIO", `${kind} after the end of the process`, path);
    if (this.end) return { instead: gone };
    const count = this.counts[kind]++;
    const fault = this.faults.find(
      ({ kind: other, after, times }) => other === kind && count >= after && count < after + times,
    );
    if (!fault) return {};
    this.met.add(fault);
    const { effect, code, share } = fault;
    const error = systemError(code, kind, path);
    const part = (length: number) => Math.floor(share * length);
    if (effect === "error") return { instead: error };
    if (effect === "short") return { part: (length) => Math.max(1, part(length)) };
    if (effect === "torn") return { part, after: error };
    if (effect === "cut") return { spoil: (bytes) => bytes.subarray(0, part(bytes.length)) };
    if (effect === "flip") return { spoil: (bytes) => flipped(bytes, share) };
    this.end = effect;
    if (kind === "write") return { part, after: gone };
    return share < 0.5 ? { instead: gone } : { after: gone };
  }
}

/** A copy with one bit changed. */
export function flipped(bytes: Buffer, share: number): Buffer {
  const copy = Buffer.from(bytes);
  const bit = Math.floor(share * 8 * copy.length);
  if (copy.length > 0) copy[bit >> 3]! ^= 1 << (bit & 7);
  return copy;
}

let active: Files | undefined;

/** Runs `work` with faults in its files. */
export async function withFaults<T>(files: Files, work: () => Promise<T>): Promise<T> {
  install();
  active = files;
  try {
    return await work();
  } finally {
    active = undefined;
  }
}

/** The faults for a path that is in the folder, or is the folder. */
function faultsFor(path: unknown): Files | undefined {
  const text = String(path);
  return active && (text === active.folder || text.startsWith(`${active.folder}/`))
    ? active
    : undefined;
}

type Call = (...values: never[]) => unknown;

/** Functions whose first argument is the path that they act on. */
const byPath: Record<string, Kind> = {
  readFile: "read",
  rename: "rename",
  link: "link",
  copyFile: "link",
  rm: "remove",
  unlink: "remove",
  rmdir: "remove",
  mkdir: "make",
  stat: "look",
  lstat: "look",
  access: "look",
  readdir: "look",
};

/** Reports to the disk what an operation changes; the function that it returns reports the end. */
function report(name: string, { disk }: Files, path: string, other: string): () => void {
  if (name === "rename") {
    disk.replacing(other);
    return () => disk.renamed(path, other);
  }
  if (name === "link") return () => disk.linked(path, other);
  if (name === "copyFile") return () => disk.opened(other);
  if (name === "rm" || name === "unlink") {
    disk.replacing(path);
    return () => disk.removed(path);
  }
  return () => {};
}

const bytesOf = (data: unknown): Buffer =>
  ArrayBuffer.isView(data)
    ? Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    : Buffer.from(String(data));

/** Data in the form that Node returns: text where the caller gave an encoding. */
function asAsked(bytes: Buffer, options: unknown): Buffer | string {
  const encoding =
    typeof options === "string" ? options : (options as { encoding?: string })?.encoding;
  return encoding ? bytes.toString(encoding as BufferEncoding) : bytes;
}

const mayCreate = (flags: unknown) =>
  typeof flags === "number" ? (flags & fs.constants.O_CREAT) !== 0 : /^[wa]/.test(String(flags));

let installed = false;

/** Puts our functions in the place of Node's, for every module that imports them. */
function install(): void {
  if (installed) return;
  installed = true;
  const [sync, promises] = [
    fs as never as Record<string, Call>,
    fs.promises as never as Record<string, Call>,
  ];
  const real = { ...fs };
  const realPromises = { ...fs.promises };
  const paths = new Map<number, string>(); // of the files that are open, by descriptor

  for (const [name, kind] of Object.entries(byPath)) {
    const async = promises[name] as (...values: unknown[]) => Promise<unknown>;
    promises[name] = async (...values: unknown[]) => {
      const files = faultsFor(values[0]) ?? faultsFor(kind === "link" ? values[1] : undefined);
      if (!files) return await async(...values);
      const { instead, after, spoil } = files.meet(kind, String(values[0]));
      if (instead) throw instead;
      const done = report(name, files, String(values[0]), String(values[1]));
      const result = spoil
        ? asAsked(spoil((await realPromises.readFile(String(values[0]))) as Buffer), values[1])
        : await async(...values);
      done();
      if (after) throw after;
      return result;
    };
    const plain = sync[`${name}Sync`] as (...values: unknown[]) => unknown;
    sync[`${name}Sync`] = ((...values: unknown[]) => {
      const files = faultsFor(values[0]);
      if (!files) return plain(...values);
      const { instead, after, spoil } = files.meet(kind, String(values[0]));
      if (instead) throw instead;
      const done = report(name, files, String(values[0]), String(values[1]));
      const result = spoil
        ? asAsked(spoil(real.readFileSync(String(values[0]))), values[1])
        : plain(...values);
      done();
      if (after) throw after;
      return result;
    }) as Call;
  }

  sync.existsSync = ((path: string) => {
    const interference = faultsFor(path)?.meet("look", path);
    return !interference?.instead && real.existsSync(path); // as Node: false for every error
  }) as Call;

  const open = async (path: string, flags: unknown = "r", mode?: number): Promise<FileHandle> => {
    const files = faultsFor(path);
    if (!files) return await realPromises.open(path, flags as string, mode);
    const { instead, after } = files.meet("open", path);
    if (instead) throw instead;
    const handle = await realPromises.open(path, flags as string, mode);
    if (mayCreate(flags)) files.disk.opened(path);
    if (after) {
      await handle.close();
      throw after;
    }
    return faulty(handle, files, path);
  };
  promises.open = open as Call;
  const put = async (path: string, data: unknown, flag: string, options: unknown) => {
    const handle = await open(path, (options as { flag?: string })?.flag ?? flag);
    try {
      await handle.writeFile(bytesOf(data));
      if ((options as { flush?: boolean })?.flush) await handle.sync();
    } finally {
      await handle.close();
    }
  };
  const kinds = { writeFile: "w", appendFile: "a" } as const;
  for (const [name, flag] of Object.entries(kinds)) {
    const async = promises[name] as (...values: unknown[]) => Promise<unknown>;
    promises[name] = (path: string, data: unknown, options?: unknown) =>
      faultsFor(path) ? put(path, data, flag, options) : async(path, data, options);
    sync[`${name}Sync`] = ((
      path: string,
      data: unknown,
      options?: { flag?: string; flush?: boolean },
    ) => {
      const descriptor = fs.openSync(path, options?.flag ?? flag);
      try {
        const bytes = bytesOf(data);
        for (let at = 0; at < bytes.length; ) at += fs.writeSync(descriptor, bytes, at);
        if (options?.flush) fs.fsyncSync(descriptor);
      } finally {
        fs.closeSync(descriptor);
      }
    }) as Call;
  }

  sync.openSync = ((path: string, flags: unknown = "r", mode?: number) => {
    const files = faultsFor(path);
    if (!files) return real.openSync(path, flags as string, mode);
    const { instead, after } = files.meet("open", path);
    if (instead) throw instead;
    const descriptor = real.openSync(path, flags as string, mode);
    if (mayCreate(flags)) files.disk.opened(path);
    if (after) {
      real.closeSync(descriptor); // as the system does
      throw after;
    }
    paths.set(descriptor, path);
    return descriptor;
  }) as Call;
  sync.closeSync = ((descriptor: number) => {
    const path = paths.get(descriptor);
    paths.delete(descriptor);
    real.closeSync(descriptor);
    const { instead, after } = faultsFor(path)?.meet("close", path!) ?? {};
    if (instead ?? after) throw instead ?? after;
  }) as Call;
  sync.writeSync = ((descriptor: number, data: unknown, ...rest: unknown[]) => {
    const path = paths.get(descriptor);
    const files = faultsFor(path);
    if (!files)
      return (real.writeSync as (...values: unknown[]) => number)(descriptor, data, ...rest);
    const { instead, part, after } = files.meet("write", path!);
    if (instead) throw instead;
    const [offset = 0, length, position] =
      typeof data === "string" ? [0, undefined, rest[0]] : (rest as (number | undefined)[]);
    const bytes = bytesOf(data).subarray(offset, length === undefined ? length : offset + length);
    const most = part?.(bytes.length) ?? bytes.length;
    const written = real.writeSync(descriptor, bytes, 0, most, position as number);
    if (after) throw after;
    return written;
  }) as Call;
  const save = (descriptor: number) => {
    const path = paths.get(descriptor);
    const { instead, after } = faultsFor(path)?.meet("sync", path!) ?? {};
    if (instead) throw instead;
    real.fsyncSync(descriptor);
    faultsFor(path)?.disk.synced(path!);
    if (after) throw after;
  };
  for (const name of ["fsync", "fdatasync"] as const) {
    sync[`${name}Sync`] = save as Call;
    sync[name] = ((descriptor: number, done: (error: unknown) => void) => {
      try {
        save(descriptor);
        setImmediate(done, null);
      } catch (error) {
        setImmediate(done, error);
      }
    }) as Call;
  }
  syncBuiltinESMExports();
}

/** A handle whose operations have faults. */
function faulty(handle: FileHandle, files: Files, path: string): FileHandle {
  const real = {
    write: handle.write.bind(handle),
    sync: handle.sync.bind(handle),
    readFile: handle.readFile.bind(handle),
    close: handle.close.bind(handle),
  };
  const write = async (data: unknown, offset = 0, length?: number) => {
    const { instead, part, after } = files.meet("write", path);
    if (instead) throw instead;
    const bytes = bytesOf(data).subarray(
      offset,
      length === undefined ? undefined : offset + length,
    );
    const { bytesWritten } = await real.write(bytes, 0, part?.(bytes.length) ?? bytes.length);
    if (after) throw after;
    return { bytesWritten, buffer: data };
  };
  const sync = async () => {
    const { instead, after } = files.meet("sync", path);
    if (instead) throw instead;
    await real.sync();
    files.disk.synced(path);
    if (path === files.folder) files.onSynced();
    if (after) throw after;
  };
  const own = {
    write,
    sync,
    datasync: sync,
    writeFile: async (data: unknown) => {
      const bytes = bytesOf(data);
      for (let at = 0; at < bytes.length; ) at += (await write(bytes, at)).bytesWritten;
    },
    readFile: async (options?: unknown) => {
      const { instead, spoil, after } = files.meet("read", path);
      if (instead ?? after) throw instead ?? after;
      const bytes = await real.readFile();
      return asAsked(spoil ? spoil(bytes) : bytes, options);
    },
    close: async () => {
      await real.close();
      const { instead, after } = files.meet("close", path);
      if (instead ?? after) throw instead ?? after;
    },
  };
  return Object.assign(handle, { ...own, appendFile: own.writeFile }) as never;
}
