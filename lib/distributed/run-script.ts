// The main module of a worker that runs a user's own script, TypeScript or JavaScript. The script's
// `onehour` is the very module that runs it, wherever the script lies.
import { createJiti } from "jiti";

const [node, , script, ...rest] = process.argv;
// The script sees its own arguments where every Node program looks for them.
process.argv = [node!, script!, ...rest];
const jiti = createJiti(import.meta.url, {
  virtualModules: { onehour: await import("../index.js") },
});
await jiti.import(script!);
