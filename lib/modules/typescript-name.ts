// Finds the name of a TypeScript file from the name of the JavaScript that is compiled from it.

/** x.mts for ./x.mjs; undefined for a name that is not a relative one of JavaScript. */
export function typescriptOf(name: string): string | undefined {
  return /^(\.{0,2}\/|file:).*\.[cm]?js$/.test(name) ? name.replace(/js$/, "ts") : undefined;
}
