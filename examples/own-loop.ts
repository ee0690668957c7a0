// A training loop of your own: it lets the rate follow the size of the gradients.
//   npx onehour launch --workers 1 examples/own-loop.ts
import { Trainer } from "onehour";

using trainer = await Trainer.open({ dataset: "synthetic:16x16x1", batch: 64, epochs: 1, lr: 0.8 });

const norm = (gradients: Map<string, Float32Array>) => {
  let sum = 0;
  for (const values of gradients.values()) for (const value of values) sum += value * value;
  return Math.sqrt(sum);
};

let largest = 0;
let scale = 1;
for (let step = 0; step < trainer.steps; step++) {
  const { loss, lr } = await trainer.step({ lr: trainer.rate() * scale });
  const length = norm(await trainer.gradients());
  largest = Math.max(largest, length);
  scale = Math.min(1, 0.5 / length); // no step is longer than half its rate
  if (step % 32 === 0)
    console.log(
      `step ${step}: loss ${loss.toFixed(4)}, rate ${lr.toFixed(3)}, gradients ${length.toFixed(2)}`,
    );
}

const { top1, correct, images } = await trainer.evaluate();
console.log(
  `${correct} of ${images} correct (${(100 * top1).toFixed(2)}%), gradients up to ${largest.toFixed(2)}`,
);
