// The formulas, sizes, checks and texts of `onehour bench all-reduce`, without starting a rank.
import { expect, onTestFinished, test } from "vitest";
import { busFactor, countWrong, rowOf, sizesBetween } from "../../lib/bench/all-reduce.js";
import { allReduceBench, requireRight } from "../../lib/bench/all-reduce-bench.js";
import { linksText, rowText, tableEnd, tableHead } from "../../lib/bench/all-reduce-table.js";
import { ncclTransports } from "../../lib/bench/links.js";
import { bytesOf } from "../../lib/cli/all-reduce.js";
import { setVoice } from "../../lib/recipe/voice.js";

test("algbw and busbw are those of nccl-tests", () => {
  const row = rowOf(1e9, 0.5, 0, 4);
  expect(row).toMatchObject({ size: 1e9, count: 2.5e8, time: 5e5, algbw: 2, busbw: 3, wrong: 0 });
  expect([1, 2, 8].map(busFactor)).toEqual([0, 1, 1.75]);
});

test("sizes double", () => {
  expect(sizesBetween(1024, 5000)).toEqual([1024, 2048, 4096]);
  expect(sizesBetween(12, 12)).toEqual([12]);
});

test("an element that is not the sum is counted", () => {
  const sums = Float32Array.from({ length: 20 }, (_, i) => 6 + 3 * (i % 7));
  expect(countWrong(sums, 3)).toBe(0);
  sums[4]! += 1;
  sums[19] = Number.NaN;
  expect(countWrong(sums, 3)).toBe(2);
});

test("NCCL's log says how a pair is connected", () => {
  const log = [
    "a:1:2 [0] NCCL INFO Channel 00/0 : 1[1] -> 0[0] via P2P/CUMEM",
    "a:1:2 [0] NCCL INFO Channel 07/0 : 0[0] -> 2[0] [receive] via NET/IB/3/GDRDMA",
    "a:1:2 [0] NCCL INFO Channel 00 : 1[1b000] -> 3[1c000] via SHM/direct/direct",
    "a:1:2 [0] NCCL INFO NCCL_IB_GID_INDEX set by environment to 3.",
  ].join("\n");
  expect([...ncclTransports(log)]).toEqual([
    ["0-1", "P2P/CUMEM"],
    ["0-2", "NET/IB/3/GDRDMA"],
    ["1-3", "SHM/direct/direct"],
  ]);
});

test("the table fits 80 columns and groups the pairs", () => {
  const link = (a: number, b: number, way: string) => ({
    ranks: [a, b] as [number, number],
    link: way,
  });
  const links = [link(0, 1, "shared memory"), link(0, 2, "TCP to 10.0.0.2:4000")];
  const rows = [rowOf(2 ** 28, 3.25, 0, 64), rowOf(1024, 1e-5, 3, 64)];
  const result = { workers: 64, device: "a processor", links, rows, environment: {} as never };
  const text = tableHead(result) + rows.map(rowText).join("") + tableEnd(result);
  expect(text).toMatch(/^ranks 0–1: shared memory\nranks 0–2: TCP to 10\.0\.0\.2$/m);
  expect(text).toMatch(/^ *268435456 +67108864 +float +sum +3250000 +0\.08 +0\.16 +0$/m);
  const lines = text.split("\n").filter((line) => /size|\(B\)|float/.test(line));
  // Columns end alike: the last digit of a size stands below the title's last letter.
  expect(lines.map((line) => line.search(/(?<=size|\(B\)|\d{4,}) /))).toEqual([10, 10, 10, 10]);
  expect(Math.max(...text.split("\n").map(({ length }) => length))).toBeLessThan(80);
  expect(() => requireRight(result)).toThrow(/3 elements of 1,024 bytes were not the sum/);
  const many = Array.from({ length: 8 }, (_, i) => link(0, i + 1, "Unix socket"));
  const sockets = [4000, 4001].map((port) => link(0, port, `TCP to [fd00::2]:${port}`));
  expect(linksText(sockets)).toBe("ranks 0–4000, 0–4001: TCP to [fd00::2]\n");
  expect(linksText(many)).toMatch(/0–6 and 2 more pairs: Unix socket\n$/);
});

test.each([
  [{ minBytes: 6 }, /minBytes is 6, expected .*multiple of 4/],
  [{ maxBytes: 2 ** 40 }, /maxBytes is/],
  [{ minBytes: 4096, maxBytes: 1024 }, /minBytes, 4096, is more than maxBytes, 1024/],
  [{ workers: 0 }, /workers is 0/],
  [{ device: "tpu" as "cpu" }, /device is "tpu"/],
  [{ cluster: { maxRestarts: 1 } } as object, /^cluster\.maxRestarts: .*leave it out/],
  [{ wokers: 2 } as object, /has no option "wokers".*workers/],
])("%o is refused before anything is started", async (options, message) => {
  await expect(allReduceBench(options)).rejects.toThrow(message);
});

test("the command names its flags", async () => {
  setVoice("flags");
  onTestFinished(() => setVoice("fields"));
  await expect(allReduceBench({ minBytes: 6 })).rejects.toThrow(/^--min-bytes is 6/);
  await expect(allReduceBench({ maxBytes: 4 })).rejects.toThrow(
    "--min-bytes, 1024, is more than --max-bytes, 4",
  );
});

test("sizes are read as nccl-tests reads them", () => {
  expect(["8", "1K", "64k", "256MB", "1GiB"].map(bytesOf)).toEqual([
    8,
    1024,
    65536,
    2 ** 28,
    2 ** 30,
  ]);
  expect(() => bytesOf("1.5M")).toThrow(/for example/);
});
