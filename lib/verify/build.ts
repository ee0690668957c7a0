// Proves that the CUDA module builds for the GPU at hand, from the sources with plain CMake, and that it
// loads and finds the GPU.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadAddon } from "../native.js";
import { runPart } from "./report.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Lines of the compiler's output that a person sees of a build that failed. */
const tail = 60;

await runPart("build", async (report) => {
  const { device } = report.settings;
  if (device === "cuda") {
    const folder = join(root, "build", "verify", "cmake"); // which the next stage finds built
    const run = (args: string[]) => {
      const { status, stdout, stderr, error } = spawnSync("cmake", args, {
        cwd: root,
        encoding: "utf8",
        env: { ...process.env, ONEHOUR_CUDA_ARCHITECTURES: "native" },
        maxBuffer: 2 ** 28,
      });
      const output = `${stdout}${stderr}${error ?? ""}`.trim().split("\n").slice(-tail).join("\n");
      report.check(`cmake ${args[0]}`, status === 0, output);
      return status === 0;
    };
    const hasNinja = spawnSync("ninja", ["--version"]).status === 0;
    // A warning that another compiler has must not cost the whole verification: no -DONEHOUR_WERROR.
    const configured = run([
      ...["-S", root, "-B", folder, ...(hasNinja ? ["-G", "Ninja"] : [])],
      ...["-DONEHOUR_CPU=OFF", "-DONEHOUR_CUDA=ON"],
      `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(root, "build", "Release")}`,
    ]);
    if (!configured) return;
    const [, , ...versions] = readFileSync(join(folder, "backends.txt"), "utf8")
      .split("\n")
      .find((line) => line.startsWith("cuda"))!
      .split("\t");
    report.note(`built with ${versions.join(" ")}`);
    const parallel = String(availableParallelism());
    if (!run(["--build", folder, "--parallel", parallel, "--target", "onehour_cuda"])) return;
  } else {
    report.skip(`the build with nvcc: this is a dry run on onehour_${device}.node as it is`);
  }
  const devices = loadAddon(device).listDevices();
  report.check("the module finds a device", devices.length > 0, "it lists none");
  for (const { ordinal, name, capability, problem } of devices) {
    report.check(`device ${ordinal} can be used`, problem === "", problem);
    report.note(`${ordinal}: ${name}${capability && `, compute capability ${capability}`}`);
  }
});
