// The public name of a run, which stands in for a secret where none is given.
import { createHash } from "node:crypto";

/** A hash of where a run meets and of its engine's job: it only keeps other people's runs apart. */
export function publicName(meeting: string): string {
  const { TORCHELASTIC_RUN_ID, SLURM_JOB_ID, PMIX_NAMESPACE } = process.env;
  const parts = [meeting, TORCHELASTIC_RUN_ID, SLURM_JOB_ID, PMIX_NAMESPACE];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
