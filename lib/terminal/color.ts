// Colors, where a stream takes them. They stress what the words already say.
import { styleText } from "node:util";

/** A stream of lines, which may be a terminal's. */
export interface LineStream {
  write(text: string): unknown;
  isTTY?: boolean | undefined;
  columns?: number | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

export type Color = "green" | "yellow" | "red" | "cyan" | "bold";

/** Puts a text into a color, or leaves it as it is. */
export type Paint = (color: Color, text: string) => string;

/** Whether a terminal interprets escape codes. */
export const interpretsCodes = (env: Environment) => env.TERM !== "dumb" && !isSet(env.NO_COLOR);

const isSet = (value: string | undefined) => value !== undefined && value !== "";

/**
 * Whether a stream takes colors: a terminal does, unless NO_COLOR or TERM=dumb says otherwise; FORCE_COLOR (0 or
 * false: never) decides before both.
 */
export function takesColors({ isTTY = false }: LineStream, env: Environment): boolean {
  const { FORCE_COLOR: forced } = env;
  if (forced !== undefined) return forced !== "0" && forced !== "false";
  return isTTY && interpretsCodes(env);
}

const paint: Paint = (color, text) => styleText(color, text, { validateStream: false });
const leave: Paint = (_, text) => text;

export function paintFor(stream: LineStream, env: Environment): Paint {
  return takesColors(stream, env) ? paint : leave;
}
