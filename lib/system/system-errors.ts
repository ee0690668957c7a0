// Errors of the operating system, in words: what was refused, and what to try.

import { isForbidden } from "./exists.js";

interface SystemError extends Error {
  errno?: number;
  code?: string;
  path?: string;
}

/** Whether an error says that this process, or the system, has no descriptor left. */
export function isOutOfFiles(error: unknown): boolean {
  const { code, message } = (error ?? {}) as SystemError;
  return ["EMFILE", "ENFILE"].includes(code ?? "") || /too many open files/i.test(message ?? "");
}

/** How many files this process may have open; infinite without a limit. Opens none to find out. */
export function mostOpenFiles(): number {
  const { userLimits } = process.report.getReport() as {
    userLimits?: { open_files?: { soft: number | "unlimited" } };
  };
  return Number(userLimits?.open_files?.soft) || Number.POSITIVE_INFINITY;
}

/** The limit on open files of this process, and how to raise it. */
export function filesLimit(): string {
  const most = mostOpenFiles();
  return (
    `too many files are open: the limit of a process is ${Number.isFinite(most) ? most : "unlimited"} here ` +
    "(ulimit -n). Raise it before the command: ulimit -n 1024"
  );
}

/** One line for an error of the system; undefined for any other error. */
export function explainSystemError(error: unknown): string | undefined {
  if (isOutOfFiles(error)) return filesLimit();
  const { errno, path, message } = (error ?? {}) as SystemError;
  if (!(error instanceof Error) || typeof errno !== "number") return undefined;
  if (isForbidden(error))
    return (
      `permission denied${path === undefined ? "" : ` for ${path}`} (${message}). Give the user ` +
      `with id ${process.getuid?.()} access to it, or name another`
    );
  return `the system refused: ${message}`;
}
