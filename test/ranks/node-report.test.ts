// What node 0 takes for a report of another node.
import { expect, test } from "vitest";
import { parseReport } from "#lib/ranks/node-report.js";

const failure = { message: "x", details: [], secondary: false };
const beat = { progress: -1, waiting: 0, running: 1, reading: 0 };

test.each([
  { type: "hello", facts: { "--nodes": 2 } },
  { type: "beats", beats: [[3, beat]] },
  { type: "failure", failure },
  { type: "failure", failure: { ...failure, rank: 2, code: "ERR_X", killed: true } },
  { type: "interrupted", signal: "SIGUSR1" },
  { type: "exit", rank: 1, succeeded: false },
  { type: "ended" },
])("%j is a report", (report) => {
  expect(parseReport(JSON.stringify(report))).toEqual(report);
});

test.each([
  "",
  "{",
  "null",
  "[]",
  '{"type":"beat"}',
  '{"type":"failure"}',
  JSON.stringify({ type: "failure", failure: { ...failure, message: 5 } }),
  JSON.stringify({ type: "failure", failure: { ...failure, details: 5 } }),
  JSON.stringify({ type: "failure", failure: { ...failure, rank: -1 } }),
  '{"type":"signal","signal":"SIGKILL"}',
  '{"type":"signal","signal":5}',
  '{"type":"exit","rank":0.5,"succeeded":true}',
  '{"type":"beats","beats":[[0,{}]]}',
])("%s is none", (text) => {
  expect(parseReport(text)).toBeUndefined();
});
