// Plans whose answers have a closed form, what is refused, and the command.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Profile } from "../../lib/bench/profile.js";
import type { PlanInput } from "../../lib/plan/options.js";
import { paperPlan } from "../../lib/plan/paper.js";
import { type Plan, plan } from "../../lib/plan/plan.js";
import { readProfile } from "../../lib/plan/profile-file.js";
import { planText } from "../../lib/plan/text.js";
import { onehour } from "../cli/command.js";
import { temporaryFolder } from "../support/folder.js";

/** A step of 0.1 s whose gradients are there at its end. */
const { assumed, ...paperProfile } = paperPlan.profile;
const profile: Profile = {
  ...paperProfile,
  device: { kind: "cpu", name: "a processor" },
  compute: 0.1,
  buckets: [{ bytes: 1e8, ready: 0.1 }],
  measured: [{ workers: 1, step: 0.1, exposedCommunication: 0 }],
};
const small: Profile = { ...profile, images: { height: 28, width: 28, channels: 1 } };
/** The same without anything to communicate. */
const silent: Profile = { ...profile, buckets: [] };
const fast = "1000000Tbit/s:0s";
const planned = (input: Partial<PlanInput> = {}, from = profile) =>
  plan({ profile: from, link: fast, ...input });

describe("the hour", () => {
  // Without evaluations and communication a training of E epochs takes E·floor(N / 32k)·0.1 s.
  const images = 32 * 1000;
  const hours = (k: number, epochs: number) => (epochs * Math.floor(1000 / k) * 0.1) / 3600;

  test("is found at the fewest workers, exactly", () => {
    // 36,000 s on one worker: 11 workers take 90 steps an epoch, 10 take 100 and so the whole hour.
    const { underOneHour, forecasts } = planned(
      { images, epochs: 360, workers: [1, 10, 11] },
      silent,
    );
    expect(forecasts.map((step) => step.hours)).toEqual([
      expect.closeTo(hours(1, 360), 9),
      expect.closeTo(1, 9),
      expect.closeTo(0.9, 9),
    ]);
    expect(underOneHour).toMatchObject({ workers: 11, nodes: 11, bound: "compute" });
  });

  test("does not look like an hour where it is just below", () => {
    // 36 epochs of 999 steps of 0.1 s, and of 1,000.
    const almost = { images: 32 * 999, workers: [1], epochs: 36 };
    expect(planText(planned(almost, silent))).toMatch(/from 1\s+worker\s+on:\s+0\.999 h/);
    expect(planText(planned({ ...almost, images: 32 * 1000 }, silent))).toContain(" 1.00 h");
  });

  test("is not below an hour at an hour", () => {
    const { underOneHour, shortest } = planned({ images, epochs: 360, workers: [10] }, silent);
    expect(underOneHour).toBeUndefined();
    expect(shortest).toMatchObject({ workers: 10, hours: expect.closeTo(1, 9) });
  });

  test("counts whole nodes", () => {
    const nodes = { linkInside: fast, workersPerNode: 8, workers: [64] };
    expect(planned({ images, epochs: 360, ...nodes }, silent).underOneHour).toMatchObject({
      workers: 16,
      nodes: 2,
    });
    // But within one node any number of workers.
    expect(planned({ images, epochs: 90, ...nodes }, silent).underOneHour).toMatchObject({
      workers: 3,
    });
  });

  test("one worker may be enough", () => {
    const made = planned({ images, epochs: 1, workers: [1] }, silent);
    expect(made.underOneHour).toMatchObject({
      workers: 1,
      hours: expect.closeTo(hours(1, 1), 12),
    });
    expect(planText(made)).toContain("\n1 epoch of 32,000 images take less");
  });

  test("does not come where communication takes it, which is said", () => {
    // 0.2·(p − 1)/p s of communication a step for ever.
    const slow = planned({ link: "8Gbit/s:10ms", images, epochs: 2000 });
    expect(slow.underOneHour).toBeUndefined();
    expect(slow.shortest!.bound).toBe("communication");
    expect(planText(slow)).toMatch(/an hour or more .* What\s+binds:\s+network/s);
  });

  test("what binds is what holds up the most workers, not the fewer that are faster", () => {
    // Within a node nothing is waited for; between nodes each step takes longer than the workers save.
    const links = { link: "1kbit/s:1s", linkInside: fast, workersPerNode: 8, workers: [8, 16] };
    const { shortest, forecasts, ...slow } = planned({ images, epochs: 36_000, ...links });
    expect(shortest).toMatchObject({ workers: 8, bound: "compute" });
    expect(planText({ shortest: shortest!, forecasts, ...slow })).toMatch(
      /What\s+binds:\s+network/,
    );
  });

  test("a profile's name does not steer the terminal", () => {
    const disguised = { ...profile, model: "\x1b[31mred" };
    expect(planText(planned({}, disguised))).toContain("\\x1b[31mred, ");
  });

  test("a minibatch of more than all images trains nothing", () => {
    const { forecasts, shortest } = planned({ images: 31, workers: [1] });
    expect(forecasts[0]!.hours).toBeUndefined();
    expect(shortest).toBeUndefined();
    expect(planText(planned({ images: 31 }))).toContain("has more images than there are");
  });
});

describe("ImageNet", () => {
  test("is what a profile of its images trains, and no other does", () => {
    expect(planned().work).toEqual({ epochs: 90, images: 1_281_167, testImages: 50_000 });
    const other = planned({}, small);
    expect(other.work).toBeUndefined();
    expect(other.paper).toBeUndefined();
    expect(other.forecasts[0]).not.toHaveProperty("hours");
    expect(planText(other)).toMatch(/28×28 pixels, not ImageNet's .*\(images\).*\(epochs\)/s);
    expect(planText(other)).not.toContain("epochs  bound");
  });

  test("warns of minibatches for which the paper's error rises", () => {
    expect(planText(planned({ workers: [1024] }))).not.toContain("24.79%");
    expect(planText(planned({ workers: [1024], accumulate: 40 }))).toContain("24.79%");
  });
});

describe("the input", () => {
  const decodes: Profile = { ...profile, imagesPerCore: 100 };

  test("without cores tells how many are needed, of whole ones", () => {
    const { forecasts, imagesPerCore, cores } = planned({ workers: [1] }, decodes);
    expect({ imagesPerCore, cores }).toEqual({ imagesPerCore: 100, cores: undefined });
    expect(forecasts[0]!.imagesPerNode).toBeCloseTo(320, 9);
    expect(forecasts[0]!.coresPerNode).toBeCloseTo(3.2, 9);
    expect(planText(planned({}, decodes))).toMatch(/4\s+cores at 100\s+a core/);
  });

  test("binds with too few cores, in the table too", () => {
    const bound = planned({ cores: 2, workers: [4] }, decodes);
    expect(bound.forecasts[0]).toMatchObject({ bound: "input", seconds: 0.16 });
    expect(planText(bound)).toMatch(/waiting.*\n.* 60\.0 ms .*input\n/);
  });

  test("has the cores of the profile's machine, unless those compute", () => {
    const environment = { cores: { usable: 2, present: 64 } };
    const of = (kind: "cpu" | "cuda", cores?: number) =>
      planned(
        { workers: [4], ...(cores === undefined ? {} : { cores }) },
        { ...decodes, environment, device: { kind, name: "a device" } },
      );
    expect(of("cuda").cores).toBe(2);
    expect(of("cuda").forecasts[0]).toMatchObject({ bound: "input", seconds: 0.16 });
    expect(of("cuda", 64).forecasts[0]!.inputWait).toBe(0);
    expect(of("cpu")).not.toHaveProperty("cores");
    for (const damaged of [null, "many", { usable: "2" }, { usable: -1 }])
      expect(
        planned(
          {},
          { ...decodes, environment: { cores: damaged }, device: { kind: "cuda", name: "" } },
        ),
      ).not.toHaveProperty("cores");
  });

  test("takes another rate than the profile's", () => {
    const { forecasts } = planned({ cores: 2, imagesPerCore: 1000, workers: [1] }, decodes);
    expect(forecasts[0]).toMatchObject({ bound: "compute", inputWait: 0 });
  });
});

test("the paper's system: 29 hours on 8 GPUs, below one on 256, and fewer ms than it measured", () => {
  const { forecasts, paper, underOneHour } = plan(paperPlan);
  const at = (workers: number) => forecasts.find((step) => step.workers === workers)!;
  expect(at(8).hours).toBeCloseTo(29.4, 1);
  expect(at(256).hours).toBeLessThan(1);
  expect(at(256).seconds).toBeLessThan(0.256);
  expect(at(256).bound).toBe("compute");
  expect(underOneHour!.workers).toBeLessThanOrEqual(256);
  expect(paper!.map(({ workers, seconds }) => [workers, seconds])).toEqual([
    [8, 0.232],
    [256, 0.256],
  ]);
});

test("what the paper does not say is told of its plan alone", () => {
  const text = (input: Plan) => planText(input).replace(/\s+/g, " ");
  expect(text(plan(paperPlan))).toContain(
    "does not say in how many buckets its gradients get ready: here 50",
  );
  expect(assumed).toHaveLength(1);
  expect(text(planned())).not.toContain("does not say");
});

describe("refused, with what was expected", () => {
  const refused = (input: object, message: RegExp | string) => {
    const attempt = expect(() => plan({ profile, link: fast, ...input }));
    attempt.toThrow(expect.objectContaining({ code: "ERR_ONEHOUR_USAGE" }));
    attempt.toThrow(message);
  };

  test.each([
    [{ link: undefined }, /^link: describe/],
    [{ link: "fast" }, /^link: "fast" is no link/],
    [{ link: 5 }, /^link: expected text, got 5/],
    [{ linkInside: "fast" }, /^linkInside: "fast" is no link/],
    [{ workersPerNode: 4 }, /^linkInside: describe what joins the 4 workers/],
    [{ workersPerNode: 0 }, /^workersPerNode: .*1 or more/],
    [
      { algorithm: "butterfly" },
      /^algorithm: expected ring, tree, halving-doubling; got "butterfly"/,
    ],
    [{ workers: [] }, /^workers: /],
    [{ workers: 4 }, /^workers: /],
    [{ workers: [1, 0] }, /^workers: .*1 or more/],
    [{ workers: [2.5] }, /^workers: .*whole number/],
    [{ workers: [1e9] }, /^workers: .*up to/],
    [{ accumulate: 0 }, /^accumulate: /],
    [{ cores: 0 }, /^cores: /],
    [{ cores: 2 }, /^cores: .*imagesPerCore/],
    [{ imagesPerCore: -1 }, /^imagesPerCore: /],
    [{ images: 0.5 }, /^images: /],
    [{ epochs: Number.NaN }, /^epochs: /],
    [{ perHost: 8 }, /no option "perHost"/],
    [{ profile: undefined }, /no profile of a step.*bench throughput --profile/],
    [{ profile: { ...profile, compute: 0 } }, /damaged: compute: /],
    [{ profile: { ...profile, compute: 1e308 } }, /damaged: compute: .*86400/],
    [{ profile: { ...profile, buckets: [{ bytes: 1 }] } }, /damaged: buckets\.0\.ready: /],
  ])("%j", refused);
});

describe("the command", () => {
  const folder = temporaryFolder();
  const file = join(folder, "profile.json");
  writeFileSync(file, JSON.stringify(profile));
  const run = (...words: string[]) => onehour(["plan", ...words]);

  test("--json prints the plan", async () => {
    const flags = ["--profile", file, "--link", "50Gbit/s:5us", "--link-inside", "900Gbit/s:3us"];
    const { status, stdout, stderr } = await run(...flags, "--workers", "64,1,8", "--json");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const expected = plan({
      ...{ profile, link: "50Gbit/s:5us", linkInside: "900Gbit/s:3us", workers: [1, 8, 64] },
    });
    expect(JSON.parse(stdout)).toEqual(JSON.parse(JSON.stringify(expected)));
  });

  test.each([
    ["", "is not JSON"],
    ["{", "is not JSON"],
    ["null", "is no profile of a step"],
    ["[]", "is no profile of a step"],
    ['{"settings":{},"results":[]}', "is no profile of a step"],
    [JSON.stringify(profile).slice(0, -20), "is not JSON"],
    [JSON.stringify({ ...profile, batch: "32" }), "is damaged: batch: "],
    [JSON.stringify({ ...profile, type: "onehour-trace" }), "is no profile of a step"],
  ])("a file of %j is refused", async (text, problem) => {
    const damaged = join(folder, "damaged.json");
    writeFileSync(damaged, text);
    await expect(readProfile(damaged)).rejects.toThrow(problem);
    await expect(readProfile(damaged)).rejects.toThrow("bench throughput --profile");
  });

  test("a missing one, and a folder, are refused", async () => {
    await expect(readProfile(join(folder, "none.json"))).rejects.toThrow("there is no profile");
    await expect(readProfile(folder)).rejects.toThrow("it is a folder");
  });

  test("without a profile it says how to get one", async () => {
    const { status, stderr } = await run("--link", "50Gbit/s:5us");
    expect(status).toBe(2);
    expect(stderr).toContain("bench throughput --profile profile.json");
  });
});
