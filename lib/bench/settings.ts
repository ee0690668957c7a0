// The step that a benchmark runs, for a network by name.
import { OnehourError } from "../errors.js";
import { models } from "../models/resnet.js";
import type { StepSettings } from "./contender.js";

const fashionMnist = { images: { height: 28, width: 28, channels: 1 }, classes: 10 };
const imagenet = { images: { height: 224, width: 224, channels: 3 }, classes: 1000 };

/** Adds the images that the network is made for. Throws ERR_ONEHOUR_USAGE for one that is not there. */
export function stepSettings(settings: Omit<StepSettings, "images" | "classes">): StepSettings {
  const { model } = settings;
  if (!Object.hasOwn(models, model))
    throw new OnehourError(
      "ERR_ONEHOUR_USAGE",
      `There is no model "${model}". Expected one of ${Object.keys(models).join(", ")}.`,
    );
  return { ...settings, ...(models[model]!.smallImages ? fashionMnist : imagenet) };
}
