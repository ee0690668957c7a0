// Checks the events of a Chrome trace.
import { expect } from "vitest";

export interface TraceEvent {
  name: string;
  cat: string;
  ph: string;
  ts: number;
  dur: number;
  pid: number;
  tid: number;
  args: Record<string, unknown>;
}

/** The complete events, once every event is one or metadata, and no two of a thread overlap. */
export function requireSound(all: readonly TraceEvent[]): TraceEvent[] {
  const events = all.filter(({ ph }) => ph === "X");
  expect(new Set(all.map(({ ph }) => ph))).toEqual(new Set(["M", "X"]));
  const threads = new Map<string, TraceEvent[]>();
  for (const event of events) {
    const thread = `${event.pid}.${event.tid}`;
    threads.set(thread, [...(threads.get(thread) ?? []), event]);
  }
  for (const thread of threads.values()) {
    let end = 0;
    for (const { ts, dur, name } of thread.sort((a, b) => a.ts - b.ts || a.dur - b.dur)) {
      expect(ts, name).toBeGreaterThanOrEqual(end);
      expect(dur, name).toBeGreaterThanOrEqual(0);
      end = ts + dur;
    }
  }
  return events;
}
