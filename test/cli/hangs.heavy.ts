// Gives up a user's script and a user's data set that hang, after the time that was set.
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { temporaryFolder } from "../support/folder.js";
import { onehour } from "./command.js";

const folder = temporaryFolder();
copyFileSync(
  fileURLToPath(new URL("../../examples/data.ts", import.meta.url)),
  join(folder, "stripes.ts"),
);

test("ends a script that hangs after ONEHOUR_TIMEOUT, and names the variable", async () => {
  const script = join(folder, "hangs.ts");
  writeFileSync(
    script,
    `import { connect } from "onehour";
const world = await connect();
if (world.rank === 0) await world.barrier();
setInterval(() => {}, 1000);\n`,
  );
  const env = { ONEHOUR_TIMEOUT: "6" };
  const { status, stderr } = await onehour(["launch", "--workers", "2", script], { env });
  // On a busy machine rank 0 may take as long to start: test/ranks/hangs.heavy.ts has which rank it is.
  expect(stderr.trimEnd().split("\n").at(-1)).toMatch(
    /^onehour: rank [01] made no progress for 6 s while rank [01] waited\. If its steps take that long, set ONEHOUR_TIMEOUT to more seconds$/,
  );
  expect(status).toBe(1);
});

test.concurrent.each([
  ["read", "for (;;);"],
  // A timer keeps the process from ending by itself.
  ["fill", "setInterval(() => {}, 1000); return new Promise(() => {});"],
])("a data set whose %s never ends is given up after --timeout", async (method, body) => {
  const file = join(folder, `hangs-${method}.ts`);
  writeFileSync(
    file,
    `import open from "./stripes.ts";
    export default async () => ({
      ...(await open()), train: { length: 64, ${method}() { ${body} } }
    });\n`,
  );
  const args = [
    "--model",
    "resnet8",
    "--workers",
    "2",
    "--timeout",
    "10",
    "--batch",
    "8",
    "--threads",
    "1",
  ];
  const { status, stderr } = await onehour(["train", file, ...args]);
  // On a busy machine a rank may pause as long while it starts; test/ranks/supervise.test.ts has the words.
  expect(stderr).toMatch(/^onehour: ranks? .* made no progress for \d+ s/m);
  expect(status).toBe(1);
});

test("a disk that keeps everything slowly is no hang", async () => {
  const slow = `const { constructor: { prototype } } = await (await import("node:fs/promises")).open("/dev/null");
const { sync } = prototype;
prototype.sync = async function () {
  await new Promise((resolve) => setTimeout(resolve, 1500));
  await sync.call(this);
};`;
  const args = ["--model", "resnet8", "--workers", "2", "--batch", "4", "--threads", "1"];
  // Before the first step a run waits for six syncs.
  const { status, stderr } = await onehour(
    [
      "train",
      "synthetic:8x8x1:4:64",
      ...args,
      "--steps",
      "1",
      "--timeout",
      "6",
      "--out",
      join(folder, "slow"),
    ],
    { env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(slow)}` } },
  );
  expect([status, stderr]).toEqual([0, ""]);
});
