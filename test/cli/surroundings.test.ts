// Runs the command without what it may lack: a home, descriptors, the right to read, a name that
// resolves.
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../support/folder.js";
import { start, torchrun } from "../support/process.js";
import { main } from "./command.js";

const folder = temporaryFolder();
chmodSync(folder, 0o755);
const out = join(folder, "run");
const data = "synthetic:8x8x1:4:64";

async function run(args: string[], { env = {}, before = [] as string[] } = {}) {
  const command = [...before, process.execPath, main, ...args];
  const ended = await start(command, { cwd: folder, env: { HOME: undefined, ...env } }).ended;
  expect(ended.stderr).not.toMatch(/this is a bug|^\s+at /m);
  return ended;
}

/** As a user without a passwd entry, which only root may become. */
const stranger = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"];
const asRoot = test.skipIf(process.getuid?.() !== 0);

test("trains without HOME, and evaluates the checkpoint", async () => {
  const small = ["--batch", "4", "--threads", "1", "--steps", "2", "--out", out];
  expect(await run(["train", data, ...small])).toMatchObject({ status: 0 });
  const same = await run(["evaluate", out, data]);
  expect(same.status).toBe(0);
  expect(same.stderr).not.toMatch("was trained on");
  expect(same.stdout).toMatch(/^test accuracy /);
  const other = await run(["evaluate", out, "synthetic:12x12x1:4:64"]);
  expect(other.stderr).toMatch(
    /^warning: .*checkpoint\.safetensors was trained on synthetic:8x8x1:4:64, and is tested on synthetic:12x12x1:4:64$/m,
  );
  expect(other.status).toBe(0);
  const empty = join(folder, "empty");
  mkdirSync(empty);
  expect((await run(["evaluate", empty, data])).stderr).toMatch(`${empty}/checkpoint.safetensors`);
});

asRoot("a user without a name and a home evaluates", async () => {
  const { status, stdout } = await run(["evaluate", out, data], { before: stranger });
  expect(stdout).toMatch(/^test accuracy /);
  expect(status).toBe(0);
});

asRoot("a file without permission to read is reported as forbidden, not as missing", async () => {
  const secret = join(folder, "secret");
  mkdirSync(secret);
  writeFileSync(join(secret, "recipe.json"), "{}");
  writeFileSync(join(secret, "script.mjs"), "");
  chmodSync(secret, 0o700);
  const own = join(folder, "own.json"); // in a folder that everybody may read
  writeFileSync(own, "{}");
  chmodSync(own, 0o600);
  for (const args of [
    ["train", "--recipe", own],
    ["train", "--recipe", join(secret, "recipe.json")],
    ["launch", "--workers", "1", join(secret, "script.mjs")],
    ["evaluate", join(secret, "checkpoint.safetensors"), data],
    ["evaluate", secret, data],
    ["train", secret],
    ["train", join(secret, "images")],
    ["train", data, "--out", join(secret, "run")],
    ["train", "--resume", "--out", join(secret, "run")],
    ["train", data, "--init", join(secret, "weights.safetensors"), "--steps", "1"],
  ]) {
    const { status, stderr } = await run(args, { before: stranger });
    expect(stderr).toMatch(/permission denied/);
    expect(stderr).toMatch(/[Gg]ive the user|readable|name another|may read/);
    expect(status).not.toBe(0);
  }
});

const tiny = ["--batch", "4", "--threads", "1", "--steps", "2"];
const hello = join(folder, "hello.mjs");
writeFileSync(hello, "process.exitCode = 0;\n");

test.each<[string, string[]]>([
  ["train", ["train", data, ...tiny, "--out", join(folder, "alone")]],
  [
    "train with two workers",
    ["train", data, ...tiny, "--workers", "2", "--out", join(folder, "two")],
  ],
  ["launch", ["launch", "--workers", "2", hello]],
  ["evaluate", ["evaluate", out, data]],
  ["bench ops", ["bench", "ops", "--model", "resnet8", "--batch", "2", "--repeats", "1"]],
])("%s names the limit of open files that is too small", async (_, args) => {
  // Every command opens more than 28 files at once. With more it may succeed: how many are open at the
  // same moment differs from run to run.
  for (const limit of [28, 40, 100]) {
    const before = ["sh", "-c", `ulimit -n ${limit} && exec "$@"`, "sh"];
    const { status, stderr } = await run(args, { before });
    if (limit > 28 && status === 0) continue;
    expect(stderr).toMatch(
      `the limit of a process is ${limit} here (ulimit -n). Raise it before the command: ulimit -n 1024`,
    );
    expect(status).toBe(1);
  }
});

test("MASTER_ADDR that names no host is named", async () => {
  const env = { ...torchrun(0, 1), MASTER_ADDR: "rank-0.invalid" };
  const { status, stderr } = await run(["train", data], { env });
  expect(stderr).toMatch(/rank-0\.invalid.*no host/);
  expect(status).toBe(1);
});
