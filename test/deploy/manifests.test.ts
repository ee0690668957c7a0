// Checks the manifests of deploy/ against what the command reads, and against each other. A pod gets the
// variables that its controller sets, from the manifest's own numbers.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { readPlace } from "../../lib/ranks/environment.js";
import { signalStatus } from "../../lib/ranks/signals.js";
import { read, root } from "../docs/pages.js";
import * as kubernetes from "../support/kubernetes.js";
import { parsed } from "./parsed.js";

interface Container {
  name: string;
  image: string;
  command?: string[];
  args: string[];
  env: { name: string; value?: string }[];
  ports?: { containerPort: number }[];
  resources?: { limits: Record<string, number> };
  volumeMounts: { name: string; mountPath: string }[];
}

interface Pod {
  restartPolicy: string;
  terminationGracePeriodSeconds: number;
  securityContext: { runAsUser: number; fsGroup: number };
  containers: [Container];
  volumes: { name: string; persistentVolumeClaim?: { claimName: string } }[];
}

interface JobSetSpec {
  network: { enableDNSHostnames: boolean; publishNotReadyAddresses: boolean };
  failurePolicy: { rules: { onJobFailureReasons: string[] }[] };
  replicatedJobs: [
    {
      name: string;
      replicas: number;
      template: {
        metadata?: { labels: Record<string, string> };
        spec: {
          completions: number;
          parallelism: number;
          completionMode: string;
          backoffLimit: number;
          podFailurePolicy: {
            rules: [{ onExitCodes: { containerName: string; values: number[] } }];
          };
          template: { spec: Pod };
        };
      };
    },
  ];
}

interface Manifest<Spec> {
  kind: string;
  metadata: { name: string };
  spec: Spec;
}

interface Trainer {
  numNodes: number;
  numProcPerNode: number;
  resourcesPerNode: { limits: Record<string, number> };
  args: string[];
}

const manifests = readdirSync(join(root, "deploy"))
  .filter((name) => name.endsWith(".yaml"))
  .flatMap((name) =>
    parseAllDocuments(read(`deploy/${name}`), { strict: true, uniqueKeys: true }).map(
      (document) => {
        expect(document.errors, name).toEqual([]);
        return document.toJS() as Manifest<unknown>;
      },
    ),
  );

function manifest<Spec>(kind: string): Manifest<Spec> {
  const found = manifests.filter((other) => other.kind === kind);
  expect(found).toHaveLength(1);
  return found[0] as Manifest<Spec>;
}

const claim = manifest("PersistentVolumeClaim");
const jobSet = manifest<JobSetSpec>("JobSet");
const trainJob = manifest<{ runtimeRef: { kind: string; name: string }; trainer: Trainer }>(
  "TrainJob",
);
const runtime = manifest<{ template: { spec: JobSetSpec } }>("TrainingRuntime");

describe.each([
  ["JobSet", jobSet.spec, jobSet.spec.replicatedJobs[0].template.spec.template.spec],
  [
    "TrainingRuntime",
    runtime.spec.template.spec,
    runtime.spec.template.spec.replicatedJobs[0].template.spec.template.spec,
  ],
] as const)("%s", (_, { failurePolicy, replicatedJobs: [{ template }] }, pod) => {
  const [container] = pod.containers;

  test("a pod that was told to end and has saved does not count as a failure", () => {
    const [{ onExitCodes }] = template.spec.podFailurePolicy.rules;
    expect(onExitCodes).toMatchObject({
      containerName: container.name,
      values: [signalStatus("SIGTERM")],
    });
    expect(failurePolicy.rules[0]!.onJobFailureReasons).toEqual(["PodFailurePolicy"]);
    expect(template.spec.backoffLimit).toBe(0);
    expect(pod.restartPolicy).toBe("Never"); // what a podFailurePolicy demands
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(60);
  });

  test("starts the image's own command, as its user, on the volumes that there are", () => {
    const docker = read("deploy/Dockerfile");
    const stage = container.image.replace("onehour:", "");
    expect(docker).toMatch(new RegExp(`^FROM .* AS ${stage}$`, "m"));
    expect(docker).toContain(
      `USER ${pod.securityContext.runAsUser}:${pod.securityContext.fsGroup}\n`,
    );
    expect(container.command).toBeUndefined();
    expect(container.volumeMounts.map(({ name }) => name)).toEqual(
      pod.volumes.map(({ name }) => name),
    );
    const claims = pod.volumes.flatMap(({ persistentVolumeClaim: used }) => used?.claimName ?? []);
    expect(claims).toEqual([claim.metadata.name]);
  });
});

test("the pods of a JobSet are the nodes of one run, which meet at the first pod", () => {
  const { metadata, spec } = jobSet;
  const [{ name, replicas, template }] = spec.replicatedJobs;
  const { completions, parallelism, completionMode } = template.spec;
  const [{ args, ports, resources }] = template.spec.template.spec.containers;
  expect(spec.network).toEqual({ enableDNSHostnames: true, publishNotReadyAddresses: true });
  expect([replicas, completionMode, completions]).toEqual([1, "Indexed", parallelism]);
  const { nodes, rendezvous, resume, out } = parsed(args);
  expect(nodes).toBe(completions);
  const host = `${metadata.name}-${name}-0-0.${metadata.name}`;
  const port = ports![0]!.containerPort;
  expect(rendezvous).toBe(`${host}:${port}`);
  expect(resources!.limits["nvidia.com/gpu"]).toBe(8);
  expect([resume, out]).toEqual(["auto", "/storage/runs/first"]);
  const flags = { nodes: completions, rendezvous: { host, port } };
  expect(readPlace(kubernetes.indexedJob(1), flags)).toMatchObject({
    ...{ level: "node", nodes: completions, nodeRank: 1, source: "job" },
    rendezvous: { host, port },
  });
});

test("the pods of a TrainJob are the nodes of one run", () => {
  const { metadata, spec } = trainJob;
  const { trainer, runtimeRef } = spec;
  expect([runtimeRef.kind, runtimeRef.name]).toEqual([runtime.kind, runtime.metadata.name]);
  // The controller finds the trainer's pods by this label, and its container by this name.
  const [{ name, template }] = runtime.spec.template.spec.replicatedJobs;
  expect(template.metadata!.labels).toEqual({
    "trainer.kubeflow.org/trainjob-ancestor-step": "trainer",
  });
  expect(template.spec.template.spec.containers[0].name).toBe("node");
  expect(parsed(trainer.args)).toMatchObject({ resume: "auto", out: "/storage/runs/first" });
  expect(trainer.resourcesPerNode.limits["nvidia.com/gpu"]).toBe(trainer.numProcPerNode);
  const job = { name: metadata.name, pods: trainer.numNodes, processes: trainer.numProcPerNode };
  expect(readPlace(kubernetes.trainJob(1, job))).toMatchObject({
    ...{ level: "node", nodes: 2, nodeRank: 1, workersPerNode: 8, source: "kubeflow" },
    rendezvous: { host: `${metadata.name}-${name}-0-0.${metadata.name}`, port: 29500 },
  });
});
