// Forecasts the training of many workers from the profile of one and a description of what joins them.
import type { Profile } from "../bench/profile.js";
import { optionName } from "../recipe/voice.js";
import type { Topology } from "./algorithms.js";
import { type Forecast, forecastStep } from "./forecast.js";
import { imagenet, trainingHours, type Work } from "./hours.js";
import { parseLink } from "./links.js";
import { type PlanOptions, type PlanSettings, readPlanOptions, refusePlan } from "./options.js";
import { measuredByPaper } from "./paper.js";
import { requireProfile } from "./profile-file.js";

/** A step, and the training that is made of such steps. */
export interface Planned extends Forecast {
  /** With the evaluations; absent without images, or with fewer of them than the minibatch has. */
  hours?: number;
}

export interface Plan {
  profile: Profile;
  accumulate: number;
  topology: Topology;
  /** Images that a core decodes in a second, and cores of a node that do; each where it is known. */
  imagesPerCore?: number;
  cores?: number;
  /** What is trained; absent where the profile's images are not ImageNet's and none were named. */
  work?: Work;
  /** In the order of the number of workers. */
  forecasts: Planned[];
  /** Of one worker, then whole nodes, up to the largest number of workers: the fewest that take less than an hour. */
  underOneHour?: Planned;
  /** Of the same: those that take the shortest. */
  shortest?: Planned;
  /** For the paper's images: its steps as it measured them, and as forecast here. */
  paper?: { workers: number; seconds: number; forecast: number }[];
}

/**
 * Step time, efficiency and hours of a training by number of workers.
 * @throws UsageError ERR_ONEHOUR_USAGE for options or a profile that cannot be meant.
 */
export function plan(options: PlanOptions): Plan {
  const settings = readPlanOptions(options);
  const profile = requireProfile(options.profile);
  const { accumulate, imagesPerCore = profile.imagesPerCore } = settings;
  if (settings.cores !== undefined && imagesPerCore === undefined)
    throw refusePlan(
      "cores",
      `the profile does not say how many images a core decodes; \`onehour bench loader\` measures it, for ${optionName("imagesPerCore")}`,
    );
  const cores = imagesPerCore === undefined ? undefined : (settings.cores ?? freeCores(profile));
  const topology = topologyOf(settings);
  const work = workOf(profile, settings);
  const decoding = { imagesPerCore, cores };
  const at = (workers: number): Planned => {
    const { batch } = profile;
    const step = forecastStep(profile, workers, { batch, accumulate, topology, ...decoding });
    const hours = work && trainingHours(step, work, accumulate);
    return hours === undefined ? step : { ...step, hours };
  };
  const counts = [...new Set(settings.workers)].sort((a, b) => a - b);
  const trained = wholeNodes(counts.at(-1)!, topology)
    .map(at)
    .filter(({ hours }) => hours !== undefined);
  return defined({
    profile,
    accumulate,
    topology,
    ...decoding,
    work,
    forecasts: counts.map(at),
    underOneHour: trained.find(({ hours }) => hours! < 1),
    shortest: trained.reduce<Planned | undefined>(
      (best, next) => (best && best.hours! <= next.hours! ? best : next),
      undefined,
    ),
    paper: isImagenet(profile)
      ? measuredByPaper.map((step) => ({ ...step, forecast: at(step.workers).seconds }))
      : undefined,
  });
}

/** Without the fields that are undefined. */
function defined<T extends object>(value: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as T;
}

function topologyOf(settings: PlanSettings): Topology {
  const { algorithm, linkInside } = settings;
  const { workersPerNode = linkInside === undefined ? 1 : 8 } = settings;
  if (workersPerNode > 1 && linkInside === undefined)
    throw refusePlan(
      "linkInside",
      `describe what joins the ${workersPerNode} workers of a node, for example 900Gbit/s:3us`,
    );
  const link = parseLink(settings.link, optionName("link"));
  return {
    algorithm,
    workersPerNode,
    link,
    linkInside: linkInside === undefined ? link : parseLink(linkInside, optionName("linkInside")),
  };
}

/** Cores of the profile's machine, where its GPUs leave them to the input. */
function freeCores({ device, environment }: Profile): number | undefined {
  const usable = (environment?.cores as { usable?: unknown } | undefined)?.usable;
  return device.kind === "cuda" && typeof usable === "number" && usable > 0 ? usable : undefined;
}

/** Whether a profile is of the paper's images. */
function isImagenet({ images: { height, width, channels } }: Profile): boolean {
  return height === 224 && width === 224 && channels === 3;
}

function workOf(profile: Profile, { images, epochs }: PlanSettings): Work | undefined {
  if (images !== undefined) return { epochs, images, testImages: 0 };
  return isImagenet(profile) ? { ...imagenet, epochs } : undefined;
}

/** Numbers of workers that may be had: those of one node, then of whole nodes; up to `most`. */
function wholeNodes(most: number, topology: Topology): number[] {
  const { workersPerNode } = topology;
  const inOne = Math.min(most, workersPerNode);
  const nodes = Math.floor(most / workersPerNode);
  return [
    ...Array.from({ length: inOne }, (_, i) => i + 1),
    ...Array.from({ length: Math.max(0, nodes - 1) }, (_, i) => (i + 2) * workersPerNode),
  ];
}
