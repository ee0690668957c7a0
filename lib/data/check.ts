// Checks a user's own data set where it is opened and where it is read: names what is wrong, and where.
import { OnehourError, UsageError } from "../errors.js";
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
const checks = (channels: number): Record<string, Check> => ({
  name: [isText, "text"],
  images: [
    (images: Dataset["images"]) =>
      [images?.height, images?.width, images?.channels].every(whole(1)),
    "{ height, width, channels }, whole numbers of 1 or more",
  ],
  testImages: [
    (images: Dataset["testImages"]) =>
      images === undefined ||
      ([images?.height, images?.width].every(whole(1)) && images.channels === channels),
    "{ height, width, channels }, with the channels of images",
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

/**
 * Opens a user's own data set, which messages call `who`. Throws ERR_ONEHOUR_MODULE where it is not as it must
 * be, ERR_ONEHOUR_DATA where it throws.
 */
export async function openChecked(
  who: string,
  opener: DatasetOpener,
  argument: string | undefined,
): Promise<Dataset> {
  const refuse = (problem: string) => new UsageError("ERR_ONEHOUR_MODULE", `${who}: ${problem}`);
  return await own(who, "cannot be opened", async () => {
    const dataset: Dataset = await opener(argument);
    if (typeof dataset !== "object" || dataset === null) {
      throw refuse(`it opened ${shown(dataset)}; expected a data set`);
    }
    for (const [field, [is, expected]] of Object.entries(checks(dataset.images?.channels))) {
      const value = dataset[field as keyof Dataset] as never;
      if (!is(value)) throw refuse(`${field} is ${shown(value)}; expected ${expected}`);
    }
    // Its methods and getters stay its own, whatever kind of object it is.
    const { images, classes, mean, std, augmentation, defaultEpochs, fingerprint } = dataset;
    const { testImages, shards, inspection, notes } = dataset;
    return {
      name: dataset.name,
      images,
      classes,
      mean,
      std,
      augmentation,
      defaultEpochs,
      fingerprint,
      train: checkedSplit(who, classes, dataset.train),
      test: checkedSplit(who, classes, dataset.test),
      ...(dataset.ahead ? { ahead: checkedAhead(who, dataset) } : {}),
      ...(testImages ? { testImages } : {}),
      ...(shards ? { shards } : {}),
      ...(inspection ? { inspection } : {}),
      ...(notes ? { notes } : {}),
      [Symbol.dispose]: () => dataset[Symbol.dispose]?.(),
    };
  });
}

function checkedAhead(who: string, dataset: Dataset): (batch: number) => number {
  return (batch) => {
    let batches: unknown;
    try {
      batches = dataset.ahead!(batch);
    } catch (error) {
      throw asData(who, "ahead failed", error);
    }
    if (whole(0)(batches)) return batches as number;
    throw new UsageError(
      "ERR_ONEHOUR_MODULE",
      `${who}: ahead gives ${shown(batches)}; expected a whole number of 0 or more`,
    );
  };
}

/** Runs a user's function; what it throws is an error of the data, with its name. */
async function own<T>(who: string, what: string, use: () => T | Promise<T>): Promise<T> {
  try {
    return await use();
  } catch (error) {
    throw asData(who, what, error);
  }
}

function asData(who: string, what: string, error: unknown): OnehourError {
  if (error instanceof OnehourError) return error;
  const reason = error instanceof Error ? error.message : shown(error);
  return new OnehourError("ERR_ONEHOUR_DATA", `${who}: ${what} (${reason})`, { cause: error });
}

/** A part of the data set that names the image which cannot be read, or whose label is wrong. */
function checkedSplit(who: string, classes: number, split: Split): Split {
  const requireLabel = (label: number, index: number) => {
    if (Number.isInteger(label) && label >= 0 && label < classes) return;
    throw new OnehourError(
      "ERR_ONEHOUR_DATA",
      `${who}: the label of image ${index} is ${shown(label)}; expected a whole number below ${classes}`,
    );
  };
  if ("fill" in split) {
    return {
      length: split.length,
      fill: async (request: Request) => {
        await own(who, "images cannot be read", () => split.fill(request));
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
        throw asData(who, `image ${index} cannot be read`, error);
      }
      requireLabel(label, index);
      return label;
    },
  };
}
