// A node that is led by something else than the node 0 that it means.
import { expect, test } from "vitest";
import { oneMachine } from "../../lib/ranks/cluster.js";
import { follow } from "../../lib/ranks/follow.js";
import { NodeServer, type Start } from "../../lib/ranks/node-link.js";
import type { NodeReport } from "../../lib/ranks/node-report.js";
import { freePort } from "../support/process.js";

const token = "the same for all";
const over = { type: "over", outcome: { status: 1, cause: "it is over", details: [] } } as const;

type Told = Pick<Start, "worldSize"> & Pick<Start["place"], "node" | "first" | "workers">;

/** What node 1 of two nodes with two workers each reports when it is told its part of a run. */
async function reportsOf({ worldSize, ...place }: Told): Promise<NodeReport[]> {
  const address = { host: "127.0.0.1", port: await freePort() };
  const reports: NodeReport[] = [];
  const heard = (node: number, report: NodeReport) => {
    reports.push(report);
    const start = { nodes: 2, port: 1, brief: "{}", lead: "n1", restarts: 0 };
    if (report.type === "hello")
      server.tellStart(node, { ...start, worldSize, place: { ...place, host: "n2" } }, "secret");
    if (report.type === "ended") server.tell(node, over);
  };
  const listener = { heard, lost: () => {}, isRunning: false };
  const server = await NodeServer.open({ nodes: 2, address, token, remark: () => {} }, listener);
  const cluster = { ...oneMachine(2), nodes: 2, nodeRank: 1, rendezvous: address, token };
  const outcome = await follow({
    ...{ cluster, facts: {}, brief: () => "", fits: () => true, steps: () => undefined },
    ...{ timeoutSeconds: 60, say: () => {}, show: () => {} },
    crew: () => {
      throw new Error("its workers are about to start");
    },
  });
  expect(outcome).toEqual(over.outcome);
  await server.close();
  return reports;
}

const refused = "which are none of node 1's. Does another command listen at --rendezvous?";

test.each<[string, Told, string]>([
  ["its own", { node: 1, first: 2, workers: 2, worldSize: 4 }, "its workers are about to start"],
  ["rank 0's, which writes", { node: 1, first: 0, workers: 2, worldSize: 2 }, refused],
  ["another node's", { node: 0, first: 2, workers: 2, worldSize: 4 }, refused],
  ["more workers", { node: 1, first: 4, workers: 4, worldSize: 8 }, refused],
  ["ranks beyond the world", { node: 1, first: 4, workers: 2, worldSize: 4 }, refused],
])("a node is told a place: %s", async (_, told, message) => {
  const [, failed] = await reportsOf(told);
  expect(failed).toMatchObject({
    type: "failure",
    failure: { message: expect.stringContaining(message) },
  });
});
