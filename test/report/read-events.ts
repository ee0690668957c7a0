// Reads TensorBoard's event files with protobufjs, and checks the framing by an arithmetic of its own.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import protobuf from "protobufjs";

const proto = protobuf.parse(
  readFileSync(new URL("../fixtures/tensorboard.proto", import.meta.url), "utf8"),
  { keepCase: true },
).root;
const [eventType, hparamsType] = ["Event", "HParamsPluginData"].map((name) =>
  proto.lookupType(`tensorboard.${name}`),
);

/** CRC-32C by long division, a bit at a time. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x82f63b78n : crc >> 1n;
  }
  return Number(crc ^ 0xffffffffn);
}

/** As TensorFlow's crc32c.h: turned right by 15 bits, plus a constant, modulo 2³². */
function masked(bytes: Uint8Array): number {
  const crc = BigInt(crc32c(bytes));
  return Number((((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffffffffn);
}

/** The records of a file; throws where it ends within one or a checksum is wrong. */
export function recordsOf(file: Buffer): Buffer[] {
  const records: Buffer[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    const data = file.subarray(at + 12, at + 12 + length);
    const sums = [file.readUInt32LE(at + 8), file.readUInt32LE(at + 12 + length)];
    const wanted = [masked(file.subarray(at, at + 8)), masked(data)];
    if (String(sums) !== String(wanted)) throw new Error(`wrong checksums at byte ${at}`);
    records.push(data);
    at += length + 16;
  }
  return records;
}

/** A value of a summary, as it is shown: a number, a text, or what the hparams plugin is told. */
interface Shown {
  step: number;
  wallTime: number;
  value: unknown;
}

export interface Events {
  fileVersion: string;
  /** Steps at which a process began, which voids what is later. */
  starts: number[];
  /** By tag. */
  values: Record<string, Shown[]>;
}

// biome-ignore lint/suspicious/noExplicitAny: messages as protobufjs decodes them
type Decoded = any;

function shownBy({ simple_value, tensor, metadata }: Decoded): unknown {
  if (tensor === undefined) return simple_value;
  const { plugin_name, content } = metadata.plugin_data;
  if (plugin_name === "hparams") return plain(hparamsType!, content);
  if (plugin_name !== "text" || tensor.dtype !== "DT_STRING" || tensor.string_val.length !== 1)
    throw new Error(`not a text: ${JSON.stringify(tensor)} of ${plugin_name}`);
  return Buffer.from(tensor.string_val[0]).toString();
}

function plain(type: protobuf.Type, bytes: Uint8Array): Decoded {
  const problem = type.verify(type.decode(bytes));
  if (problem) throw new Error(problem);
  return type.toObject(type.decode(bytes), { longs: Number, enums: String, oneofs: false });
}

/** All that an event file holds. */
export function readEvents(path: string): Events {
  const [first, ...rest] = recordsOf(readFileSync(path)).map((data) => plain(eventType!, data));
  const events: Events = { fileVersion: first.file_version, starts: [], values: {} };
  for (const { step = 0, wall_time: wallTime, session_log, summary } of rest) {
    if (session_log) {
      if (session_log.status !== "START") throw new Error(`status ${session_log.status}`);
      events.starts.push(step);
    }
    for (const value of summary?.value ?? []) {
      events.values[value.tag] ??= [];
      events.values[value.tag]!.push({ step, wallTime, value: shownBy(value) });
    }
  }
  return events;
}

/** The events in a folder that has one event file, besides an empty one. */
export function eventsIn(folder: string): Events {
  const names = readdirSync(folder).filter(
    (name) => name.includes("tfevents") && statSync(join(folder, name)).size > 0,
  );
  if (names.length !== 1) throw new Error(`event files: ${names.join(", ") || "none"}`);
  return readEvents(join(folder, names[0]!));
}
