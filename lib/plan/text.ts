// A plan as a person reads it: a row a number of workers, what follows for the training, what was assumed.
import { table } from "../bench/table.js";
import { optionName } from "../recipe/voice.js";
import { wrap } from "../terminal/columns.js";
import { count, counted, plural, printable } from "../text/words.js";
import { algorithms } from "./algorithms.js";
import { imagenet } from "./hours.js";
import { linkText } from "./links.js";
import type { Plan, Planned } from "./plan.js";

const columns = 80;

/**
 * A paragraph, of which a profile's file may have written a part; its lines after the first begin with `indent`, which
 * is as wide as `first`.
 */
const paragraph = (text: string, first = "", indent = first) =>
  wrap(printable(text), columns - indent.length)
    .map((line, i) => `${i === 0 ? first : indent}${line}\n`)
    .join("");

const item = (text: string) => paragraph(text, "  - ", "    ");

const ms = (seconds: number) => `${(1000 * seconds).toFixed(1)} ms`;
const percent = (fraction: number) => `${(100 * fraction).toFixed(1)}%`;
const rate = (perSecond: number) => count(Number(perSecond.toPrecision(4)));

/** 0.98 h, 53 min, 12 s; what is less than an hour never looks like one. */
function duration(hours: number): string {
  if (hours >= 100) return `${count(Math.round(hours))} h`;
  const digits = hours < 1 ? Math.max(2, Math.ceil(-Math.log10(1 - hours))) : 2;
  if (hours >= 0.1) return `${hours.toFixed(digits)} h`;
  return hours >= 1 / 60 ? `${(60 * hours).toFixed(1)} min` : `${(3600 * hours).toFixed(1)} s`;
}

/** "48 workers (6 nodes of 8)" */
function workersText({ workers, nodes }: Planned, perNode: number): string {
  const all = counted(workers, "worker");
  return perNode === 1 || nodes === 1 ? all : `${all} (${counted(nodes, "node")} of ${perNode})`;
}

/** Which step is forecast. */
export function planTitle({ profile, accumulate }: Plan): string {
  const { model, images, batch, precision, device } = profile;
  const { height, width, channels } = images;
  const micro =
    accumulate > 1 ? ` and micro-batch, ${counted(accumulate, "micro-batch")} a step` : "";
  return `${model}, ${height}×${width}×${channels}, batch ${batch} a worker${micro}, ${precision}, ${device.name}`;
}

/** What is measured, in lines. */
function heading(plan: Plan): string {
  const { compute, update, buckets } = plan.profile;
  const gradientBytes = buckets.reduce((sum, { bytes }) => sum + bytes, 0);
  return (
    paragraph(planTitle(plan)) +
    paragraph(
      `one worker: ${ms(compute)} forward and back, ${ms(update)} update; ` +
        `${(gradientBytes / 1e6).toFixed(1)} MB of gradients in ${counted(buckets.length, "bucket")}`,
    )
  );
}

/** Short, so that a row fits into 80 characters. */
const boundNames = { compute: "compute", communication: "network", input: "input" } as const;

/** A row a number of workers, the first being the header. */
export function rowsOf({ forecasts, work }: Plan): string[][] {
  const columns: [name: string, cell: (step: Planned) => string][] = [
    ["workers", ({ workers }) => count(workers)],
    ["minibatch", ({ minibatch }) => count(minibatch)],
    ["step", ({ seconds }) => ms(seconds)],
    ["waiting", ({ exposedCommunication, inputWait }) => ms(exposedCommunication + inputWait)],
    ["images/s", ({ imagesPerSecond }) => rate(imagesPerSecond)],
    ["of ideal", ({ efficiency }) => percent(efficiency)],
  ];
  if (work)
    columns.push([
      plural(work.epochs, "epoch"),
      ({ hours }) => (hours === undefined ? "–" : duration(hours)),
    ]);
  columns.push(["bound by", ({ bound }) => boundNames[bound]]);
  return [
    columns.map(([name]) => name),
    ...forecasts.map((step) => columns.map(([, cell]) => cell(step))),
  ];
}

/** The largest minibatch for which the paper still has the error of 256, and what it has beyond. */
const largestMinibatch = 8192;
const beyond =
  `More than ${count(largestMinibatch)} images: there the paper's top-1 error rises, ` +
  "from 23.74% to 24.79% at 16k and 27.55% at 32k.";

/** Whether the training takes less than an hour, and the decoding that it needs. */
function trainingText(plan: Plan): string[] {
  const { work, underOneHour, shortest, forecasts, imagesPerCore, topology } = plan;
  if (!work) {
    const { height, width } = plan.profile.images;
    return [
      `The profile's images have ${height}×${width} pixels, not ImageNet's 224×224: for the hours of a training ` +
        `say how many images there are (${optionName("images")}), and epochs (${optionName("epochs")}).`,
    ];
  }
  const { workersPerNode } = topology;
  const what = `${plural(work.epochs, "epoch")} of ${counted(work.images, "image")}`;
  if (!shortest) return [`${what}: every minibatch here has more images than there are.`];
  const lines: string[] = [];
  const at = underOneHour ?? shortest;
  const [fewest, hours] = [workersText(at, workersPerNode), duration(at.hours!)];
  if (underOneHour)
    lines.push(
      `${what} take less than an hour from ${fewest} on: ${hours}, at a minibatch of ${count(at.minibatch)}.`,
    );
  else {
    const largest = forecasts.at(-1)!;
    const most = counted(largest.workers, "worker");
    lines.push(
      `${what} take an hour or more with any number up to ${most}: at best ${hours}, with ${fewest}. ` +
        `What binds: ${boundNames[largest.bound]}${remedies[largest.bound]}.`,
    );
  }
  if (at.minibatch > largestMinibatch && work.images === imagenet.images) lines.push(beyond);
  const crops = `A node then decodes ${rate(at.imagesPerNode)} images a second`;
  lines.push(
    at.coresPerNode === undefined
      ? `${crops}; \`onehour bench loader\` says how many a core does.`
      : `${crops}: ${counted(Math.ceil(at.coresPerNode), "core")} at ${rate(imagesPerCore!)} a core.`,
  );
  return lines;
}

const remedies: Readonly<Record<Planned["bound"], string>> = {
  compute: ", so take more workers, or faster ones",
  communication: ", so take a faster link, or more images a step",
  input: ", so let more cores of a node decode",
};

/** What is known from measuring, to hold against the forecast. */
function measuredText({ profile, paper }: Plan): string[] {
  const lines: string[] = [];
  const many = profile.measured.filter(({ workers }) => workers > 1);
  if (many.length > 0) {
    const steps = many.map(({ workers, step }) => `${ms(step)} with ${counted(workers, "worker")}`);
    lines.push(`Measured on the profile's machine, joined as it is: ${steps.join(", ")}.`);
  }
  if (paper) {
    const [first, last] = [paper[0]!, paper.at(-1)!];
    const grown = (last.seconds / first.seconds - 1) * 100;
    const forecast = (last.forecast / first.forecast - 1) * 100;
    lines.push(
      `The paper measured ${first.seconds} s a step on ${first.workers} P100s and ${last.seconds} s on ` +
        `${last.workers}, ${grown.toFixed(0)}% more; the forecast here is ${forecast.toFixed(1)}% more.`,
    );
  }
  return lines;
}

/** What follows from the figures, a paragraph a string. */
export const conclusionsOf = (plan: Plan): string[] => [
  ...trainingText(plan),
  ...measuredText(plan),
];

/** Whatever the figures rest on. */
export function assumptionsOf({
  profile,
  topology,
  imagesPerCore,
  cores,
  work,
  accumulate,
}: Plan): string[] {
  const { algorithm, workersPerNode, link, linkInside } = topology;
  const lines =
    workersPerNode === 1
      ? [`Each worker has a link of its own: ${linkText(link)}.`]
      : [
          `The ${workersPerNode} workers of a node share one link to the others: ${linkText(link)}. ` +
            `Inside, each has ${linkText(linkInside)}.`,
          "Over several nodes gradients are summed inside each, all-reduced between them, and broadcast inside, " +
            "as in the paper.",
        ];
  lines.push(
    ...(profile.assumed ?? []),
    `All-reduce, ${algorithm}: ${algorithms[algorithm].help}; b bytes, p members, α latency, β bandwidth.`,
    "Each bucket's all-reduce begins when its gradients are there and the one before is done; its update follows. " +
      "It takes nothing from computing.",
    `Each worker keeps its batch, so the minibatch grows${accumulate > 1 ? "; gradients are summed once a step" : ""}.`,
  );
  lines.push(
    cores === undefined
      ? `The input keeps up: ${optionName("cores")}, of a node, would say how far.`
      : `${counted(cores, "core")} of a node decode ${rate(imagesPerCore!)} images a second each.`,
  );
  if (work) {
    const tests =
      work.testImages > 0
        ? `${counted(work.testImages, "test image")} after each epoch, at a third of the time of training`
        : "without evaluations";
    lines.push(`An epoch is floor(images / minibatch) steps; ${tests}. No start, no checkpoints.`);
  }
  lines.push(
    "Left out: that a step waits for its slowest worker, traffic of others, protocol overhead, the time to add " +
      "up, and what communication takes from computing. A measured step is longer.",
  );
  return lines;
}

/** The result as a person reads it. */
export function planText(plan: Plan): string {
  return [
    heading(plan),
    "\n",
    table(rowsOf(plan)),
    "\n",
    ...conclusionsOf(plan).map((line) => paragraph(line)),
    "\nAssumed:\n",
    ...assumptionsOf(plan).map(item),
  ].join("");
}
