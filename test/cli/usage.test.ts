// Wrong usage ends with status 2 and names what was meant or what would do.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { onehour, temporaryFolder, typed } from "./command.js";

const folder = temporaryFolder();

const cases: { args: string[]; says: (string | RegExp)[] }[] = [
  { args: ["trian", "synthetic"], says: ["trian", "train"] },
  {
    args: ["train", "synthetic", "--epoch", "3"],
    says: ["--epoch", "--epochs", `Run \`${typed} train --help\``],
  },
  { args: ["train", "synthetic", "--wokers", "3"], says: ["--workers"] },
  { args: ["train"], says: [`${typed} train fashion-mnist`] },
  { args: ["train", "synthetic", "--resume"], says: ["--out"] },
  { args: ["train", "synthetic", "--workers", "two"], says: ["--workers", "number"] },
  { args: ["train", "synthetic", "--workers", "0"], says: ["--workers", "1 or more"] },
  { args: ["train", "synthetic", "--batch", "100000000"], says: ["--batch", "at most"] },
  { args: ["train", "synthetic", "--minibatch", "1000"], says: ["--minibatch", "992 or 1024"] },
  {
    args: ["train", "synthetic", "--epochs", "3", "--milestones", "1,5"],
    says: ["--milestones", "5", "less than 3"],
  },
  { args: ["train", "synthetic", "--warmup", "fast"], says: ["--warmup", "gradual"] },
  { args: ["train", "synthetic", "--momentum", "1"], says: ["--momentum", "less than 1"] },
  { args: ["train", "synthetic", "--precision", "tf32"], says: ["--precision", "fp32"] },
  { args: ["train", "synthetic", "--model", "resnet9"], says: ["resnet9", "resnet8"] },
  { args: ["train", "--recipe", "nowhere.json"], says: ["nowhere.json", "recipe.json"] },
  {
    args: ["train", "synthetic:12x12x1:4:64", "--precise-bn", "3"],
    says: ["--precise-bn", "2 batches a worker, fewer than 3", "at most 2"],
  },
  {
    args: ["train", "synthetic:12x12x1:4:48", "--precise-bn", "3"],
    says: ["an epoch has 1 batch a worker"],
  },
  { args: ["train", "synthetic", "--threads", "999"], says: ["threads is 999", "from 1 to"] },
  { args: ["bench", "ops", "--threads", "999"], says: ["threads is 999", "from 1 to"] },
  { args: ["bench", "throughput", "--threads", "999"], says: ["threads is 999", "from 1 to"] },
  { args: ["bench", "loader", "--threads", "999"], says: ["threads is 999", "from 1 to"] },
  { args: ["train", "synthetic", "--recipe", "goyal"], says: ["goyal", "one of goyal-2017"] },
  { args: ["evaluate"], says: ["checkpoint", "--help"] },
  { args: ["launch", "script.ts"], says: ["--workers"] },
  { args: ["launch", "--workers", "2", "nowhere.ts"], says: ["nowhere.ts", "examples/"] },
  { args: ["bench"], says: ["throughput"] },
  { args: ["bench", "throughput", "--model", "resnet9"], says: ["resnet9", "resnet8"] },
  { args: ["bench", "throughput", "--precision", "tf32"], says: ["--precision", "fp32"] },
  { args: ["bench", "throughput", "--workers", "2,0"], says: ["--workers", "at least 1"] },
  {
    args: ["bench", "throughput", "--workers", "2", "--against", "pytorch"],
    says: ["add 1 to --workers"],
  },
];

test.concurrent.each(cases)("onehour $args", async ({ args, says }) => {
  const { status, stdout, stderr } = await onehour(args, { cwd: folder });
  for (const part of says) expect(stderr).toMatch(part);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(stdout).toBe("");
  expect(status).toBe(2);
});

describe("a recipe file", () => {
  test("names the nearest field of one it does not know", async () => {
    const path = join(folder, "wrong.json");
    writeFileSync(path, JSON.stringify({ dataset: "synthetic", epoch: 3 }));
    const { status, stderr } = await onehour(["train", "--recipe", path]);
    expect(stderr).toMatch('did you mean "epochs"');
    expect(status).toBe(2);
  });

  test.each([
    ["broken.ts", "export default { dataset: ;", "could not be loaded"],
    ["throws.ts", 'throw new Error("no luck today");', "no luck today"],
    ["string.ts", 'export default "synthetic";', "holds no recipe"],
    ["needs.ts", 'import "./nowhere.js";', "nowhere.js"],
  ])("that cannot be loaded is named: %s", async (name, source, says) => {
    writeFileSync(join(folder, name), source);
    const { status, stderr } = await onehour(["train", "--recipe", name], { cwd: folder });
    expect(stderr).toMatch(join(folder, name));
    expect(stderr).toMatch(says);
    expect(stderr).not.toMatch("bug in onehour");
    expect(status).toBe(2);
  });

  test("that is a folder is refused", async () => {
    const { status, stderr } = await onehour(["train", "--recipe", folder]);
    expect(stderr).toMatch(`${folder} could not be loaded`);
    expect(status).toBe(2);
  });

  test("that is not JSON is named", async () => {
    const path = join(folder, "torn.json");
    writeFileSync(path, '{"dataset": ');
    const { status, stderr } = await onehour(["train", "--recipe", path]);
    expect(stderr).toMatch("torn.json");
    expect(status).toBe(2);
  });
});

test("help lists exactly the flags of the contract", async () => {
  const { status, stdout } = await onehour(["train", "--help"]);
  expect(status).toBe(0);
  const flags = [...stdout.matchAll(/^\s+(?:-h, )?--([a-z-]+)/gm)].map(([, name]) => name);
  expect(flags.sort()).toEqual(
    (
      "model workers batch accumulate minibatch epochs steps lr warmup warmup-epochs milestones " +
      "momentum momentum-form no-momentum-correction no-nesterov weight-decay label-smoothing sync-bn precise-bn precision " +
      "device threads seed no-augment image-size color-jitter strict no-strict no-cuda-graph init recipe checkpoint-minutes " +
      "out resume timeout dump-program help"
    )
      .split(" ")
      .sort(),
  );
});
