// A training loop of your own: the rate follows the size of the gradients. A second call goes on from
// what the first one saved.
//   npx onehour launch --workers 1 examples/own-loop.ts [run folder]
import { existsSync } from "node:fs";
import { Trainer } from "onehour";

const out = process.argv[2] ?? "runs/own-loop";
using trainer = await Trainer.open(
  existsSync(out) ? { out } : { dataset: "synthetic:16x16x1", batch: 64, epochs: 1, lr: 0.8, out },
  { resume: existsSync(out) },
);

const norm = (gradients: Map<string, Float32Array>) => {
  let sum = 0;
  for (const values of gradients.values()) for (const value of values) sum += value * value;
  return Math.sqrt(sum);
};

let scale = 1;
while (trainer.done < trainer.steps) {
  const { step, loss, lr } = await trainer.step({ lr: trainer.rate() * scale });
  const length = norm(await trainer.gradients());
  scale = Math.min(1, 0.5 / length); // no step is longer than half its rate
  if (step % 32 === 0) {
    console.log(
      `step ${step}: loss ${loss.toFixed(4)}, rate ${lr.toFixed(3)}, gradients ${length.toFixed(2)}`,
    );
    await trainer.save();
  }
}
await trainer.save();

const { top1, correct, images } = await trainer.evaluate();
console.log(`${correct} of ${images} correct (${(100 * top1).toFixed(2)}%)`);
