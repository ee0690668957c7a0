// Reads the profile of a step from a file, as `onehour bench throughput --profile` writes it.
import { type Profile, profileSchema } from "../bench/profile.js";
import { UsageError } from "../errors.js";
import { isForbidden } from "../system/exists.js";
import { readText } from "../system/regular-file.js";
import { commandLine } from "../text/command.js";
import { shown } from "../text/words.js";

/** What measures a profile. */
const remedy = (file: string) =>
  `Measure one: ${commandLine("bench", "throughput", "--profile", file)}`;

const refuse = (problem: string, file = "profile.json") =>
  new UsageError("ERR_ONEHOUR_USAGE", `${problem}. ${remedy(file)}`);

/**
 * A value that is a profile; `name` is what messages call it.
 * @throws UsageError ERR_ONEHOUR_USAGE that names the first field that is not as expected.
 */
export function requireProfile(value: unknown, name = "profile"): Profile {
  const { success, data, error } = profileSchema.safeParse(value);
  if (success) return data;
  const { path, message } = error.issues[0]!;
  const isOther = (value as { type?: unknown } | null)?.type !== "onehour-profile";
  throw refuse(
    isOther
      ? `${name} is no profile of a step`
      : `${name} is damaged: ${path.join(".")}: ${shown(message).slice(1, -1)}`,
  );
}

/**
 * The profile of a file.
 * @throws UsageError ERR_ONEHOUR_USAGE for a file that is missing or damaged, or holds something else.
 */
export async function readProfile(file: string): Promise<Profile> {
  let value: unknown;
  try {
    value = JSON.parse(await readText(file));
  } catch (error) {
    if (isForbidden(error)) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw refuse(`there is no profile ${shown(file)}`, file);
    const problem = error instanceof SyntaxError ? "is not JSON" : "cannot be read";
    throw refuse(`${shown(file)} ${problem} (${message})`);
  }
  return requireProfile(value, shown(file));
}
