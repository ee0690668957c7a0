// Names the command in messages as it was typed, so that their advice can be pasted.
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { commandModule, commandOf, resumeCommand } from "../../lib/text/command.js";
import { main } from "../cli/command.js";
import { temporaryFolder } from "../support/folder.js";

const folder = temporaryFolder();
const links = join(folder, "node_modules", ".bin");
mkdirSync(links, { recursive: true });
const link = join(links, "onehour");
symlinkSync(commandModule, link);
const script = join(folder, "script.mjs");
writeFileSync(script, "");

const elsewhere = { PATH: "/usr/bin:/bin" };
const found = { PATH: `/usr/bin:${links}` };

test.each<[string, string | undefined, Record<string, string>, string]>([
  ["npx", link, { ...found, npm_command: "exec" }, "npx onehour"],
  ["a script of package.json", link, { ...found, npm_command: "run" }, "npx onehour"],
  ["a command on the PATH", link, found, "onehour"],
  ["a path", link, elsewhere, link],
  ["node", commandModule, elsewhere, `node --no-warnings ${commandModule}`],
  [
    "node within npm test",
    commandModule,
    { npm_command: "test" },
    `node --no-warnings ${commandModule}`,
  ],
  ["a user's program", script, found, "npx onehour"],
  ["a file that is gone", join(folder, "gone.mjs"), found, "npx onehour"],
  ["no file", undefined, found, "npx onehour"],
  ["a worker", script, { ...found, ONEHOUR_COMMAND: "onehour" }, "onehour"],
])("%s", (_, script, env, command) => {
  expect(commandOf({ script, node: ["node", "--no-warnings"], env })).toBe(command);
});

test("quotes a folder's name where a shell would split or expand it", () => {
  expect(resumeCommand("runs/first")).toBe("npx onehour train --resume --out runs/first");
  expect(resumeCommand("my run's $1")).toBe("npx onehour train --resume --out 'my run'\\''s $1'");
  expect(resumeCommand("it's\x1b\n")).toBe("npx onehour train --resume --out $'it\\'s\\x1b\\x0a'");
});

const { npm_command: _, ...outside } = process.env;

test.each<[string, string[], NodeJS.ProcessEnv]>([
  ["npx onehour", ["sh", "-c", '"$0" "$@"', link], { npm_command: "exec" }],
  ["onehour", ["onehour"], { PATH: `${links}:${process.env.PATH}` }],
  ["node_modules/.bin/onehour", ["node_modules/.bin/onehour"], {}],
  [`node --no-warnings ${main}`, ["node", "--no-warnings", main], {}],
])("%s is what its messages say", (typed, [file, ...args], env) => {
  chmodSync(main, 0o755); // as npm does
  const { stderr } = spawnSync(file!, [...args, "train"], {
    cwd: folder,
    env: { ...outside, ...env },
    encoding: "utf8",
  });
  expect(stderr).toContain(`for example: ${typed} train fashion-mnist\n`);
});
