// Writes the results of the verification whose parts' files lie in the folder named, and prints how the
// last part ended, or all of them.
import { writeResults } from "./results.js";

const results = writeResults(process.argv[2]!);
if (results) console.log(results.done ? `\n${results.overview}` : results.last);
