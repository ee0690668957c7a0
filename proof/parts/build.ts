// Proves that the CUDA module builds for the GPU at hand, from the sources with plain CMake, and that it
// loads and finds the GPU.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { loadAddon } from "#lib/device/native.js";
import { type Report, runPart } from "../results/report.js";
import { torchVersions, versionsWith } from "../results/versions.js";
import { root } from "../root.js";

/** Lines of the compiler's output that a person sees of a build that failed. */
const tail = 60;

/** Whether the module could be built for the GPU at hand. */
function build(report: Report): boolean {
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
  if (!configured) return false;
  const [, , ...versions] = readFileSync(join(folder, "backends.txt"), "utf8")
    .split("\n")
    .find((line) => line.startsWith("cuda"))!
    .split("\t");
  report.note(`built with ${versions.join(" ")}`);
  const parallel = String(availableParallelism());
  return run(["--build", folder, "--parallel", parallel, "--target", "onehour_cuda"]);
}

await runPart("build", async (report) => {
  const { device } = report.settings;
  const torch = torchVersions(); // while the compiler runs
  if (device !== "cuda")
    report.skip(`the build with nvcc: this is a dry run on onehour_${device}.node as it is`);
  const isBuilt = device !== "cuda" || build(report);
  const versions = { ...(isBuilt ? versionsWith(device) : {}), ...(await torch) };
  report.record("versions", versions);
  const list = Object.entries(versions).map((entry) => entry.join(" "));
  report.note(list.join(", "));
  if (!isBuilt) return;
  const devices = loadAddon(device).listDevices();
  report.check("the module finds a device", devices.length > 0, "it lists none");
  for (const { ordinal, name, capability, problem } of devices) {
    report.check(`device ${ordinal} can be used`, problem === "", problem);
    report.note(`${ordinal}: ${name}${capability && `, compute capability ${capability}`}`);
  }
});
