// A row of a table of options: a flag of the command line, and a field of a recipe or of a function's options.
import type { z } from "zod";

export interface Row<Schema extends z.ZodType = z.ZodType> {
  /** Checks a value; with `default` where there is one that depends on nothing. */
  schema: Schema;
  /**
   * The flag and its placeholder, `--lr <rate>`; named choices are their own placeholder. `--no-NAME`
   * sets a field to false.
   */
  flag: string;
  /** One line. Of a flag that begins with `--no-`, what it leaves out. */
  help: string;
  /** The default in words, where it depends on something, or the schema has none. */
  otherwise?: string;
}

/** A row whose schema keeps its type. */
export const row = <Schema extends z.ZodType>(
  schema: Schema,
  facts: Omit<Row, "schema">,
): Row<Schema> => ({ schema, ...facts });
