// Checks whether weights fit a model: heads of other numbers of classes, and other differences.
import { expect, test } from "vitest";
import { elements } from "../../lib/graph/graph.js";
import { otherHead, requireModelWeights } from "../../lib/run-folder/model-weights.js";
import { layout } from "./layout.js";

const layouts = [
  layout("fc.weight", [10, 64], "linear"),
  layout("fc.bias", [10], "bias"),
  layout("conv1.weight", [16, 3, 3, 3], "convolution"),
];

/** A file's tensors: the model's, some of other shapes or none. */
function given(changes: Record<string, number[] | undefined> = {}) {
  const all = {
    ...Object.fromEntries(layouts.map(({ name, shape }) => [name, shape])),
    ...changes,
  };
  const shapes = new Map(
    Object.entries(all).flatMap(([name, shape]) => (shape ? [[name, shape] as const] : [])),
  );
  const weights = new Map(
    [...shapes].map(([name, shape]) => [name, new Float32Array(elements(shape))]),
  );
  return { shapes, weights };
}

const thousand = { "fc.weight": [1000, 64], "fc.bias": [1000] };

test("recognises a head of another number of classes and nothing else", () => {
  expect(otherHead(given(thousand).shapes, layouts)).toMatchObject({ given: 1000, wanted: 10 });
  for (const changes of [
    {},
    { "fc.weight": [10, 32], "fc.bias": [10] },
    { "fc.weight": [1000, 32], "fc.bias": [1000] },
    { "fc.weight": [1000, 64], "fc.bias": [10] },
    { "fc.weight": undefined, "fc.bias": undefined },
  ])
    expect(otherHead(given(changes).shapes, layouts), JSON.stringify(changes)).toBeUndefined();
});

test("with a new head all other layers must fit", () => {
  const fits = given(thousand);
  const head = otherHead(fits.shapes, layouts)!;
  expect(() => requireModelWeights("file", fits, layouts, "resnet8", head)).not.toThrow();
  const other = given({ ...thousand, "conv1.weight": [16, 1, 3, 3] });
  expect(() => requireModelWeights("file", other, layouts, "resnet8", head)).toThrow(
    /conv1\.weight is \[16,1,3,3\], not \[16,3,3,3\]/,
  );
  expect(() =>
    requireModelWeights("file", given({ ...thousand, more: [1] }), layouts, "resnet8", head),
  ).toThrow(/the model has no tensor more/);
});

test("without one, the error names the number of classes and two remedies", () => {
  expect(() => requireModelWeights("file", given(thousand), layouts, "resnet8")).toThrow(
    /fc\.weight is \[1000,64\].*have 1000 classes and not its 10.*data set of 1000 classes.*--init file/,
  );
  // Where more differs, the file is another model's.
  const other = given({ ...thousand, "conv1.weight": [64, 3, 7, 7] });
  expect(() => requireModelWeights("file", other, layouts, "resnet8")).toThrow(/name another file/);
});
