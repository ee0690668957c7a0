// Draws the live line on a terminal of a few columns.
import { afterEach, expect, test, vi } from "vitest";
import { paintFor, takesColors } from "../../lib/terminal/color.js";
import { fit } from "../../lib/terminal/columns.js";
import { LiveLine } from "../../lib/terminal/live-line.js";
import { Stages } from "../../lib/terminal/stages.js";
import { Screen } from "../support/screen.js";

afterEach(() => vi.restoreAllMocks());

const text = (whole: string) => (columns: number) => fit(whole, columns);

test.each([{}, { NO_COLOR: "1" }])("stays in place below whole lines, with %o", (env) => {
  const screen = new Screen(20);
  const live = new LiveLine(screen, env);
  live.update(text("a line that is too long"));
  expect(screen.rows).toEqual(["a line that is too…"]);
  live.update(text("short"));
  live.line("first");
  expect(screen.rows).toEqual(["first"]);
  live.update(text("again"));
  expect(screen.rows).toEqual(["first", "again"]);
  live.clear();
  live.line("last");
  expect(screen.rows).toEqual(["first", "last"]);
  expect(screen.folds).toBe(0);
  expect(screen.written.includes("\x1b")).toBe(!("NO_COLOR" in env));
});

test("is drawn anew when the terminal becomes narrower or wider, and leaves nothing behind", () => {
  const screen = new Screen(20);
  const live = new LiveLine(screen, {});
  live.line("above");
  live.update(text("0123456789 01234567"));
  screen.resize(7);
  expect(screen.rows).toEqual(["above", "01234…"]);
  screen.resize(40);
  expect(screen.rows).toEqual(["above", "0123456789 01234567"]);
  live.clear();
  screen.resize(30);
  expect(screen.rows).toEqual(["above"]);
});

test("without escape codes it leaves blank rows at most where the terminal becomes narrower", () => {
  const screen = new Screen(20);
  const live = new LiveLine(screen, { NO_COLOR: "1" });
  live.update(text("0123456789 01234567"));
  screen.resize(7);
  live.line("done");
  expect(screen.rows).toEqual(["", "", "done"]);
  expect(screen.folds).toBe(0);
});

test("makes room for what others print, and waits for the end of their line", () => {
  const screen = new Screen(20);
  const own = screen.write;
  const live = new LiveLine(screen, {});
  live.update(text("live"));
  screen.write("a warning\n");
  expect(screen.rows).toEqual(["a warning", "live"]);
  screen.write("begun, ");
  live.update(text("later"));
  expect(screen.rows).toEqual(["a warning", "begun,"]);
  screen.write("ended\n");
  expect(screen.rows).toEqual(["a warning", "begun, ended", "later"]);
  screen.write("begun again");
  live.line("a line");
  expect(screen.rows.slice(2)).toEqual(["begun again", "a line"]);
  expect(screen.write).toBe(own);
});

test("makes room on standard error where standard output is a terminal too", () => {
  const out = new Screen(20);
  vi.spyOn(process, "stdout", "get").mockReturnValue(out as never);
  const shared = { isTTY: true, write: (chunk: string) => out.write(chunk) };
  vi.spyOn(process, "stderr", "get").mockReturnValue(shared as never);
  const live = new LiveLine(out, {});
  live.update(text("live"));
  process.stderr.write("onehour: a warning\n");
  live.clear();
  process.stderr.write("another\n");
  expect(out.rows).toEqual(["onehour: a warning", "another"]);
});

test("is cleared when the process ends", () => {
  const screen = new Screen(20);
  const before = process.listenerCount("exit");
  const live = new LiveLine(screen, {});
  live.update(text("live"));
  const [clear] = process.listeners("exit").slice(before);
  (clear as () => void)();
  expect(screen.rows).toEqual([]);
  expect(process.listenerCount("exit")).toBe(before);
});

test.each([
  ["ends the process, unless", 0],
  ["is left to", 1],
])("is cleared on a signal, which %s somebody else listens", (_, others) => {
  const kill = vi.spyOn(process, "kill").mockReturnValue(true);
  const [signal, heard] = ["SIGHUP", vi.fn()] as const;
  const before = process.listeners(signal);
  for (const listener of before) process.off(signal, listener as () => void);
  if (others > 0) process.on(signal, heard);
  const screen = new Screen(20);
  new LiveLine(screen, {}).update(text("live"));
  process.emit(signal, signal);
  expect(screen.rows).toEqual([]);
  expect(kill.mock.calls).toEqual(others > 0 ? [] : [[process.pid, signal]]);
  expect(heard).toHaveBeenCalledTimes(others);
  expect(process.listenerCount(signal)).toBe(others);
  process.off(signal, heard);
  for (const listener of before) process.on(signal, listener as () => void);
});

test.each([
  [{ isTTY: false }, {}],
  [{}, {}],
  [{ isTTY: true }, { TERM: "dumb" }],
])("is not drawn on %o with %o", (kind, env) => {
  const written: string[] = [];
  const live = new LiveLine({ ...kind, write: (chunk: string) => written.push(chunk) }, env);
  live.update(text("live"));
  live.line("a line");
  live.clear();
  expect(written).toEqual(["a line\n"]);
});

test("a terminal whose size is unknown counts as one of 80 columns", () => {
  for (const columns of [0, undefined]) {
    const written: string[] = [];
    const live = new LiveLine({ isTTY: true, columns, write: (t: string) => written.push(t) }, {});
    live.update((columns) => `${columns}`);
    expect(written.join("")).toContain("79");
  }
});

test("colors are for terminals, unless a variable says otherwise", () => {
  const takes = (isTTY: boolean, env: object) => takesColors({ isTTY, write() {} }, { ...env });
  expect([takes(true, {}), takes(false, {})]).toEqual([true, false]);
  expect([takes(true, { NO_COLOR: "1" }), takes(true, { TERM: "dumb" })]).toEqual([false, false]);
  expect(takes(true, { NO_COLOR: "" })).toBe(true); // as no-color.org has it
  expect([takes(false, { FORCE_COLOR: "1" }), takes(true, { FORCE_COLOR: "0" })]).toEqual([
    true,
    false,
  ]);
  expect(paintFor({ isTTY: true, write() {} }, {})("green", "a")).toBe("\x1b[32ma\x1b[39m");
});

/** What is written when the stages come a second apart. */
function staged(isTTY: boolean, stages: Parameters<Stages["show"]>[0][]): string {
  const screen = Object.assign(new Screen(60), { isTTY });
  let now = 0;
  const shown = new Stages(new LiveLine(screen, { NO_COLOR: "1" }), () => now);
  for (const stage of stages) {
    shown.show(stage);
    now += 3;
  }
  const { rows } = screen;
  shown.end();
  return rows.join("\n");
}

test("a stage is a bar and what is known, or a line an interval once it lasts", () => {
  const listing = [1, 2, 3, 4, 5].map((tenths) => ({
    text: "listing train",
    share: tenths / 10,
    details: [`${tenths},000 images`],
  }));
  expect(staged(true, listing)).toBe("━━━━──── listing train: 5,000 images");
  expect(staged(false, listing)).toBe(
    "listing train: 3,000 images · 30%\nlisting train: 5,000 images · 50%",
  );
  expect(staged(false, [...listing.slice(0, 2), { text: "evaluating" }])).toBe("");
  expect(staged(true, [{ text: "loading the programs" }])).toBe("loading the programs");
});
