// Makes the profile of a step from what `onehour bench throughput` measured.
import { median } from "../arrays/median.js";
import { modelNamed } from "../models/models.js";
import { titleOf } from "../modules/pinned.js";
import { benchLoader } from "./loader.js";
import type { Profile } from "./profile.js";
import type { ThroughputResult } from "./throughput.js";
import { measuredRows } from "./throughput-table.js";

/**
 * The profile of a step: that of the smallest number of workers that was measured, which shares the
 * machine with the fewest others.
 *
 * @param imagesPerCore images a second that a core decodes to the model's size, where that is known
 */
export function profileOf(result: ThroughputResult, imagesPerCore?: number): Profile {
  const { settings, device, environment } = result;
  const { model, images, precision, threads } = settings;
  const rows = measuredRows(result);
  const { scaling } = rows[0]!;
  const { split, rounds, buckets } = scaling;
  const { update } = split;
  return {
    type: "onehour-profile",
    model: titleOf(model),
    images,
    batch: scaling.batch,
    precision,
    device: { kind: settings.device, name: device },
    threads,
    compute: median(rounds.withoutCollectives) - update,
    update,
    buckets,
    ...(imagesPerCore === undefined ? {} : { imagesPerCore }),
    measured: rows.map(({ workers, scaling: { stepSeconds, split: at } }) => ({
      workers,
      step: stepSeconds,
      exposedCommunication: at.exposedCommunication,
    })),
    environment: { ...environment },
  };
}

/** The profile of a step, with the rate of decoding where the model takes photographs. */
export async function measureProfile(result: ThroughputResult): Promise<Profile> {
  const { model, images } = result.settings;
  return profileOf(result, modelNamed(model).smallImages ? undefined : await rateOf(images.height));
}

/**
 * Images a second that one core decodes and crops to so many pixels a side, of JPEGs that are made for
 * it: as `onehour bench loader` measures it, shorter.
 */
async function rateOf(size: number): Promise<number | undefined> {
  const { results } = await benchLoader({ size, batch: 32, rounds: 3, batches: 4 });
  return results.find(({ crop }) => crop === "training")?.imagesPerSecondPerCore;
}
