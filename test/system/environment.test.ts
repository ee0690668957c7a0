// What a result says of the machine: all that there is, and nothing that names it.
import { hostname, userInfo } from "node:os";
import { expect, test } from "vitest";
import { completed, environment, loadedFiles } from "../../lib/system/environment.js";
import { version } from "../../lib/system/version.js";

test("describes this machine as plain JSON", () => {
  const found = environment();
  expect(JSON.parse(JSON.stringify(found))).toEqual(found);
  expect(found).toMatchObject({ onehour: version, node: process.version });
  expect(found.kernel).toMatch(/^Linux \d+\./);
  expect(found.cores.usable).toBeGreaterThanOrEqual(1);
  expect(found.cores.present).toBeGreaterThanOrEqual(found.cores.usable);
  expect(found.memoryBytes).toBeGreaterThan(1e8);
  for (const name of ["oneDNN", "Gloo", "libjpeg-turbo"]) {
    expect(found.libraries[name]?.built, name).toMatch(/^\d+\.\d+\.\d+$/);
    expect(found.libraries[name]?.loaded, name).toMatch(/\d/);
  }
});

test("names no machine, user or folder", () => {
  const text = JSON.stringify(environment());
  for (const secret of [hostname(), process.cwd(), userInfo().homedir]) {
    if (secret.length > 1) expect(text).not.toContain(secret);
  }
});

test("takes the file of a library that does not tell its version", () => {
  const maps = [
    "7f00-7f10 r--p 00000000 08:01 12 /usr/lib/x86_64-linux-gnu/libjpeg.so.62.3.0",
    "7f10-7f20 r-xp 00010000 08:01 12 /usr/lib/x86_64-linux-gnu/libjpeg.so.62.3.0",
    "7f20-7f30 rw-p 00000000 00:00 0 [heap]",
  ].join("\n");
  expect(loadedFiles(maps)).toEqual(["libjpeg.so.62.3.0"]);
  const versions = {
    oneDNN: { built: "2.6.3", loaded: "2.7.0" },
    "libjpeg-turbo": { built: "2.1.5", loaded: "" },
    Gloo: { built: "0.5.0", loaded: "" },
    CUDA: { built: "", loaded: "13.0" },
    NCCL: { built: "2.20.0", loaded: "" },
  };
  expect(completed(versions, loadedFiles(maps))).toEqual({
    oneDNN: { built: "2.6.3", loaded: "2.7.0" },
    "libjpeg-turbo": { built: "2.1.5", loaded: "libjpeg.so.62.3.0" },
    Gloo: { built: "0.5.0", loaded: "0.5.0" }, // linked in
    CUDA: { loaded: "13.0" },
    NCCL: { built: "2.20.0" },
  });
});
