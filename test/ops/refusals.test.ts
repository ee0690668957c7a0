// Refuses wrong operands when a program is loaded, and wrong labels when it runs.
import { describe, expect, it } from "vitest";
import { arenaNames } from "../../lib/graph/graph.js";
import { softmaxCrossEntropy } from "../../lib/ops/index.js";
import { device } from "../support/device.js";
import { run } from "../support/run.js";

const images = (name: string, at: number, shape: string, type = "f32") =>
  `${name}=temp+${at}:${type}[${shape}]`;
const conv = (attributes: string, filters: string) =>
  `conv2d ${attributes} | ${images("x", 0, "1,8,8,4")} ${images("w", 4096, filters)}` +
  ` -> ${images("y", 65536, "1,8,8,16")}`;
const same = "stride=1,1 padding=1,1";
const update = (segments: string) =>
  `sgd form=gradient nesterov=1 momentum=0.9 segments=${segments} |` +
  " w=temp+0:f32[64] g=temp+256:f32[64] v=temp+512:f32[64] schedule=temp+768:f32[2]" +
  " -> w=temp+0:f32[64] v=temp+512:f32[64] finite=temp+832:f32[1]";

describe.each([
  [
    "filters of other channels than the images",
    conv(same, "16,3,3,3"),
    /\[conv2d\] expected w:f32\[\?,\?,\?,4\], got w:f32\[16,3,3,3\]/,
  ],
  [
    "a gradient of filters in bf16",
    `conv2d-backward-weight ${same} | ${images("x", 0, "1,8,8,4")} ${images("dy", 4096, "1,8,8,16")}` +
      ` -> ${images("dw", 65536, "16,3,3,4", "bf16")}`,
    /\[conv2d-backward-weight\] expected/,
  ],
  ["a stride of 0", conv("stride=0,1 padding=1,1", "16,3,3,4"), /stride/],
  ["filters larger than the image", conv(same, "16,11,3,4"), /no larger than the padded input/],
  [
    "fewer means than channels",
    "normalize-input mean=0.1 std=0.1 | x=temp+0:u8[1,2,2,3] -> y=temp+64:f32[1,2,2,3]",
    /values of mean and std/,
  ],
  ...["63:0", "64", "64:0,", "0:0,64:0", "-1:0,65:0", "x:0"].map(
    (segments): [string, string, RegExp] => [`segments ${segments}`, update(segments), /segments/],
  ),
])("%s", (_, line, message) => {
  it("is refused", async () => {
    const header = [
      "onehour-program 1",
      "name p",
      ...arenaNames.map((arena) => `arena ${arena} 131072`),
    ];
    const text = [...header, `compute ${line}`, ""].join("\n");
    await expect(device.load([{ name: "p", text }])).rejects.toMatchObject({
      code: "ERR_SHAPE",
      message: expect.stringMatching(message),
    });
  });
});

it("a label outside the classes ends the run", async () => {
  const step = run((g) => ({
    loss: softmaxCrossEntropy(
      g.constant(new Float32Array(22), [2, 11]),
      g.constant(Int32Array.of(3, 11), [2]),
    ).metrics,
  }));
  await expect(step).rejects.toThrow(/expected labels from 0 to 10/);
});
