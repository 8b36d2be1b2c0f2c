/** The one style sheet of a report: light and dark, on paper and on phones. No attribute of an element holds a style. */
const LIGHT = `--page:#f6f7f9;--card:#fff;--ink:#16191f;--soft:#59616e;--line:#dfe3e8;--grid:#e9ecf0;--pass:#12703f;--pass-bg:#dff3e7;--fail:#b3261e;--fail-bg:#fbe3e1;
--none:#59616e;--none-bg:#e9ecf0;--warn:#8a5a00;--warn-bg:#fdf1d8;--c0:#2563c9;--c1:#c2570c;--c2:#0b8a68;--c3:#a8388f;--c4:#7a6400;--c5:#5a6472;
--s0:#eef4fb;--s1:#d8e7f7;--s2:#b9d5f0;--s3:#92bfe8;--s4:#66a3dc;--s5:#4085cb;--s6:#2667b0;--s7:#174b8c;--s8:#0c3163;--low:#16191f;--high:#fff`
const DARK = `--page:#101318;--card:#181c23;--ink:#e8ebf0;--soft:#9ba5b4;--line:#2c333e;--grid:#252b35;--pass:#5fd394;--pass-bg:#123524;--fail:#ff8a80;--fail-bg:#44191a;
--none:#9ba5b4;--none-bg:#2a313c;--warn:#f0bf5f;--warn-bg:#3b2d10;--c0:#6ea8ff;--c1:#ff9d57;--c2:#3fcfa2;--c3:#e685d2;--c4:#d9bc3f;--c5:#a9b4c4;
--s0:#1c2632;--s1:#1d3247;--s2:#1f4260;--s3:#23547d;--s4:#2a6a9e;--s5:#3b85bf;--s6:#5ca3d8;--s7:#8ac2ea;--s8:#c3e0f7;--low:#e8ebf0;--high:#0c1118`

const steps = Array.from({ length: 9 }, (_, i) => `.s${i}{fill:var(--s${i})}.t${i}{fill:var(--${i < 5 ? 'low' : 'high'})}`).join('')
const colours = Array.from({ length: 6 }, (_, i) => `.f${i}{fill:var(--c${i})}.l${i}{stroke:var(--c${i});fill:none;stroke-width:2;stroke-linejoin:round}`).join('')

export const STYLE = `:root{color-scheme:light dark;${LIGHT}}
@media (prefers-color-scheme:dark){:root{${DARK}}}
@media print{:root{color-scheme:light;${LIGHT};--page:#fff}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1080px;margin:0 auto;padding:28px 20px 48px}
header{margin-bottom:20px}
.eyebrow{color:var(--soft);font-size:13px;letter-spacing:.02em;margin:0}
.title{display:flex;flex-wrap:wrap;align-items:center;gap:8px 14px;margin:4px 0 2px}
h1{font-size:26px;line-height:1.25;margin:0;overflow-wrap:anywhere;font-weight:650}
h2{font-size:17px;margin:0 0 12px;font-weight:650}
h3{font-size:14px;margin:0 0 8px;font-weight:600}
p{margin:0 0 10px}
.soft,.note{color:var(--soft)}
.note{font-size:13px}
section,.tile{background:var(--card);border:1px solid var(--line);border-radius:10px}
section{padding:18px 20px 14px;margin:0 0 16px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(136px,1fr));gap:12px;margin:0 0 16px}
.tile{padding:12px 16px}
.tile b{display:block;font-size:23px;line-height:1.3;font-weight:650;white-space:nowrap}
.tile span{display:block;color:var(--soft);font-size:13px}
.plots{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:18px 28px}
figure{margin:0 0 10px;min-width:0}
figcaption{color:var(--soft);font-size:13px;margin-top:4px}
svg{display:block;width:100%;height:auto;max-width:520px}
svg text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums}
svg text.cell{font-size:10px}svg text.onbar{fill:var(--card);font-weight:600}
${steps}
${colours}
.grid{stroke:var(--grid);stroke-width:1}.axis{stroke:var(--soft);stroke-width:1}.limit{stroke:var(--ink);stroke-width:2}.dash{stroke-dasharray:4 3}
.void{fill:none;stroke:var(--line)}.track{fill:var(--grid)}.ok{fill:var(--pass)}.bad{fill:var(--fail)}.edge{stroke:var(--card);stroke-width:1}
.scroll{overflow-x:auto;margin:0 0 10px}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:6px 14px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:500;font-size:13px;white-space:nowrap}
tbody tr:last-child>*{border-bottom:0}
td.n,th.n{text-align:right;white-space:nowrap}
td.w{white-space:nowrap}
tbody th{color:var(--ink);font-size:14px}
.dim td,.dim th{color:var(--soft)}
table.worst td:nth-child(2){width:64%}table.worst td:nth-child(n+3){white-space:nowrap}details.more>summary{font-size:14px;font-weight:500}
td.bar{width:150px}td.bar svg{width:140px;margin-top:4px}
.badge{display:inline-block;border-radius:999px;padding:1px 10px;font-weight:650;font-size:13px;white-space:nowrap;-webkit-print-color-adjust:exact;print-color-adjust:exact}
h1+.badge{font-size:15px;padding:3px 14px}
.pass{color:var(--pass);background:var(--pass-bg)}.fail{color:var(--fail);background:var(--fail-bg)}.none{color:var(--none);background:var(--none-bg)}.doubt{color:var(--warn);background:var(--warn-bg)}
.warnings{background:var(--warn-bg);border-color:transparent}.warnings h2{color:var(--warn)}
ul{margin:0 0 8px;padding-left:20px}
code,.mono{font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.text{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere;unicode-bidi:isolate;white-space:pre-wrap}
mark{background:var(--pass-bg);color:var(--pass);border-radius:3px;padding:0 2px}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px;color:var(--soft);margin:0 0 6px;padding:0;list-style:none}
.legend svg{display:inline-block;width:12px;height:12px;margin-right:6px;vertical-align:-1px}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:5px 18px;margin:0 0 8px;font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
details>summary{cursor:pointer;font-weight:650;font-size:17px}details[open]>summary{margin-bottom:10px}
footer{color:var(--soft);font-size:13px;margin-top:20px}
@media screen and (max-width:760px){main{padding:18px 12px 32px}section{padding:14px 14px 10px}.plots{grid-template-columns:minmax(0,1fr)}h1{font-size:21px}
.tiles{grid-template-columns:repeat(2,minmax(0,1fr));gap:8px}.tile{padding:10px 12px}.tile b{font-size:18px}.tile:first-child{grid-column:1/-1}dl{grid-template-columns:minmax(0,1fr);gap:0}dd{margin-bottom:8px}
table.cards thead{display:none}table.cards tr{display:block;padding:8px 0;border-bottom:1px solid var(--line)}table.cards td,table.cards th{display:block;border:0;padding:1px 0;text-align:left}
table.cards td[data-name]::before{content:attr(data-name) ": ";color:var(--soft)}table.cards tr:last-child{border-bottom:0}table.cards.worst td:nth-child(n){width:auto;white-space:normal}}
@media print{body,table,dl{font-size:10pt}th,tbody th,.note,.tile span,figcaption{font-size:9pt}th,td{padding-right:8px}.tile{padding:8px 10px}.tile b{font-size:15pt}td.bar,td.bar svg{width:100px}.text,code,.mono{font-size:8.5pt}main{max-width:none;padding:0}section,.tile,figure,tr{break-inside:avoid}section{border-radius:0;border-width:1px 0 0;padding:10px 0}details>summary{list-style:none}
.scroll{overflow:visible}}
`
