// The error classes of the package: every error has a code to test for and ends in what to try.

/** An error of onehour; `code` begins with ERR_ and is stable. */
export class OnehourError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** Codes of errors of which the request itself is the cause. */
export const usageCodes: ReadonlySet<string> = new Set([
  "ERR_USAGE",
  "ERR_ONEHOUR_USAGE",
  "ERR_ONEHOUR_RECIPE",
  "ERR_ONEHOUR_MODEL",
  "ERR_ONEHOUR_MODULE",
  "ERR_ONEHOUR_ENVIRONMENT",
  "ERR_ONEHOUR_DEVICE",
]);

/** The request itself is wrong, so that nothing was tried. */
export class UsageError extends OnehourError {}

/**
 * An error of the native side: `library` is the one that failed (onehour, oneDNN, cuDNN, NCCL, …), `line`
 * and `text` the line of the program text where there is one, `stack` that of the JavaScript call.
 */
export class NativeError extends OnehourError {
  readonly library: string;
  readonly line: number | undefined;
  readonly text: string | undefined;

  constructor(
    code: string,
    message: string,
    details: { library: string; line?: number | undefined; text?: string | undefined },
  ) {
    super(code, message);
    this.library = details.library;
    this.line = details.line;
    this.text = details.text;
  }
}

/**
 * An Error with the fields that the addon sets becomes a NativeError, with its message as `say` puts it; others
 * pass unchanged.
 */
export function toNativeError(
  error: unknown,
  site?: Error,
  say = (message: string) => message,
): unknown {
  if (error instanceof NativeError || !(error instanceof Error)) return error;
  const fields = error as Error & {
    code?: string;
    library?: string;
    line?: number;
    text?: string;
  };
  if (fields.code === undefined || fields.library === undefined) return error;
  const result = new NativeError(fields.code, say(fields.message), {
    library: fields.library,
    line: fields.line,
    text: fields.text,
  });
  // An error made on another thread has no caller: it gets the stack of the call that it ends.
  const frames = (site ?? error).stack?.split("\n").filter((line) => /^\s+at /.test(line)) ?? [];
  result.stack = [`${result.name}: ${result.message}`, ...frames].join("\n");
  return result;
}
