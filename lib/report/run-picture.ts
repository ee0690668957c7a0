// The picture of one run or several: what their page begins with, and the noise scale.

import { OnehourError } from "../errors.js";
import { renderColumn } from "./charts.js";
import { noiseTitle, runCharts } from "./run-charts.js";
import type { RunData } from "./run-data.js";

/**
 * The first two charts of the page, error and loss, and the gradient noise scale where it was measured, as the text of
 * an SVG file.
 * @throws OnehourError ERR_ONEHOUR_RUN_FOLDER where there is nothing to draw.
 */
export function runPicture(runs: readonly RunData[]): string {
  const charts = runCharts(runs).filter(({ title }, i) => i < 2 || title === noiseTitle);
  if (charts.length === 0)
    throw new OnehourError(
      "ERR_ONEHOUR_RUN_FOLDER",
      `no step is logged in ${runs.map(({ folder }) => folder).join(", ")}, so there is nothing to draw; ` +
        "try again when it has begun to train",
    );
  return renderColumn(charts, { width: 720, height: 400 });
}
