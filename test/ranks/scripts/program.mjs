// Runs collectives as instructions of a program, in groups of two ranks; each rank prints its
// results.
import { openDevice } from "../../../dist/device/open.js";
import { connect } from "../../../dist/ranks/connect.js";

const world = await connect();
const device = openDevice({ device: "cpu", threads: 1 });
const communicators = {
  gradients: await world.communicator("gradients", world.worldSize, device),
  statistics: await world.communicator("statistics", 2, device),
};
const text = `onehour-program 1
name collectives
arena grad 64
arena temp 64
arena state 64
comm all-reduce communicator=gradients | x=grad+0:f32[4] -> x=grad+0:f32[4]
statistics all-gather communicator=statistics | x=state+0:f32[1,2] -> y=temp+0:f32[2,2]
comm broadcast communicator=gradients root=1 | x=grad+16:f32[2] -> x=grad+16:f32[2]
`;
const executor = await device.load([{ name: "collectives", text }], { communicators });
const floats = (...values) => new Uint8Array(Float32Array.from(values).buffer);
const { rank } = world;
await executor.write("grad", 0, floats(rank, 1, 2 * rank, 0.5, rank, 10 * rank));
await executor.write("state", 0, floats(rank, -rank));
await executor.submit("collectives", 0);
const read = async (arena, count) => {
  const bytes = await executor.read(arena, 0, 4 * count);
  return [...new Float32Array(bytes.slice().buffer)];
};
console.log(JSON.stringify({ rank, grad: await read("grad", 6), temp: await read("temp", 4) }));

// A program whose shapes do not fit the group is refused before anything is sent.
const wrong = text.replace("y=temp+0:f32[2,2]", "y=temp+0:f32[3,2]");
const refusal = await device.load([{ name: "wrong", text: wrong }], { communicators }).then(
  () => "accepted",
  (error) => `${error.code} line ${error.line}`,
);
console.log(JSON.stringify({ rank, refusal }));
executor.dispose();
await world.close();
