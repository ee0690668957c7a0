// Puts beside the compiled code what pages and charts are made of: ECharts' one minified file with its
// licenses, and the script of a page, bundled. Run it after each compilation.
import { copyFileSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = new URL("..", import.meta.url);
const modules = new URL("node_modules/", root);
const assets = new URL("dist/report/assets/", root);

mkdirSync(assets, { recursive: true });
const copied = {
  "echarts/dist/echarts.common.min.js": "echarts.min.cjs",
  "echarts/LICENSE": "echarts-LICENSE",
  "echarts/NOTICE": "echarts-NOTICE",
  "echarts/licenses/LICENSE-d3": "echarts-LICENSE-d3",
  "zrender/LICENSE": "zrender-LICENSE", // a part of the minified file
};
for (const [from, to] of Object.entries(copied))
  copyFileSync(new URL(from, modules), new URL(to, assets));

await build({
  entryPoints: [fileURLToPath(new URL("lib/report/browser/main.ts", root))],
  outfile: fileURLToPath(new URL("page.js", assets)),
  bundle: true,
  format: "iife",
  target: "es2022",
  minify: true,
  charset: "utf8",
  logLevel: "warning",
});
