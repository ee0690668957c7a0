// Runs a command and plays a stranger: connects to every port and Unix socket on which the command
// or its descendants listen, as soon and as often as possible, and sends small numbers. Ends with
// the command's status and prints to stderr where it connected: node stranger.mjs COMMAND ARGS.
import { spawn } from "node:child_process";
import { connect } from "node:net";
import { createJiti } from "jiti";

const { listenersOf } = await createJiti(import.meta.url).import("../sockets.ts");
const [command, ...args] = process.argv.slice(2);
const most = 200; // connections at once
const kept = new Set();
const calls = new Map(); // by listener

function call(listener) {
  const [kind, place] = listener.split(" ");
  const socket =
    kind === "tcp"
      ? connect(Number(place), "127.0.0.1")
      : connect({ path: place.replace(/^@/, "\0") });
  kept.add(socket);
  socket.on("error", () => {});
  socket.on("close", () => kept.delete(socket));
  const count = (calls.get(listener) ?? 0) + 1;
  calls.set(listener, count);
  // A third of the connections say nothing.
  const number = Buffer.alloc(8);
  number.writeUInt32LE(count % 5);
  if (count % 3 > 0) socket.write(number);
  if (kept.size > most) kept.values().next().value.destroy();
}

const child = spawn(command, args, { stdio: "inherit" });
let status;
child.on("exit", (code) => {
  status = code ?? 1;
});
while (status === undefined) {
  for (const listener of listenersOf(child.pid)) for (let i = 0; i < 20; i++) call(listener);
  await new Promise((resolve) => setTimeout(resolve, 1));
}
for (const [listener, count] of calls) console.error(`called ${listener}: ${count} times`);
process.exit(status);
