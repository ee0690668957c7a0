// trace.json: its events, rows and clocks, from a run and from made-up ranks.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { World } from "../../lib/ranks/world.js";
import { ChromeTrace, type RankTrace } from "../../lib/train/chrome-trace.js";
import { StepTracing } from "../../lib/train/step-tracing.js";
import { temporaryFolder } from "../support/folder.js";
import { small, trained } from "../support/training.js";
import { worldOf } from "../support/world.js";
import { requireSound } from "./trace-events.js";

const text = `onehour-program 1
name last
arena temp 64
compute relu | x=temp+0:f32[2,4] -> y=temp+32:f32[2,4] # layer 1
compute signal event=0
comm wait event=0
comm all-reduce communicator=gradients | x=temp+32:f32[8] -> x=temp+32:f32[8]`;

test("ranks are processes on one clock, streams and slots are threads", () => {
  const rank = (origin: number): RankTrace => ({
    host: `host ${origin}`,
    origin,
    programs: [
      { step: 5, program: "last", began: 1, times: [0, 2, 2, 2, 0, 2, 2, 4] },
      // Noticed so late that it would have begun before the one before had ended.
      { step: 6, program: "last", began: 4, times: [0, 2, 2, 2, 0, 2, 2, 4] },
    ],
    spans: [
      { row: "input", name: "fill slot 0 for step 5", begin: 0, end: 3 },
      { row: "input", name: "fill slot 1 for step 6", begin: 1, end: 2 },
      { row: "input", name: "fill slot 0 for step 6", begin: 3, end: 4 },
    ],
  });
  const ranks = [rank(1000), rank(1000.5)];
  const written = [...new ChromeTrace([{ name: "last", text }]).format(ranks)].join("");
  const { otherData } = JSON.parse(written);
  expect(otherData).toEqual({ began: "1970-01-01T00:00:01.000Z", ranks: 2 });
  const read = requireSound(written);
  for (const { rows } of read)
    expect(rows).toEqual(["steps", "compute", "comm", "input", "input 2"]);
  expect(read[1]!.events.find(({ name }) => name === "all-reduce")).toEqual({
    ...{ name: "all-reduce", cat: "comm", ph: "X", ts: 3500, dur: 2000, pid: 2, tid: 2002 },
    args: { line: 7, bytes: 64, inputs: ["x f32[8]"], outputs: ["x f32[8]"] },
  });
  const relus = read.map(({ events }) => events.filter(({ name }) => name === "relu"));
  expect(relus[0]![0]!.args).toMatchObject({ line: 4, label: "layer 1" });
  expect(relus.map((events) => events.map(({ ts }) => ts))).toEqual([
    [1000, 5000],
    [1500, 5500],
  ]);
});

test("a run that is shorter than the trace writes all its steps", async () => {
  const out = join(temporaryFolder(), "run");
  const recipe = { ...small, dataset: "synthetic:8x8x1:10", batch: 8, steps: 2, trace: 5, out };
  const { text: said, events: reported } = await trained(recipe);
  expect(said).toContain(
    `trace of steps 0 to 1: ${out}/trace.json; open it in https://ui.perfetto.dev`,
  );
  const [rank] = requireSound(readFileSync(join(out, "trace.json"), "utf8"));
  const steps = rank!.events.filter(({ cat }) => cat === "steps").map(({ name }) => name);
  expect(steps).toEqual(["step 0: last", "step 1: last"]);
  const last = reported.findLast((event) => event.type === "step")!;
  expect(last).toMatchObject({ exposedCommunication: 0 });
  for (const key of ["compute", "update", "inputWait", "top1"] as const)
    expect(last[key]).toBeGreaterThanOrEqual(0);
});

test("a trace that cannot be written is a warning", async () => {
  const folder = temporaryFolder();
  const said = async (out: string, collect: World["collect"]) => {
    const texts: string[] = [];
    const tracing = new StepTracing({
      ...{ world: worldOf({ collect }), compiled: { programs: [] }, kind: "cpu", out },
      ...{ steps: 1, total: 10, say: (text) => texts.push(text) },
    });
    tracing.begin(0);
    await tracing.write(10);
    return texts;
  };
  // What a rank sends that noted more than a string can hold.
  const tooMuch: World["collect"] = async (_, own) => [own, new Uint8Array()];
  expect(await said(folder, tooMuch)).toEqual([
    "warning: trace.json could not be written (rank 1 noted more than fits; lower trace)",
  ]);
  expect(readdirSync(folder)).toEqual([]);
  expect(await said(join(folder, "gone"), async (_, own) => [own])).toEqual([
    expect.stringMatching(/^warning: trace\.json could not be written \(ENOENT/),
  ]);
});
