// Measures texts in columns.
import { expect, test } from "vitest";
import { fit, width, wrap } from "../../lib/terminal/columns.js";

test.each([
  ["", 0],
  ["loss 2.3026", 11],
  ["步 · ステップ", 13],
  ["école", 5],
  ["e\u0301cole", 5],
  ["한국", 4],
  ["🚀", 2],
  ["━─·×…", 5],
  ["zero\u200bwidth", 9],
])("%s takes %d columns", (text, columns) => expect(width(text)).toBe(columns));

test("joined emoji count in full, as terminals draw them that do not join", () => {
  expect(width("👩‍👩‍👧")).toBe(6);
  expect(width("❤️")).toBe(2);
});

test("a text is cut before what does not fit, and never within a character", () => {
  expect(fit("loss 2.3026", 11)).toBe("loss 2.3026");
  expect(fit("loss 2.3026", 6)).toBe("loss …");
  expect(fit("步步步", 4)).toBe("步…");
  expect(fit("👩‍👩‍👧 family", 4)).toBe("…");
  expect([1, 0, -1].map((columns) => fit("loss", columns))).toEqual(["…", "", ""]);
  const mixed = "a步e\u0301🚀b한👩‍👩‍👧c";
  for (let columns = 0; columns < 20; columns++)
    expect(width(fit(mixed, columns))).toBeLessThanOrEqual(columns);
});

test("lines are broken between words, of which a long one stays whole", () => {
  expect(wrap("a bb ccc dddd", 5)).toEqual(["a bb", "ccc", "dddd"]);
  expect(wrap("a longer b", 3)).toEqual(["a", "longer", "b"]);
  expect(wrap("步步 步步 a", 6)).toEqual(["步步", "步步 a"]);
  expect(wrap("", 5)).toEqual([""]);
});
