// Runs over several "machines", each a command of its own on this one.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { freePort, type Run, start, until } from "../support/process.js";
import { main } from "./command.js";

/** Flags of a node besides those of the nodes. */
type Flags = (node: number) => readonly string[];

interface NodesOptions {
  nodes?: number;
  flags?: Flags;
  /** Where each reaches node 0; 127.0.0.1 by default. */
  hosts?: readonly string[];
  port?: number;
}

/** What starts a command as one node of several. */
export async function onNodes(
  [command, ...rest]: readonly string[],
  { nodes = 2, flags = () => [], hosts = [], port }: NodesOptions = {},
): Promise<(node: number) => Run> {
  const free = port ?? (await freePort());
  return (node) => {
    const rendezvous = `${hosts[node] ?? "127.0.0.1"}:${free}`;
    const own = ["--nodes", `${nodes}`, "--node-rank", `${node}`, "--rendezvous", rendezvous];
    return start([process.execPath, main, command!, ...own, ...flags(node), ...rest], {
      env: { ONEHOUR_TOKEN: "the same for all" },
    });
  };
}

/** Starts a command once a node. */
export async function startNodes(
  words: readonly string[],
  options: NodesOptions = {},
): Promise<Run[]> {
  const startOne = await onNodes(words, options);
  return Array.from({ length: options.nodes ?? 2 }, (_, node) => startOne(node));
}

/** The words of a small training. */
export const tiny = (epochs: number): string[] => [
  ...["train", "synthetic:8x8x1:4:64", "--model", "resnet8", "--device", "cpu", "--threads", "1"],
  ...["--batch", "4", "--epochs", `${epochs}`],
];

/** Waits until a run has logged a step, counted from 0. */
export function stepped(out: string, step = 3): Promise<void> {
  const log = join(out, "log.jsonl");
  return until(() => existsSync(log) && readFileSync(log, "utf8").includes(`"step":${step},`));
}
