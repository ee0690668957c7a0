// Trains from shards: the same run twice, with a message about how epochs are shuffled.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { expect, test } from "vitest";
import { type Packed, tarOf } from "../data/tar-file.js";
import { stepsOf, temporaryFolder } from "../support/folder.js";
import { small, trained } from "../support/training.js";

const folder = temporaryFolder();

/** Samples first … first + count − 1, of two classes: dark and light. */
async function samples(first: number, count: number): Promise<Packed[]> {
  const files: Packed[] = [];
  for (let i = first; i < first + count; i++) {
    const value = (at: number) => 128 * (i % 2) + ((at * i) % 97);
    const pixels = Uint8Array.from({ length: 32 * 32 * 3 }, (_, at) => value(at));
    const bytes = await sharp(pixels, { raw: { width: 32, height: 32, channels: 3 } })
      .jpeg()
      .toBuffer();
    files.push({ name: `${i}.jpg`, bytes }, { name: `${i}.cls`, bytes: String(i % 2) });
  }
  return files;
}

test("trains alike twice, and reports the weaker shuffle before step 1", async () => {
  const dataset = join(folder, "shards");
  mkdirSync(dataset);
  for (let shard = 0; shard < 18; shard++) {
    const name = `train-${String(shard).padStart(6, "0")}.tar`;
    writeFileSync(join(dataset, name), tarOf(await samples(4 * shard, 4)));
  }
  writeFileSync(join(dataset, "val-000000.tar"), tarOf(await samples(100, 6)));
  const run = async (name: string) => {
    const out = join(folder, name);
    const recipe = { ...small, dataset, imageSize: 28, batch: 8, epochs: 2, milestones: [], out };
    const { events } = await trained(recipe);
    return { steps: stepsOf(out), events };
  };
  const { steps, events } = await run("first");
  expect(steps).toHaveLength(18);
  expect((await run("second")).steps).toEqual(steps);
  const reported = events.findIndex(
    (event) => event.type === "message" && /18 training shards.*within windows/.test(event.text),
  );
  expect(reported).toBeGreaterThanOrEqual(0);
  expect(reported).toBeLessThan(events.findIndex(({ type }) => type === "step"));
});
