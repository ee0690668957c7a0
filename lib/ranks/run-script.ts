// The main module of a worker that runs a user's own script, TypeScript or JavaScript.
import { loadModule } from "../modules/load-module.js";

const [node, , script, ...rest] = process.argv;
// The script sees its own arguments where every Node program looks for them.
process.argv = [node!, script!, ...rest];
await loadModule(script!);
