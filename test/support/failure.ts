// The error of native code with which a promise must end.
import { expect } from "vitest";
import { NativeError } from "../../lib/errors.js";

export async function failure(promise: Promise<unknown>): Promise<NativeError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(NativeError);
  return error as NativeError;
}
