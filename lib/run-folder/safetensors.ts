// The safetensors file format: an 8-byte header length, a JSON header, and the tensors' bytes.

import { bytesOf } from "../arrays/bytes-of.js";
import { OnehourError } from "../errors.js";
import { valueOfF16 } from "../graph/tensor.js";
import { plural, shown } from "../text/words.js";
import { hasIntactSeal, isSealed, seal } from "./header-checksum.js";

/** Bytes per element of the dtypes that are read. */
const widths: Record<string, number> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
};
const headerLimit = 100e6; // bytes, the format's own limit

/** A tensor of a file: its bytes are row-major and little-endian. */
export interface StoredTensor {
  dtype: string;
  shape: number[];
  bytes: Uint8Array;
}

interface SafetensorsFile {
  tensors: Map<string, StoredTensor>;
  metadata: Record<string, string>;
}

function refuse(file: string, problem: string): OnehourError {
  return new OnehourError(
    "ERR_ONEHOUR_CHECKPOINT",
    `${file}: ${problem}; expected a complete safetensors file. It was left as it is.`,
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The texts of a header's metadata. */
function parseMetadata(file: string, entry: unknown): Record<string, string> {
  if (!isRecord(entry)) throw refuse(file, "its metadata is not an object");
  for (const [key, value] of Object.entries(entry)) {
    if (typeof value !== "string") throw refuse(file, `${shown(key)} in it is not text`);
  }
  return entry as Record<string, string>;
}

/**
 * Parses and checks a whole file: header size, its checksum where it has one, offsets inside, no
 * overlap and no hole, shape × width = bytes. Throws ERR_ONEHOUR_CHECKPOINT naming `file` otherwise.
 */
export function parseSafetensors(file: string, buffer: Buffer): SafetensorsFile {
  if (buffer.length < 10) throw refuse(file, `it has ${plural(buffer.length, "byte")} only`);
  const length = Number(buffer.readBigUInt64LE(0));
  if (length > headerLimit || length > buffer.length - 8) {
    throw refuse(
      file,
      `its header would take ${plural(length, "byte")} of a file of ${buffer.length} (torn, or another format)`,
    );
  }
  let header: unknown;
  try {
    header = JSON.parse(buffer.toString("utf8", 8, 8 + length));
  } catch {
    throw refuse(file, "its header is not JSON");
  }
  if (!isRecord(header)) throw refuse(file, "its header is not a JSON object");
  const data = buffer.subarray(8 + length);

  let metadata: Record<string, string> = {};
  const ranges: { name: string; begin: number; end: number }[] = [];
  const tensors = new Map<string, StoredTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") {
      metadata = parseMetadata(file, entry);
      continue;
    }
    const { dtype, shape, data_offsets: offsets } = isRecord(entry) ? entry : {};
    const width = typeof dtype === "string" && Object.hasOwn(widths, dtype) ? widths[dtype] : 0;
    const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
    if (
      !width ||
      !Array.isArray(shape) ||
      !shape.every(isCount) ||
      !Array.isArray(offsets) ||
      offsets.length !== 2 ||
      !offsets.every(isCount)
    ) {
      throw refuse(file, `tensor ${name} has no valid dtype, shape and offsets`);
    }
    const [begin, end] = offsets as [number, number];
    if (begin > end || end > data.length) {
      throw refuse(file, `tensor ${name} ends at byte ${end} of ${data.length} (cut short?)`);
    }
    const expected = shape.reduce((product: number, size: number) => product * size, width);
    if (end - begin !== expected) {
      throw refuse(
        file,
        `tensor ${name} has ${plural(end - begin, "byte")}, its shape needs ${expected}`,
      );
    }
    ranges.push({ name, begin, end });
    tensors.set(name, { dtype: dtype as string, shape, bytes: data.subarray(begin, end) });
  }

  if (isSealed(metadata) && !hasIntactSeal(buffer.subarray(0, 8 + length))) {
    throw refuse(file, "its header does not have the checksum it was saved with");
  }
  ranges.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const { name, begin, end } of ranges) {
    if (begin !== at) throw refuse(file, `tensor ${name} begins at ${begin}, not at ${at}`);
    at = end;
  }
  if (at !== data.length)
    throw refuse(
      file,
      `${plural(data.length - at, "byte")} ${data.length - at === 1 ? "belongs" : "belong"} to no tensor`,
    );
  return { tensors, metadata };
}

/**
 * The bytes of a file with the given f32 tensors, as pieces to be written one after another; with
 * `unsealed` among the metadata, the header gets its checksum.
 */
export function formatSafetensors(
  tensors: readonly { name: string; shape: readonly number[]; data: Float32Array }[],
  metadata: Record<string, string>,
): Uint8Array[] {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let at = 0;
  for (const { name, shape, data } of tensors) {
    header[name] = { dtype: "F32", shape, data_offsets: [at, at + data.byteLength] };
    at += data.byteLength;
  }
  const json = JSON.stringify(header);
  const bytes = Buffer.byteLength(json);
  const padded = Math.ceil((8 + bytes) / 64) * 64; // so that the data is aligned
  const head = Buffer.alloc(padded, " ");
  head.writeBigUInt64LE(BigInt(padded - 8), 0);
  head.write(json, 8);
  if (isSealed(metadata)) seal(head);
  return [head, ...tensors.map(({ data }) => bytesOf(data))];
}

const scratch = new DataView(new ArrayBuffer(4));

type Reader = (view: DataView, index: number) => number;

const readers: Record<string, Reader> = {
  F64: (view, i) => view.getFloat64(8 * i, true),
  F32: (view, i) => view.getFloat32(4 * i, true),
  F16: (view, i) => valueOfF16(view.getUint16(2 * i, true)),
  BF16: (view, i) => {
    scratch.setUint32(0, view.getUint16(2 * i, true) << 16);
    return scratch.getFloat32(0);
  },
};

/** The tensor's values as f32; undefined for a dtype that holds no fractions. */
export function toFloat32(tensor: StoredTensor): Float32Array | undefined {
  const read = readers[tensor.dtype];
  if (!read) return undefined;
  const { buffer, byteOffset, byteLength } = tensor.bytes;
  const view = new DataView(buffer, byteOffset, byteLength);
  const values = new Float32Array(byteLength / widths[tensor.dtype]!);
  for (let i = 0; i < values.length; i++) values[i] = read(view, i);
  return values;
}
