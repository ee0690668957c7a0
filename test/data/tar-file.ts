// Writes tars for tests: ustar headers, preceded by GNU long names or pax records on request.

/** A file to pack: its name, its bytes, and how a name that is too long for ustar is written. */
export interface Packed {
  name: string;
  bytes: Buffer | string;
  long?: "gnu" | "pax";
  /** Instead of "0", a regular file. */
  type?: string;
}

const block = 512;

/** A header and its bytes, padded to whole blocks. */
export function member(name: string, content: Buffer | string, type = "0", prefix = ""): Buffer {
  const bytes = Buffer.from(content);
  const header = Buffer.alloc(block);
  header.write(name.slice(0, 100), 0);
  header.write("0000644\0", 100);
  header.write(`${bytes.length.toString(8).padStart(11, "0")}\0`, 124);
  header.write(" ".repeat(8), 148);
  header.write(`${type}ustar\x0000`, 156);
  header.write(prefix, 345);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return Buffer.concat([header, bytes, Buffer.alloc(-bytes.length & (block - 1))]);
}

/** A pax record; its length counts itself. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  const size = Buffer.byteLength(rest);
  const length = size + String(size + String(size).length).length;
  return `${length}${rest}`;
}

/** A tar of the files in their order, with the two empty blocks that end it. */
export function tarOf(files: readonly Packed[]): Buffer {
  const parts = files.flatMap(({ name, bytes, long, type }) => {
    const cut = `cut/${name.slice(-40)}`;
    if (long === "gnu") {
      return [member("././@LongLink", `${name}\0`, "L"), member(cut, bytes, type)];
    }
    if (long === "pax") {
      const records =
        paxRecord("mtime", "1700000000.25") +
        paxRecord("path", name) +
        paxRecord("size", String(Buffer.byteLength(bytes)));
      return [member("PaxHeader", records, "x"), member(cut, bytes, type)];
    }
    return [member(name, bytes, type)];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * block)]);
}
