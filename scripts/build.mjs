#!/usr/bin/env node
// Builds the native modules with cmake-js into build/Release: `onehour build` and npm's install
// script run it. Options: --strict makes warnings errors, --tests adds the modules for tests, --check
// only lists what is missing, --debug builds for a debugger into build/Debug. ONEHOUR_CPU and
// ONEHOUR_CUDA, each auto, ON or OFF, choose the backends.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { argv, execPath, exit, getuid } from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const missingFile = join(root, "build", "missing.txt");
const require = createRequire(import.meta.url);

const moduleNames = ["cpu", "cuda", "data"];
/** Targets that --tests adds. */
const testModules = ["fake", "emulated"];

function runs(command, ...args) {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}

const compiler = process.env.CXX || "c++";

/**
 * Whether the compiler finds a header, included after another; without one, whether the file
 * exists.
 */
function hasHeader(header, before = "cstddef") {
  if (!runs(compiler, "--version")) return existsSync(join("/usr/include", header));
  const check = spawnSync(compiler, ["-std=c++20", "-E", "-x", "c++", "-"], {
    input: `#include <${before}>\n#include <${header}>\n`,
    stdio: ["pipe", "ignore", "ignore"],
  });
  return check.status === 0;
}

/** The least version of CMake, major and minor. */
const leastCMake = [3, 25];

function hasCMake() {
  try {
    const [, major, minor] = /(\d+)\.(\d+)/.exec(
      execFileSync("cmake", ["--version"], { encoding: "utf8" }),
    );
    return Number(major) > leastCMake[0] || Number(minor) >= leastCMake[1];
  } catch {
    return false;
  }
}

/**
 * What every build needs: how to check for it, and its package by package manager; for `onehour doctor` its
 * title, the commands of which one must be there, and the least version.
 */
export const tools = [
  {
    name: `CMake ${leastCMake.join(".")} or later`,
    title: "CMake",
    commands: ["cmake"],
    least: leastCMake,
    found: hasCMake,
    apt: "cmake",
    dnf: "cmake",
  },
  {
    name: "Ninja or Make",
    title: "Ninja or Make",
    commands: ["ninja", "make"],
    found: () => runs("ninja", "--version") || runs("make", "--version"),
    apt: "ninja-build",
    dnf: "ninja-build",
  },
  {
    name: "a C++20 compiler",
    title: "C++ compiler",
    commands: [compiler],
    found: () => runs(compiler, "--version"),
    apt: "g++",
    dnf: "gcc-c++",
  },
];

/** What the CPU backend needs as well. CMake itself looks for what the CUDA backend needs. */
const cpuLibraries = [
  { name: "oneDNN", found: () => hasHeader("dnnl.hpp"), apt: "libdnnl-dev", dnf: "onednn-devel" },
  { name: "Gloo", found: () => hasHeader("gloo/context.h"), apt: "libgloo-dev", dnf: "gloo-devel" },
];

/** What image folders need. */
const dataLibraries = [
  {
    name: "libjpeg-turbo",
    found: () => hasHeader("jpeglib.h", "cstdio"),
    apt: "libjpeg-dev",
    dnf: "libjpeg-turbo-devel",
  },
];

const lacking = (requirements) => requirements.filter((requirement) => !requirement.found());

/** Whether this machine has an NVIDIA GPU, with or without a driver. */
function hasGpu() {
  try {
    const nvidia = "0x10de";
    const gpu = /^0x03/; // PCI class: display controller
    return readdirSync("/sys/bus/pci/devices").some((device) => {
      const read = (file) => readFileSync(join("/sys/bus/pci/devices", device, file), "utf8");
      return read("vendor").trim() === nvidia && gpu.test(read("class"));
    });
  } catch {
    return existsSync("/dev/nvidia0");
  }
}

/** The command that installs packages, each named as apt and dnf call it. */
export function installCommand(missing) {
  const manager = runs("apt-get", "--version") || !runs("dnf", "--version") ? "apt" : "dnf";
  const packages = missing.map((requirement) => requirement[manager]).join(" ");
  const sudo = getuid() === 0 ? "" : "sudo ";
  return manager === "apt"
    ? `${sudo}apt-get update && ${sudo}apt-get install -y ${packages}`
    : `${sudo}dnf install -y ${packages}`;
}

/** What is missing, and the one command that installs all of it. */
export function describeMissing(missing) {
  const names = missing.map((requirement) => requirement.name).join(", ");
  return `The native build needs ${names}. Install with:\n  ${installCommand(missing)}`;
}

/** What follows the reason for which nothing was built. */
export const afterFailure = "To see what works here: npx onehour doctor";

/** Result of the last configuration: the libraries of each module, or why it is left out. */
function readModules(folder) {
  const lines = readFileSync(join(folder, "backends.txt"), "utf8").trim().split("\n");
  return lines.filter(Boolean).map((line) => {
    const [name, state, ...text] = line.split("\t");
    return { name, found: state === "found", text: text.join("\n") };
  });
}

/** "onehour: built cpu and cuda (CUDA 13.0, cuDNN 9.24.0, …) and data". */
function describeBuilt(modules) {
  const built = modules
    .filter(({ found }) => found)
    .map(({ name, text }) => (name === "cuda" ? `${name} (${text})` : name));
  return `onehour: built ${built.join(" and ")}`;
}

/** Libraries that this script looks for, by module. */
const libraries = { cpu: cpuLibraries, data: dataLibraries };
const titles = { cpu: "the CPU backend is", data: "image folders are" };

/**
 * Why modules were left out and how to get them. Speaks of CUDA only where there is a GPU or a CUDA
 * compiler: nobody else misses it.
 */
function describeLeftOut(modules) {
  const reasons = modules
    .filter(({ found, name, text }) => {
      if (found) return false;
      return name !== "cuda" || hasGpu() || !text.includes("needs the CUDA compiler");
    })
    .map(({ name, text }) => {
      const missing = lacking(libraries[name] ?? []);
      return missing.length > 0 ? `${titles[name]} left out. ${describeMissing(missing)}` : text;
    });
  return reasons.map((reason) => `onehour: ${reason}`).join("\n");
}

/**
 * Runs cmake-js and passes its output to `take`. Keeps all of it in build/STEP.log; an error shows
 * its end.
 */
async function cmakeJs(step, options, take = () => {}) {
  const program = require.resolve("cmake-js/bin/cmake-js");
  const log = join(root, "build", `${step}.log`);
  const run = spawn(execPath, [program, step, ...options], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NINJA_STATUS: "[%f/%t] " },
  });
  const output = [];
  for (const stream of [run.stdout, run.stderr])
    stream.setEncoding("utf8").on("data", (text) => output.push(text));
  run.stdout.on("data", take);
  const [status] = await once(run, "close");
  writeFileSync(log, output.join(""));
  if (status === 0) return;
  const tail = output.join("").split("\n").slice(-40).join("\n");
  throw new Error(`${tail}\nThe native build failed (cmake-js ${step}); all of it is in ${log}`);
}

/** What shows progress, on standard error; it is compiled before anything is built, but not before --check. */
async function openProgress() {
  const { LiveLine } = await import("../dist/terminal/live-line.js");
  const { Stages } = await import("../dist/terminal/stages.js");
  const { Progress } = await import("./progress.mjs");
  return { stages: new Stages(new LiveLine(process.stderr)), Progress };
}

/**
 * Configures and builds the modules that this machine has the libraries for; returns what was
 * built, and why others were not. Throws when none can be built or the build fails. What is missing
 * is kept in build/missing.txt, which a later load error repeats.
 */
export async function build({ strict = false, tests = false, debug = false } = {}) {
  mkdirSync(join(root, "build"), { recursive: true });
  if (lacking(tools).length > 0) {
    let description = describeMissing(lacking([...tools, ...cpuLibraries, ...dataLibraries]));
    if (hasGpu()) description += "\nFor the GPU it needs more: see docs/install.md";
    writeFileSync(missingFile, `${description}\n`);
    throw new Error(`${description}\nThen: npx onehour build`);
  }
  const folder = join(root, "build", "cmake");
  const options = [
    ...["-d", root, "-O", folder, "-l", "error"],
    ...["-p", String(Math.max(2, availableParallelism()))],
    `--CDONEHOUR_WERROR=${strict ? "ON" : "OFF"}`,
    `--CDONEHOUR_FAKE=${tests ? "ON" : "OFF"}`,
    ...["CPU", "CUDA"].map(
      (backend) => `--CDONEHOUR_${backend}=${process.env[`ONEHOUR_${backend}`] ?? "auto"}`,
    ),
    // Kept in CMake's cache, so that a build that reconfigures by itself builds the same.
    `--CDONEHOUR_CUDA_ARCHITECTURES=${process.env.ONEHOUR_CUDA_ARCHITECTURES ?? ""}`,
    ...(debug ? ["--debug"] : []),
  ];
  const { stages, Progress } = await openProgress();
  stages.show({ text: "building onehour: looking for libraries" });
  await cmakeJs("configure", options).finally(() => stages.end());
  const modules = readModules(folder);
  const leftOut = describeLeftOut(modules);
  if (leftOut === "") rmSync(missingFile, { force: true });
  else writeFileSync(missingFile, `${leftOut}\n`);
  const backends = modules.filter(({ name }) => name !== "data");
  if (!backends.some(({ found }) => found)) {
    const reasons = backends.map(({ text }) => text);
    throw new Error(
      `No backend could be built:\n${leftOut || reasons.join("\n")}\nThen: npx onehour build`,
    );
  }
  // A module of an earlier build must not be loaded in place of one that is no longer built.
  const built = join(root, "build", debug ? "Debug" : "Release");
  const names = modules.filter(({ found }) => found).map(({ name }) => name);
  if (tests) names.push(...testModules);
  for (const name of [...moduleNames, ...testModules])
    if (!names.includes(name)) rmSync(join(built, `onehour_${name}.node`), { force: true });
  const progress = new Progress(stages.show);
  await cmakeJs("build", options, (text) => progress.take(text)).finally(() => stages.end());
  return { built: describeBuilt(modules), leftOut };
}

if (import.meta.url === pathToFileURL(argv[1] ?? "").href) {
  const known = new Set(["--strict", "--tests", "--debug", "--check"]);
  const unknown = argv.slice(2).filter((option) => !known.has(option));
  if (unknown.length > 0) {
    console.error(`unknown option ${unknown[0]}, expected ${[...known].join(", ")}`);
    exit(2);
  }
  if (argv.includes("--check")) {
    const missing = lacking([...tools, ...cpuLibraries, ...dataLibraries]);
    if (missing.length > 0) {
      console.log(missing.map((requirement) => requirement.apt).join(" "));
      exit(1);
    }
    exit(0);
  }
  try {
    const { built, leftOut } = await build({
      strict: argv.includes("--strict"),
      tests: argv.includes("--tests"),
      debug: argv.includes("--debug"),
    });
    if (leftOut !== "") console.error(leftOut);
    console.log(built);
  } catch (error) {
    console.error(`${error.message}\n${afterFailure}`);
    exit(1);
  }
}
