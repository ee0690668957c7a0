// The program of a worker process: trains as one rank, and prints events as lines.

import { connect } from "../distributed/connect.js";
import { OnehourError } from "../errors.js";
import { parseRecipe } from "./recipe.js";
import { trainAsRank } from "./train.js";
import { formatEvent, type Job, jobVariable } from "./workers.js";

/** Exit statuses after a signal: 128 and its number. */
const statuses: Partial<Record<NodeJS.Signals, number>> = { SIGINT: 130, SIGTERM: 143 };

try {
  const { recipe, resume } = JSON.parse(process.env[jobVariable] ?? "{}") as Job;
  const world = await connect({ timeoutSeconds: recipe.timeout });
  const result = await trainAsRank(parseRecipe(recipe), world, {
    resume,
    onEvent: (event) => process.stdout.write(`${formatEvent(event)}\n`),
  });
  await world.close();
  process.exitCode = result.signal === undefined ? 0 : (statuses[result.signal] ?? 1);
} catch (error) {
  const isKnown = error instanceof OnehourError;
  process.stderr.write(`${isKnown ? error.message : ((error as Error).stack ?? error)}\n`);
  process.exit(1);
}
