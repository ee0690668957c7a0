// Compiles programs that test images of another size than those of training.
import { expect, it } from "vitest";
import { compile } from "../../lib/graph/compile.js";
import { network } from "../../lib/models/layers.js";
import { optimizers } from "../../lib/ops/optimizers/index.js";
import { modelOf, optionsFor } from "./options.js";
import { compileTiny } from "./tiny.js";

it("evaluates images of another size, in one arena with the training's", () => {
  const testImage = { height: 6, width: 5 };
  const usual = compileTiny({ ema: true, preciseBatchNorm: 2 });
  const { compiled, texts, ops } = compileTiny({ ema: true, preciseBatchNorm: 2, testImage });
  const { images, flips } = compiled.input;
  expect([images.bytes, flips.offset]).toEqual([2 * 30, 64]);
  const shapeIn = (program: string) => ops(program, "normalize-input")[0]!.inputs[0]!.shape;
  for (const program of ["last", "statistics"]) expect(shapeIn(program)).toEqual([2, 4, 4, 1]);
  for (const program of ["evaluate", "evaluate-ema"])
    expect(shapeIn(program)).toEqual([2, 6, 5, 1]);
  expect(compiled.memory.arenas.input).toBe(usual.compiled.memory.arenas.input!);
  expect(compiled.hash).not.toBe(usual.compiled.hash);
  expect(compileTiny({ testImage: { height: 4, width: 4 } }).texts).toEqual(compileTiny().texts);
  // Where the test's images are the smaller ones, the input keeps the training's places.
  const smaller = compileTiny({ testImage: { height: 3, width: 3 } });
  expect(smaller.texts.last).toBe(compileTiny().texts.last);
  // The larger of the two decides what is reserved.
  const large = compileTiny({ testImage: { height: 64, width: 64 } }).compiled.memory.arenas;
  expect(large.temp).toBeGreaterThan(compiled.memory.arenas.temp!);
  expect(large.input).toBe(2 * (2 * 64 * 64 + 3 * 64));
  expect(Object.keys(texts)).toEqual(Object.keys(usual.texts));
});

it("refuses a network whose tensors follow from the size of the images, where sizes differ", () => {
  const flat = network((layers, x, { classes }) => {
    const y = layers.convolution("conv", x, { filters: 4, window: 3 });
    return layers.linear("fc", layers.linearOfImage("features", y, 8), classes);
  });
  const model = flat({ channels: 1, classes: 2 });
  const image = { height: 8, width: 8 };
  const compiled = (testImage: typeof image) =>
    compile(model, optionsFor(model, { image, testImage }), {
      optimizer: optimizers.sgd(),
    });
  expect(() => compiled(image)).not.toThrow();
  expect(() => compiled({ height: 10, width: 8 })).toThrow(
    /^trained on images of 8 × 8, the network cannot be tested on images of 10 × 8: features.weight would be \[8,320\] instead of \[8,256\]\. Test on images of 8 × 8/,
  );
  expect(() =>
    compile(
      modelOf("vgg11_bn"),
      {
        ...optionsFor(modelOf("vgg11_bn")),
        testImage: { height: 232, width: 232 },
      },
      { optimizer: optimizers.sgd() },
    ),
  ).not.toThrow();
});
