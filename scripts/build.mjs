#!/usr/bin/env node
// Builds the native modules with cmake-js into build/Release: `onehour build` and npm's install
// script run it. Options: --tests adds the module for tests of the addon and makes warnings errors,
// --check only lists what is missing, --debug builds for a debugger into build/Debug.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { argv, execPath, exit, getuid } from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const missingFile = join(root, "build", "missing.txt");
const require = createRequire(import.meta.url);

function runs(command, ...args) {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}

/** CMake 3.25 or later. */
function hasCMake() {
  try {
    const [, major, minor] = /(\d+)\.(\d+)/.exec(
      execFileSync("cmake", ["--version"], { encoding: "utf8" }),
    );
    return Number(major) > 3 || Number(minor) >= 25;
  } catch {
    return false;
  }
}

const compiler = process.env.CXX ?? "c++";

/** Whether the compiler finds a header; without a compiler, whether the system has it. */
function hasHeader(header) {
  if (!runs(compiler, "--version")) return existsSync(join("/usr/include", header));
  const check = spawnSync(compiler, ["-std=c++20", "-E", "-x", "c++", "-"], {
    input: `#include <${header}>\n`,
    stdio: ["pipe", "ignore", "ignore"],
  });
  return check.status === 0;
}

/** What a build needs: how to see it, and its package by package manager. */
const requirements = [
  { name: "CMake 3.25 or later", found: hasCMake, apt: "cmake", dnf: "cmake" },
  {
    name: "Ninja or Make",
    found: () => runs("ninja", "--version") || runs("make", "--version"),
    apt: "ninja-build",
    dnf: "ninja-build",
  },
  {
    name: "a C++20 compiler",
    found: () => runs(compiler, "--version"),
    apt: "g++",
    dnf: "gcc-c++",
  },
  { name: "oneDNN", found: () => hasHeader("dnnl.hpp"), apt: "libdnnl-dev", dnf: "onednn-devel" },
  { name: "Gloo", found: () => hasHeader("gloo/context.h"), apt: "libgloo-dev", dnf: "gloo-devel" },
];

/** The requirements that this machine does not meet. */
export function missingRequirements() {
  return requirements.filter((requirement) => !requirement.found());
}

/** All that is missing and the one command that installs it. */
export function describeMissing(missing) {
  const manager = runs("apt-get", "--version") || !runs("dnf", "--version") ? "apt" : "dnf";
  const packages = missing.map((requirement) => requirement[manager]).join(" ");
  const sudo = getuid() === 0 ? "" : "sudo ";
  const command =
    manager === "apt"
      ? `${sudo}apt-get update && ${sudo}apt-get install -y ${packages}`
      : `${sudo}dnf install -y ${packages}`;
  const names = missing.map((requirement) => requirement.name).join(", ");
  return `The native build needs ${names}. Install with:\n  ${command}`;
}

/**
 * Configures and builds. Throws when something is missing or the build fails; what is missing is
 * kept in build/missing.txt, which a later load error repeats.
 */
export function build({ tests = false, debug = false } = {}) {
  mkdirSync(join(root, "build"), { recursive: true });
  const missing = missingRequirements();
  if (missing.length > 0) {
    const description = describeMissing(missing);
    writeFileSync(missingFile, `${description}\n`);
    throw new Error(`${description}\nThen: npx onehour build`);
  }
  rmSync(missingFile, { force: true });
  const folder = join(root, "build", "cmake");
  const cmakeJs = require.resolve("cmake-js/bin/cmake-js");
  const options = [
    ...["-d", root, "-O", folder, "-l", "error"],
    ...["-p", String(Math.max(2, availableParallelism()))],
    ...["FAKE", "WERROR"].map((option) => `--CDONEHOUR_${option}=${tests ? "ON" : "OFF"}`),
    ...(debug ? ["--debug"] : []),
  ];
  for (const step of ["configure", "build"]) {
    const run = spawnSync(execPath, [cmakeJs, step, ...options], { cwd: root, encoding: "utf8" });
    writeFileSync(join(root, "build", `${step}.log`), `${run.stdout}${run.stderr}`);
    if (run.status !== 0) {
      const tail = readFileSync(join(root, "build", `${step}.log`), "utf8")
        .split("\n")
        .slice(-40);
      throw new Error(
        `${tail.join("\n")}\nThe native build failed (cmake-js ${step}); all of it is in ` +
          join(root, "build", `${step}.log`),
      );
    }
  }
  const modules = join(root, "build", debug ? "Debug" : "Release");
  const built = existsSync(modules) ? readdirSync(modules) : [];
  if (!built.some((file) => /^onehour_(?!fake).*\.node$/.test(file))) {
    const log = readFileSync(join(root, "build", "configure.log"), "utf8");
    const warning = log.slice(Math.max(0, log.indexOf("CMake Warning"))).trim();
    throw new Error(`No backend could be built:\n${warning}`);
  }
}

if (import.meta.url === pathToFileURL(argv[1] ?? "").href) {
  const known = new Set(["--tests", "--debug", "--check"]);
  const unknown = argv.slice(2).filter((option) => !known.has(option));
  if (unknown.length > 0) {
    console.error(`unknown option ${unknown[0]}, expected ${[...known].join(", ")}`);
    exit(2);
  }
  if (argv.includes("--check")) {
    const missing = missingRequirements();
    if (missing.length > 0) {
      console.log(missing.map((requirement) => requirement.apt).join(" "));
      exit(1);
    }
    exit(0);
  }
  try {
    build({ tests: argv.includes("--tests"), debug: argv.includes("--debug") });
    console.log("onehour: the native modules are built");
  } catch (error) {
    console.error(error.message);
    exit(1);
  }
}
