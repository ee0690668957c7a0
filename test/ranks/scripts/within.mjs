// Runs a command in a network namespace: node within.mjs NAME COMMAND ARGS.
import { spawnSync } from "node:child_process";

const { status } = spawnSync("ip", ["netns", "exec", ...process.argv.slice(2)], {
  stdio: "inherit",
});
process.exit(status ?? 1);
