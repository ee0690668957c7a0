// The names of the built-in data sets, with what may follow a name and a colon.

export const builtInNames = {
  "fashion-mnist": { argument: "FOLDER", isPath: true },
  synthetic: { argument: "HxWxC:CLASSES", isPath: false },
};

/** The names as messages show them. */
export const builtInForms = Object.entries(builtInNames)
  .map(([name, { argument }]) => `${name}[:${argument}]`)
  .join(", ");
