// Whether something is at a path; a path that this user may not look at is an error, not absence.
import { statSync } from "node:fs";

// The last is Node's, for a name that holds NUL.
const absent = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "ERR_INVALID_ARG_VALUE"]);

/** Whether the system's error says that nothing is at a path. */
export function isAbsent(error: unknown): boolean {
  return absent.has((error as NodeJS.ErrnoException).code ?? "");
}

/** Whether it says that this user may not look at it. */
export function isForbidden(error: unknown): boolean {
  return ["EACCES", "EPERM"].includes((error as NodeJS.ErrnoException | undefined)?.code ?? "");
}

/** Throws the system's error, EACCES above all, where that cannot be known. */
export function exists(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}
