// The name of a TypeScript file behind the name of the JavaScript that is made of it.

/** x.mts for ./x.mjs; undefined for what no file beside the module is named by. */
export function typescriptOf(name: string): string | undefined {
  return /^(\.{0,2}\/|file:).*\.[cm]?js$/.test(name) ? name.replace(/js$/, "ts") : undefined;
}
