// Runs command lines one after another in this process, each as `onehour` does: `command-lines.mjs MAIN JSON`. Prints
// of each, as a line of JSON, what it wrote and its status.
import { pathToFileURL } from "node:url";
import "../../../dist/ranks/guard.js";

const [, , main, lines] = process.argv;
const program = new URL("program.js", pathToFileURL(main));
const { stdout, stderr } = process;
const print = stdout.write.bind(stdout);
const take = (stream) => {
  let text = "";
  stream.write = (chunk) => {
    text += chunk;
    return true;
  };
  return () => text;
};
for (const [index, words] of JSON.parse(lines).entries()) {
  const [out, err] = [take(stdout), take(stderr)];
  process.argv = [process.execPath, main, ...words];
  process.exitCode = undefined;
  await import(`${program}?${index}`); // anew, on modules that are loaded already
  print(`${JSON.stringify({ words, stdout: out(), stderr: err(), status: process.exitCode })}\n`);
}
process.exitCode = 0;
