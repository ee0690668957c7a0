// Settles, among all that take part in a run, whether it begins or goes on, and has it go on from rank 0's folder,
// wherever it lies.

import { join, resolve } from "node:path";
import { OnehourError, UsageError } from "../errors.js";
import type { Meeting } from "../ranks/meeting.js";
import { thisHost } from "../ranks/rendezvous.js";
import { readRunId, recipeName } from "../recipe/run-recipe.js";
import { nameOf } from "../recipe/voice.js";
import { plural } from "../text/words.js";
import { isThere } from "./files.js";
import { lastWholeStep } from "./last-checkpoint.js";
import { findRun, holdsNoRun, holdsRun, incomingName, type Resume } from "./run-folder.js";
import { type TransferOptions, transferRun } from "./transfer.js";

/** What lies at the path that one rank was given. */
interface Finding {
  host: string;
  /** Absent where the rank was given none. */
  folder?: string;
  /** The first file of a run in it. */
  found?: string | undefined;
  /** Of the run in it, where that can go on. */
  id?: string;
  /** Steps of its newest whole checkpoint. */
  step?: number;
  /** Whether its files are those of a transfer that was broken off. */
  isTorn?: boolean;
  /** Why nothing can be said. */
  problem?: string;
}

/**
 * Whether the run goes on. Every rank says what lies at its own path; of copies of one run the newest is brought to
 * rank 0's folder, and from there it goes on. Nothing begins where any rank holds a run. Throws
 * ERR_ONEHOUR_RUN_FOLDER on all ranks alike, naming host and folder.
 */
export async function settleRun(
  meeting: Meeting,
  folder: string | undefined,
  resume: Resume,
  options: TransferOptions,
): Promise<boolean> {
  const isAlone = meeting.worldSize === 1;
  const own = await lookAt(folder, isAlone);
  const texts = await meeting.gather("settle", JSON.stringify(own.finding));
  if (own.error) throw own.error;
  const findings = texts.map((text) => JSON.parse(text) as Finding);
  const place = (rank: number) => {
    const { host, folder } = findings[rank]!;
    return isAlone ? folder! : `${folder} on ${host}`;
  };
  const holder = holderOf(findings, resume, place);
  if (holder === undefined) return false;
  if (holder === 0) return true;
  const { found, id, isTorn } = findings[0]!;
  if (found !== undefined && id === undefined && isTorn !== true) throw holdsRun(place(0), found);
  if (meeting.rank === 0)
    options.say(
      `the run's newest checkpoint, after ${plural(stepsOf(findings[holder]!), "step")}, lies in ` +
        `${place(holder)}: copying the run to ${place(0)}`,
    );
  await transferRun(meeting, folder!, holder, options);
  return true;
}

const stepsOf = ({ step = 0 }: Finding) => step;

/**
 * The rank whose copy of the run is the newest, the first of several; undefined where the run begins. Throws where
 * it can neither begin nor go on.
 */
function holderOf(
  findings: readonly Finding[],
  resume: Resume,
  place: (rank: number) => string,
): number | undefined {
  const wrong = findings.findIndex(({ problem }) => problem !== undefined);
  if (wrong >= 0) {
    const { host, problem } = findings[wrong]!;
    throw new OnehourError("ERR_ONEHOUR_RUN_FOLDER", `rank ${wrong} on ${host}: ${problem}`);
  }
  const holders = [...findings.keys()].filter((rank) => findings[rank]!.id !== undefined);
  const [first] = holders;
  if (first === undefined) {
    const left = findings.findIndex(({ found }) => found !== undefined);
    if (resume === true) throw holdsNoRun(place(0));
    if (left >= 0) throw holdsRun(place(left), findings[left]!.found!);
    return undefined;
  }
  const other = holders.find((rank) => findings[rank]!.id !== findings[first]!.id);
  if (other !== undefined) {
    throw new UsageError(
      "ERR_ONEHOUR_RUN_FOLDER",
      `${place(first)} and ${place(other)} hold two different runs; move one of them away, or name another ` +
        nameOf("out"),
    );
  }
  if (resume === false) throw holdsRun(place(first), recipeName);
  const newest = Math.max(...holders.map((rank) => stepsOf(findings[rank]!)));
  return holders.find((rank) => stepsOf(findings[rank]!) === newest);
}

/** What lies in a folder; alone, which checkpoint is the newest is of no interest. */
async function lookAt(
  folder: string | undefined,
  isAlone: boolean,
): Promise<{ finding: Finding; error?: OnehourError }> {
  const host = thisHost();
  if (folder === undefined) return { finding: { host } };
  const finding: Finding = { host, folder: isAlone ? folder : resolve(folder) };
  try {
    const found = findRun(folder);
    const isTorn = isThere(join(folder, incomingName));
    if (found !== recipeName) return { finding: { ...finding, found, isTorn } };
    const id = await readRunId(folder);
    const step = isAlone ? undefined : await lastWholeStep(folder);
    return { finding: { ...finding, found, id, ...(step === undefined ? {} : { step }) } };
  } catch (error) {
    if (!(error instanceof OnehourError)) throw error;
    return { finding: { ...finding, problem: error.message }, error };
  }
}
