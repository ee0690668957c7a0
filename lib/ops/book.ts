// The op book: every op and every case, from all files of this folder. Whatever lists ops reads them here.
import { readdirSync } from "node:fs";
import type { Op } from "../graph/graph.js";
import type { CaseFamily } from "./cases.js";
import type { UpdateFamily } from "./optimizers/cases.js";

const folder = new URL(".", import.meta.url);
const itself = /^book\./;
const isModule = /^[^.]+\.[jt]s$/; // no declarations of types

const files: string[] = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((path) => isModule.test(path) && !itself.test(path))
  .sort();
const modules: object[] = await Promise.all(
  files.map((path) => import(new URL(path, folder).href)),
);
const exported: ReadonlySet<unknown> = new Set(modules.flatMap((file) => Object.values(file)));

/** What has these fields, of all that the files export. */
const those = <T>(...fields: string[]): T[] =>
  [...exported].filter(
    (value): value is T =>
      typeof value === "object" && value !== null && fields.every((field) => field in value),
  );

/** Every op by the name that it has in the program text. */
export const book: ReadonlyMap<string, Op> = new Map(
  those<Op>("name", "signature").map((op) => [op.name, op]),
);

/** Every family of cases. */
export const caseFamilies: readonly CaseFamily[] = those("family", "build");

/** Every family of updates. */
export const updateFamilies: readonly UpdateFamily[] = those("family", "update");
