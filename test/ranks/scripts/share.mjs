// Meets the other ranks and prints what this one is on its machine, and its share of the cores.
import { defaultThreads } from "../../../dist/device/cores.js";
import { connect } from "../../../dist/index.js";

const world = await connect();
console.log(world.localRank, world.localWorldSize, defaultThreads());
await world.close();
