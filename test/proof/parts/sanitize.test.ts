// compute-sanitizer is run where it can be.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import type { PartResult } from "../../../proof/results/part-result.js";
import { temporaryFolder } from "../../support/folder.js";

const bin = temporaryFolder();

it("leaves out compute-sanitizer where it does not support the device", () => {
  const says = "========= Error: Target application could not start. Device not supported\n";
  const script = `#!/bin/sh\nprintf '${says}'\nexit 1\n`;
  writeFileSync(join(bin, "compute-sanitizer"), script, { mode: 0o755 });
  const file = join(bin, "sanitize.json");
  const settings = { device: "cuda", file, small: true, seconds: 60 };
  const sanitize = fileURLToPath(new URL("../../../dist/proof/parts/sanitize.js", import.meta.url));
  const env = { PATH: `${bin}:${process.env.PATH}` };
  execFileSync(process.execPath, [sanitize, JSON.stringify(settings)], { env, stdio: "ignore" });
  const result = JSON.parse(readFileSync(file, "utf8")) as PartResult;
  expect(result).toMatchObject({ ok: true, complete: true, failures: [] });
  expect(result.skipped).toEqual([expect.stringMatching(/Device not supported$/)]);
});
