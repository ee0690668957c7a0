// Ends processes and Workers while native work is in flight: they end soon and with the right
// status.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../support/folder.js";
import { compiled, start } from "../support/process.js";

const folder = temporaryFolder();

/** Source that every child loads: programs that block, sleep, fail and compute. */
const prelude = `
import { openBackend } from ${compiled("device/open")};
import { Worker, isMainThread, parentPort } from "node:worker_threads";
const device = openBackend("fake", 1);
const peers = device.createCommunicator(0, 2, 1);
const text = (lines) => "onehour-program 1\\nname p\\narena temp 64\\n" + lines + "\\n";
const executor = await device.load([
  { name: "block", text: text("comm barrier communicator=peers") },
  { name: "sleep", text: text("compute sleep milliseconds=600000") },
  { name: "doze", text: text("compute sleep milliseconds=2500") },
  { name: "nap", text: text("compute sleep milliseconds=100") },
  { name: "fail", text: text("compute fail message=ouch") },
], { communicators: { peers } });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
`;

let count = 0;

function run(body: string, flags: string[] = []) {
  const file = join(folder, `child-${count++}.mjs`);
  writeFileSync(file, prelude + body);
  return start([process.execPath, ...flags, file]).ended;
}

/**
 * Seconds that an exit may take on a busy machine; the work would take ten minutes, or for ever.
 */
const SOON = 120;

describe("the end of a process", () => {
  it.each([
    ["a blocked collective", "executor.submit('block', 0); await pause(50); process.exit(7);", 7],
    [
      "a kernel of ten minutes",
      "executor.submit('sleep', 0); await pause(50); process.exit(3);",
      3,
    ],
    ["queued work", "for (let i = 0; i < 99; i++) executor.submit('doze', 0); process.exit(5);", 5],
    ["a blocked host collective", "peers.barrier(); await pause(50); process.exit(4);", 4],
    ["a load in progress", "device.load([{ name: 'p', text: text('') }]); process.exit(6);", 6],
  ])("process.exit during %s", async (_, body, status) => {
    const outcome = await run(body);
    expect(outcome).toMatchObject({ status, signal: null, stderr: "" });
    expect(outcome.seconds).toBeLessThan(SOON);
  });

  it("follows an uncaught error while work is in flight", async () => {
    const outcome = await run("executor.submit('sleep', 0); await pause(50); throw Error('mine');");
    expect(outcome).toMatchObject({ status: 1, signal: null });
    expect(outcome.stderr).toContain("mine");
    expect(outcome.seconds).toBeLessThan(SOON);
  });

  it("follows a failed submission that nobody awaits", async () => {
    const outcome = await run(
      "executor.submit('nap', 0); executor.submit('fail', 0); executor.submit('nap', 0);",
    );
    expect(outcome).toMatchObject({ status: 1, signal: null });
    expect(outcome.stderr).toContain("program fail, line 4: compute fail message=ouch");
    expect(outcome.stderr).toContain("child-");
  });

  it("comes by itself when pending work is done, and not before", async () => {
    const outcome = await run("executor.submit('nap', 0).then(() => console.log('done'));");
    expect(outcome).toMatchObject({ status: 0, signal: null, stdout: "done\n", stderr: "" });
    expect(outcome.seconds).toBeLessThan(SOON);
  });

  it("comes on the CPU backend in the middle of its kernels", async () => {
    const outcome = await run(`
const cpu = openBackend("cpu", 2);
const lines = Array(2000).fill(
  "compute add relu=1 | a=temp+0:f32[1000000] b=temp+4000000:f32[1000000] -> y=temp+8000000:f32[1000000]");
const busy = await cpu.load([{ name: "p",
  text: "onehour-program 1\\nname p\\narena temp 12000000\\n" + lines.join("\\n") + "\\n" }]);
for (let i = 0; i < 200; i++) busy.submit("p", 0).catch(() => {}); // some seconds each
await pause(30);
process.exit(9);`);
    expect(outcome).toMatchObject({ status: 9, signal: null, stderr: "" });
    expect(outcome.seconds).toBeLessThan(SOON);
  });
});

describe("the end of a Worker", () => {
  const inWorker = (inside: string, outside: string) =>
    `
if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url));
  await new Promise((resolve) => worker.once("message", resolve));
  ${outside}
  await executor.submit("nap", 0);
  console.log("main still works");
} else {
  ${inside}
}`;

  it.each([
    ["a blocked collective", "executor.submit('block', 0);"],
    ["a blocked host collective", "peers.barrier();"],
    ["a kernel of ten minutes", "executor.submit('sleep', 0);"],
  ])("terminate during %s", async (_, work) => {
    const outcome = await run(
      inWorker(
        `${work} await pause(50); parentPort.postMessage(0); setInterval(() => {}, 1000);`,
        "await worker.terminate();",
      ),
    );
    expect(outcome).toMatchObject({ status: 0, signal: null, stderr: "" });
    expect(outcome.stdout).toBe("main still works\n");
    expect(outcome.seconds).toBeLessThan(SOON);
  });

  it("comes while its kernel runs on, and nobody waits for that", async () => {
    const outcome = await run(
      inWorker(
        `executor.submit("doze", 0); await pause(50); parentPort.postMessage(0);
         setInterval(() => {}, 1000);`,
        "await worker.terminate(); await pause(1500);",
      ),
    );
    expect(outcome).toMatchObject({ status: 0, signal: null, stderr: "" });
    expect(outcome.stdout).toBe("main still works\n");
  });

  it("follows process.exit inside it", async () => {
    const outcome = await run(
      inWorker(
        "executor.submit('block', 0); await pause(50); parentPort.postMessage(0); process.exit(2);",
        "console.log(await new Promise((resolve) => worker.once('exit', resolve)));",
      ),
    );
    expect(outcome).toMatchObject({
      status: 0,
      signal: null,
      stderr: "",
      stdout: "2\nmain still works\n",
    });
  });
});

describe("the heartbeat", () => {
  it("sees the work of every module, and needs none of them in particular", async () => {
    const outcome = await run(`
import { native } from ${compiled("device/native")};
native.startHeartbeat(1, 10); // served by the module of the prelude
try { native.startHeartbeat(1, 10); } catch ({ code }) { process.stderr.write(code); } // there is one
const cpu = openBackend("cpu", 1);
const busy = await cpu.load([{ name: "p", text: "onehour-program 1\\nname p\\narena temp 64\\n" +
  "compute relu | x=temp+0:f32[4] -> y=temp+16:f32[4]\\n" }]);
await pause(50);
process.stdout.write("quiet\\n");
await pause(50);
await busy.submit("p", 0);
await pause(50);
process.exit(0);`);
    expect(outcome).toMatchObject({ status: 0, stderr: "ERR_USAGE" });
    const [before = "", after = ""] = outcome.stdout.split("quiet\n");
    const last = (lines: string) => JSON.parse(lines.trim().split("\n").at(-1) ?? "");
    const { progress, ...others } = last(after);
    expect(progress).toBe(last(before).progress + 1);
    expect(others).toEqual({ waiting: 0, running: 0, reading: 0 });
  });
});

describe("memory", () => {
  it("of executors that were dropped without dispose is freed", async () => {
    const outcome = await run(
      `
const large = "onehour-program 1\\nname p\\narena temp 33554432\\narena output 64 slots=2\\n" +
  "compute affine | x=temp+0:f32[8388608] -> y=temp+0:f32[8388608]\\n";
let view;
for (let round = 0; round < 40; round++) {
  const dropped = await device.load([{ name: "p", text: large }]);
  await dropped.submit("p", 0);
  view = dropped.output(1);
  if (round % 5 === 4) { global.gc(); await pause(20); }
}
global.gc();
await pause(100);
view.fill(1);
console.log(Math.round(process.memoryUsage().rss / 2 ** 20));`,
      ["--expose-gc"],
    );
    expect(outcome).toMatchObject({ status: 0, stderr: "" });
    expect(Number(outcome.stdout)).toBeLessThan(500); // of 1,280 MiB allocated in all
  });
});
