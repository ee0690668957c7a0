// torchrun: from PATH, or as a module of python3.
import { spawnSync } from "node:child_process";

const onPath = spawnSync("torchrun", ["--help"], { stdio: "ignore" }).status === 0;

/** Words that run a program, not a script of Python's, in so many processes of this machine. */
export const torchrun = (processes: number, ...more: readonly string[]): string[] => [
  ...(onPath ? ["torchrun"] : ["python3", "-m", "torch.distributed.run"]),
  ...["--no-python", "--nproc-per-node", String(processes), ...more],
];
