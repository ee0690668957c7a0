// Runs the native tests that need cuDNN and cuBLASLt but no GPU: the search for cuDNN's plans for a
// GPU given by its description, and the versions of both libraries.
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { build, minutes, root, run, tellWithoutCuda, withoutCuda } from "../support/cuda.js";

tellWithoutCuda("test/native/libraries.heavy.ts");

const tests = [
  { name: "library-versions_test", options: [] },
  { name: "tuning_test", options: [join(root, "test/fixtures/devices/h100.json")] },
];

describe.runIf(withoutCuda === undefined)("with the libraries", () => {
  beforeAll(async () => {
    await run("cmake", ["--build", build, "--target", ...tests.map(({ name }) => name)]);
  }, 5 * minutes);

  it.each(tests)("$name", { timeout: 2 * minutes }, async ({ name, options }) => {
    const { stdout } = await run(join(build, name), options);
    expect(stdout).toMatch(/^[1-9]\d* native tests, 0 failures$/m);
  });
});
