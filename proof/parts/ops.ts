// Proves that every op computes on the device what it computes on the CPU: instruction by instruction,
// on random inputs and odd sizes, in each precision, with outputs that hold NaN beforehand and
// sentinels around every operand.

import { defaultThreads } from "#lib/device/cores.js";
import type { Device } from "#lib/device/device.js";
import { openBackend } from "#lib/device/open.js";
import { book } from "#lib/ops/book.js";
import { opCases, raceCases } from "../ops/cases.js";
import { checkOps, type OpFinding } from "../ops/check.js";
import { computed, recorded } from "../ops/expected.js";
import { runPart } from "../results/report.js";

/** Seconds kept for the end of the part. */
const reserve = 3;

await runPart("ops", async (report) => {
  const { small, sanitizing } = report.settings;
  using device = report.open();
  let reference: Device | undefined; // opened where the bundle's data does not suffice
  const { operations, properties } = device;
  const worst = new Map<string, OpFinding>();
  const seen = new Set<string>();
  const onFinding = (finding: OpFinding) => {
    const { op, name, error, tolerance, problem } = finding;
    seen.add(op);
    const key = `${op} ${tolerance}`;
    const previous = worst.get(key);
    if (previous === undefined || !(error <= previous.error)) worst.set(key, finding);
    report.check(name, problem === undefined, problem ?? "");
  };

  const { channelMultiple, kind } = properties;
  const options = { operations, channelMultiple, small, tf32: kind === "cuda" };
  let [cases, carried] = [0, 0];
  const chosen = sanitizing === "races" ? raceCases(operations) : opCases(options);
  for (const opCase of chosen) {
    if (report.secondsLeft < reserve) {
      report.skip(`from "${opCase.name}" on: the part's time is over`);
      break;
    }
    const apart = sanitizing !== undefined;
    // ResNet-50's twenty fused plans would take the part's time; they are made as the others' are.
    if (opCase.name.startsWith("resnet50")) process.env.ONEHOUR_PLAN_COMPILATION = "0";
    try {
      const known = recorded(opCase);
      if (known) carried++;
      if (!known) reference ??= openBackend("cpu", defaultThreads());
      using expected = known ?? (await computed(opCase, reference!));
      await checkOps(opCase, { expected, device, apart, onFinding });
    } catch (error) {
      report.check(opCase.name, false, (error as Error).message);
    }
    cases++;
  }

  report.check("programs were compared", cases > 0, "the part's time was over before the first");
  if (sanitizing === undefined)
    // The part `ranks` compares exchanges between ranks.
    for (const op of operations)
      if (!book.get(op)?.communicates)
        report.check(`${op} was compared`, seen.has(op), "no case has it");
  const errors = [...worst.values()].filter(({ tolerance }) => tolerance > 0);
  report.record(
    "worst",
    errors.map(({ op, name, error, tolerance }) => ({ op, name, error, tolerance })),
  );
  const [nearest] = errors.sort((a, b) => b.error / b.tolerance - a.error / a.tolerance);
  report.note(
    `${cases} programs, ${carried} of them with the bundle's data, ${seen.size} ops` +
      (nearest
        ? `; nearest to its limit: ${nearest.name}, ${nearest.error.toPrecision(2)} of ` +
          nearest.tolerance.toPrecision(2)
        : ""),
  );
  reference?.dispose();
});
