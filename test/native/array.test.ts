// Copies arrays to and from a device's memory, runs collectives on them, and checks the order of
// both.
import { describe, expect, it } from "vitest";
import type { DeviceArray } from "../../lib/device/device.js";
import { openBackend } from "../../lib/device/open.js";
import { connectAll } from "../support/communicators.js";
import { device } from "../support/device.js";
import { failure } from "../support/failure.js";

describe("an array of a device", () => {
  it("keeps what was written", async () => {
    const source = Float32Array.of(1, -2.5, 3e-30);
    using floats = await device.array(source);
    source[0] = 7;
    expect([floats.type, floats.length]).toEqual(["f32", 3]);
    expect(await floats.read()).toEqual(Float32Array.of(1, -2.5, 3e-30));
    await floats.write(source);
    expect(await floats.read()).toEqual(source);

    using integers = await device.array(Int32Array.of(2 ** 30, -1));
    expect([integers.type, integers.length]).toEqual(["i32", 2]);
    expect(await integers.read()).toEqual(Int32Array.of(2 ** 30, -1));

    using empty = await device.array(new Float32Array(0));
    expect((await empty.read()).length).toBe(0);
  });

  it("of many megabytes arrives whole", async () => {
    const source = Float32Array.from({ length: 3_000_001 }, (_, i) => Math.fround(Math.sin(i)));
    using array = await device.array(source);
    const copy = await array.read();
    expect(Buffer.from(copy.buffer).equals(Buffer.from(source.buffer))).toBe(true);
  });

  it("copies a part of a larger buffer", async () => {
    using array = await device.array(Float32Array.of(0, 1, 2, 3, 4).subarray(1, 3));
    expect(await array.read()).toEqual(Float32Array.of(1, 2));
  });

  it("runs operations in the order of the calls", async () => {
    using array = await device.array(Float32Array.of(0));
    const reads: Promise<Float32Array>[] = [];
    const writes: Promise<void>[] = [];
    for (let i = 1; i <= 50; i++) {
      writes.push(array.write(Float32Array.of(i)));
      reads.push(array.read());
    }
    const values = (await Promise.all(reads)).map(([value]) => value);
    expect(values).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
    await Promise.all(writes);
  });

  it("refuses data that does not fit", async () => {
    using array = await device.array(Float32Array.of(1, 2));
    const wrong = array as unknown as DeviceArray<Int32Array>;
    expect(await failure(array.write(Float32Array.of(1)))).toMatchObject({ code: "ERR_USAGE" });
    expect((await failure(wrong.write(Int32Array.of(1, 2)))).message).toContain(
      "a Float32Array of 2 elements",
    );
    expect((await failure(device.array(new Float64Array(2) as never))).message).toContain(
      "a Float32Array or an Int32Array",
    );
    expect(await array.read()).toEqual(Float32Array.of(1, 2));
  });

  it("finishes pending work before it is disposed of, and refuses later calls", async () => {
    const array = await device.array(Float32Array.of(5));
    const last = array.read();
    array.dispose();
    array.dispose();
    expect(await last).toEqual(Float32Array.of(5));
    expect((await failure(array.read())).code).toBe("ERR_DISPOSED");
    expect((await failure(array.write(Float32Array.of(5)))).code).toBe("ERR_DISPOSED");
  });

  it("outlives its device's handle", async () => {
    const own = openBackend("fake", 1);
    const array = await own.array(Int32Array.of(3));
    own.dispose();
    expect(await array.read()).toEqual(Int32Array.of(3));
    expect((await failure(own.array(Int32Array.of(3)))).code).toBe("ERR_DISPOSED");
  });
});

describe("collectives on arrays of a device", () => {
  it("sum and broadcast in place", async () => {
    const ranks = await connectAll(3);
    const results = await Promise.all(
      ranks.map(async (communicator, rank) => {
        using floats = await device.array(
          Float32Array.from({ length: 1001 }, (_, i) => i + rank / 4),
        );
        using integers = await device.array(Int32Array.of(rank, 10 * rank));
        await communicator.allReduce(floats);
        await communicator.allReduce(integers);
        const sums = await floats.read();
        const counts = [...(await integers.read())];
        await floats.write(new Float32Array(1001).fill(rank));
        await communicator.broadcast(floats, 2);
        return { sums, counts, given: await floats.read() };
      }),
    );
    for (const { sums, counts, given } of results) {
      expect(sums).toEqual(Float32Array.from({ length: 1001 }, (_, i) => 3 * i + 0.75));
      expect(counts).toEqual([3, 30]);
      expect(given).toEqual(new Float32Array(1001).fill(2));
    }
  });

  it("follow writes and precede reads that were not awaited", async () => {
    const ranks = await connectAll(2);
    const results = await Promise.all(
      ranks.map(async (communicator, rank) => {
        using array = await device.array(Float32Array.of(0));
        const reads: Promise<Float32Array>[] = [];
        const pending: Promise<void>[] = [];
        for (let i = 0; i < 20; i++) {
          pending.push(array.write(Float32Array.of(i + rank)));
          pending.push(communicator.allReduce(array));
          pending.push(communicator.barrier());
          reads.push(array.read());
        }
        await Promise.all(pending);
        return (await Promise.all(reads)).map(([value]) => value);
      }),
    );
    const sums = Array.from({ length: 20 }, (_, i) => 2 * i + 1);
    expect(results).toEqual([sums, sums]);
  });

  it("leave the array usable when they fail", async () => {
    const [communicator] = await connectAll(2);
    using array = await device.array(Float32Array.of(1, 2));
    communicator!.abort();
    expect((await failure(communicator!.allReduce(array))).code).toBe("ERR_COLLECTIVE");
    await array.write(Float32Array.of(3, 4));
    expect(await array.read()).toEqual(Float32Array.of(3, 4));
  });

  it("refuse arrays of another backend", async () => {
    using other = openBackend("fake", 1);
    using array = await other.array(Float32Array.of(1));
    const [communicator] = await connectAll(1);
    expect((await failure(communicator!.allReduce(array))).code).toBe("ERR_USAGE");
  });
});
