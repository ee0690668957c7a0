// Trains, resumes, evaluates and measures a user's own network and data set, given as modules, on
// several workers; and reports a module's faults with its path.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { recipeOf, temporaryFolder } from "../support/folder.js";
import { type Outcome, onehour, outcomesOf } from "./command.js";

const examples = fileURLToPath(new URL("../../examples/", import.meta.url));
const net = readFileSync(join(examples, "net.ts"), "utf8");
const data = readFileSync(join(examples, "data.ts"), "utf8");
const folder = join(temporaryFolder(), "with spaces & ümlauts");
mkdirSync(folder);
const write = (name: string, source: string) => {
  writeFileSync(join(folder, name), source);
  return `./${name}`;
};
const here = (...args: string[]) => onehour(args, { cwd: folder });
const small = ["--batch", "8", "--threads", "1"];

describe("the examples", () => {
  const out = join(folder, "run");
  write("net.ts", net);
  write("data.ts", `${data}console.log("a module may print");\n`);
  const train = ["train", "./data.ts", "--model", "./net.ts", ...small];

  test("train on two workers, and the recipe keeps their paths and digests", async () => {
    const { status, stderr, stdout } = await here(
      ...train,
      "--workers",
      "2",
      "--steps",
      "3",
      "--out",
      out,
    );
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^net on stripes: 1,536 training and 96 test images of 16 × 16 × 1/m);
    const recipe = recipeOf(out);
    for (const [field, name] of [
      ["model", "net.ts"],
      ["dataset", "data.ts"],
    ] as const) {
      expect(recipe[field]).toMatch(/#sha256:[0-9a-f]{64}$/);
      expect(recipe[field].startsWith(join(folder, name))).toBe(true);
    }
  });

  test("are known to evaluate, bench and --resume", async () => {
    expect(await here("evaluate", out)).toMatchObject({ status: 0 });
    const args = ["--model", "./net.ts", "--batch", "1", "--threads", "1"];
    const counted = await here("bench", "ops", "--traffic", "--json", ...args);
    expect(JSON.parse(counted.stdout).settings.model).toMatch(/net\.ts#sha256/);
    const timed = await here(
      "bench",
      "throughput",
      "--workers",
      "1",
      "--steps",
      "1",
      "--json",
      ...args,
    );
    expect(JSON.parse(timed.stdout).results).toHaveLength(1);
    const resumed = await here("train", "--resume", "--out", out, "--steps", "4");
    expect(resumed.stderr).toBe("");
    expect(resumed.status).toBe(0);
  });

  test("resume after a change only where the command line names them", async () => {
    write("net.ts", `${net}// changed\n`);
    const resume = ["train", "--resume", "--out", out, "--steps", "5"];
    for (const args of [resume, ["evaluate", out]]) {
      const { status, stderr } = await here(...args);
      expect(stderr).toMatch(
        /net\.ts is not the module that the run began with.*or name the module/,
      );
      expect(status).toBe(2);
    }
    const named = ["--model", "./net.ts"];
    expect(await here("evaluate", out, ...named)).toMatchObject({ status: 0 });
    expect(await here(...resume, ...named)).toMatchObject({ status: 0, stderr: "" });
    // From now on they are those of the run.
    expect(await here("train", "--resume", "--out", out, "--steps", "6")).toMatchObject({
      status: 0,
    });
  });

  test("cannot be exchanged for built-in ones, and a moved one must be named", async () => {
    const misfit = await here("evaluate", out, "./data.ts", "--model", "resnet8");
    expect(misfit.stderr).toMatch(`it was saved from net; try --model ${join(folder, "net.ts")}`);
    expect(misfit.status).toBe(1);
    const other = await here("train", "--resume", "--out", out, "--model", "resnet8");
    expect(other.stderr).toMatch(/--model is .*net\.ts.* and "resnet8" was asked for/);
    expect(other.status).toBe(2);
    cpSync(join(folder, "net.ts"), join(folder, "renamed.ts"));
    const moved = ["train", "--resume", "--out", out, "--steps", "7", "--model", "./renamed.ts"];
    expect(await here(...moved)).toMatchObject({ status: 0, stderr: "" });
  });
});

test("a data set's argument is a part of the run", async () => {
  const out = join(folder, "sized");
  const sized = `import { openDataset } from "onehour";
    export default (size) => openDataset("synthetic:" + (size ?? "16x16x1:4:64"));`;
  const file = write("sized.ts", sized);
  const first = ["train", `${file}:12x12x1:4:64`, "--steps", "1", ...small, "--out", out];
  expect(await here(...first)).toMatchObject({ status: 0, stderr: "" });
  const resume = (name: string) => here("train", name, "--resume", "--out", out, "--steps", "2");
  for (const other of [`${file}:16x16x1:4:64`, file, `${file}:`]) {
    const { status, stderr } = await resume(other);
    expect(stderr).toMatch(/dataset.* is ".*sized\.ts:12x12x1:4:64#.*was asked for/);
    expect(status).toBe(2);
  }
  expect(await resume(`${file}:12x12x1:4:64`)).toMatchObject({ status: 0, stderr: "" });
});

test("runs no code in a run folder only because a file there names it", async () => {
  const out = join(folder, "sent");
  const first = ["train", "synthetic:16x16x1", "--steps", "1", ...small, "--out", out];
  expect(await here(...first, "--model", write("mine.ts", net))).toMatchObject({ status: 0 });
  const inside = join(out, "net.ts");
  writeFileSync(inside, 'throw new Error("it ran");');
  writeFileSync(join(out, "other.json"), JSON.stringify({ dataset: "synthetic", model: inside }));
  const recipe = ["train", "--recipe", join(out, "other.json"), "--out", join(folder, "next")];
  const refused = await here(...recipe);
  expect(refused.stderr).toMatch(
    /--model: the module .* lies in .*, the folder of a run or .*name it: --model /,
  );
  expect(refused.stderr).not.toMatch("it ran");
  expect(refused.status).toBe(2);
  const named = await here(...recipe, "--model", inside);
  expect(named.stderr).toMatch("it ran");
});

test("runs no code that came with weights or a recipe only because they name it", async () => {
  const sent = join(folder, "beside");
  mkdirSync(sent);
  const inside = join(sent, "net.ts");
  writeFileSync(inside, `${net}console.log("it ran");\n`);
  const out = join(folder, "beside-run");
  const first = ["train", "synthetic:16x16x1", "--steps", "1", ...small, "--out", out];
  expect(await here(...first, "--model", inside)).toMatchObject({ status: 0 });
  const weights = join(sent, "weights.safetensors");
  cpSync(join(out, "best.safetensors"), weights);
  const recipe = join(sent, "mine.json");
  writeFileSync(recipe, JSON.stringify({ dataset: "synthetic:16x16x1", model: inside }));
  const train = ["train", "--recipe", recipe, "--steps", "1", ...small];
  for (const args of [["evaluate", weights], train]) {
    const { status, stdout, stderr } = await here(...args);
    expect(stderr).toMatch(/the module .*net\.ts lies in .*beside, .*name it: --model /);
    expect(stdout).not.toMatch("it ran");
    expect(status).toBe(2);
    const named = await here(...args, "--model", inside);
    expect(named).toMatchObject({ status: 0, stdout: expect.stringMatching("it ran") });
  }
  expect(await here("evaluate", out)).toMatchObject({ status: 0 });
});

test.each([
  ["train", "--model", "./net.ts:8"],
  ["train", "--model", "./net.ts:"],
  ["train", "--lr-schedule", "./net.ts:3"],
  ["evaluate", "--model", "./net.ts:8"],
  ["bench ops", "--model", "./net.ts:8"],
])("%s %s takes no argument: %s", async (command, flag, value) => {
  write("net.ts", net);
  const what = { train: ["synthetic:16x16x1"], evaluate: [join(folder, "sent")] }[command] ?? [];
  const { status, stderr } = await here(...command.split(" "), ...what, flag, value);
  expect(stderr).toMatch(
    /the module .*net\.ts takes no argument, as a data set's does; leave out ":/,
  );
  expect(status).toBe(2);
});

// Written once: the tests run side by side, and one would read what another is writing.
write("stripes.ts", data);
const dataset = (changes: string) =>
  `import open from "./stripes.ts"; export default async () => ({ ...(await open()), ${changes} });`;

describe("a network that is wrong", () => {
  const networks: [name: string, source: string, says: RegExp][] = [
    [
      "missing",
      "export const net = 1;",
      /has no default export, only net; expected a module whose/,
    ],
    [
      "text",
      'export default "resnet8";',
      /the default export of .* is "resnet8"; expected a function/,
    ],
    ["throws", 'throw new Error("no luck today");', /could not be loaded: no luck today/],
    ["builds", "export default () => { throw new Error('no luck'); };", /: no luck$/m],
    ["nothing", "export default () => ({});", /its builder returned \{\}; expected \{ channels,/],
    ["undefined", "export default () => undefined;", /its builder returned undefined/],
    [
      "logits",
      'import { network } from "onehour"; export default network((_, x) => x);',
      /it returned \[\d+,16,16,\d+\]; expected logits, a value of shape \[8,10\]/,
    ],
    [
      "twice",
      `import { globalAveragePool, network } from "onehour"; export default network((layers, x, { classes }) => {
      const y = layers.convNorm("a", layers.convNorm("a", x, { filters: 4, window: 3 }), { filters: 4, window: 3 });
      return layers.linear("fc", globalAveragePool(y), classes);
    });`,
      /two of its tensors are called a\.conv\.weight/,
    ],
  ];
  const fileOf = (name: string) => `./wrong-${name}.ts`;
  const lineOf = (name: string) => [
    ...["train", "synthetic:16x16x1", "--model", fileOf(name)],
    ...small,
  ];
  let outcomes: Map<string, Outcome>;

  beforeAll(async () => {
    for (const [name, source] of networks) write(fileOf(name), source);
    outcomes = await outcomesOf(
      networks.map(([name]) => lineOf(name)),
      folder,
    );
  });

  test.each(networks)("is refused: %s", (name, _, says) => {
    const { status, stdout, stderr } = outcomes.get(lineOf(name).join(" "))!;
    expect(stderr).toMatch(says);
    expect(stderr).toMatch(join(folder, fileOf(name)));
    expect(stderr).toMatch(/^onehour: [^\n]*\n$/);
    expect(stdout).toBe("");
    expect(status).toBe(2);
  });
});

test.concurrent.each<[name: string, source: string, says: RegExp, status: number]>([
  ["object", "export default { classes: 2 };", /its default export is .*; expected a function/, 2],
  [
    "throws",
    "export default () => { throw new Error('no luck'); };",
    /cannot be opened \(no luck\)/,
    1,
  ],
  ["classes", dataset("classes: 2.5"), /classes is 2\.5; expected a whole number of 2 or more/, 2],
  ["mean", dataset("mean: [0.5, 0.5]"), /mean is \[ 0\.5, 0\.5 \]; expected a number a channel/, 2],
  [
    "train",
    dataset("train: { length: 5 }"),
    /train is \{ length: 5 \}; expected \{ length, read \}/,
    2,
  ],
  [
    "read",
    dataset("train: { length: 99, read() { throw new Error('no luck'); } }"),
    /image \d+ cannot be read \(no luck\)/,
    1,
  ],
])("a data set that is wrong: %s", async (name, source, says, wanted) => {
  const file = write(`data-${name}.ts`, source);
  const { status, stderr } = await here("train", file, "--model", "resnet8", ...small);
  expect(stderr).toMatch(says);
  expect(stderr).toMatch(join(folder, file));
  expect(stderr).not.toMatch("bug in onehour");
  expect(status).toBe(wanted);
});

test.each([
  ["--model", "await new Promise(() => {}); export default 1;"],
  ["dataset", "export default () => new Promise(() => {});"],
])("a module that never finishes loading is named: %s", async (field, source) => {
  const file = write(`endless-${field}.ts`, source);
  const args = field === "--model" ? ["synthetic:16x16x1", "--model", file] : [file];
  const { status, stdout, stderr } = await here("train", ...args, ...small);
  expect(stderr).toMatch(/^onehour: [^\n]* awaits a promise that never settles; [^\n]*\n$/);
  expect(stderr).toMatch(join(folder, file));
  expect(stdout).toBe("");
  expect(status).toBe(1);
});

test.each([
  ["as it is loaded", "process.exit(0); export default 1;"],
  ["as it builds", "export default () => process.exit(0);"],
])("a model that ends the process %s is named", async (name, source) => {
  const file = write(`exits-${name.replaceAll(" ", "-")}.ts`, source);
  const { status, stderr } = await here("train", "synthetic:16x16x1", "--model", file, ...small);
  expect(stderr).toMatch(
    `${join(folder, file)} called process.exit(0) before the command was done`,
  );
  expect(status).toBe(1);
});

test.each([
  [
    "calls process.exit(0)",
    "process.exit(0)",
    "called process.exit(0) before the command was done",
  ],
  ["never finishes loading", "await new Promise(() => {})", "awaits a promise that never settles"],
])("a module that %s in the workers alone is named", async (name, source, says) => {
  const file = write(
    `workers-${name.replace(/\W+/g, "-")}.ts`,
    `if (process.env.ONEHOUR_RANK) ${source};\nexport { default } from "./stripes.ts";`,
  );
  const args = ["--model", "resnet8", "--workers", "2", ...small];
  const { status, stderr } = await here("train", file, ...args);
  expect(stderr).toMatch(new RegExp(`^onehour: rank \\d: ${join(folder, file)} `, "m"));
  expect(stderr).toContain(says);
  expect(status).toBe(1);
});

test("names a module that is missing or a folder", async () => {
  mkdirSync(join(folder, "folder.ts"));
  const wrong = [
    [["train", "synthetic", "--model", "./nowhere.ts"], /module .*nowhere\.ts cannot be read/],
    [
      ["train", "synthetic", "--model", "./folder.ts"],
      /folder\.ts cannot be read \(it is a folder/,
    ],
    [["train", "./nowhere.ts"], /nowhere\.ts cannot be read/],
    [["evaluate", "x", "--model", "./nowhere.ts"], /cannot read x/],
    [["bench", "ops", "--model", "./nowhere.ts"], /nowhere\.ts cannot be read/],
  ] as const;
  const outcomes = await outcomesOf(
    wrong.map(([args]) => args),
    folder,
  );
  for (const [args, says] of wrong) {
    const { status, stderr } = outcomes.get(args.join(" "))!;
    expect(stderr).toMatch(says);
    expect(status).toBe(2);
  }
});
