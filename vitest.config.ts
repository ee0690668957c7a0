import { defineConfig } from "vitest/config";

// Test files run in processes of their own (a native addon owns threads), one at a time: two cores
// are the machine the timings of the supervision tests were chosen for.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    fileParallelism: false,
    testTimeout: 60_000,
  },
});
