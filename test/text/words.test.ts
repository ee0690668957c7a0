// Formats counts with their nouns, bytes, losses, and messages of one line.
import { expect, test } from "vitest";
import {
  bytesText,
  counted,
  lossText,
  oneLine,
  plural,
  printable,
  shown,
  warning,
} from "../../lib/text/words.js";

test("bytes in three digits, by powers of 1000", () => {
  const all = [0, 999, 1000, 12_345_678, 64e6, 999_499, 999_500, 25.34e9, 1.8e12, 5e18];
  expect(all.map(bytesText)).toEqual([
    ...[
      "0 B",
      "999 B",
      "1.0 kB",
      "12.3 MB",
      "64.0 MB",
      "999 kB",
      "1.0 MB",
      "25.3 GB",
      "1.8 TB",
      "5000 PB",
    ],
  ]);
});

test("uses the singular for one", () => {
  expect([0, 1, 2, 2000].map((n) => plural(n, "step"))).toEqual([
    ...["0 steps", "1 step", "2 steps", "2000 steps"],
  ]);
  expect(counted(2000, "image")).toBe("2,000 images");
  expect(plural(4, "epoch")).toBe("4 epochs");
  expect(["batch", "class", "process", "rank"].map((noun) => plural(1, noun))).toEqual([
    ...["1 batch", "1 class", "1 process", "1 rank"],
  ]);
  expect(["batch", "class", "process"].map((noun) => plural(3, noun))).toEqual([
    ...["3 batches", "3 classes", "3 processes"],
  ]);
  expect(plural(0.5, "epoch")).toBe("0.5 epochs");
});

test("a loss is short, however large", () => {
  expect([2.30261, 0, 99_999, 256202341306410730000, -1e30, NaN, Infinity].map(lossText)).toEqual([
    ...["2.3026", "0.0000", "99999.0000", "2.562e20", "-1.000e30", "NaN", "Infinity"],
  ]);
});

test("folds a library's lines into one warning, repeated lines once", () => {
  const error = "VipsJpeg: premature end of file\nVipsJpeg: premature end of file\r\n  bad seek\n";
  expect(oneLine(error)).toBe("VipsJpeg: premature end of file; bad seek");
  expect(warning(error)).toBe("warning: VipsJpeg: premature end of file; bad seek");
});

test("shows control characters as their codes", () => {
  expect(printable("\x1b[31mred\x07\x7f\u009b2J\u202egnp.exe\ud800 é 漢 🙂")).toBe(
    "\\x1b[31mred\\x07\\x7f\\x9b2J\\u202egnp.exe\\ud800 é 漢 🙂",
  );
  expect(oneLine("a\x1b[2J\nb")).toBe("a\\x1b[2J; b");
});

test("a value of any kind is shown in short", () => {
  const endless: unknown[] = [];
  endless.push(endless);
  const deep = JSON.parse(`${"[".repeat(50_000)}${"]".repeat(50_000)}`);
  expect([4, "4", 4n, null, [4], {}, -0, "a\nb"].map(shown)).toEqual([
    ...["4", '"4"', "4n", "null", "[ 4 ]", "{}", "-0", '"a\\nb"'],
  ]);
  expect(shown(endless)).toBe("<ref *1> [ [Circular *1] ]");
  for (const value of [deep, "x".repeat(1e6), Array(1e5).fill("y".repeat(1e3))])
    expect(shown(value).length).toBeLessThan(300);
  expect(oneLine(`begins ${"x".repeat(1e6)} ends`)).toMatch(
    /^begins x+… \(\S+ characters\) …x+ ends$/,
  );
});
