// Sums an array over k processes and times it:
//   onehour launch --workers 2 examples/all-reduce.ts
import { connect, openDevice } from "onehour";

const world = await connect();
const { rank, worldSize } = world;
using device = openDevice(); // a GPU where there is one: the array then lies in its memory

// Every rank fills the array with its own rank + 1; afterwards all hold the sum.
using gradients = await device.array(new Float32Array(25 * 2 ** 18).fill(rank + 1)); // 25 MiB
await world.allReduce(gradients);
const expected = (worldSize * (worldSize + 1)) / 2;
const sums = await gradients.read();
if (sums.some((value) => value !== expected)) throw new Error(`rank ${rank}: a wrong sum`);

const rounds = 10;
await world.barrier();
const start = performance.now();
for (let i = 0; i < rounds; i++) await world.allReduce(gradients);
const seconds = (performance.now() - start) / 1000 / rounds;

// Bytes that each rank sends and receives in a ring, divided by the time.
const travelled = (sums.byteLength * 2 * (worldSize - 1)) / worldSize;
if (rank === 0)
  console.log(
    `${worldSize} ranks, 25 MiB on ${device.properties.name}: ${(seconds * 1000).toFixed(1)} ms, ` +
      `${(travelled / seconds / 1e9).toFixed(2)} GB/s bus bandwidth, sum ${expected} everywhere`,
  );
await world.close();
