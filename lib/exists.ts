// Whether something is at a path: what may not be looked at is an error, and not absent.
import { statSync } from "node:fs";

const absent = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG"]);

/** Throws the system's error, EACCES above all, where that cannot be known. */
export function exists(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch (error) {
    if (absent.has((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw error;
  }
}
