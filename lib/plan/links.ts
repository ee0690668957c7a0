// A link between workers as a user describes it, 50Gbit/s:5us: its bandwidth and its latency.
import { UsageError } from "../errors.js";
import { shown } from "../text/words.js";

export interface Link {
  /** Bytes a second, in each direction at once. */
  bandwidth: number;
  /** Seconds from the start of a message to its first byte at the other end. */
  latency: number;
}

const prefixes: Readonly<Record<string, number>> = { "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12 };
const times: Readonly<Record<string, number>> = { s: 1, ms: 1e-3, us: 1e-6, µs: 1e-6, ns: 1e-9 };
const number = String.raw`(\d+(?:\.\d+)?|\.\d+)`;
const form = new RegExp(
  String.raw`^\s*${number}\s*([kMGT]?)(bit|B)/s\s*:\s*${number}\s*(s|ms|us|µs|ns)\s*$`,
);

const expected =
  "expected BANDWIDTH:LATENCY, for example 50Gbit/s:5us or 12.5GB/s:0.1ms: bit/s or B/s with k, M, G or T before " +
  "it, in these letters, and s, ms, us or ns";

/** Reads a link. @throws UsageError ERR_ONEHOUR_USAGE, which says what was expected. */
export function parseLink(text: string, name = "link"): Link {
  const match = form.exec(text.replaceAll("μ", "µ"));
  if (!match) throw refusal(name, text, expected);
  const [, amount, prefix, unit, delay, time] = match as unknown as [string, ...string[]];
  const link = {
    bandwidth: (Number(amount) * prefixes[prefix!]!) / (unit === "bit" ? 8 : 1),
    latency: Number(delay) * times[time!]!,
  };
  if (!(link.bandwidth > 0 && Number.isFinite(link.bandwidth) && Number.isFinite(link.latency)))
    throw refusal(name, text, "the bandwidth must be more than 0, and both finite");
  return link;
}

const refusal = (name: string, text: string, why: string) =>
  new UsageError("ERR_ONEHOUR_USAGE", `${name}: ${shown(text)} is no link; ${why}`);

/** A number with four digits at most. */
const short = (value: number) => String(Number(value.toPrecision(4)));

/** The largest unit of which there is at least one, or else the smallest. */
function scaled(value: number, units: readonly (readonly [name: string, size: number])[]): string {
  const [name, size] = units.find(([, size]) => value >= size * 0.9999) ?? units.at(-1)!;
  return `${short(value / size)} ${name}`;
}

/** "50 Gbit/s, 5 us a message" */
export function linkText({ bandwidth, latency }: Link): string {
  const rate = scaled(8 * bandwidth, [
    ["Tbit/s", 1e12],
    ["Gbit/s", 1e9],
    ["Mbit/s", 1e6],
    ["kbit/s", 1e3],
    ["bit/s", 1],
  ]);
  const delay = latency === 0 ? "no latency" : `${timeText(latency)} a message`;
  return `${rate}, ${delay}`;
}

/** "5 us", "0.25 s": a time in the unit that leaves the fewest digits. */
export const timeText = (seconds: number): string =>
  scaled(seconds, [
    ["s", 1],
    ["ms", 1e-3],
    ["us", 1e-6],
    ["ns", 1e-9],
  ]);
