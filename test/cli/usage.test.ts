// Uses the command wrongly: it ends with status 2 and suggests what was meant or what is valid.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { groups } from "../../lib/recipe/field.js";
import { kindOf, rows } from "../../lib/recipe/table.js";
import { recipeOf, temporaryFolder } from "../support/folder.js";
import { type Outcome, onehour, outcomesOf, typed } from "./command.js";

const folder = temporaryFolder();

const cases: [line: string, ...says: (string | RegExp)[]][] = [
  ["trian synthetic", "trian", "train"],
  ["train synthetic --epoch 3", "--epoch", "--epochs", `Run \`${typed} train --help\``],
  ["train synthetic --wokers 3", "--workers"],
  ["help trian", 'no command "trian"', "did you mean train?"],
  ["help bench opps", "did you mean ops?"],
  ["eval x", "did you mean evaluate?"],
  ["xyzzy", "there are train, evaluate,"],
  ["--bogus", "has no flag --bogus"],
  ["train synthetic --learning-rate 1", "did you mean --lr?"],
  ["train synthetic --batch-size=4", "--batch-size; did you mean --batch?"],
  ["train synthetic --nnodes 2", "no flag --nnodes; the machines of a run are named by --nodes,"],
  ["train synthetic --nodes two", '--nodes: expected a whole number, got "two"'],
  ["train synthetic --nodes 2", "nothing says which of them this is. Give --node-rank"],
  ["train synthetic --nodes 2 --node-rank 0", "nothing says where", "--rendezvous host:port"],
  ["train synthetic --node-rank 0", "--node-rank: ", "--nodes"],
  [
    "train synthetic --nodes 2 --node-rank 2 --rendezvous a:1",
    "--node-rank: 2 is none of 2 nodes; expected 0 to 1",
  ],
  [
    "train synthetic --nodes 2 --node-rank 0 --rendezvous a",
    '--rendezvous: expected host:port with a port from 1 to 65535, an IPv6 address as [::1]:port, got "a"',
  ],
  [
    "train synthetic --nodes 2 --node-rank 0 --rendezvous a:1 --workers 3",
    "3 workers in all cannot be the same number on each of 2 nodes; expected a multiple of 2",
  ],
  [
    "train synthetic --nodes 2 --node-rank 0 --rendezvous a:1 --workers 3 --workers-per-node 2",
    "2 × 2 (nodes × workers of each) is 4, but 3 workers in all were asked for",
  ],
  ["train synthetic --nodes 2 --dump-program", "name the workers of all of them with --workers"],
  ["train synthetic --max-restarts 1 --min-nodes 2", "--min-nodes: say how many machines"],
  [
    "train synthetic --nodes 2 --node-rank 0 --rendezvous a:1 --min-nodes 1",
    "--min-nodes: a run goes on without a node by starting again; allow that with --max-restarts",
  ],
  [
    "train synthetic --nodes 2 --node-rank 0 --rendezvous a:1 --max-restarts 1 --min-nodes 3",
    "--min-nodes: 3 is more than the 2 nodes of the run",
  ],
  [
    "train synthetic --nodes 2 --node-rank 0 --rendezvous a:1 --token-file nowhere",
    '--token-file: cannot read "nowhere"',
  ],
  ["train --data-dir x", "--data-dir; the dataset is named without a flag."],
  ["train --dataset x", "--dataset; the dataset is named without a flag."],
  ["evaluate x --root=y", "--root; the dataset is named without a flag."],
  ["train synthetic --schedule x", "did you mean --lr-schedule?"],
  ["train synthetic --gamma 0.5", "with the step --lr-schedule the rate"],
  ["train synthetic --fp16", "did you mean --precision?"],
  ["train synthetic --loss-scale 128", "with --precision fp16 the scale of the loss follows"],
  ["bench throughput --recipe x", /has no flag --recipe\. Run/],
  ["bench throughput --data x", /has no flag --data\. Run/],
  ["train goyal2017", "that is a recipe: --recipe goyal-2017"],
  ["train synthetic --xyzzy", /no flag --xyzzy\. Run/],
  ["evaluate x --lr 1", /evaluate has no flag --lr\. Run/],
  ["train synthetic extra", "too many arguments"],
  ["train cifar10", "not built in", "train/CLASS/"],
  ["train mnist", "fashion-mnist:FOLDER"],
  ["train FashionMNIST", 'did you mean "fashion-mnist"?'],
  ["train resnet50", "that is a network: name it with --model"],
  ["bench loader nowhere", "There is no folder nowhere"],
  ["train synthetic --adam", "--optimizer: sgd, lars"],
  ["train xyzzy", /of that name; expected fashion-mnist/],
  ["train synthetic --recipe goyal2017", "did you mean goyal-2017?"],
  ["train synthetic --model ResNet50", 'did you mean "resnet50"?'],
  ["train synthetic --model vit", /no model "vit"\. Models: resnet6, resnet8/],
  ["train synthetic --init /dev/null", "--init: ", "/dev/null"],
  ["train .", "holds no train/"],
  ["train fashion-mnist:nowhere", "Fashion-MNIST is not here"],
  ["train --resume --out nowhere", "holds no run to resume"],
  ["evaluate nowhere synthetic", "cannot read nowhere"],
  ["evaluate x --image-size big", "--image-size: expected", '"big"'],
  ["train", `${typed} train fashion-mnist`],
  ["train synthetic --resume", "--out"],
  ["train synthetic --resume auto", "train synthetic --out runs/NAME --resume auto"],
  ["train --resume auto --out nowhere", "train needs a dataset"],
  ["train synthetic --resume=never --out nowhere", "Its only value is auto"],
  ["train synthetic --workers two", "--workers", "number"],
  ["train synthetic --batch 100000000", "--batch", "at most"],
  ["train --recipe nowhere.json", "nowhere.json", "recipe.json"],
  [
    "train synthetic:12x12x1:4:64 --precise-bn 3",
    "--precise-bn",
    "2 batches a worker, fewer than 3",
    "at most 2",
  ],
  ["train synthetic:12x12x1:4:48 --precise-bn 3", "an epoch has 1 batch a worker"],
  ["train synthetic --threads 999", "threads is 999", "from 1 to"],
  ["bench ops --threads 999", "threads is 999", "from 1 to"],
  ["bench throughput --threads 999", "threads is 999", "from 1 to"],
  ["bench loader --threads 999", "threads is 999", "from 1 to"],
  ["train synthetic --recipe goyal", "goyal", "one of goyal-2017"],
  ["evaluate", "checkpoint", "--help"],
  ["launch script.ts", "--workers"],
  ["launch --workers 2 nowhere.ts", "nowhere.ts", "examples/"],
  ["bench", "throughput"],
  ["bench throughput --model resnet9", "resnet9", "resnet8"],
  ["bench throughput --precision tf32", "--precision", "fp32"],
  ["bench throughput --workers 2,0", "--workers", "at least 1"],
  ["bench throughput --workers 2 --against pytorch", "add 1 to --workers"],
];

let outcomes: Map<string, Outcome>;

beforeAll(async () => {
  outcomes = await outcomesOf(
    cases.map(([line]) => line.split(" ")),
    folder,
  );
});

test.each(cases)("onehour %s", (line, ...says) => {
  const { status, stdout, stderr } = outcomes.get(line)!;
  for (const part of says) expect(stderr).toMatch(part);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(stdout).toBe("");
  expect(status).toBe(2);
});

test("the process ends with that status", async () => {
  const { status, stderr } = await onehour(["train", "synthetic", "--epoch", "3"]);
  expect(stderr).toMatch(`Run \`${typed} train --help\``);
  expect(status).toBe(2);
});

describe("a recipe file", () => {
  const files = [
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
  ] as const;
  let outcomes: Map<string, Outcome>;

  beforeAll(async () => {
    for (const [name, source] of files) writeFileSync(join(folder, name), source);
    outcomes = await outcomesOf(
      files.map(([name]) => ["train", "--recipe", name]),
      folder,
    );
  });

  test.each(files)("that cannot be loaded is named: %s", (name, _, says) => {
    const { status, stderr } = outcomes.get(`train --recipe ${name}`)!;
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
    "no-bind no-cuda-graph init recipe checkpoint-minutes tensorboard out resume timeout dump-program help";
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
  const wrongs = [
    ["--model", "resnet9"],
    ["--init", "nowhere"],
    ["--precision", "tf32"],
    ["--sync-bn", "3"],
    ["--epochs", "3", "--milestones", "4"],
  ];
  const command = ["train", "fashion-mnist:nowhere"];
  const outcomes = await outcomesOf(
    wrongs.map((wrong) => [...command, ...wrong]),
    folder,
  );
  for (const wrong of wrongs) {
    const { status, stdout, stderr } = outcomes.get([...command, ...wrong].join(" "))!;
    expect(stderr).toMatch(`onehour: ${wrong.at(-2)}: `);
    expect(stdout).toBe("");
    expect(status).toBe(2);
  }
});
