// Trains a small network on synthetic images with two workers, and tests the checkpoint it leaves:
//   npx onehour launch --workers 1 examples/train.ts

import { evaluateCheckpoint, train } from "onehour";

const dataset = "synthetic:16x16x1";
const { out, top1 } = await train({ dataset, workers: 2, epochs: 1, lr: 0.8 });
console.log(`test accuracy while training: ${top1}`);

const { correct, images } = await evaluateCheckpoint(`${out}/checkpoint.safetensors`, dataset);
console.log(`test accuracy of the checkpoint: ${correct} of ${images}`);
