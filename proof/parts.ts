// The parts of the verification on a GPU, in the order in which they run: each is a program of proof/parts.

/** A part and its share of its stage's time. */
export interface Part {
  name: string;
  stage: Stage;
  /** Its seconds. What a part leaves over is its successors'. */
  seconds: number;
  /** Seconds up to which it may take its successors' time. */
  longest?: number;
  /** Whether nothing is run after it has failed. */
  isVital?: true;
  /** What its environment has besides. */
  settings: Readonly<Record<string, string>>;
}

export type Stage = 1 | 2;

/** Seconds of a stage, the start included. */
export const stageSeconds: Readonly<Record<Stage, number>> = { 1: 240, 2: 400 };

// Compiling one of cuDNN's fused plans takes seconds, and ResNet-50 has some twenty. They are part of
// what `ops` compares, `repeat` records and `speed` measures; only there is it worth the time to search
// for the fastest engine.
const uncompiled = { ONEHOUR_PLAN_CANDIDATES: "1", ONEHOUR_PLAN_COMPILATION: "0" };
const firstPlan = { ONEHOUR_PLAN_CANDIDATES: "1" };
const fasterOfTwo = { ONEHOUR_PLAN_CANDIDATES: "2" };

export const parts: readonly Part[] = [
  // nvcc and CMake. Without it there is nothing: it may take its successors' time. The second stage
  // builds what the first one left.
  { name: "build", stage: 1, seconds: 120, isVital: true, settings: uncompiled },
  // First steps, kernel by kernel and recorded.
  { name: "smoke", stage: 1, seconds: 45, isVital: true, settings: uncompiled },
  // Images a second, against eager PyTorch, without compiled plans.
  { name: "eager", stage: 1, seconds: 65, settings: uncompiled },
  { name: "build", stage: 2, seconds: 10, longest: 120, isVital: true, settings: uncompiled },
  // Every op against the CPU.
  { name: "ops", stage: 2, seconds: 55, settings: firstPlan },
  // ResNet-8 and ResNet-50 against the CPU.
  { name: "parity", stage: 2, seconds: 35, settings: uncompiled },
  // Two and four ranks on one GPU.
  { name: "ranks", stage: 2, seconds: 50, settings: uncompiled },
  // Recorded and resumed runs; plans of two types to compile, so it may take its successors' time.
  { name: "repeat", stage: 2, seconds: 30, longest: 45, settings: firstPlan },
  // Images a second, against PyTorch.
  { name: "speed", stage: 2, seconds: 130, settings: fasterOfTwo },
  // ResNet-50's convolutions, in every pattern and form: some 300 engines to compile, so it may take its
  // successors' time.
  { name: "patterns", stage: 2, seconds: 35, longest: 55, settings: fasterOfTwo },
  // A run's memory against its plan.
  { name: "memory", stage: 2, seconds: 15, settings: uncompiled },
  // The ops under compute-sanitizer.
  { name: "sanitize", stage: 2, seconds: 35, settings: uncompiled },
];
