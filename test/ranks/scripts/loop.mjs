// Runs collectives until something happens to a rank, 1 by default, or to each rank, in round 20: node loop.mjs
// WHAT [RANK].
import { spawn } from "node:child_process";
import { native } from "../../../dist/device/native.js";
import { connect } from "../../../dist/ranks/connect.js";
import { tellLauncher } from "../../../dist/ranks/report.js";

const world = await connect();
const data = new Float32Array(1000);
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const work = (milliseconds) => {
  for (const start = Date.now(); Date.now() - start < milliseconds; );
};
console.log(`pid ${process.pid}`);

const misfortunes = {
  kill: () => process.kill(process.pid, "SIGKILL"),
  stop: () => process.kill(process.pid, "SIGSTOP"),
  throw: () => {
    throw new TypeError("a user's mistake");
  },
  exit: () => {
    console.error("bad luck");
    process.exit(7);
  },
  sleep: () => sleep(1e6),
  never: () => new Promise(() => {}),
  work: () => work(1e6),
  // Much longer than the timeout, in pieces that end.
  "long-step": () => {
    for (let piece = 0; piece < 40; piece++) {
      work(100);
      native.advanceProgress();
    }
  },
  elsewhere: () => world.gather("elsewhere", ""),
  differ: () => world.allReduce(new Float64Array(3)),
  leave: async () => {
    await world.close();
    process.exit(0);
  },
  "different-signals": () => {
    const [signal, status] = world.rank === 0 ? ["SIGTERM", 143] : ["SIGINT", 130];
    tellLauncher({ interrupted: signal });
    process.exit(status);
  },
};
const struck =
  world.rank === Number(process.argv[3] ?? 1) || process.argv[2] === "different-signals";

// A process of the worker's own that must not outlive it.
if (process.argv[2] === "kill") {
  console.log(`pid ${spawn("sleep", ["1000"], { stdio: "ignore" }).pid}`);
}
if (process.argv[2] === "save") {
  process.on("SIGTERM", async () => {
    console.log("saved");
    // Who ends breaks the other's collective, perhaps before that one hears of its own signal.
    await world.gather("saved", "");
    process.exit(143);
  });
}
if (process.argv[2] === "stubborn") process.on("SIGTERM", () => console.log("no"));
const endless = ["endless", "save", "stubborn"].includes(process.argv[2]);
for (let round = 0; round < 40 || endless; round++) {
  await world.allReduce(data);
  await sleep(10);
  if (round === 20) console.log("round 20");
  if (round === 20 && struck) await misfortunes[process.argv[2]]?.();
}
await world.close();
