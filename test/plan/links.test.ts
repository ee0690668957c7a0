import { expect, test } from "vitest";
import { linkText, parseLink, timeText } from "../../lib/plan/links.js";

test.each([
  ["50Gbit/s:5us", 6.25e9, 5e-6],
  ["12.5GB/s:5us", 12.5e9, 5e-6],
  ["900Mbit/s:0.1ms", 112.5e6, 1e-4],
  ["1Tbit/s:300ns", 1.25e11, 3e-7],
  ["8bit/s:1s", 1, 1],
  ["250kB/s:0s", 250e3, 0],
  [" 50 Gbit/s : .5 ms ", 6.25e9, 5e-4],
  ["50Gbit/s:5µs", 6.25e9, 5e-6], // the micro sign, and below the Greek letter
  ["50Gbit/s:5μs", 6.25e9, 5e-6],
])("%s is a link", (text, bandwidth, latency) => {
  const link = parseLink(text);
  expect(link.bandwidth).toBeCloseTo(bandwidth, 3);
  expect(link.latency).toBeCloseTo(latency, 12);
});

test.each([
  "",
  "50",
  "50Gbit/s",
  "5us",
  ":5us",
  "50Gbit/s:",
  "50Gbit/s:5",
  "50Gbit:5us",
  "50Gb/s:5us", // bits or bytes?
  "50gbit/s:5us",
  "50Gbps:5us",
  "-50Gbit/s:5us",
  "50Gbit/s:-5us",
  "1e3Gbit/s:5us",
  "50Gbit/s:5us:5us",
  "50Gbit/s 5us",
  "NaNGbit/s:5us",
  "InfinityGbit/s:5us",
  "0Gbit/s:5us",
  "0.0B/s:0s",
  `${"9".repeat(400)}bit/s:5us`,
  `1Gbit/s:${"9".repeat(400)}s`,
  "50Gbit/s:5us\n--json",
])("%j is none, and the message says what is", (text) => {
  const refused = expect(() => parseLink(text, "--link"));
  refused.toThrow(expect.objectContaining({ code: "ERR_ONEHOUR_USAGE" }));
  refused.toThrow(/^--link: ".*" is no link; (expected .*50Gbit\/s:5us|the bandwidth must)/s);
});

test("links and times are shown in the unit that fits", () => {
  expect(linkText(parseLink("12.5GB/s:0.1ms"))).toBe("100 Gbit/s, 100 us a message");
  expect(linkText(parseLink("900Mbit/s:1.5ms"))).toBe("900 Mbit/s, 1.5 ms a message");
  expect(linkText(parseLink("8bit/s:0s"))).toBe("8 bit/s, no latency");
  expect(timeText(1e-10)).toBe("0.1 ns");
  expect(timeText(90)).toBe("90 s");
});
