// Checks a user's own data set where it is opened and where it is read: names what is wrong, with the
// module's path.
import { OnehourError, UsageError } from "../errors.js";
import { modulePath, moduleRest } from "../modules/pinned.js";
import { shown } from "../text/words.js";
import type { Dataset, DatasetOpener, Request, Split } from "./dataset.js";

type Check = [is: (value: never) => boolean, expected: string];

const whole = (least: number) => (value: unknown) =>
  Number.isSafeInteger(value) && (value as number) >= least;
const isText = (value: unknown) => typeof value === "string" && value !== "";
const isSplit = (value: Partial<Split> | undefined) =>
  whole(1)(value?.length) &&
  ["read", "fill"].some((name) => typeof value?.[name as keyof Split] === "function");
const perChannel = (channels: number, is: (value: number) => boolean) => (value: number[]) =>
  Array.isArray(value) && value.length === channels && value.every(is);
const split = "{ length, read } or { length, fill }, with an image or more";

/** The fields of a data set, and what each must be. */
const checks = ({ channels = 0 }: Partial<Dataset["images"]> = {}): Record<string, Check> => ({
  name: [isText, "text"],
  images: [
    (images: Dataset["images"]) =>
      [images?.height, images?.width, images?.channels].every(whole(1)),
    "{ height, width, channels }, whole numbers of 1 or more",
  ],
  classes: [whole(2), "a whole number of 2 or more"],
  mean: [perChannel(channels, Number.isFinite), "a number a channel"],
  std: [perChannel(channels, (value) => value > 0), "a number above 0 a channel"],
  augmentation: [
    (value: Dataset["augmentation"]) => whole(0)(value?.padding) && typeof value.flip === "boolean",
    "{ padding, flip }, pixels and true or false",
  ],
  train: [isSplit, split],
  test: [isSplit, split],
  defaultEpochs: [(value: number) => value > 0, "a number above 0"],
  fingerprint: [isText, "text that changes when the images do"],
});

/** Opens the data set of a module's default export. Throws ERR_ONEHOUR_MODULE and ERR_ONEHOUR_DATA. */
export async function openChecked(name: string, opener: unknown): Promise<Dataset> {
  const path = modulePath(name);
  const refuse = (problem: string) => new UsageError("ERR_ONEHOUR_MODULE", `${path}: ${problem}`);
  if (typeof opener !== "function") {
    throw refuse(
      `its default export is ${shown(opener)}; expected a function that opens a data set`,
    );
  }
  const dataset: Dataset = await own(path, "cannot be opened", () =>
    (opener as DatasetOpener)(moduleRest(name)),
  );
  if (typeof dataset !== "object" || dataset === null) {
    throw refuse(`it opened ${shown(dataset)}; expected a data set`);
  }
  for (const [field, [is, expected]] of Object.entries(checks(dataset.images))) {
    const value = dataset[field as keyof Dataset] as never;
    if (!is(value)) throw refuse(`${field} is ${shown(value)}; expected ${expected}`);
  }
  // Its methods and getters stay its own, whatever kind of object it is.
  const { images, classes, mean, std, augmentation, defaultEpochs, fingerprint } = dataset;
  const { ahead, shards, inspection, notes } = dataset;
  return {
    name: dataset.name,
    images,
    classes,
    mean,
    std,
    augmentation,
    defaultEpochs,
    fingerprint,
    train: checkedSplit(path, classes, dataset.train),
    test: checkedSplit(path, classes, dataset.test),
    ...(ahead ? { ahead: (batch: number) => ahead.call(dataset, batch) } : {}),
    ...(shards ? { shards } : {}),
    ...(inspection ? { inspection } : {}),
    ...(notes ? { notes } : {}),
    [Symbol.dispose]: () => dataset[Symbol.dispose]?.(),
  };
}

/** Runs a module's function; what it throws is an error of the data, with the module's path. */
async function own<T>(path: string, what: string, use: () => T | Promise<T>): Promise<T> {
  try {
    return await use();
  } catch (error) {
    throw asData(path, what, error);
  }
}

function asData(path: string, what: string, error: unknown): OnehourError {
  if (error instanceof OnehourError) return error;
  const reason = error instanceof Error ? error.message : shown(error);
  return new OnehourError("ERR_ONEHOUR_DATA", `${path}: ${what} (${reason})`, { cause: error });
}

/** A part of the data set that names the image which cannot be read, or whose label is wrong. */
function checkedSplit(path: string, classes: number, split: Split): Split {
  const requireLabel = (label: number, index: number) => {
    if (Number.isInteger(label) && label >= 0 && label < classes) return;
    throw new OnehourError(
      "ERR_ONEHOUR_DATA",
      `${path}: the label of image ${index} is ${shown(label)}; expected a whole number below ${classes}`,
    );
  };
  if ("fill" in split) {
    return {
      length: split.length,
      fill: async (request: Request) => {
        await own(path, "images cannot be read", () => split.fill(request));
        request.indices.forEach((index, i) => {
          requireLabel(request.labels[i]!, index);
        });
      },
    };
  }
  return {
    length: split.length,
    read(index, target, offset) {
      let label: number;
      try {
        label = split.read(index, target, offset);
      } catch (error) {
        throw asData(path, `image ${index} cannot be read`, error);
      }
      requireLabel(label, index);
      return label;
    },
  };
}
