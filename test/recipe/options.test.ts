// Options that a function of the package does not take are refused, and so are values that cannot be.
import { expect, test } from "vitest";
import { connect } from "../../lib/ranks/connect.js";
import { launch } from "../../lib/ranks/launch.js";
import { evaluateCheckpoint } from "../../lib/train/evaluate.js";

test.each<[call: () => Promise<unknown>, says: string]>([
  [
    () => evaluateCheckpoint("x", "synthetic", { batchSize: 8 } as never),
    'evaluateCheckpoint has no option "batchSize"; did you mean batch?',
  ],
  [
    () => evaluateCheckpoint("x", "synthetic", { precision: "fp8" as never }),
    "precision: expected ",
  ],
  [
    () => connect({ timeout: 5 } as never),
    'connect has no option "timeout"; did you mean timeoutSeconds?',
  ],
  [
    () => connect(5 as never),
    "connect takes options, { timeoutSeconds, startTimeoutSeconds }, and not 5",
  ],
  [
    () => launch({ workers: 1, cmd: () => [], timeoutSeconds: 5 } as never),
    'launch has no option "cmd"; its options are workers, command, timeoutSeconds, remedy, ',
  ],
])("%s", async (call, says) => {
  await expect(call()).rejects.toThrow(says);
});
