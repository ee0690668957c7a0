// The facts of a network's images in a checkpoint's metadata: written, read, and refused where they are damaged.
import { expect, test } from "vitest";
import { formatCheckpoint, parseCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { formatImageFacts, parseImageFacts } from "../../lib/run-folder/image-facts.js";
import { parseSafetensors } from "../../lib/run-folder/safetensors.js";
import { layout, position } from "./layout.js";

const facts = {
  ...{ height: 224, width: 192, channels: 3, classes: 1000 },
  ...{ mean: [0.485, -0.456, 0], std: [0.229, 1e-7, 3] },
};
const metadata = formatImageFacts(facts);

test("a checkpoint has them under plain names, and one of an earlier version has none", async () => {
  const layouts = [layout("fc.bias", [2], "bias")];
  const state = { weights: new Map([["fc.bias", Float32Array.of(1, 2)]]) };
  const write = async (origin: object) =>
    Buffer.concat(await formatCheckpoint(layouts, state, position, "resnet8", origin));
  const bytes = await write({ images: facts });
  expect(parseSafetensors("file", bytes).metadata).toMatchObject({
    model: "resnet8",
    height: "224",
    mean: "[0.485,-0.456,0]",
    classes: "1000",
  });
  expect(parseCheckpoint("file", bytes).images).toEqual(facts);
  expect(parseCheckpoint("file", await write({}))).not.toHaveProperty("images");
});

test.each([
  ["height", "0"],
  ["height", "2.5"],
  ["width", "-3"],
  ["width", '"28"'],
  ["channels", "0"],
  ["channels", "2"],
  ["channels", ""],
  ["mean", "0.5"],
  ["mean", "[0.5]"],
  ["mean", "[0.5,null,1]"],
  ["mean", "[1e999,0,0]"],
  ["mean", "[0.1,0.2"],
  ["std", "[0.2,0,0.2]"],
  ["std", '{"length":3}'],
  ["classes", "[]"],
  ["classes", "1e300"],
  ["classes", undefined],
  ["mean", undefined],
])("damaged facts are refused by name: %s %s", (key, text) => {
  const { [key]: _, ...others } = metadata;
  const damaged = text === undefined ? others : { ...others, [key]: text };
  expect(() => parseImageFacts("some/file", damaged)).toThrow(
    /^some\/file: its (\w+) is .*\. It was left as it is; expected a .*/s,
  );
});

test("so are arrays that are nested deeper than a text of them can be made", () => {
  const channels = "[".repeat(50_000) + "]".repeat(50_000);
  expect(() => parseImageFacts("some/file", { ...metadata, channels })).toThrow(
    /^some\/file: its channels is .*; expected a whole number above 0/s,
  );
});
