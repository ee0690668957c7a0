// Calls the native side, and turns its errors into ours.
import { toNativeError } from "../errors.js";
import { inVoice } from "../recipe/voice.js";

/** Runs a native call; its errors become NativeErrors. */
export function call<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw toNativeError(error, undefined, inVoice);
  }
}

/** Awaits a native call; its errors become NativeErrors with the caller's stack. */
export async function settle<T>(
  promise: Promise<T>,
  site: Error,
  onError?: (error: unknown) => void,
): Promise<T> {
  try {
    return await promise;
  } catch (cause) {
    const error = toNativeError(cause, site, inVoice);
    onError?.(error);
    throw error;
  }
}
