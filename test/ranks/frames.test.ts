// Cuts bytes into frames.
import { expect, test } from "vitest";
import { FrameReader } from "../../lib/ranks/frames.js";

test("finds frames however the bytes are cut", () => {
  const frames = [{ a: 1 }, { text: "ünïcode ".repeat(50) }, {}];
  const bytes = Buffer.concat(
    frames.map((value) => {
      const body = Buffer.from(JSON.stringify(value));
      const length = Buffer.alloc(4);
      length.writeUInt32BE(body.length);
      return Buffer.concat([length, body]);
    }),
  );
  for (const size of [1, 3, 4, 5, 64, bytes.length]) {
    const reader = new FrameReader(1000);
    const found = [];
    for (let at = 0; at < bytes.length; at += size)
      found.push(...reader.push(bytes.subarray(at, at + size)));
    expect(found).toEqual(frames);
  }
});
