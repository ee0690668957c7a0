// Runs scripts/setup and the build where tools are missing and nothing may be installed: each says
// what is missing.
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../support/folder.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const hidden = /^(cmake|ninja|make|gmake|c\+\+|g\+\+.*|dnf)$/;

/** A folder of all commands but those of a native build. */
const folder = temporaryFolder();
for (const bin of ["/usr/bin", "/bin"]) {
  for (const name of readdirSync(bin)) {
    if (hidden.test(name)) continue;
    try {
      symlinkSync(join(bin, name), join(folder, name));
    } catch {
      // /bin is often /usr/bin
    }
  }
}
rmSync(join(folder, "node"), { force: true });
symlinkSync(process.execPath, join(folder, "node"));

function run(command: string, ...args: string[]): { status: number | null; output: string } {
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    env: { PATH: folder, ONEHOUR_NO_INSTALL: "1" },
  });
  return { status: result.status, output: result.stdout + result.stderr };
}

describe("without tools", () => {
  it("scripts/setup prints the one command that installs them all", () => {
    const { status, output } = run(join(root, "scripts/setup"));
    expect(status).toBe(1);
    expect(output).toMatch(/apt-get update && .*apt-get install -y cmake ninja-build g\+\+/);
  });

  it("the build lists the packages", () => {
    const { status, output } = run(process.execPath, "scripts/build.mjs", "--check");
    expect(status).toBe(1);
    expect(output).toContain("cmake ninja-build g++");
    expect(run(process.execPath, "scripts/build.mjs", "--nonsense")).toMatchObject({ status: 2 });
  });
});
