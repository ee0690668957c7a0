// The op book: every op and every case, from all files of this folder. Whatever lists ops reads them here.
import { readdirSync } from "node:fs";
import { definedOps, type Op } from "../graph/graph.js";
import { type CaseFamily, definedCases } from "./cases.js";
import { definedUpdates, type UpdateFamily } from "./optimizers/cases.js";

const folder = new URL(".", import.meta.url);
const itself = /^book\./;
const isModule = /^[^.]+\.[jt]s$/; // no declarations of types

const files: string[] = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((path) => isModule.test(path) && !itself.test(path))
  .sort();
for (const path of files) await import(new URL(path, folder).href);

/** Every op by the name that it has in the program text. */
export const book: ReadonlyMap<string, Op> = definedOps;

/** Every family of cases. */
export const caseFamilies: readonly CaseFamily[] = definedCases;

/** Every family of updates. */
export const updateFamilies: readonly UpdateFamily[] = definedUpdates;
