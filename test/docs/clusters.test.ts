// Parses what docs/clusters.md tells to type, and its manifest, as the command and a pod would read them.
import { expect, test } from "vitest";
import { parse } from "yaml";
import { readPlace } from "../../lib/ranks/environment.js";
import { parsed } from "../deploy/parsed.js";
import { pyTorchJob } from "../support/kubernetes.js";
import { read } from "./pages.js";

const page = read("docs/clusters.md");
const blocks = (language: string) =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, "gm"))].map(
    ([, text]) => text!,
  );

test("the command knows every flag of the page's command lines", () => {
  const lines = blocks("sh").flatMap((text) => text.replaceAll("\\\n", " ").trim().split("\n"));
  const trainings = lines.flatMap((line) => {
    const [, words] = / (?:onehour (?=train)|\S*slurm\.sh(?= ))(.*)$/.exec(` ${line}`) ?? [];
    return words === undefined ? [] : [words.trim().split(/\s+/)];
  });
  expect(trainings.length).toBeGreaterThan(6);
  for (const words of trainings)
    expect(parsed(words[0] === "train" ? words : ["train", ...words])).toMatchObject({
      out: "runs/first",
      epochs: 2,
    });
});

test("a pod of the page's PyTorchJob is a node of two", () => {
  const [{ metadata, spec }] = blocks("yaml").map((text) => parse(text)) as [
    {
      metadata: { name: string };
      spec: {
        nprocPerNode: string;
        pytorchReplicaSpecs: Record<"Master" | "Worker", { replicas: number; template: unknown }>;
      };
    },
  ];
  const { Master: first, Worker: others } = spec.pytorchReplicaSpecs;
  const pods = first.replicas + others.replicas;
  const { containers } = (
    others.template as { spec: { containers: [{ name: string; args: string[] }] } }
  ).spec;
  expect(containers[0].name).toBe("pytorch"); // the operator's name for the container that it sets up
  expect(parsed(containers[0].args)).toMatchObject({ resume: "auto" });
  const job = { name: metadata.name, pods, processes: Number(spec.nprocPerNode) };
  expect(readPlace(pyTorchJob(1, job))).toMatchObject({
    ...{ level: "node", nodes: 2, nodeRank: 1, workersPerNode: 8 },
    rendezvous: { host: "first-master-0", port: 23456 },
  });
});
