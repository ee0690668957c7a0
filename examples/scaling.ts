// Measures one training step on 1, 2, … workers, and draws their images per second:
//   onehour launch --workers 1 examples/scaling.ts resnet20 1,2 scaling.svg
import { writeFileSync } from "node:fs";
import { throughput, throughputSvg } from "onehour";

const [model = "resnet20", counts = "1,2", chart = "scaling.svg"] = process.argv.slice(2);
const workers = counts.split(",").map(Number);
const result = await throughput({ model, batch: 32, workers, threads: 1 });
for (const { workers, imagesPerSecond, scaling } of result.results) {
  const { stepSeconds, split, efficiency = Number.NaN } = scaling!;
  const exposed = split.exposedCommunication / stepSeconds;
  console.log(
    `${workers}: ${imagesPerSecond.toFixed(1)} images/s, efficiency ${(100 * efficiency).toFixed(1)} %, ` +
      `exposed communication ${(100 * exposed).toFixed(1)} %`,
  );
}
writeFileSync(chart, throughputSvg(result));
