// Counts with their nouns, losses, and messages in one line.
import { expect, test } from "vitest";
import { counted, lossText, oneLine, plural, warning } from "../lib/words.js";

test("one of a thing is not several", () => {
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

test("a library's lines are folded into a warning, those that repeat once", () => {
  const error = "VipsJpeg: premature end of file\nVipsJpeg: premature end of file\r\n  bad seek\n";
  expect(oneLine(error)).toBe("VipsJpeg: premature end of file; bad seek");
  expect(warning(error)).toBe("warning: VipsJpeg: premature end of file; bad seek");
});
