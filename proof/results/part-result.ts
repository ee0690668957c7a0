// The type of the JSON file that a part of the verification writes.

/** One comparison or measurement with a limit. */
export interface Check {
  name: string;
  ok: boolean;
  /** What was found and what is allowed. */
  detail: string;
}

/** A part's JSON file. */
export interface PartResult {
  part: string;
  device: string;
  /** The device's own name. */
  deviceName?: string;
  ok: boolean;
  /** Whether the part came to its end. */
  complete: boolean;
  seconds: number;
  checks: number;
  /** The first hundred; all of them would only be long. */
  failures: Check[];
  /** What was left out, and why. */
  skipped: string[];
  /** What a person reads. */
  notes: string[];
  /** Figures for docs and later comparisons. */
  data: Record<string, unknown>;
}
