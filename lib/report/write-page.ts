// Writes the page about a run into its folder.

import { writeAtomically } from "../run-folder/files.js";
import { reportName } from "../run-folder/run-folder.js";
import { readRuns } from "./run-data.js";
import { runPage } from "./run-page.js";

/** With `reload` the page loads itself again after so many seconds. Throws for what cannot be read or written. */
export async function writePage(folder: string, reload?: number): Promise<void> {
  const page = runPage(await readRuns([folder]), reload);
  await writeAtomically(folder, reportName, [Buffer.from(page)]);
}
