// Rank 0 saves on SIGTERM, for longer than the others' end is waited for; they do not listen.
import { connect } from "../../../dist/ranks/connect.js";

const world = await connect();
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
if (world.rank === 0)
  process.on("SIGTERM", async () => {
    await sleep(5000);
    console.log("saved");
    process.exit(143);
  });
try {
  for (let round = 0; ; round++) {
    await world.barrier();
    await sleep(10);
    if (round === 20) console.log("round 20");
  }
} catch {
  await sleep(60_000); // its peers are gone, and the save is on its way
}
