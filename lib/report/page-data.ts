// What a page's script reads from the page: its charts, by the number of the element that shows each.

import type { Chart } from "./chart.js";

export interface PageData {
  charts: Chart[];
  /** Seconds until the page loads itself again; absent where it will not change. */
  reload?: number;
}
