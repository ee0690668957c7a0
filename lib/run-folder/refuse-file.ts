// The error for a file of weights that cannot be used.

import { OnehourError } from "../errors.js";

/** `problem` is what is wrong with it, `advice` what to do; the file is named and left alone. */
export function refuseFile(file: string, problem: string, advice: string): OnehourError {
  return new OnehourError(
    "ERR_ONEHOUR_CHECKPOINT",
    `${file}: ${problem}. It was left as it is; ${advice}`,
  );
}
