import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// scripts/test runs the tests on what scripts/setup has just compiled, as users get it; there workers
// start in half the time that TypeScript takes to be loaded.
const isCompiled = process.env.ONEHOUR_TEST_COMPILED === "1";
const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const compiled = [
  { find: /^(?:\.\.\/)+lib\/(.*\.js)$/, replacement: at("dist/$1") },
  { find: /^(?:\.\.\/)+(proof\/.*\.js)$/, replacement: at("dist/$1") },
];
const sources = [{ find: /^#lib\/(.*)\.js$/, replacement: at("lib/$1.ts") }];

// What takes minutes: scripts/test sets this where it is asked for such a file.
const heavy = process.env.ONEHOUR_TEST_HEAVY === "1";

// One process and one thread each: two of these run at a time.
const pure = [
  ...["data", "deploy", "device", "graph", "models", "modules", "ops", "parity", "plan", "proof"],
  ...["recipe", "report", "run-folder", "schedules", "system", "terminal", "text"],
].map((folder) => `test/${folder}/**/*.test.ts`);

// Test files run in processes of their own (a native addon owns threads).
export default defineConfig({
  resolve: { alias: isCompiled ? compiled : sources },
  test: {
    pool: "forks",
    // Only what hangs takes so long: many a test starts dozens of processes, and a busy machine may
    // need a second or two for each.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    projects: [
      {
        extends: true,
        test: { name: "pure", include: pure, maxWorkers: 2, sequence: { groupOrder: 1 } },
      },
      {
        extends: true,
        test: {
          name: "processes",
          include: ["test/**/*.test.ts", ...(heavy ? ["test/**/*.heavy.ts"] : [])],
          exclude: pure,
          // One at a time: two cores are the machine the timings of the supervision tests were chosen for.
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
