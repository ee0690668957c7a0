// Times what cuDNN can make of a network's convolutions by a program of its own, proof/patterns, and reads what
// it prints.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { ConvolutionShape } from "./convolutions.js";
import { convolutionOf } from "./convolutions.js";

/** A pattern of a shape, in one type. */
export interface PatternFinding {
  /** Number of the shape, from 0. */
  shape: number;
  type: "bf16" | "f16";
  pattern: string;
  /** Bytes of all tensors that it reads and writes. */
  bytes: number;
  /** Null where there is none. */
  engine: string | null;
  /** Null for a GPU that is only described. */
  milliseconds?: number | null;
  /** Why there is no engine. */
  reason?: string;
}

/** The program's input: a line a shape. */
export function shapeLines(shapes: readonly ConvolutionShape[]): string {
  const lines = shapes.map((shape) => {
    const { images, filters, stride, padding, hasInputGradient } = convolutionOf(shape);
    const [K, R, S] = filters;
    return [...images, K, R, S, stride, padding, hasInputGradient ? 1 : 0].join(" ");
  });
  return `${lines.join("\n")}\n`;
}

/** Runs the program and calls `onFinding` for each line as it comes. Throws what it writes to stderr. */
export async function timePatterns(
  program: string,
  options: readonly string[],
  shapes: readonly ConvolutionShape[],
  onFinding: (finding: PatternFinding) => void,
): Promise<void> {
  const child = spawn(program, options);
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on("close", resolve).on("error", reject);
  });
  let errors = "";
  child.stderr.on("data", (data) => {
    errors += data;
  });
  child.stdin.on("error", () => {}); // it ended early, and says why
  child.stdin.end(shapeLines(shapes));
  for await (const line of createInterface(child.stdout)) onFinding(JSON.parse(line));
  const status = await ended;
  if (status !== 0) throw new Error(errors.trim() || `${program} ended with ${status}`);
}

/** What a person reads of a shape in one type. */
export function describeFindings(findings: readonly PatternFinding[]): string {
  const timed = findings.filter(({ engine }) => engine !== null);
  const absent = findings.filter(({ engine }) => engine === null);
  const texts = timed.map(({ pattern, milliseconds, bytes }) =>
    milliseconds == null
      ? pattern
      : `${pattern} ${milliseconds.toFixed(3)} ms, ${(bytes / milliseconds / 1e6).toFixed(0)} GB/s`,
  );
  if (absent.length > 0)
    texts.push(`no engine: ${absent.map(({ pattern }) => pattern).join(", ")}`);
  return texts.join("; ");
}
