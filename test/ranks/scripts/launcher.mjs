// Launches workers from a process of its own: node launcher.mjs WORKERS TIMEOUT SCRIPT [ARGS].
import { launch } from "../../../dist/ranks/launch.js";

const [workers, timeout, ...command] = process.argv.slice(2);
process.exitCode = await launch({
  workers: Number(workers),
  timeoutSeconds: Number(timeout),
  command: () => command,
});
