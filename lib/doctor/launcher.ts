// Checks the variables of launchers and of this package that are set: what they make this process, and what of them
// makes no sense.
import { defaultThreads, requireThreads } from "../device/cores.js";
import { OnehourError } from "../errors.js";
import { withPort } from "../ranks/addresses.js";
import { engineOf, podsOf, type Source } from "../ranks/engines.js";
import { type Place, readPlace } from "../ranks/environment.js";
import type { Environment } from "../system/variables.js";
import { readSetting, settingNames } from "../system/variables.js";
import { plural, shown } from "../text/words.js";
import { bad, type Check, good, type Line } from "./check.js";

/** Names of variables by which launchers say what a process is, or how it is to meet the others. */
const launchers =
  /^(RANK|WORLD_SIZE|LOCAL_RANK|LOCAL_WORLD_SIZE|GROUP_WORLD_SIZE|MASTER_ADDR|MASTER_PORT|SLURM_(JOB_ID|STEP_ID|PROCID|LOCALID|NTASKS|STEP_NUM_TASKS|STEP_NODELIST|STEP_TASKS_PER_NODE|NODEID)|OMPI_COMM_WORLD_\w+|PMI_\w+|MPI_LOCAL\w+|PALS_\w+|FLUX_\w+|PET_\w+|JOB_COMPLETION_INDEX|TORCHELASTIC_\w+)$/;

const own = /^ONEHOUR_/;
const secret = "ONEHOUR_TOKEN";

const setOf = (env: Environment, names: RegExp) =>
  Object.keys(env)
    .filter((name) => names.test(name) && env[name] !== undefined)
    .sort();

/** "RANK=0 WORLD_SIZE=2" */
const listed = (env: Environment, names: readonly string[]) =>
  names.map((name) => `${name}=${name === secret ? "…" : shown(env[name]).slice(1, -1)}`).join(" ");

const engines: Readonly<Record<Source, string>> = {
  onehour: "onehour launch",
  torchrun: "torchrun",
  openmpi: "Open MPI",
  hydra: "mpiexec (Hydra)",
  slurm: "Slurm",
  pmi: "PMI",
  flux: "Flux",
  kubeflow: "Kubeflow",
  job: "an indexed Job",
  single: "flags",
};

/** What a place is, in words. */
export function describePlace(place: Place): string {
  if (place.level === "alone")
    return `a run of its own${place.note === undefined ? "" : `: ${place.note}`}`;
  const meets =
    place.rendezvous === undefined
      ? ""
      : `, meeting at ${withPort(place.rendezvous.host, place.rendezvous.port)}`;
  const by = ` by ${engines[place.source]}${meets}`;
  if (place.level === "rank") return `rank ${place.rank} of ${place.worldSize}${by}`;
  const { nodeRank, nodes, workersPerNode } = place;
  const starts =
    workersPerNode === undefined ? "a worker a GPU, or one" : plural(workersPerNode, "worker");
  return `node ${nodeRank} of ${nodes}${by}; it starts ${starts}`;
}

/** How the launcher's variables are read. */
export function judgeLauncher(env: Environment): Line {
  const name = "launcher";
  const names = setOf(env, launchers);
  if (names.length === 0) return good(name, "no variables of a launcher are set: a run of its own");
  try {
    return good(name, `${describePlace(readPlace(env))} (${listed(env, names)})`);
  } catch (error) {
    if (!(error instanceof OnehourError)) throw error;
    // Of an engine that did start this process all of its variables go together.
    const wrong = names.filter((one) => error.message.includes(one));
    const advice = `unset ${(wrong.length > 0 ? withCompanions(env, wrong) : names).join(" ")}`;
    return bad(name, error.message, advice);
  }
}

/** Those that a message names, and the others by which the same engine is recognised. */
function withCompanions(env: Environment, wrong: readonly string[]): string[] {
  const engine = engineOf(env) ?? podsOf(env);
  const signs = engine === undefined ? [] : [...engine.signs, engine.worldSize];
  return [...new Set([...wrong, ...signs])].filter((name) => env[name] !== undefined);
}

/** The settings of this package, each of which a run refuses where it makes no sense. */
export function judgeSettings(env: Environment): Line {
  const name = "settings";
  const names = setOf(env, own);
  if (names.length === 0) return good(name, "no variable of ONEHOUR_… is set");
  try {
    for (const setting of settingNames) readSetting(setting, env);
    requireThreads(defaultThreads(env));
    return good(name, listed(env, names));
  } catch (error) {
    if (!(error instanceof OnehourError)) throw error;
    const wrong = names.filter((one) => error.message.includes(one));
    // The message of too many threads does not say where they come from.
    return bad(name, error.message, `unset ${wrong.join(" ") || "ONEHOUR_THREADS"}`);
  }
}

export const launcherChecks: readonly Check[] = [
  {
    name: "launcher",
    seconds: 2,
    advice: "env | grep -E 'RANK|SIZE|MASTER|SLURM|PET'",
    look: () => [judgeLauncher(process.env)],
  },
  {
    name: "settings",
    seconds: 2,
    advice: "env | grep ONEHOUR",
    look: () => [judgeSettings(process.env)],
  },
];
