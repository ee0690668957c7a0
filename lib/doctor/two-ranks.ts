// Starts two ranks on this machine that measure how fast they exchange; it is the program of each of them too.
import { fileURLToPath } from "node:url";
import { connect } from "../ranks/connect.js";
import { launch } from "../ranks/launch.js";
import { type PairRate, pairRates } from "./pairs.js";

const mark = "onehour-pair ";

/** The rate of two ranks of this machine. Throws with the cause that the launcher names. */
export async function measurePair(): Promise<PairRate> {
  let rate: PairRate | undefined;
  let cause: string | undefined;
  const status = await launch({
    workers: 2,
    command: () => [fileURLToPath(import.meta.url), "rank"],
    timeoutSeconds: 20, // less than whoever asks waits
    onLine: (_rank, line) => {
      if (line.startsWith(mark)) rate = JSON.parse(line.slice(mark.length)) as PairRate;
    },
    onFailure: (text) => {
      cause = text;
    },
  });
  if (rate !== undefined && status === 0) return rate;
  throw new Error(cause ?? `two ranks ended with status ${status}`);
}

if (process.argv[2] === "rank") {
  const world = await connect();
  const [rate] = await pairRates(world, ["here", "here"]);
  if (world.rank === 0) process.stdout.write(`${mark}${JSON.stringify(rate)}\n`);
  await world.close();
}
