// Uses the command wrongly: it ends with status 2 and suggests what was meant or what is valid.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { groups, kindOf, rows } from "../../lib/recipe/table.js";
import { recipeOf, temporaryFolder } from "../support/folder.js";
import { onehour, typed } from "./command.js";

const folder = temporaryFolder();

const cases: { args: string[]; says: (string | RegExp)[] }[] = [
  { args: ["trian", "synthetic"], says: ["trian", "train"] },
  {
    args: ["train", "synthetic", "--epoch", "3"],
    says: ["--epoch", "--epochs", `Run \`${typed} train --help\``],
  },
  { args: ["train", "synthetic", "--wokers", "3"], says: ["--workers"] },
  { args: ["help", "trian"], says: ['no command "trian"', "did you mean train?"] },
  { args: ["help", "bench", "opps"], says: ["did you mean ops?"] },
  { args: ["eval", "x"], says: ["did you mean evaluate?"] },
  { args: ["xyzzy"], says: ["there are train, evaluate,"] },
  { args: ["--bogus"], says: ["has no flag --bogus"] },
  { args: ["train", "synthetic", "--learning-rate", "1"], says: ["did you mean --lr?"] },
  { args: ["train", "synthetic", "--batch-size=4"], says: ["--batch-size; did you mean --batch?"] },
  { args: ["train", "synthetic", "--nodes", "2"], says: ["no flag --nodes; a run over several"] },
  {
    args: ["train", "--data-dir", "x"],
    says: ["--data-dir; the dataset is named without a flag."],
  },
  { args: ["train", "--dataset", "x"], says: ["--dataset; the dataset is named without a flag."] },
  { args: ["evaluate", "x", "--root=y"], says: ["--root; the dataset is named without a flag."] },
  { args: ["train", "synthetic", "--schedule", "x"], says: ["did you mean --lr-schedule?"] },
  {
    args: ["train", "synthetic", "--gamma", "0.5"],
    says: ["with the step --lr-schedule the rate"],
  },
  {
    args: ["train", "synthetic", "--fp16"],
    says: ["there is no fp16: --precision is one of fp32,"],
  },
  { args: ["bench", "throughput", "--recipe", "x"], says: [/has no flag --recipe\. Run/] },
  { args: ["bench", "throughput", "--data", "x"], says: [/has no flag --data\. Run/] },
  { args: ["train", "goyal2017"], says: ["that is a recipe: --recipe goyal-2017"] },
  { args: ["train", "synthetic", "--xyzzy"], says: [/no flag --xyzzy\. Run/] },
  { args: ["evaluate", "x", "--lr", "1"], says: [/evaluate has no flag --lr\. Run/] },
  { args: ["train", "synthetic", "extra"], says: ["too many arguments"] },
  { args: ["train", "cifar10"], says: ["not built in", "train/CLASS/"] },
  { args: ["train", "mnist"], says: ["fashion-mnist:FOLDER"] },
  { args: ["train", "FashionMNIST"], says: ['did you mean "fashion-mnist"?'] },
  { args: ["train", "resnet50"], says: ["that is a network: name it with --model"] },
  { args: ["bench", "loader", "nowhere"], says: ["There is no folder nowhere"] },
  { args: ["train", "synthetic", "--adam"], says: ["--optimizer: sgd, lars"] },
  { args: ["train", "xyzzy"], says: [/of that name; expected fashion-mnist/] },
  { args: ["train", "synthetic", "--recipe", "goyal2017"], says: ["did you mean goyal-2017?"] },
  { args: ["train", "synthetic", "--model", "ResNet50"], says: ['did you mean "resnet50"?'] },
  { args: ["train", "synthetic", "--model", "vit"], says: [/no model "vit"\. Models: resnet8/] },
  { args: ["train", "synthetic", "--init", "/dev/null"], says: ["--init: ", "/dev/null"] },
  { args: ["train", "."], says: ["holds no train/"] },
  { args: ["train", "fashion-mnist:nowhere"], says: ["Fashion-MNIST is not here"] },
  { args: ["train", "--resume", "--out", "nowhere"], says: ["holds no run to resume"] },
  { args: ["evaluate", "nowhere", "synthetic"], says: ["cannot read nowhere"] },
  { args: ["evaluate", "x", "--image-size", "big"], says: ["--image-size: expected", '"big"'] },
  { args: ["train"], says: [`${typed} train fashion-mnist`] },
  { args: ["train", "synthetic", "--resume"], says: ["--out"] },
  { args: ["train", "synthetic", "--workers", "two"], says: ["--workers", "number"] },
  { args: ["train", "synthetic", "--batch", "100000000"], says: ["--batch", "at most"] },
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
  test.each([
    ["resumes.json", '{"dataset": "synthetic", "resume": true}', "by --resume --out FOLDER"],
    ["torn.json", '{"dataset": ', "not JSON"],
    ["broken.ts", "export default { dataset: ;", "could not be loaded"],
    ["throws.ts", 'throw new Error("no luck today");', "no luck today"],
    ["string.ts", 'export default "synthetic";', "a recipe is an object"],
    ["needs.ts", 'import "./nowhere.js";', "nowhere.js"],
    ["empty.ts", "export {};", "has no default export; expected a module"],
    ["named.ts", "export const recipe = { lr: 1 };", "has no default export, only recipe"],
    ["old.cjs", "exports.recipe = { lr: 1 };", 'no field "recipe"'],
    ["function.ts", "export default () => ({ lr: 1 });", "a recipe is an object"],
    ["field.ts", "export default { dataset: 'synthetic', lr: 'fast' };", /: lr: expected a number/],
  ])("that cannot be loaded is named: %s", async (name, source, says) => {
    writeFileSync(join(folder, name), source);
    const { status, stderr } = await onehour(["train", "--recipe", name], { cwd: folder });
    expect(stderr).toMatch(join(folder, name));
    expect(stderr).toMatch(says);
    expect(stderr).not.toMatch("bug in onehour");
    expect(status).toBe(2);
  });
});

test("help has each flag in its group, and ends in two examples", async () => {
  const { status, stdout } = await onehour(["train", "--help"]);
  expect(status).toBe(0);
  const sections = stdout.split(/\n\n(?=\S)/);
  for (const group of groups) {
    const section = sections.find((text) => text.startsWith(`${group}:\n`));
    const shown = [...section!.matchAll(/^ +(--[a-z-]+)/gm)].map(([, flag]) => flag!);
    const wanted = rows
      .filter(([, row]) => row.group === group && row.flag.startsWith("--"))
      .map(([, row]) => row.flag.split(" ")[0]!);
    expect(wanted.filter((flag) => !shown.includes(flag))).toEqual([]);
    // And those that undo another on --resume.
    const undone = rows.filter(
      ([, row]) => row.group === group && row.onResume && kindOf(row).type === "boolean",
    );
    expect(shown).toHaveLength(wanted.length + undone.length);
  }
  expect(sections.at(-1)!.match(/^ {2}.*onehour|^ {2}.*main\.js train \S+ --/gm)).toHaveLength(2);
});

test("every flag of the contract is one that train takes", async () => {
  const { stdout } = await onehour(["train", "--help"]);
  const flags =
    "model workers batch accumulate minibatch epochs steps lr lr-schedule warmup warmup-epochs milestones " +
    "optimizer clip-norm momentum momentum-form no-momentum-correction no-nesterov weight-decay label-smoothing sync-bn " +
    "precise-bn precision device threads seed no-augment image-size color-jitter strict no-strict " +
    "no-bind no-cuda-graph init recipe checkpoint-minutes out resume timeout dump-program help";
  for (const flag of flags.split(" ")) expect(stdout).toMatch(new RegExp(`^ .*--${flag}\\b`, "m"));
});

test("the examples of help are commands that train takes", async () => {
  const { stdout } = await onehour(["train", "--help"]);
  const examples = [...stdout.matchAll(/^ {2}.*main\.js (train .*)$/gm)].map(([, line]) => line!);
  expect(examples).toHaveLength(2);
  for (const line of examples) {
    const { stderr } = await onehour([...line.split(" "), "--model", "nowhere"]);
    expect(stderr).toMatch('no model "nowhere"');
  }
});

test.each([
  ["--nesterov", { nesterov: false }, { nesterov: true }],
  ["--augment", { augment: false }, { augment: true }],
  ["--no-strict", { strict: true }, { strict: false }],
])("%s undoes what a recipe says", async (flag, recipe, resolved) => {
  const path = join(folder, `undo${flag}.json`);
  const out = join(folder, `undone${flag}`);
  writeFileSync(path, JSON.stringify({ dataset: "synthetic:8x8x1:4:32", batch: 4, ...recipe }));
  const small = ["--steps", "1", "--threads", "1", "--out", out];
  const { status } = await onehour(["train", "--recipe", path, flag, ...small]);
  expect(status).toBe(0);
  expect(recipeOf(out)).toMatchObject(resolved);
});

test("what needs no data is refused before the data set is opened or the run described", async () => {
  for (const wrong of [
    ["--model", "resnet9"],
    ["--init", "nowhere"],
    ["--precision", "tf32"],
    ["--sync-bn", "3"],
    ["--epochs", "3", "--milestones", "4"],
  ]) {
    const { status, stdout, stderr } = await onehour(["train", "fashion-mnist:nowhere", ...wrong]);
    expect(stderr).toMatch(`onehour: ${wrong.at(-2)}: `);
    expect(stdout).toBe("");
    expect(status).toBe(2);
  }
});
