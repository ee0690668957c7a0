// A table of names that users read, and that only its own module adds to.
import { UsageError } from "../errors.js";

/** The table, which refuses every change with ERR_ONEHOUR_USAGE that says `advice`. */
export function readOnly<T extends object>(table: T, advice: string): T {
  const refuse = (_: T, key: string | symbol): never => {
    throw new UsageError("ERR_ONEHOUR_USAGE", `${String(key)} cannot be changed here: ${advice}`);
  };
  return new Proxy(table, { set: refuse, defineProperty: refuse, deleteProperty: refuse });
}
