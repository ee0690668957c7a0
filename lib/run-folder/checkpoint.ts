// A checkpoint: what it holds, and its form as a file.

import { setImmediate } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { bytesOf } from "../arrays/bytes-of.js";
import { OnehourError, UsageError } from "../errors.js";
import type { CompiledModel, TensorLayout } from "../graph/compile.js";
import { elements } from "../graph/graph.js";
import { isAbsent, isForbidden } from "../system/exists.js";
import { readRegular } from "../system/regular-file.js";
import { shown } from "../text/words.js";
import { isSealed, unsealed } from "./header-checksum.js";
import { formatImageFacts, type ImageFacts, parseImageFacts } from "./image-facts.js";
import { formatPosition, type Position, parsePosition } from "./position.js";
import { refuseFile } from "./refuse-file.js";
import {
  formatSafetensors,
  parseSafetensors,
  type StoredTensor,
  toFloat32,
} from "./safetensors.js";
import { unsound } from "./soundness.js";

export const checkpointName = "checkpoint.safetensors";
export const previousName = "checkpoint.previous.safetensors";
export const bestName = "best.safetensors";
/** The program and the version of its format, since which headers have checksums. */
const producer = "onehour 2";
export const momentumPrefix = "momentum.";
export const emaPrefix = "ema.";
export const rankPrefix = (rank: number) => `rank.${rank}.`;

/** Tensors that a run goes on from; `ema` where it keeps a moving average. */
export type RunTensors = Pick<CompiledModel, "parameters" | "statistics"> &
  Partial<Pick<CompiledModel, "ema">>;

/** What each rank has of its own, by the names that follow `rank.<r>.`. */
export function ownStatistics({
  statistics,
  ema,
}: Pick<RunTensors, "statistics" | "ema">): TensorLayout[] {
  const averaged = ema?.statistics ?? [];
  return [
    ...statistics,
    ...averaged.map((layout) => ({ ...layout, name: emaPrefix + layout.name })),
  ];
}

/** Tensors by torchvision's name, f32 in torchvision's layout. */
export interface ModelState {
  /** Parameters and running statistics. */
  weights: Map<string, Float32Array>;
  /** Momentum of each parameter; absent in weights from elsewhere. */
  momentum?: Map<string, Float32Array>;
  /** The exponential moving average of `weights`, and how many models are in it; where the run has one. */
  ema?: { weights: Map<string, Float32Array>; updates: number };
  /**
   * Each rank's own running statistics (and `ema.<name>`, their average), where those of `weights` are an
   * average that the run does not continue from: within an epoch.
   */
  ranks?: Map<string, Float32Array>[];
}

/** Shapes of a file's tensors, by name. */
export type Shapes = Map<string, readonly number[]>;

/** Where weights come from. */
interface Origin {
  /** Of the run. */
  id?: string;
  /** Fingerprint of the data set. */
  data?: string;
  /** Pixels of both sides of an image folder's images, where they are not the usual. */
  imageSize?: number;
  /** Absent in files of earlier versions. */
  images?: ImageFacts;
  /** Fields of the run's recipe that may not change when it is resumed. */
  recipe?: Record<string, unknown>;
}

export interface Checkpoint extends ModelState, Origin {
  /** Absent in weights from elsewhere. */
  position?: Position;
  model?: string;
  /** Whether checksums cover all of it, the header too. */
  isCovered?: boolean;
}

/** CRC-32 of a tensor's bytes, in hexadecimal. */
export function checksum(data: Float32Array): string {
  return crc32(bytesOf(data)).toString(16).padStart(8, "0");
}

/**
 * The file's bytes, in pieces. `layouts` gives the shapes, parameters before statistics. Steps are
 * queued between the checksums of two tensors. Throws ERR_ONEHOUR_NOT_FINITE for what would be refused
 * when it is read.
 */
export async function formatCheckpoint(
  layouts: readonly TensorLayout[],
  state: ModelState,
  position: Position,
  model: string,
  origin: Origin = {},
): Promise<Uint8Array[]> {
  const tensors = layouts.map(({ name, shape }) => ({
    name,
    shape,
    data: state.weights.get(name)!,
  }));
  for (const { name, shape } of layouts) {
    const data = state.momentum?.get(name);
    if (data) tensors.push({ name: momentumPrefix + name, shape, data });
  }
  for (const { name, shape } of layouts) {
    const data = state.ema?.weights.get(name);
    if (data) tensors.push({ name: emaPrefix + name, shape, data });
  }
  for (const [rank, statistics] of (state.ranks ?? []).entries()) {
    for (const prefix of ["", emaPrefix]) {
      for (const { name, shape } of layouts) {
        const data = statistics.get(prefix + name);
        if (data) tensors.push({ name: rankPrefix(rank) + prefix + name, shape, data });
      }
    }
  }
  const checksums: Record<string, string> = {};
  for (const { name, data } of tensors) {
    const problem = unsound(name, data);
    if (problem !== undefined) throw new OnehourError("ERR_ONEHOUR_NOT_FINITE", problem);
    checksums[name] = checksum(data);
    await setImmediate();
  }
  const { id, data, imageSize, images, recipe } = origin;
  return formatSafetensors(tensors, {
    format: "pt",
    producer,
    model,
    ...(id === undefined ? {} : { id }),
    ...(data === undefined ? {} : { data }),
    ...(imageSize === undefined ? {} : { imageSize: String(imageSize) }),
    ...(images === undefined ? {} : formatImageFacts(images)),
    ...(recipe === undefined ? {} : { recipe: JSON.stringify(recipe) }),
    ...(state.ema ? { emaUpdates: String(state.ema.updates) } : {}),
    ...formatPosition(position),
    checksums: JSON.stringify(checksums),
    ...unsealed,
  });
}

/** Each tensor's checksum; empty where the file holds none. */
function parseChecksums(file: string, text = "{}"): Record<string, unknown> {
  const checksums = parseObject(text);
  if (checksums) return checksums;
  throw refuseFile(file, "its checksums cannot be read", "expected a complete checkpoint");
}

/** The object of a text in JSON that can be written again; undefined for any other text. */
function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    JSON.stringify(value); // throws for what is nested too deep
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** What a checkpoint's metadata hold besides the position. */
function parseOrigin(file: string, metadata: Record<string, string>): Origin & { model?: string } {
  const { model, id, data, imageSize, recipe } = metadata;
  const fields = recipe === undefined ? undefined : parseObject(recipe);
  if (recipe !== undefined && !fields) {
    throw refuseFile(file, "its recipe cannot be read", "expected a complete checkpoint");
  }
  if (imageSize !== undefined && !/^[1-9]\d{0,3}$/.test(imageSize)) {
    const found = `its imageSize is ${shown(imageSize)}`;
    throw refuseFile(file, found, "expected a number of pixels");
  }
  const images = parseImageFacts(file, metadata);
  return {
    ...(model === undefined ? {} : { model }),
    ...(id === undefined ? {} : { id }),
    ...(data === undefined ? {} : { data }),
    ...(imageSize === undefined ? {} : { imageSize: Number(imageSize) }),
    ...(images === undefined ? {} : { images }),
    ...(fields ? { recipe: fields } : {}),
  };
}

/** Updates of the moving average; undefined in a file that has none. */
function parseUpdates(file: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,8}$/.test(text)) return Number(text);
  throw refuseFile(file, `its emaUpdates is ${shown(text)}`, "expected a whole number");
}

/**
 * What wrappers of a network put before all of its tensors' names: `module.`, `model.`. No layer of a
 * residual network holds all of its tensors.
 */
function commonPrefix(names: readonly string[]): string {
  const [first = ""] = names;
  for (let end = 0; ; ) {
    const next = first.indexOf(".", end) + 1;
    if (next === 0 || !names.every((name) => name.startsWith(first.slice(0, next))))
      return first.slice(0, end);
    end = next;
  }
}

/**
 * Whether a tensor is one of PyTorch's counters, of batches (`num_batches_tracked`) or of averaged
 * models (`n_averaged`, next to a wrapper's prefix), or a flag of a wrapper's: scalars, which networks
 * do not have.
 */
function isCounter(name: string, { dtype, shape }: StoredTensor): boolean {
  const isWhole = /^(I|U|BOOL)/.test(dtype);
  return (
    name.endsWith("num_batches_tracked") || shape.length === 0 || (isWhole && elements(shape) === 1)
  );
}

/**
 * Reads a file of weights: a checkpoint of this program, with momentum and position, or weights from
 * elsewhere under torchvision's names, with a prefix or without. Throws ERR_ONEHOUR_CHECKPOINT when
 * it cannot be used.
 */
export function parseCheckpoint(file: string, buffer: Buffer): Checkpoint & { shapes: Shapes } {
  const { tensors, metadata } = parseSafetensors(file, buffer);
  if (metadata.producer === producer && !isSealed(metadata)) {
    throw refuseFile(file, "its header lacks its checksum", "expected the bytes that were written");
  }
  const checksums = parseChecksums(file, metadata.checksums);
  const weights = new Map<string, Float32Array>();
  const momentum = new Map<string, Float32Array>();
  const averaged = new Map<string, Float32Array>();
  const updates = parseUpdates(file, metadata.emaUpdates);
  const ranks = new Map<number, Map<string, Float32Array>>();
  const shapes: Shapes = new Map();
  const isOwn = metadata.producer?.startsWith("onehour") === true;
  const kept = [...tensors].filter(([name, tensor]) => !isCounter(name, tensor));
  const prefix = isOwn ? "" : commonPrefix(kept.map(([name]) => name));
  for (const [stored, tensor] of kept) {
    const name = stored.slice(prefix.length);
    const data = toFloat32(tensor);
    if (!data) {
      throw refuseFile(
        file,
        `tensor ${stored} is ${tensor.dtype}`,
        "expected floating-point tensors",
      );
    }
    if (Object.hasOwn(checksums, name) && checksums[name] !== checksum(data)) {
      throw refuseFile(
        file,
        `tensor ${name} does not have the checksum it was saved with`,
        "expected the bytes that were written",
      );
    }
    shapes.set(name, tensor.shape);
    const [, rank, statistic] = /^rank\.(\d+)\.(.+)$/.exec(name) ?? [];
    if (statistic !== undefined) {
      const own = ranks.get(Number(rank)) ?? new Map();
      ranks.set(Number(rank), own.set(statistic, data));
    } else if (name.startsWith(momentumPrefix)) {
      momentum.set(name.slice(momentumPrefix.length), data);
    } else if (updates !== undefined && name.startsWith(emaPrefix)) {
      averaged.set(name.slice(emaPrefix.length), data);
    } else weights.set(name, data);
  }
  const isCovered =
    isSealed(metadata) && kept.every(([name]) => typeof checksums[name] === "string");
  if (!isOwn) return { weights, shapes, isCovered };
  return {
    weights,
    momentum,
    ...(updates === undefined ? {} : { ema: { weights: averaged, updates } }),
    ...(ranks.size === 0
      ? {}
      : { ranks: Array.from({ length: ranks.size }, (_, rank) => ranks.get(rank) ?? new Map()) }),
    shapes,
    position: parsePosition(file, metadata),
    ...parseOrigin(file, metadata),
    isCovered,
  };
}

/** Reads and parses a file. The error names it, also where it is not there. */
export async function readCheckpoint(file: string): Promise<Checkpoint & { shapes: Shapes }> {
  let buffer: Buffer;
  try {
    buffer = await readRegular(file);
  } catch (error) {
    const advice = isForbidden(error)
      ? "make it readable for this user"
      : `expected a safetensors file, for example the ${checkpointName} of a run folder`;
    const Kind = isAbsent(error) ? UsageError : OnehourError;
    throw new Kind(
      "ERR_ONEHOUR_CHECKPOINT",
      `cannot read ${file} (${(error as Error).message}); ${advice}`,
      { cause: error },
    );
  }
  return parseCheckpoint(file, buffer);
}
