// Compares the cases of some ops on a device, and prints a line for each case.
import { defaultThreads } from "#lib/device/cores.js";
import { openBackend } from "#lib/device/open.js";
import { book, caseFamilies, updateFamilies } from "#lib/ops/book.js";
import { closestTo } from "#lib/text/nearest.js";
import { type BookCase, bookCases } from "./ops/cases.js";
import { checkOps } from "./ops/check.js";
import { computed } from "./ops/expected.js";
import { hasFixtures } from "./ops/fixtures.js";
import { describeFinding } from "./ops/oracle.js";
import type { Settings } from "./results/report.js";

const known = [...book.keys(), ...[...caseFamilies, ...updateFamilies].map(({ family }) => family)];

/** Why a name is neither that of an op nor of a family of cases; undefined for one that is. */
export function unknownOp(name: string): string | undefined {
  if (known.includes(name)) return undefined;
  const closest = closestTo(name, known);
  return `there is no op ${name}${closest === undefined ? "" : `; did you mean ${closest}?`}`;
}

/** Errors of a case as shares of what is allowed, and what is wrong. */
interface Tally {
  comparisons: number;
  largest: number;
  problems: string[];
}

function take(tally: Tally, share: number, problem: string | undefined): void {
  tally.comparisons++;
  tally.largest = Math.max(tally.largest, share);
  if (problem !== undefined) tally.problems.push(problem);
}

const percent = (share: number) => `${(100 * share).toFixed(0)} %`;

const newTally = (): Tally => ({ comparisons: 0, largest: 0, problems: [] });

/**
 * Compares every case that has one of the ops, or is of a family of that name, with the CPU, and with what
 * PyTorch computed where a fixture holds that. Returns the exit status.
 */
export async function compareOps(
  names: readonly string[],
  { device: module, small }: Pick<Settings, "device" | "small">,
): Promise<number> {
  using device = openBackend(module, defaultThreads());
  using reference = openBackend("cpu", defaultThreads());
  let [cases, failed] = [0, 0];

  const compare = async (opCase: BookCase): Promise<void> => {
    const [cpu, torch] = [newTally(), newTally()];
    try {
      using expected = await computed(opCase, reference);
      await checkOps(opCase, {
        expected,
        device,
        onFinding: ({ name, error, tolerance, problem }) =>
          take(
            cpu,
            tolerance === 0 ? 0 : error / tolerance,
            problem === undefined
              ? undefined
              : `CPU: ${name.slice(opCase.name.length + 2)}: ${problem}`,
          ),
      });
      const findings = hasFixtures ? await opCase.compare?.(device) : undefined;
      for (const finding of findings ?? []) {
        const share = finding.error / finding.tolerance;
        take(torch, share, share <= 1 ? undefined : `PyTorch: ${describeFinding(finding)}`);
      }
    } catch (error) {
      cpu.problems.push((error as Error).message);
    }
    const problems = [...cpu.problems, ...torch.problems];
    const text = (reference: string, { comparisons, largest }: Tally) =>
      comparisons === 0
        ? []
        : [`${comparisons} with ${reference}, largest error ${percent(largest)} of the limit`];
    const parts = [...text("the CPU", cpu), ...text("PyTorch", torch)];
    console.log(`${problems.length > 0 ? "FAILED" : "ok"} ${opCase.name}: ${parts.join("; ")}`);
    for (const problem of problems) console.log(`  ${problem}`);
    cases++;
    failed += Number(problems.length > 0);
  };

  for (const isLarge of small ? [false] : [false, true])
    for (const opCase of bookCases(device.operations, isLarge)) {
      const { family, program } = opCase;
      const isNamed =
        names.includes(family ?? "") || program.instructions.some(({ op }) => names.includes(op));
      if (isNamed) await compare(opCase);
    }
  console.log(
    `\nproof: ${cases} cases of ${names.join(", ")} on ${module}, ${failed === 0 ? "all good" : `${failed} FAILED`}`,
  );
  return cases > 0 && failed === 0 ? 0 : 1;
}
