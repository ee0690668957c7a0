// Runs a step whose collective waits for peers on one stream while a kernel runs on another; rank
// 1's kernel does not end. Runs on the backend for tests, whose barrier waits for ever.
import { openBackend } from "../../../dist/device/open.js";
import { connect } from "../../../dist/ranks/connect.js";

const { rank, worldSize } = await connect();
console.log(`pid ${process.pid}`);
const device = openBackend("fake", 1);
const peers = device.createCommunicator(rank, worldSize, 60);
const milliseconds = rank === 1 ? 1e6 : 100;
const text = `onehour-program 1
name step
arena temp 64
comm barrier communicator=peers
compute sleep milliseconds=${milliseconds}
`;
const executor = await device.load([{ name: "step", text }], { communicators: { peers } });
await executor.submit("step", 0);
