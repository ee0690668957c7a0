// Why the process of a run ended, as its stderr tells.
import { expect, test } from "vitest";
import { causeIn } from "../../lib/experiment/processes.js";

test("Node's error is the cause, and not the stack and the version that follow it", () => {
  const crash = [
    ...["node:internal/modules/run_main:123", "    throw error;", "    ^", ""],
    ...["TypeError [ERR_INVALID]: no such thing", "    at main.js:1:1 {", "  code: 'ERR_INVALID'"],
    ...["}", "", "Node.js v20.20.2", ""],
  ].join("\n");
  expect(causeIn(crash)).toBe("TypeError [ERR_INVALID]: no such thing");
  expect(causeIn("free(): invalid pointer\n\n")).toBe("free(): invalid pointer");
  expect(causeIn("")).toBeUndefined();
});
