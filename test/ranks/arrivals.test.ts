// Says who has come to a meeting and who is missing.
import { expect, test } from "vitest";
import { Arrivals, hostName } from "../../lib/ranks/arrivals.js";

test("names who is missing, who is here and from which hosts", () => {
  const arrivals = new Arrivals(4, "rank");
  expect(arrivals.missing()).toBe("ranks 0, 1, 2 and 3 of 4");
  expect(arrivals.present()).toBe("(nobody is here)");
  arrivals.come(1, "b");
  arrivals.come(0, "a");
  expect(arrivals.missing()).toBe("ranks 2 and 3 of 4");
  expect(arrivals.present()).toBe("(ranks 0 and 1 are here, from hosts a and b)");
  arrivals.refuse("one from 10.0.0.9 came with another token");
  expect(arrivals.present()).toBe(
    "(ranks 0 and 1 are here, from hosts a and b; one from 10.0.0.9 came with another token)",
  );
  arrivals.leave(1);
  expect(arrivals.name(1)).toBe("rank 1 on host b");
  expect(arrivals.present()).toMatch(/^\(rank 0 is here, from host a;/);
});

test("names of nodes, and of one host only where there are several", () => {
  const arrivals = new Arrivals(2, "node");
  arrivals.come(0, "a");
  expect(arrivals.name(0)).toBe("node 0");
  expect(arrivals.missing()).toBe("node 1 of 2");
  expect(arrivals.complete).toBe(false);
  arrivals.come(1, "b");
  expect(arrivals.name(1)).toBe("node 1 on host b");
  expect(arrivals.complete).toBe(true);
});

test("of many it names the first", () => {
  const arrivals = new Arrivals(100, "rank");
  for (let rank = 0; rank < 60; rank++) arrivals.come(rank, `h${rank}`);
  expect(arrivals.missing()).toMatch(/^ranks 60, 61, .*, 74 and 25 more of 100$/);
  expect(arrivals.present()).toMatch(/from hosts h0, .*, h6 and 53 more\)$/);
});

test("a peer's name of its host is shown safely", () => {
  expect(hostName("node-1.cluster")).toBe("node-1.cluster");
  expect(hostName("a\u001b[2J")).toBe('"a\\x1b[2J"');
  expect(hostName("x".repeat(500)).length).toBeLessThanOrEqual(64);
  expect(hostName(7)).toBe("7");
});
