// The system of Goyal et al. 2017 as what a plan takes, and what the paper measured on it.
import type { PlanOptions } from "./options.js";

/** Seconds a step of ResNet-50, n = 32, on so many P100s. They follow from the paper's figures. */
export const measuredByPaper = [
  { workers: 8, seconds: 0.232 },
  { workers: 256, seconds: 0.256 },
] as const;

// Section 4: 100 MB of gradients get ready during the 0.125 s of back-propagation. In which pieces it does not say.
const pieces = 50;
const gradientBytes = 100e6;
const backPropagation = 0.125;
const step = measuredByPaper[0].seconds;

/** Servers of eight P100s that 50 Gbit/s join; inside, the bandwidth is that of one NVLink. */
export const paperPlan: PlanOptions = {
  profile: {
    type: "onehour-profile",
    model: "resnet50",
    images: { height: 224, width: 224, channels: 3 },
    batch: 32,
    precision: "fp32",
    device: { kind: "cuda", name: "P100, as in Goyal et al. 2017" },
    threads: 1,
    compute: step,
    update: 0,
    buckets: Array.from({ length: pieces }, (_, i) => ({
      bytes: gradientBytes / pieces,
      ready: step - backPropagation * (1 - (i + 1) / pieces),
    })),
    measured: [],
    assumed: [
      `The paper does not say in how many buckets its gradients get ready: here ${pieces}, evenly over the ` +
        `${backPropagation} s of back-propagation. Nor does it give latencies, or the bandwidth inside a server. Its ` +
        "step of 8 GPUs stands for that of one, although all-reduces inside a server are in it.",
    ],
  },
  link: "50Gbit/s:5us",
  linkInside: "160Gbit/s:5us",
  workersPerNode: 8,
  algorithm: "halving-doubling",
  workers: [8, 16, 32, 64, 128, 256, 352, 512, 1024],
};
