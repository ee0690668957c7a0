// The step that a benchmark runs, for a network by name.
import { modelNamed } from "../models/models.js";
import type { StepSettings } from "./contender.js";

const fashionMnist = { images: { height: 28, width: 28, channels: 1 }, classes: 10 };
const imagenet = { images: { height: 224, width: 224, channels: 3 }, classes: 1000 };

/** Adds the images that the network is made for. Throws ERR_ONEHOUR_MODEL for one that is not there. */
export function stepSettings(settings: Omit<StepSettings, "images" | "classes">): StepSettings {
  const { smallImages } = modelNamed(settings.model);
  return { ...settings, ...(smallImages ? fashionMnist : imagenet) };
}
