// How messages name a field: by its flag to users of the command, by itself to users of scripts.
import { type FieldName, kindOf, rows, table } from "./table.js";

/** What messages name: the fields, and the option `resume`. */
export type Named = FieldName | "resume";

export type Voice = "flags" | "fields";

let voice: Voice = "fields";

/** Sets how this process, and the workers that it starts, name fields. */
export function setVoice(chosen: Voice): void {
  voice = chosen;
}

export const currentVoice = (): Voice => voice;

/** The word of the command line for a field: `--lr`, `--nesterov`; `dataset` itself. */
export function flagName(name: Named): string {
  if (name === "resume") return "--resume";
  const { flag } = table[name];
  return flag.startsWith("--") ? flag.split(" ")[0]!.replace("--no-", "--") : name;
}

/** A field by its name: `--lr`, or `lr`. */
export function nameOf(name: Named, as: Voice = voice): string {
  return as === "flags" ? flagName(name) : name;
}

/** An option that is no field of a recipe: `--min-bytes`, or `minBytes`. */
export const optionName = (name: string): string =>
  voice === "flags" ? `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}` : name;

/** A message of the native side, which names flags, with fields instead for users of scripts. */
export function inVoice(message: string): string {
  if (voice === "flags") return message;
  return message.replace(/(--[a-z-]+)(?: (\w+))?/g, (all, flag: string, word?: string) => {
    const row = rows.find(([name]) => flagName(name) === flag);
    if (row === undefined) return all;
    const isValue = word !== undefined && kindOf(row[1]).words.includes(word);
    return isValue ? setting(row[0], word) : all.replace(flag, row[0]);
  });
}

/** A field with a value to give it: `--batch 24`, or `batch: 24`. */
export function setting(name: Named, value: unknown = true): string {
  if (voice === "fields") return `${name}: ${JSON.stringify(value)}`;
  if (value === true) return flagName(name);
  if (value === false) return flagName(name).replace("--", "--no-");
  return `${flagName(name)} ${Array.isArray(value) ? value.join(",") || "none" : value}`;
}
