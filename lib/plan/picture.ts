// The charts of a plan as a file: a picture, or a page with the plan's table.
import { renderColumn } from "../report/charts.js";
import { page } from "../report/page.js";
import { planCharts } from "./chart.js";
import type { Plan } from "./plan.js";
import { assumptionsOf, conclusionsOf, planTitle, rowsOf } from "./text.js";

function html(plan: Plan): string {
  const [head, ...rows] = rowsOf(plan);
  return page({
    title: "Forecast of a training",
    subtitle: planTitle(plan),
    sections: [
      { text: conclusionsOf(plan), charts: planCharts(plan) },
      { title: "By number of workers", tables: [{ head: head!, rows }] },
      { title: "Assumed", text: assumptionsOf(plan) },
    ],
  });
}

/** What draws a plan, by the ending of the file. */
export const pictures: Readonly<Record<string, (plan: Plan) => string>> = {
  ".svg": (plan) => renderColumn(planCharts(plan), { width: 720, height: 400 }),
  ".html": html,
};
