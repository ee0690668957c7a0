// Every rank fails of the same.
import { connect } from "../../../dist/ranks/connect.js";

const world = await connect();
await world.barrier();
throw new Error("the same mistake everywhere");
