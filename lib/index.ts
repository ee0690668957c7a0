// The public API of onehour.
/// <reference types="node" preserve="true" />

export type { AllReduceRow } from "./bench/all-reduce.js";
export {
  type AllReduceBenchOptions,
  type AllReduceResult,
  allReduceBench,
} from "./bench/all-reduce-bench.js";
export type { Link } from "./bench/links.js";
export type { Profile } from "./bench/profile.js";
export { profileOf } from "./bench/profile-of.js";
export type { Scaling, StepSplit } from "./bench/scaling.js";
export {
  type ThroughputOptions,
  type ThroughputResult,
  type ThroughputRow,
  throughput,
} from "./bench/throughput.js";
export { throughputPage, throughputSvg } from "./bench/throughput-page.js";
export type {
  Dataset,
  DatasetOpener,
  DatasetOptions,
  DecodedSplit,
  ImageShape,
  Request,
  Split,
  StoredSplit,
} from "./data/dataset.js";
export { datasets, openDataset } from "./data/datasets.js";
export { permutation, Sampler, type SamplerOptions } from "./data/sampler.js";
export type {
  Device,
  DeviceArray,
  DeviceOptions,
  DeviceProperties,
  Executor,
  NativeCommunicator,
} from "./device/device.js";
export { openDevice } from "./device/open.js";
export { NativeError, OnehourError } from "./errors.js";
export type { Standing } from "./experiment/conduct.js";
export { type ExperimentOptions, experiment } from "./experiment/experiment.js";
export { experimentMarkdown } from "./experiment/markdown.js";
export type { RunRecord } from "./experiment/records.js";
export { experimentPage } from "./experiment/report.js";
export type { ExperimentResult } from "./experiment/result.js";
export type { Verdict } from "./experiment/verdicts.js";
export { gradient } from "./graph/autodiff.js";
export {
  type CompiledModel,
  type CompileOptions,
  compile,
  type Target,
  type Update,
} from "./graph/compile.js";
export { evaluate, type TensorData } from "./graph/evaluate.js";
export { type DataType, Graph, type Value } from "./graph/graph.js";
export {
  type ConvolutionOptions,
  Layers,
  type NormOptions,
  network,
} from "./models/layers.js";
export type { Model, ModelBuilder } from "./models/model.js";
export { addModel, buildModel, models } from "./models/models.js";
export * from "./ops/index.js";
export { optimizers } from "./ops/optimizers/index.js";
export type { MomentumSettings, Optimizer, OptimizerBuilder } from "./ops/optimizers/optimizer.js";
export type { Forecast } from "./plan/forecast.js";
export type { PlanOptions } from "./plan/options.js";
export { paperPlan } from "./plan/paper.js";
export { type Plan, type Planned, plan } from "./plan/plan.js";
export { readProfile } from "./plan/profile-file.js";
export { type ConnectOptions, connect } from "./ranks/connect.js";
export { type LaunchOptions, launch } from "./ranks/launch.js";
export type { World } from "./ranks/world.js";
export type { Recipe, RecipeInput } from "./recipe/fields.js";
export { schedules } from "./schedules/index.js";
export {
  momentumFactor,
  type Schedule,
  type ScheduleBuilder,
  type ScheduleOptions,
  type StepInfo,
} from "./schedules/schedule.js";
export { type EvaluateOptions, type Evaluation, evaluateCheckpoint } from "./train/evaluate.js";
export type { Result, RunEvent } from "./train/events.js";
export type { TrainOptions } from "./train/options.js";
export { type StepOptions, type TakenStep, type TestOptions, Trainer } from "./train/own-loop.js";
export { compileRun, train } from "./train/train.js";
