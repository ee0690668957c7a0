// Trains a network without batch norm: on two workers, and in fp16 until a step is not finite.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkpointName, readCheckpoint } from "../../lib/run-folder/checkpoint.js";
import { logOf, temporaryFolder } from "../support/folder.js";
import { onehour } from "./command.js";

const folder = temporaryFolder();
writeFileSync(
  join(folder, "plain.mjs"),
  `import { globalAveragePool, network, relu } from "onehour";
  export default network((layers, x, { classes }) => {
    let y = relu(layers.convolution("conv1", x, { filters: 8, window: 3 }));
    y = relu(layers.convolution("conv2", y, { filters: 8, window: 3 }));
    return layers.linear("fc", globalAveragePool(y), classes);
  });\n`,
);
const train = (out: string, ...args: string[]) =>
  onehour(
    ["train", "synthetic:12x12x1:4:224", "--model", "./plain.mjs", "--batch", "8", "--epochs", "1"]
      .concat(["--device", "cpu", "--threads", "1", "--out", out])
      .concat(args),
    { cwd: folder },
  );

test("two workers share no running statistics, and resume bit for bit", async () => {
  const two = (out: string, ...args: string[]) => train(out, "--workers", "2", ...args);
  expect(await two("whole")).toMatchObject({ status: 0, stderr: "" });
  expect(await two("half", "--steps", "5")).toMatchObject({ status: 0, stderr: "" });
  expect(await two("half", "--steps", "14", "--resume")).toMatchObject({ status: 0, stderr: "" });
  const [whole, half] = ["whole", "half"].map((out) =>
    logOf(join(folder, out)).flatMap((line) => (line.type === "step" ? [line.loss] : [])),
  );
  expect(whole).toHaveLength(14);
  expect(half).toEqual(whole);
  const { weights } = await readCheckpoint(join(folder, "whole", checkpointName));
  expect((await readCheckpoint(join(folder, "half", checkpointName))).weights).toEqual(weights);
});

test("a step of fp16 that is not finite each time blames no hardware", async () => {
  const { status, stderr } = await train(
    ...["diverges", "--precision", "fp16", "--lr", "1e8", "--warmup", "none"],
  );
  expect(status).toBe(1);
  expect(stderr).toMatch(
    /; the outputs of layers are not finite, though the weights are, and so again when repeated \(in fp16 .*\)\. No/,
  );
  expect(stderr).not.toMatch(/machine|\?\./);
});
