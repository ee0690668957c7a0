// The rows of a table about a machine and its software.

import type { MachineEnvironment } from "../system/environment.js";
import { formats } from "./chart.js";

/** `8 × NVIDIA H200, 139.8 GiB`, for each kind. */
function gpusText(gpus: MachineEnvironment["gpus"]): string {
  const kinds = gpus.map(({ name, memoryBytes }) =>
    memoryBytes === undefined ? name : `${name}, ${formats.bytes(memoryBytes)}`,
  );
  const counts = [...new Set(kinds)].map((kind) => {
    const count = kinds.filter((one) => one === kind).length;
    return count > 1 ? `${count} × ${kind}` : kind;
  });
  return counts.join("; ") || "none";
}

/** The rows of a table about an environment, by what each is called; what is not known is absent. */
export function environmentFields(
  environment: Partial<MachineEnvironment>,
): Record<string, string> {
  const { onehour, commit, node, system, kernel, processor } = environment;
  const { cores, memoryBytes, gpus, libraries = {} } = environment;
  const drivers = new Set(gpus?.flatMap(({ driver }) => driver ?? []));
  const fields: Record<string, string | undefined> = {
    onehour: onehour && (commit ? `${onehour} (${commit.slice(0, 7)})` : onehour),
    processor,
    cores: cores && `${cores.usable} of ${cores.present}`,
    memory: memoryBytes === undefined ? undefined : formats.bytes(memoryBytes),
    GPUs: gpus && gpusText(gpus),
    "NVIDIA driver": [...drivers].join(", "),
    system,
    kernel,
    Node: node,
  };
  for (const [name, { built, loaded }] of Object.entries(libraries))
    fields[name] = [built && `built with ${built}`, loaded && `loaded ${loaded}`]
      .filter(Boolean)
      .join(", ");
  return Object.fromEntries(
    Object.entries(fields).filter((field): field is [string, string] => Boolean(field[1])),
  );
}
