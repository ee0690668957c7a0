// The style of every page.

import { fontFamily, type Theme, tones } from "./palette.js";

const variables = (theme: Theme) =>
  Object.entries(tones)
    .map(([name, pair]) => `--${name}:${pair[theme]};`)
    .join("");

export const style = `
:root{${variables("light")}color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{${variables("dark")}}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--text);font:15px/1.5 ${fontFamily}}
header,main{max-width:1240px;margin:0 auto;padding:0 24px}
header{padding-top:28px}
h1{font-size:25px;line-height:1.25;margin:0;overflow-wrap:anywhere}
h2{font-size:18px;margin:36px 0 10px}
h3{font-size:15px;margin:0}
p{margin:4px 0;overflow-wrap:anywhere}
code{padding:1px 5px;border-radius:4px;background:var(--panel);font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
header p,figcaption p,small{color:var(--soft)}
.status{display:inline-block;margin-top:10px;padding:3px 12px;border:1px solid var(--rule);border-radius:99px;font-size:13px;color:var(--soft)}
.live{color:var(--accent);border-color:var(--accent)}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:12px;margin:22px 0 0}
.facts div{background:var(--panel);border:1px solid var(--rule);border-radius:10px;padding:12px 16px;min-width:0}
.facts dt{font-size:13px;color:var(--soft)}
.facts dd{margin:0;font-size:22px;font-weight:600;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.facts small{display:block;font-size:12.5px;font-weight:400}
.controls{position:sticky;top:0;z-index:2;max-height:40vh;overflow-y:auto;display:flex;flex-wrap:wrap;gap:6px 22px;align-items:center;margin:20px -24px 0;padding:10px 24px;background:var(--paper);border-bottom:1px solid var(--rule);font-size:13.5px}
fieldset{border:0;margin:0;padding:0;display:flex;flex-wrap:wrap;gap:4px 14px;align-items:center;min-width:0}
#groups{display:contents}
legend{float:left;padding:0;margin-right:12px;color:var(--soft)}
label{display:inline-flex;align-items:center;gap:6px;cursor:pointer;overflow-wrap:anywhere;min-height:26px}
input{accent-color:var(--accent);margin:0}
input[type=range]{width:110px}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:4px}
.charts{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:26px 32px;margin-top:16px}
.charts figure:first-child:nth-last-child(odd){grid-column:1/-1}
figure{display:flex;flex-direction:column;margin:0;min-width:0}
.chart{height:270px;width:100%;margin-top:auto}
.charts figure:first-child:nth-last-child(odd) .chart{height:350px}
.key{display:flex;flex-wrap:wrap;gap:2px 16px;font-size:13px;margin:4px 0 6px}
.key svg,.groups svg{flex:none}
.tooltip{border-spacing:0;margin-top:4px}
.tooltip td{padding:1px 14px 1px 0}
.tooltip td:last-child{text-align:right;padding:0;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto;margin-top:12px}
table{border-collapse:collapse;font-size:14px}
.scroll table{min-width:min(100%,520px)}
caption{text-align:left;color:var(--soft);padding-bottom:4px}
.scroll th,.scroll td{text-align:left;padding:6px 14px 6px 0;border-bottom:1px solid var(--rule);vertical-align:top;font-weight:400;overflow-wrap:anywhere;max-width:520px}
.scroll tbody th{min-width:11em}
.scroll td:not(.number){min-width:7em}
.scroll thead th{color:var(--soft);font-size:13px;white-space:nowrap}
.scroll .number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
summary{cursor:pointer;padding:6px 0;margin-top:8px;color:var(--accent)}
main{padding-bottom:56px}
@media (max-width:820px){.charts{grid-template-columns:minmax(0,1fr)}}
@media (max-width:560px){header,main{padding-left:16px;padding-right:16px}.scroll table{width:max-content}.scroll th,.scroll td{max-width:220px}.scroll tbody th{min-width:7em;max-width:150px}.controls{position:static;max-height:none;margin-left:-16px;margin-right:-16px;padding:10px 16px}.facts{grid-template-columns:repeat(2,minmax(0,1fr));gap:8px}.facts div{padding:9px 12px}.facts dd{font-size:19px}.chart,.charts figure:first-child:nth-last-child(odd) .chart{height:240px}}
@media print{.controls,.key input{display:none}figure,tr{break-inside:avoid}}
`;
