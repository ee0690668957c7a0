// Which engines scripts/engines found, and tests that run only where theirs are.
import { describe, type SuiteFactory } from "vitest";

type Engine = "hosts" | "slurm" | "openmpi" | "hydra" | "torchrun";

const found = new Set((process.env.ONEHOUR_TEST_ENGINES ?? "").split(" "));

/** A suite that is skipped where one of its engines is missing, which scripts/engines reports. */
export function withEngines(engines: readonly Engine[], name: string, suite: SuiteFactory): void {
  describe.runIf(engines.every((engine) => found.has(engine)))(name, suite);
}
