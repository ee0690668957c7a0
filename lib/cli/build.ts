// `onehour build`: builds the native addon by hand, where the package manager ran no install script.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Command } from "commander";

export function buildCommand(): Command {
  return new Command("build").description("Build the native addon for this machine.").action(() => {
    const script = fileURLToPath(new URL("../../scripts/build.mjs", import.meta.url));
    const { status, error } = spawnSync(process.execPath, [script], { stdio: "inherit" });
    if (error) throw error;
    process.exitCode = status === 0 ? 0 : 1;
  });
}
