// Checks what a report reads of the machines of runs, from whole, damaged and missing files, and how it shows that.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { comparedTables } from "../../lib/report/compared.js";
import { environmentFields } from "../../lib/report/environment-fields.js";
import { readRuns } from "../../lib/report/run-data.js";
import { readEnvironment } from "../../lib/report/run-environment.js";
import { runPage, summaryOf } from "../../lib/report/run-page.js";
import type { MachineEnvironment } from "../../lib/system/environment.js";
import { temporaryFolder } from "../support/folder.js";

const root = temporaryFolder();

const gpu = { name: "NVIDIA H200", memoryBytes: 150_111_092_736, driver: "570.86.15" };
const machine: MachineEnvironment = {
  onehour: "0.1.0",
  commit: "0352d7b9f0d1c2b3a4958677869504132231405f",
  node: "v20.20.2",
  system: "Debian GNU/Linux 12 (bookworm)",
  kernel: "Linux 6.1.0 x64",
  processor: "Intel(R) Xeon(R) Processor",
  cores: { usable: 16, present: 32 },
  memoryBytes: 128 * 2 ** 30,
  gpus: [gpu, gpu, { name: "Tesla T4" }],
  libraries: { oneDNN: { built: "2.6.3", loaded: "2.6.4" }, Gloo: { built: "0.5.0" }, NCCL: {} },
};

function folderWith(name: string, text?: string): string {
  const folder = join(root, name);
  mkdirSync(folder);
  writeFileSync(join(folder, "recipe.json"), JSON.stringify({ model: "resnet8" }));
  if (text !== undefined) writeFileSync(join(folder, "environment.json"), text);
  return folder;
}

test("its rows have the versions, and count GPUs of a kind", () => {
  expect(environmentFields(machine)).toEqual({
    onehour: "0.1.0 (0352d7b)",
    processor: "Intel(R) Xeon(R) Processor",
    cores: "16 of 32",
    memory: "128 GiB",
    GPUs: "2 × NVIDIA H200, 139.8 GiB; Tesla T4",
    "NVIDIA driver": "570.86.15",
    system: "Debian GNU/Linux 12 (bookworm)",
    kernel: "Linux 6.1.0 x64",
    Node: "v20.20.2",
    oneDNN: "built with 2.6.3, loaded 2.6.4",
    Gloo: "built with 0.5.0",
  });
  expect(environmentFields({ gpus: [] })).toEqual({ GPUs: "none" });
  expect(environmentFields({})).toEqual({});
});

test("several runs show first what differs, and one run all", () => {
  const other = { ...machine, node: "v22.1.0", gpus: [] };
  const [a, b] = [machine, other].map((one, i) => ({
    name: "ab"[i]!,
    fields: environmentFields(one),
  }));
  const [different, alike] = comparedTables([a!, b!], { isFolded: false });
  expect(different!.head).toEqual(["field", "a", "b"]);
  expect(different!.rows).toEqual([
    ["GPUs", "2 × NVIDIA H200, 139.8 GiB; Tesla T4", "none"],
    ["NVIDIA driver", "570.86.15", undefined],
    ["Node", "v20.20.2", "v22.1.0"],
  ]);
  expect(alike).toMatchObject({ isFolded: true });
  const all = comparedTables([a!], { isFolded: false });
  expect(all).toMatchObject([{ caption: "All fields", isFolded: false }]);
  expect(all[0]!.rows).toHaveLength(11);
});

test("a page and its JSON have what the run wrote", async () => {
  const folders = [folderWith("whole", JSON.stringify(machine)), folderWith("without")];
  const runs = await readRuns(folders);
  expect(runs.map((run) => summaryOf(run).environment)).toEqual([machine, undefined]);
  expect(runPage(runs)).toContain("2 × NVIDIA H200, 139.8 GiB; Tesla T4");
  const page = runPage(runs.slice(1));
  expect(page).not.toContain("<h2>Environment</h2>");
  expect(page).not.toContain("environment.json");
});

test("what another version left out or added does no harm", async () => {
  const text = JSON.stringify({ node: "v30.0.0", gpus: [{ name: "A", cards: 2 }], tpus: 1 });
  expect(await readEnvironment(folderWith("other", text))).toEqual({
    environment: JSON.parse(text),
  });
  expect(await readEnvironment(folderWith("nothing", "{}"))).toEqual({ environment: {} });
});

test.each([
  ["empty", "", "Unexpected end of JSON input"],
  ["torn", '{"onehour": "0.1', "Unterminated string"],
  ["list", "[]", "expected object"],
  ["null", "null", "expected object"],
  ["cores", '{"cores": {"usable": "2", "present": 2}}', "cores: usable: "],
  ["gpus", '{"gpus": {"0": "a"}}', "gpus: "],
  ["libraries", '{"libraries": {"NCCL": "2.28"}}', "libraries: NCCL: "],
])("the page says that a file is damaged: %s", async (name, text, problem) => {
  const runs = await readRuns([folderWith(name, text)]);
  expect(runs[0]!.environment).toBeUndefined();
  expect(runs[0]!.environmentProblem).toContain(problem);
  expect(runPage(runs)).toContain(`${name}: its environment.json cannot be read: `);
});
