// Lists the files in a tar: ustar headers, GNU's long names and pax headers.

import type { FileHandle } from "node:fs/promises";
import { OnehourError } from "../../errors.js";
import { openRegular } from "../../system/regular-file.js";
import { plural } from "../../text/words.js";

/** A regular file in a tar; its bytes lie from `offset` on. */
export interface Member {
  name: string;
  offset: number;
  bytes: number;
}

const block = 512; // bytes
// A small label, its headers and the next member's come with one read, and little of an image.
const windowBytes = 8192;
const mostExtension = 1 << 20; // bytes of a long name or of pax records

/** Where a header's fields lie: from a byte on, to another. */
const fields = {
  name: [0, 100],
  size: [124, 136],
  checksum: [148, 156],
  type: [156, 157],
  magic: [257, 263],
  prefix: [345, 500],
} as const;
type Field = keyof typeof fields;

/** What a later header overrides. */
type Extension = Partial<Pick<Member, "name" | "bytes">>;

/** Undefined where the content is damaged. */
type ReadExtension = (content: Buffer) => Extension | undefined;

/** What a member's type says of its content: a file, or the name and size of the member after it. */
const contents: Readonly<Record<string, "file" | ReadExtension>> = {
  "0": "file",
  "": "file", // of tars older than POSIX
  "7": "file",
  L: (content) => ({ name: untilZero(content) }),
  x: readPax,
};

function untilZero(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString("utf8", 0, end < 0 ? bytes.length : end);
}

const textOf = (header: Buffer, field: Field) => untilZero(header.subarray(...fields[field]));

/** An octal number, or GNU's big-endian one after a byte 0x80; NaN for anything else. */
function numberOf(header: Buffer, field: Field): number {
  const bytes = header.subarray(...fields[field]);
  if (bytes[0] === 0x80) return Number(BigInt(`0x${bytes.toString("hex", 1)}`));
  const digits = untilZero(bytes).trim();
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN;
}

/** The sum of a header's bytes, where its own field counts as spaces. */
function checksumOf(header: Buffer): number {
  const [start, end] = fields.checksum;
  let sum = (end - start) * 0x20;
  for (let i = 0; i < block; i++) sum += i >= start && i < end ? 0 : header[i]!;
  return sum;
}

/** Records `LENGTH KEY=VALUE` with a line feed, the length being that of the whole record in bytes. */
function readPax(content: Buffer): Extension | undefined {
  const extension: Extension = {};
  for (let at = 0; at < content.length; ) {
    const space = content.indexOf(0x20, at);
    const length = Number(content.toString("latin1", at, space < 0 ? at : space));
    const end = at + length;
    const equals = content.indexOf(0x3d, space);
    const isWhole = length > 0 && end <= content.length && content[end - 1] === 0x0a;
    if (!isWhole || equals < 0 || equals >= end) return undefined;
    const key = content.toString("utf8", space + 1, equals);
    const value = content.toString("utf8", equals + 1, end - 1);
    if (key === "path") extension.name = value;
    if (key === "size") extension.bytes = /^\d+$/.test(value) ? Number(value) : Number.NaN;
    at = end;
  }
  return extension;
}

const padded = (bytes: number) => Math.ceil(bytes / block) * block;

/** A tar whose members are listed and read where they lie. Its errors are ERR_ONEHOUR_DATA. */
export class Tar implements AsyncDisposable {
  private readonly buffer = Buffer.alloc(windowBytes);
  private window = { start: 0, end: 0 };

  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    private readonly size: number,
  ) {}

  static async open(path: string): Promise<Tar> {
    const file = await openRegular(path).catch((error) => {
      throw new OnehourError(
        "ERR_ONEHOUR_DATA",
        `cannot read ${path} (${error.message}); expected a tar that this user may read`,
      );
    });
    return new Tar(path, file, (await file.stat()).size);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file.close();
  }

  error(offset: number, problem: string, expected: string): OnehourError {
    return new OnehourError(
      "ERR_ONEHOUR_DATA",
      `${this.path}, offset ${offset}: ${problem}; expected ${expected}`,
    );
  }

  /**
   * The regular files, in their order, also those after the empty blocks that end a tar, as where tars
   * were concatenated. Throws where a header is damaged or the tar is cut short.
   */
  async *members(): AsyncGenerator<Member> {
    let extension: Extension = {};
    let isEnded = false;
    for (let at = 0; ; ) {
      if (isEnded && at >= this.size) return;
      const rest = isEnded ? Math.min(block, this.size - at) : block;
      const header = await this.bytesAt(at, rest, "a header, or the empty blocks that end a tar");
      if (header.every((byte) => byte === 0)) {
        if (extension.name !== undefined) {
          throw this.error(
            at,
            `a header names ${extension.name}, which is not there`,
            "it after its name. Pack it again",
          );
        }
        isEnded = true;
        extension = {};
        at += block;
        continue;
      }
      if (rest < block) throw this.cutShort(at, "a header, or nothing");
      isEnded = false;
      const { kind, name, bytes } = this.parse(header, at, extension);
      const offset = at + block;
      if (offset + bytes > this.size) {
        throw this.cutShort(offset, `the ${plural(bytes, "byte")} of ${name}`);
      }
      if (typeof kind === "function") {
        extension = { ...extension, ...(await this.extensionAt(offset, bytes, kind)) };
      } else {
        if (kind === "file") yield { name, offset, bytes };
        extension = {};
      }
      at = offset + padded(bytes);
    }
  }

  /** A member's bytes, which the next read overwrites. */
  async read({ offset, bytes, name }: Member): Promise<Buffer> {
    return await this.bytesAt(offset, bytes, `the ${plural(bytes, "byte")} of ${name}`);
  }

  private parse(header: Buffer, at: number, extension: Extension) {
    if (numberOf(header, "checksum") !== checksumOf(header)) {
      throw this.error(
        at,
        "there is no tar header, or a damaged one",
        "an uncompressed tar (ustar, GNU or pax). Pack or fetch it again",
      );
    }
    const kind = contents[textOf(header, "type")];
    // A header such as "L" has a size of its own; an extension is for the member after it.
    const given = typeof kind === "function" ? {} : extension;
    const bytes = given.bytes ?? numberOf(header, "size");
    if (!Number.isSafeInteger(bytes)) {
      throw this.error(
        at,
        "its size field is not a number",
        "an octal number of bytes. Pack it again",
      );
    }
    const prefix = textOf(header, "magic") === "ustar" ? textOf(header, "prefix") : "";
    const name = `${prefix && `${prefix}/`}${textOf(header, "name")}`;
    return { kind, bytes, name: given.name ?? name };
  }

  private async extensionAt(offset: number, bytes: number, read: ReadExtension) {
    const what = `at most ${mostExtension} bytes with the name of the file after them`;
    const content = bytes <= mostExtension && (await this.bytesAt(offset, bytes, what));
    const extension = content ? read(content) : undefined;
    if (!extension) throw this.error(offset, "a long name or pax records are damaged", what);
    return extension;
  }

  private cutShort(offset: number, expected: string): OnehourError {
    return this.error(
      offset,
      `the file is cut short, it ends at ${this.size}`,
      `${expected}. Fetch or pack it again`,
    );
  }

  private async bytesAt(offset: number, bytes: number, expected: string): Promise<Buffer> {
    if (offset + bytes > this.size) throw this.cutShort(offset, expected);
    const { start, end } = this.window;
    if (offset >= start && offset + bytes <= end) {
      return this.buffer.subarray(offset - start, offset - start + bytes);
    }
    if (bytes > windowBytes) {
      const own = Buffer.alloc(bytes);
      if ((await this.fill(own, offset)) < bytes) throw this.cutShort(offset, expected);
      return own;
    }
    const filled = await this.fill(this.buffer, offset);
    this.window = { start: offset, end: offset + filled };
    if (filled < bytes) throw this.cutShort(offset, expected);
    return this.buffer.subarray(0, bytes);
  }

  /** Reads as many bytes as there are from `offset` on, and returns how many those were. */
  private async fill(target: Buffer, offset: number): Promise<number> {
    let filled = 0;
    while (filled < target.length) {
      const rest = target.length - filled;
      const place = offset + filled;
      const { bytesRead } = await this.file.read(target, filled, rest, place).catch((error) => {
        throw this.error(place, `it cannot be read (${error.message})`, "a disk that works");
      });
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return filled;
  }
}
