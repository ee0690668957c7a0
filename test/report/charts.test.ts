// Checks that charts are drawn in Node, and that pages hold what they show and nothing that ends it.
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { Chart } from "../../lib/report/chart.js";
import { renderColumn, renderSvg } from "../../lib/report/charts.js";
import { legendOf } from "../../lib/report/legend.js";
import { smoothed } from "../../lib/report/look.js";
import { page } from "../../lib/report/page.js";
import { styleOf } from "../../lib/report/series-style.js";
import { firstView } from "../../lib/report/view.js";

const chart: Chart = {
  title: "Throughput",
  x: [{ name: "workers", scale: "log", base: 2 }],
  y: { name: "images/s", min: 0 },
  series: [
    { name: "ideal", look: "reference", x: [[1, 2, 4]], y: [100, 200, 400] },
    {
      name: "measured",
      x: [[1, 2, 4]],
      y: [100, null, 370],
      low: [98, null, 361],
      high: [101, null, 374],
    },
  ],
};

describe("renderSvg", () => {
  it("makes room for a range that is beyond all values", () => {
    const [ideal, measured] = chart.series;
    const wide = { ...measured!, high: [1900, null, 374] };
    const svg = renderSvg({ ...chart, series: [ideal!, wide] }, { width: 720, height: 400 });
    expect(svg).toContain(">2,000</text>");
  });

  it("draws axes with their names and the series with theirs", () => {
    const svg = renderSvg(chart, { width: 720, height: 400 });
    expect(svg).toMatch(/^<svg width="720" height="400"/);
    for (const text of ["Throughput", "workers", "images/s", "ideal", "measured"])
      expect(svg).toContain(`>${text}</text>`);
    expect(svg).not.toMatch(/NaN|undefined/);
  });

  it("draws a chart without any value", () => {
    const empty = { ...chart, series: [{ name: "none", x: [[]], y: [] }] };
    expect(renderSvg(empty, { width: 300, height: 200 })).toContain("</svg>");
  });

  it("escapes names", () => {
    const named = { ...chart, title: "<script>&\"'" };
    expect(renderSvg(named, { width: 300, height: 200 })).not.toContain("<script");
  });
});

describe("the legend of a picture", () => {
  const legend = (one: Chart, width: number) => {
    const { option, series, height } = legendOf(one, { ...firstView, width });
    const { data, formatter } = option as {
      data: { name: string }[];
      formatter: (name: string) => string;
    };
    const rows = data.map(({ name }) => (name === "\n" ? name : formatter(name)));
    return { rows, height, symbols: series.map((one) => (one as { symbol: string }).symbol) };
  };

  it("has the mark of each series", () => {
    const points = { name: "points", kind: "points", x: [[1]], y: [1] } as const;
    const more = { ...chart, series: [...chart.series, points] };
    const styles = more.series.map((series) => styleOf(more, series, "light"));
    expect(legend(more, 720).rows).toEqual(["ideal", "measured", "points"]);
    expect(legend(more, 720).symbols).toEqual(["none", "circle", "triangle"]);
    expect(styles.map(({ symbol, width }) => [symbol, width])).toEqual([
      ["none", 1.5],
      ["circle", 2],
      ["triangle", 0],
    ]);
  });

  it("names runs by colors, their series by dashes, in as many rows as fit", () => {
    const names = ["first", "second", "国", "a run with a name that needs a row"];
    const series = names.flatMap((group) =>
      ["test", "train"].map((name) => ({ name, group, smooth: true, x: [[1]], y: [1] })),
    );
    const runs = { ...chart, series };
    const [a, b, c, long] = names;
    expect(legend(runs, 2000)).toMatchObject({
      rows: [a, b, c, long, "test, smoothed", "train, smoothed"],
      symbols: ["circle", "triangle", "rect", "diamond", "none", "none"],
    });
    const narrow = legend(runs, 300);
    const [s, t] = ["test, smoothed", "train, smoothed"];
    expect(narrow.rows).toEqual([a, b, c, "\n", long, "\n", s, "\n", t]);
    const heights = [legend(runs, 2000).height, narrow.height];
    expect(heights[1]).toBe(4 * heights[0]!);
    const column = renderColumn([runs, runs], { width: 300, height: 200 });
    const end = 2 * (200 + narrow.height);
    expect(column).toContain(`width="300" height="${end}" viewBox="0 0 300 ${end}"`);
    expect(column).toContain(`<svg y="${end / 2}" `);
  });
});

describe("page", () => {
  const name = `</script><script>alert("1")</script> & 'x'`;
  const html = page({
    title: name,
    sections: [
      {
        text: ["`a < b` says one ` more"],
        charts: [{ ...chart, title: name }],
        tables: [{ head: ["a"], rows: [[name], [undefined]] }],
      },
    ],
  });

  it("has its data, its two scripts and no other", () => {
    expect(html.match(/<script[ >]/g)).toHaveLength(3);
    const data = /id="data">(.*?)<\/script>/s.exec(html)![1]!;
    expect(JSON.parse(data).charts[0].title).toBe(name);
    expect(html).toContain("&lt;/script&gt;&lt;script&gt;alert(&quot;1&quot;)");
  });

  it("shows what stands between backticks as code", () => {
    expect(html).toContain("<p><code>a &lt; b</code> says one ` more</p>");
  });

  it("allows its scripts by their digests, and no network", () => {
    const [, policy] = /Security-Policy" content="(.*?)"/.exec(html)!;
    expect(policy).toMatch(/^default-src 'none'/);
    const scripts = [...html.matchAll(/<script>(.*?)<\/script>/gs)].map(([, text]) => text!);
    expect(scripts).toHaveLength(2);
    for (const text of scripts)
      expect(policy).toContain(createHash("sha256").update(text).digest("base64"));
  });
});

describe("smoothed", () => {
  it("is the values without weight, has no bias at the start, and keeps gaps", () => {
    expect(smoothed([1, null, 3], 0)).toEqual([1, null, 3]);
    const [first, gap, last] = smoothed([2, null, 2], 0.9);
    expect(first).toBeCloseTo(2, 12);
    expect(gap).toBeNull();
    expect(last).toBeCloseTo(2, 12);
  });
});
