// The charts of a plan as a file: a picture, or a page with the plan's table.
import { renderSvg } from "../report/charts.js";
import { page } from "../report/page.js";
import { planCharts } from "./chart.js";
import type { Plan } from "./plan.js";
import { assumptionsOf, conclusionsOf, planTitle, rowsOf } from "./text.js";

const [width, height] = [720, 400]; // pixels of one chart

/** One picture with the charts below one another. */
function svg(plan: Plan): string {
  const charts = planCharts(plan);
  const pictures = charts.map((chart, i) =>
    renderSvg(chart, { width, height }).replace("<svg ", `<svg y="${i * height}" `),
  );
  const [w, h] = [width, charts.length * height];
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${h}" viewBox="0 0 ${w} ${h}">\n` +
    `${pictures.join("\n")}\n</svg>\n`
  );
}

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
  ".svg": svg,
  ".html": html,
};
