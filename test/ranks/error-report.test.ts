// Builds the report that a failing worker sends to the launcher.
import { describe, expect, test } from "vitest";
import { NativeError, OnehourError } from "../../lib/errors.js";
import { reportOf } from "../../lib/ranks/error-report.js";

const broken = new NativeError("ERR_COLLECTIVE", "connection closed", { library: "Gloo" });

describe("reportOf", () => {
  test.each<[string, unknown, string, string | undefined, boolean]>([
    ["an error", new TypeError("a mistake"), "TypeError: a mistake", undefined, false],
    ["our error", new OnehourError("ERR_ONEHOUR_X", "said"), "said", "ERR_ONEHOUR_X", false],
    ["a broken collective", broken, "connection closed", "ERR_COLLECTIVE", true],
    [
      "an error that a broken collective caused",
      new Error("step 3", { cause: broken }),
      "Error: step 3; caused by connection closed",
      undefined,
      true,
    ],
    ["what is no error", { odd: 1 }, "threw { odd: 1 }", undefined, false],
  ])("%s", (_, thrown, message, code, secondary) => {
    expect(reportOf(thrown).error).toMatchObject({ message, code, secondary });
  });

  test("frames of our own modules are left out of our own errors only, Node's of all", () => {
    const modules = process.env.ONEHOUR_TEST_COMPILED === "1" ? "dist" : "lib";
    const own = new URL(`../../${modules}/graph/plan.js`, import.meta.url).pathname;
    const frames = [`    at plan (${own}:1:2)`, "    at theirs (/home/user/script.ts:3:4)"];
    const stackOf = (error: Error, inner: string[] = []) => {
      const nodes = "    at Socket.emit (node:events:536:35)";
      error.stack = ["Error: said", ...inner, ...frames, nodes].join("\n");
      return reportOf(error).error.stack;
    };
    expect(stackOf(new OnehourError("ERR_ONEHOUR_X", "said"))).toEqual([frames[1]]);
    expect(stackOf(new Error("said"))).toEqual(frames);
    // Frames of the language itself stand between those of modules, and name no place.
    const inner = ["    at Array.forEach (<anonymous>)", "    at async Promise.all (index 0)"];
    expect(stackOf(new OnehourError("ERR_ONEHOUR_X", "said"), inner)).toEqual([frames[1]]);
    expect(stackOf(new Error("said"), inner)).toEqual([...inner, ...frames]);
  });

  test("never grows beyond 4000 bytes", () => {
    const error = new Error("ü\u0001".repeat(10_000));
    error.stack = `Error\n${`    at ${"f".repeat(1000)} (x.js:1:1)\n`.repeat(100)}`;
    expect(Buffer.byteLength(JSON.stringify(reportOf(error)))).toBeLessThanOrEqual(4000);
  });
});
