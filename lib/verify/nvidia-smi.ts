// What nvidia-smi tells of the GPU that is verified.
import { execFileSync } from "node:child_process";

/**
 * CUDA's first GPU as nvidia-smi names it, by index or UUID. scripts/verify-gpu lets both count along
 * the PCI bus.
 */
function firstGpu(): string {
  return process.env.CUDA_VISIBLE_DEVICES?.split(",")[0]?.trim() || "0";
}

/** The values of the fields, without units. Throws without nvidia-smi. */
export function queryGpu(fields: readonly string[]): string[] {
  const query = [`--query-gpu=${fields.join(",")}`, "--format=csv,noheader,nounits"];
  const values = execFileSync("nvidia-smi", [...query, `--id=${firstGpu()}`], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return values.trim().split(", ");
}
