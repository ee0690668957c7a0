// npm's install script. Builds the native modules in a user's project. Where it cannot, it says
// what is missing and lets npm finish; the error on loading repeats that. In a checkout of this
// project scripts/setup builds them instead.
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterFailure, build } from "./build.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));

// lib/ is in a checkout only, not in the package.
if (!existsSync(join(root, "lib"))) {
  try {
    const { built, leftOut } = await build();
    if (leftOut !== "") console.error(leftOut);
    console.log(built);
    rmSync(join(root, "build", "cmake"), { recursive: true, force: true });
  } catch (error) {
    writeFileSync(join(root, "build", "missing.txt"), `${error.message}\n`);
    console.error(
      `onehour is installed, but its native modules are not built.\n${error.message}\n${afterFailure}`,
    );
  }
}
