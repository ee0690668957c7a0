// Checks that a Chrome trace is one that Perfetto and chrome://tracing read as it is meant.
import { expect } from "vitest";
import { z } from "zod";

/** Not 0, which some readers take for the idle task. */
const id = z.int32().positive();
const ids = { pid: id, tid: id };
const metadata = (about: "process" | "thread") => [
  z.strictObject({
    ...{ name: z.literal(`${about}_name`), ph: z.literal("M"), ...ids },
    args: z.strictObject({ name: z.string().min(1) }),
  }),
  z.strictObject({
    ...{ name: z.literal(`${about}_sort_index`), ph: z.literal("M"), ...ids },
    args: z.strictObject({ sort_index: z.int32() }),
  }),
];
const complete = z.strictObject({
  ...{ name: z.string().min(1), cat: z.string().min(1), ph: z.literal("X"), ...ids },
  // Microseconds; Perfetto counts in nanoseconds, so eighths stay exact.
  ts: z.number().nonnegative().multipleOf(0.125),
  dur: z.number().nonnegative().multipleOf(0.125),
  args: z.record(z.string(), z.unknown()),
});
const file = z.strictObject({
  displayTimeUnit: z.literal("ms"),
  traceEvents: z.array(z.union([complete, ...metadata("process"), ...metadata("thread")])),
  otherData: z.strictObject({ began: z.iso.datetime(), ranks: z.int().positive() }),
});

export type TraceEvent = z.infer<typeof complete>;

/** The rows of each rank, by name in their order, and the complete events of its file. */
export interface RankEvents {
  rows: string[];
  events: TraceEvent[];
}

/**
 * What a trace has of each rank, once all processes and threads are named, and no two events of a thread overlap,
 * nor two threads have one id.
 */
export function requireSound(text: string): RankEvents[] {
  const { traceEvents, otherData } = file.parse(JSON.parse(text));
  const events = traceEvents.filter((event) => event.ph === "X");
  const about = (name: string) => traceEvents.filter((event) => event.name === name);
  const pids = Array.from({ length: otherData.ranks }, (_, rank) => rank + 1);
  for (const name of ["process_name", "process_sort_index"])
    expect(about(name).map(({ pid }) => pid)).toEqual(pids);
  const threads = new Map(about("thread_name").map(({ pid, tid }) => [tid, pid]));
  for (const name of ["thread_name", "thread_sort_index"])
    expect(about(name).map(({ pid, tid }) => [tid, pid])).toEqual([...threads]);
  for (const [tid, pid] of threads) {
    const own = events.filter((event) => event.tid === tid);
    expect(new Set(own.map((event) => event.pid))).toEqual(new Set([pid]));
    let end = 0;
    for (const { ts, dur, name } of own.sort((a, b) => a.ts - b.ts || a.dur - b.dur)) {
      expect(ts, name).toBeGreaterThanOrEqual(end);
      end = ts + dur;
    }
  }
  expect(events.filter(({ tid }) => !threads.has(tid))).toEqual([]);
  return pids.map((pid) => ({
    rows: about("thread_name").flatMap((event) =>
      event.pid === pid && "name" in event.args ? [String(event.args.name)] : [],
    ),
    events: events.filter((event) => event.pid === pid),
  }));
}
