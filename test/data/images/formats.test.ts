// Decodes every variant of every format to exactly the values of Pillow's convert("RGB")
// (scripts/oracle-formats.py).
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { ImageDecoder } from "../../../lib/data/images/image-decoder.js";
import { parseSafetensors } from "../../../lib/run-folder/safetensors.js";

const folder = join(import.meta.dirname, "../../fixtures/images/formats");
const { tensors } = parseSafetensors(
  "expected.safetensors",
  readFileSync(join(folder, "expected.safetensors")),
);
const side = 13; // a view of all of the image in its own size changes nothing
const images = new ImageDecoder(1);
afterAll(() => images.dispose());

test.each([...tensors.keys()])("%s", async (name) => {
  const target = new Uint8Array(side * side * 3);
  const files = [join(folder, name)];
  const flaws = await images.decode({ files, target, size: side, shortSide: side });
  expect(flaws).toEqual([]);
  expect([...target]).toEqual([...tensors.get(name)!.bytes]);
});
