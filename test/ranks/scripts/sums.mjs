// Runs every collective once; each rank prints its results as one line of JSON.
import { createHash } from "node:crypto";
import { openDevice } from "../../../dist/device/open.js";
import { connect } from "../../../dist/ranks/connect.js";

const world = await connect();
const { rank, worldSize } = world;
const ramp = (Type, length) => Type.from({ length }, (_, i) => (i % 7) + (rank + 1) / 4);
const integers = Int32Array.from({ length: 5 }, (_, i) => i * (rank + 1));
const large = Float32Array.from({ length: 1_000_003 }, (_, i) => Math.sin(i * (rank + 1)));
const result = {
  rank,
  worldSize,
  float32: [...(await world.allReduce(ramp(Float32Array, 10)))],
  float64: [...(await world.allReduce(ramp(Float64Array, 10)))],
  int32: [...(await world.allReduce(integers))],
  empty: (await world.allReduce(new Float32Array(0))).length,
  broadcast: [...(await world.broadcast(Uint8Array.of(rank, 42), worldSize - 1))],
  gathered: (await world.allGather(Int16Array.of(rank, -rank))).map((part) => [...part]),
};
await world.barrier();
await world.allReduce(large);
result.large = createHash("sha256").update(large).digest("hex");
// Two operations that are not awaited one by one keep their order.
const [first, second] = [Float32Array.of(rank), Int32Array.of(1)];
await Promise.all([world.allReduce(first), world.allReduce(second)]);
result.unawaited = [first[0], second[0]];
// The same on arrays of a device.
const device = openDevice({ device: process.env.ONEHOUR_TEST_DEVICE ?? "cpu", threads: 1 });
const there = await device.array(ramp(Float32Array, 10));
result.device = [...(await (await world.allReduce(there)).read())];
const flags = await device.array(Int32Array.of(rank, 42));
result.deviceBroadcast = [...(await (await world.broadcast(flags, worldSize - 1)).read())];
await world.agree("seed", "7");
// Programs' communicators come in groups of consecutive ranks.
if (worldSize % 2 === 0) {
  const pair = await world.communicator("pairs", 2);
  const sum = Int32Array.of(rank);
  await pair.allReduce(sum);
  result.pair = [pair.rank, pair.size, sum[0]];
}
await world.close();
console.log(JSON.stringify(result));
