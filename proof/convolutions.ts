// The convolutions of a network's training step, and the forms in which each can be computed.
import type { StepSettings } from "#lib/bench/contender.js";
import { compileStep } from "#lib/bench/step.js";
import { workOf } from "#lib/bench/traffic.js";
import type { Target } from "#lib/graph/compile.js";
import { elements } from "#lib/graph/graph.js";
import { parse } from "#lib/graph/parse.js";
import type { Instruction, Operand } from "#lib/graph/program.js";
import { book } from "#lib/ops/book.js";
import * as conv from "#lib/ops/conv.js";

/** Convolutions and their gradients: the ops of one file. */
const convolutions: ReadonlySet<string> = new Set(
  Object.values(conv).flatMap((value) =>
    typeof value === "object" && "signature" in value ? value.name : [],
  ),
);

/** A convolution of the model, with its lines of the step, each kind once. */
export interface ConvolutionShape {
  label: string;
  /** How often the step has it. */
  count: number;
  lines: Instruction[];
}

/** Images, filters and results of a line, whatever its direction. */
function operandsOf({ inputs, outputs }: Instruction): [Operand, Operand, Operand] {
  const operands = new Map([...inputs, ...outputs].map((operand) => [operand.name, operand]));
  const either = (name: string) => operands.get(name) ?? operands.get(`d${name}`)!;
  return [either("x"), either("w"), either("y")];
}

function labelOf(instruction: Instruction): string {
  const [x, w, y] = operandsOf(instruction);
  const [, H, W, C] = x.shape;
  const [K, R, S] = w.shape;
  const [, P, Q] = y.shape;
  return `${R}×${S}, ${H}×${W}×${C} to ${P}×${Q}×${K}`;
}

/** The convolution of a shape: N, H, W, C of its images and K, R, S, C of its filters. */
export function convolutionOf({ lines }: ConvolutionShape) {
  const [line] = lines;
  const [x, w] = operandsOf(line!);
  const first = (name: string) => Number(String(line!.attributes[name]).split(",")[0]);
  return {
    images: x.shape,
    filters: w.shape,
    stride: first("stride"),
    padding: first("padding"),
    hasInputGradient: lines.some(({ op }) => op === "conv2d-backward-data"),
  };
}

/** The convolutions of a training step, those that move most bytes first. */
export function shapesOf(device: Target, settings: StepSettings): ConvolutionShape[] {
  const { programs } = compileStep(settings, device, 1);
  const { instructions } = parse(programs.find(({ name }) => name === "last")!.text);
  const shapes = new Map<
    string,
    { counts: Map<string, number>; lines: Map<string, Instruction> }
  >();
  for (const line of instructions) {
    if (!convolutions.has(line.op)) continue;
    const label = labelOf(line);
    const { counts, lines } = shapes.get(label) ?? { counts: new Map(), lines: new Map() };
    shapes.set(label, { counts, lines });
    counts.set(line.op, (counts.get(line.op) ?? 0) + 1);
    if (!lines.has(line.op)) lines.set(line.op, line);
  }
  const bytesOf = ({ count, lines }: ConvolutionShape) =>
    count * lines.reduce((sum, line) => sum + workOf(line).bytes, 0);
  return [...shapes]
    .map(([label, { counts, lines }]) => ({
      label,
      count: Math.max(...counts.values()),
      lines: [...lines.values()],
    }))
    .sort((a, b) => bytesOf(b) - bytesOf(a));
}

/** The gradient of the images of 1×1 filters, as the product of matrices that it is. */
function productOf(instruction: Instruction): Instruction[] {
  const [x, w, y] = operandsOf(instruction);
  const [K, R, S, C] = w.shape as [number, number, number, number];
  const rows = elements(x.shape) / C;
  const isProduct = R * S === 1 && rows === elements(y.shape) / K;
  if (instruction.op !== "conv2d-backward-data" || !isProduct) return [];
  return [
    {
      ...instruction,
      op: "linear-backward-data",
      attributes: {},
      inputs: [
        { ...y, name: "dy", shape: [rows, K] },
        { ...w, name: "w", shape: [K, C] },
      ],
      outputs: [{ ...x, name: "dx", shape: [rows, C] }],
    },
  ];
}

/** All that computes what a line computes, or a part of it. */
export const formsOf = (line: Instruction): Instruction[] => [
  ...(book.get(line.op)?.expand?.(line) ?? []),
  line,
  ...productOf(line),
];
