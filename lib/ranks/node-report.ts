// What a node reports to node 0, and the check of what came over the network.
import { z } from "zod";
import type { Report } from "./crew.js";
import { type EndingSignal, isEndingSignal } from "./signals.js";
import type { Heartbeat } from "./supervise.js";

export type NodeReport =
  /** It is there, with what must be alike on all nodes, by the name that a message gives it. */
  | { type: "hello"; facts: Record<string, unknown> }
  /** The last heartbeats of its workers. */
  | { type: "beats"; beats: [rank: number, beat: Heartbeat][] }
  | Exclude<Report, { type: "beat" }>;

const mostText = 100_000; // characters
const mostDetails = 10_000; // lines

const rank = z.int().min(0);
const count = z.number().min(0);
const text = z.string().max(mostText);
const signal = z.custom<EndingSignal>(isEndingSignal);
const beat = z.object({ progress: z.number(), waiting: count, running: count, reading: count });
const failure = z.object({
  rank: rank.optional(),
  message: text,
  code: text.optional(),
  details: z.array(text).max(mostDetails),
  secondary: z.boolean(),
  killed: z.boolean().optional(),
});

const schema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("hello"), facts: z.record(z.string(), z.unknown()) }),
  z.object({ type: z.literal("beats"), beats: z.array(z.tuple([rank, beat])) }),
  z.object({ type: z.literal("failure"), failure }),
  z.object({ type: z.literal("interrupted"), signal }),
  z.object({ type: z.literal("exit"), rank, succeeded: z.boolean() }),
  z.object({ type: z.literal("signal"), signal }),
  z.object({ type: z.literal("ended") }),
]);

/** The report that a text is; undefined for any other text. */
export function parseReport(given: string): NodeReport | undefined {
  let value: unknown;
  try {
    value = JSON.parse(given);
  } catch {
    return undefined;
  }
  const parsed = schema.safeParse(value);
  return parsed.success ? (parsed.data as NodeReport) : undefined;
}
