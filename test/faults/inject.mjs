// Loaded into every process of a real run (NODE_OPTIONS): kills, stops or disconnects one of them
// at an operation that it finds by counting. ONEHOUR_FAULTS_PROCESS says which: { rank, on, after,
// what }.
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { Socket } from "node:net";

const text = process.env.ONEHOUR_FAULTS_PROCESS;
const { rank, on, after, what } = text === undefined ? {} : JSON.parse(text);
const own = process.env.ONEHOUR_RANK ?? "launcher";
let count = 0;

/** Whether the fault belongs to this operation. */
const isDue = () => count++ === after;

if (own === rank && on === "files") {
  for (const [owner, names] of [
    [fs, ["openSync", "writeSync"]],
    [fs.promises, ["open", "rename", "link"]],
  ]) {
    for (const name of names) {
      const real = owner[name];
      owner[name] = (...values) => {
        if (isDue()) process.kill(process.pid, what);
        return real(...values);
      };
    }
  }
  syncBuiltinESMExports();
}
if (own === rank && on === "sockets") {
  const real = Socket.prototype.write;
  Socket.prototype.write = function (...values) {
    if (this.remotePort === undefined || !isDue()) return real.apply(this, values);
    if (what === "reset") {
      this.resetAndDestroy();
      return false;
    }
    process.kill(process.pid, what);
    return real.apply(this, values);
  };
}
