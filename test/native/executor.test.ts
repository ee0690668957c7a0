// Drives executors and communicators from JavaScript, on the backend for tests.
import { afterEach, describe, expect, it } from "vitest";
import type { Device, Executor } from "../../lib/device/device.js";
import { openBackend } from "../../lib/device/open.js";
import { NativeError } from "../../lib/errors.js";
import { failure } from "../support/failure.js";

const device: Device = openBackend("fake", 1);
const executors: Executor[] = [];

async function load(
  body: string | Record<string, string>,
  options?: Parameters<Device["load"]>[1],
): Promise<Executor> {
  const bodies = typeof body === "string" ? { p: body } : body;
  const programs = Object.entries(bodies).map(([name, lines]) => ({
    name,
    text: `onehour-program 1
name ${name}
arena temp 1024
arena param 64
arena input 64 slots=3
arena output 64 slots=3
${lines}
`,
  }));
  const executor = await device.load(programs, options);
  executors.push(executor);
  return executor;
}

function floats(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

/** Counts its runs in param, and puts ten times the count into output, by way of a second stream. */
const twoStreams = `compute affine b=1 | x=param+0:f32[1] -> x=param+0:f32[1] y=param+0:f32[1]
compute signal event=0
comm wait event=0
comm sum | a=param+0:f32[1] b=input+0:f32[1] -> y=temp+0:f32[1]
comm signal event=1
compute wait event=1
compute affine a=10 | x=temp+0:f32[1] -> y=output+0:f32[1]`;

afterEach(() => {
  for (const executor of executors.splice(0)) executor.dispose();
});

describe("executor", () => {
  it("runs submissions in order with all slots in flight", async () => {
    const executor = await load(
      `compute affine b=1 | x=param+0:f32[1] -> x=param+0:f32[1] y=param+0:f32[1]
compute sum | a=param+0:f32[1] b=input+0:f32[1] -> y=output+0:f32[1]`,
    );
    expect(executor.slots).toBe(3);
    expect(executor.memory).toEqual({
      arenas: { input: 192, output: 192, param: 64, temp: 1024 },
      workspaces: {},
      total: 1472,
    });
    const results: number[] = [];
    const flights: Promise<void>[] = [];
    for (let step = 0; step < 30; step++) {
      const slot = step % 3;
      await flights[slot];
      floats(executor.input(slot))[0] = 1000 * step;
      flights[slot] = executor.submit("p", slot).then(() => {
        results.push(floats(executor.output(slot))[0]!);
      });
    }
    await Promise.all(flights);
    expect(results).toEqual(Array.from({ length: 30 }, (_, step) => 1000 * step + step + 1));
    expect(executor.input(1)).toBe(executor.input(1));
  });

  it("leaves JavaScript free while the device works", async () => {
    const milliseconds = 1000; // far more than a busy machine holds the thread up
    const executor = await load(`compute sleep milliseconds=${milliseconds}`);
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    const start = performance.now();
    const running = executor.submit("p", 0);
    expect(performance.now() - start).toBeLessThan(milliseconds);
    await running;
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(5);
  });

  it("writes and reads arenas between submissions", async () => {
    const executor = await load("compute affine a=2 | x=param+0:f32[4] -> y=param+16:f32[4]");
    const bytes = new Uint8Array(new Float32Array([1, 2, 3, 4]).buffer);
    const written = executor.write("param", 0, bytes);
    bytes.fill(0); // the bytes were taken at the call
    const ran = executor.submit("p", 0);
    const read = await executor.read("param", 0, 32);
    expect([...floats(read)]).toEqual([1, 2, 3, 4, 2, 4, 6, 8]);
    await Promise.all([written, ran]);
    for (const [arena, offset, length] of [
      ["param", 60, 8],
      ["param", -1, 4],
      ["param", 0.5, 4],
      ["heap", 0, 1],
      ["input", 0, 1],
    ] as const) {
      expect((await failure(executor.read(arena, offset, length))).code).toBe("ERR_USAGE");
    }
    expect((await failure(executor.write("param", 0, "x" as never))).code).toBe("ERR_USAGE");
    await executor.submit("p", 0); // wrong use poisons nothing
  });

  it("refuses a slot in flight, unknown programs and slots", async () => {
    const executor = await load(
      "compute sleep milliseconds=20\ncompute affine | x=input+0:f32[1] -> y=output+0:f32[1]",
    );
    const running = executor.submit("p", 0);
    expect((await failure(executor.submit("p", 0))).message).toContain("still in flight");
    await running;
    expect((await failure(executor.submit("q", 0))).message).toContain("expected one of: p");
    expect((await failure(executor.submit("p", 3))).code).toBe("ERR_USAGE");
    expect(() => executor.input(3)).toThrow(NativeError);
    expect(() => executor.output(-1)).toThrow("from 0 to 2");
  });

  it("rejects everything after an error, with the line and the caller's stack", async () => {
    const executor = await load({
      good: "compute affine | x=input+0:f32[1] -> y=output+0:f32[1]",
      bad: "comm sleep milliseconds=5\ncomm fail message=ouch # here",
    });
    await executor.submit("good", 0);
    async function trainingStep(): Promise<void> {
      await executor.submit("bad", 0);
    }
    const first = trainingStep();
    const rest = [executor.submit("good", 1), executor.submit("good", 2)];
    const error = await failure(first);
    expect(error).toMatchObject({
      code: "ERR_FAKE",
      library: "fake",
      line: 8,
      text: "comm fail message=ouch # here",
    });
    expect(error.message).toContain("ouch\n  program bad, line 8: comm fail message=ouch # here");
    expect(error.stack).toContain("trainingStep");
    expect(error.stack).toContain("executor.test.ts");
    for (const promise of rest) expect((await failure(promise)).line).toBe(8);
    expect((await failure(executor.submit("good", 0))).code).toBe("ERR_FAKE");
    expect((await failure(executor.read("temp", 0, 4))).code).toBe("ERR_FAKE");
  });

  it("reports what a kernel throws that is no error of ours", async () => {
    const executor = await load("statistics foreign");
    const error = await failure(executor.submit("p", 0));
    expect(error).toMatchObject({ code: "ERR_NATIVE", line: 7 });
  });

  it("refuses programs at load, with the line", async () => {
    for (const [line, code] of [
      ["compute nothing", "ERR_KERNEL"],
      ["compute affine | x=temp+0:f32[4] -> y=temp+0:f32[2]", "ERR_SHAPE"],
      ["comm barrier communicator=peers", "ERR_COLLECTIVE"],
      ["compute affine | x=temp+0:f32[400] -> y=temp+0:f32[400]", "ERR_PROGRAM"],
      ["compute affine | -> y=temp+0:f32[2]", "ERR_PROGRAM"],
      ["what is this", "ERR_PROGRAM"],
    ] as const) {
      const error = await failure(load(line));
      expect(error).toMatchObject({ code, line: 7, text: line });
      expect(error.message).toContain("program p");
    }
    const text = "onehour-program 1\nname a\n";
    const twice = [1, 2].map(() => ({ name: "a", text }));
    expect((await failure(device.load(twice))).code).toBe("ERR_PROGRAM");
    // The device has 1 GiB: each arena fits, and so does the workspace, but not all together.
    for (const lines of [
      "arena temp 600000000\narena param 600000000\n",
      "arena temp 600000000\ncompute scratch bytes=600000000\n",
    ]) {
      const error = await failure(device.load([{ name: "a", text: text + lines }]));
      expect(error.code).toBe("ERR_MEMORY");
      expect(error.message).toMatch(/1200 MB.*1074 MB/);
    }
    expect((await failure(device.load([{ name: "p" } as never]))).code).toBe("ERR_USAGE");
    expect((await failure(device.load("p" as never))).code).toBe("ERR_USAGE");
    const strangers = { communicators: { peers: {} as never } };
    expect((await failure(device.load([], strangers))).code).toBe("ERR_USAGE");
  });

  it("replays recorded programs to the same results, and goes back", async () => {
    const count = "compute affine b=1 | x=param+0:f32[1] -> x=param+0:f32[1] y=param+0:f32[1]";
    const step = `${count}
compute signal event=0
comm wait event=0
comm sum | a=param+0:f32[1] b=input+0:f32[1] -> y=temp+0:f32[1]
comm signal event=1
compute wait event=1
compute affine a=10 | x=temp+0:f32[1] -> y=output+0:f32[1]`;
    const run = async (executor: Executor) => {
      const results: number[] = [];
      for (let i = 0; i < 6; i++) {
        floats(executor.input(i % 3))[0] = 100 * i;
        await executor.submit("step", i % 3);
        results.push(floats(executor.output(i % 3))[0]!);
      }
      return results;
    };
    const executor = await load({ step, count });
    const expected = await run(executor);
    expect(await executor.record()).toBeUndefined();
    expect(await run(executor)).toEqual(expected.map((value) => value + 60));
    await executor.submit("count", 0);
    await executor.forget();
    expect(await run(executor)).toEqual(expected.map((value) => value + 130));
  });

  it("says why nothing is recorded, and runs as before", async () => {
    const cpu = openBackend("cpu", 1);
    const text = "onehour-program 1\nname p\narena param 64\n";
    const executor = await cpu.load([{ name: "p", text }]);
    executors.push(executor);
    expect(await executor.record()).toContain("cpu cannot record programs");
    await executor.submit("p", 0);
  });

  it("measures a program kernel by kernel, by line", async () => {
    const executor = await load(twoStreams);
    const timings = await executor.measure("p", 1, 3);
    expect(timings.map(({ line }) => line)).toEqual([7, 10, 13]);
    for (const { milliseconds } of timings) expect(milliseconds).toEqual([1, 1, 1]); // marks apart
    expect(floats(executor.output(1))[0]).toBe(30); // each kernel ran three times
    expect((await failure(executor.measure("q", 0, 1))).message).toContain('no program "q"');
    expect((await failure(executor.measure("p", 3, 1))).message).toContain("from 0 to 2");
  });

  it("traces every line of a submission, like any other", async () => {
    const executor = await load(twoStreams);
    const before = Number(process.hrtime.bigint()) / 1e6;
    const [first, , second] = await Promise.all([
      executor.trace("p", 0),
      executor.submit("p", 1),
      executor.trace("p", 2),
    ]);
    for (const { began, times } of [first, second]) {
      expect(began).toBeGreaterThan(before - 100); // this clock counts marks
      expect(began).toBeLessThan(Number(process.hrtime.bigint()) / 1e6);
      // The marks of all streams, one after another.
      const ascending = [...times].sort((a, b) => a - b);
      expect(ascending).toEqual(Array.from({ length: 14 }, (_, i) => i + 1));
      const [compute, comm] = [
        [0, 1, 5, 6],
        [2, 3, 4],
      ].map((lines) => lines.flatMap((line) => [...times.subarray(2 * line, 2 * line + 2)]));
      for (const stream of [compute!, comm!])
        expect(stream).toEqual([...stream].sort((a, b) => a - b));
      const [signal, wait] = [4, 5];
      expect(times[2 * wait + 1]).toBeGreaterThan(times[2 * signal]!);
    }
    for (const [slot, runs] of [10, 20, 30].entries())
      expect(floats(executor.output(slot))[0]).toBe(runs);
    expect((await failure(executor.trace("q", 0))).message).toContain('no program "q"');
    expect((await failure(executor.trace("p", 3))).message).toContain("from 0 to 2");
    executor.dispose();
    expect((await failure(executor.trace("p", 0))).code).toBe("ERR_DISPOSED");
  });

  it("ends pending work when disposed and keeps views readable", async () => {
    const peers = device.createCommunicator(0, 2, 1);
    const executor = await load("comm barrier communicator=peers", { communicators: { peers } });
    const view = executor.output(2);
    const running = executor.submit("p", 0);
    executor.dispose();
    executor.dispose();
    expect((await failure(running)).code).toBe("ERR_DISPOSED");
    expect((await failure(executor.submit("p", 0))).code).toBe("ERR_DISPOSED");
    expect(() => executor.input(0)).toThrow("disposed");
    view.fill(3);
    expect(view[63]).toBe(3);
  });
});

describe("communicator", () => {
  it("works on typed arrays in order, off the JavaScript thread", async () => {
    const communicator = device.createCommunicator(1, 3, 1);
    expect([communicator.rank, communicator.size]).toEqual([1, 3]);
    expect(communicator.address()).toEqual(new Uint8Array([1]));
    const addresses = [0, 1, 2].map((rank) => new Uint8Array([rank]));
    expect(await communicator.connect(addresses)).toBe(true);
    const sums = new Float32Array([1, 2]);
    const doubles = new Float64Array([0.5, -1]).subarray(1);
    await Promise.all([
      communicator.allReduce(sums),
      communicator.allReduce(doubles),
      communicator.broadcast(new Uint16Array(3), 2),
    ]);
    expect([...sums, ...doubles]).toEqual([3, 6, -3]);
    expect(await communicator.allGather(new Uint8Array([7, 8]))).toEqual(
      new Uint8Array([7, 8, 7, 8, 7, 8]),
    );
  });

  it("refuses arrays that it cannot hold", async () => {
    const communicator = device.createCommunicator(0, 2, 1);
    const shared = new Float32Array(new SharedArrayBuffer(8));
    const detached = new Float32Array(2);
    structuredClone(detached, { transfer: [detached.buffer] });
    const resizable = new Float32Array(
      new (ArrayBuffer as new (length: number, options: object) => ArrayBuffer)(8, {
        maxByteLength: 16,
      }),
    );
    for (const [array, message] of [
      [shared, "SharedArrayBuffer"],
      [detached, "transferred"],
      [resizable, "resizable"],
      [[1, 2], "typed array"],
      [new Uint8Array(4), "Float32Array, Float64Array or Int32Array"],
    ] as const) {
      const error = await failure(communicator.allReduce(array as Float32Array));
      expect(error).toMatchObject({ code: "ERR_USAGE" });
      expect(error.message).toContain(message);
    }
    const data = new Float32Array(8);
    const running = communicator.allReduce(data.subarray(0, 5));
    const overlap = await failure(communicator.broadcast(data.subarray(4), 0));
    expect(overlap.message).toContain("overlaps");
    await running;
    await communicator.allReduce(data.subarray(4));
    expect((await failure(communicator.broadcast(data, 2))).message).toContain("from 0 to 1");
    expect((await failure(communicator.connect([]))).message).toContain("2 addresses, got 0");
    expect(() => device.createCommunicator(2, 2, 1)).toThrow("rank must be a number from 0 to 1");
  });

  it("blocks no one and ends when aborted", async () => {
    const blocked = Array.from({ length: 6 }, () => device.createCommunicator(0, 2, 1));
    const barriers = blocked.map((communicator) => failure(communicator.barrier()));
    // More blocked calls than libuv has threads: the file system still answers.
    const { readFile } = await import("node:fs/promises");
    expect((await readFile(new URL(import.meta.url))).length).toBeGreaterThan(0);
    for (const communicator of blocked) communicator.abort();
    for (const error of await Promise.all(barriers)) {
      expect(error).toMatchObject({ code: "ERR_COLLECTIVE", library: "fake" });
    }
    expect((await failure(blocked[0]!.barrier())).code).toBe("ERR_COLLECTIVE");
  });
});
