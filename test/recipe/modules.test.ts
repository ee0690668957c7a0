// Modules of a recipe that another machine has sent.
import { expect, test } from "vitest";
import { withOwnModules } from "#lib/recipe/modules.js";

test("a module that another machine names is the one that was typed here, or is refused", () => {
  const sent = { model: "/elsewhere/net.ts", dataset: "fashion-mnist", batch: 8 };
  expect(withOwnModules(sent, { model: "./net.ts", batch: 8 })).toEqual({
    ...sent,
    model: "./net.ts",
  });
  expect(() => withOwnModules(sent, { batch: 8 })).toThrow(
    /^model: node 0 names the module \/elsewhere\/net\.ts, which was not asked for here/,
  );
});
