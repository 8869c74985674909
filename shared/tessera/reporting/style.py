"""The page's style sheet. Series colours are Okabe and Ito's, told apart by the colour-blind; lighter on dark pages."""

from __future__ import annotations

CSS = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1b2330;--soft:#5b6675;--line:#dfe3e9;--faint:#eef1f5;
--accent:#0b62a8;--heat:11,98,168;--s0:#6b7280;--s1:#0072b2;--s2:#c94f00;--s3:#008060;--s4:#a8508a;--s5:#8f6a00;
--s6:#1b7f9c}
@media (prefers-color-scheme:dark){:root{--bg:#10141b;--card:#181e28;--ink:#e7ebf1;--soft:#9ba7b6;--line:#2c3543;
--faint:#202836;--accent:#6cb6f2;--heat:108,182,242;--s0:#a3adba;--s1:#56b4e9;--s2:#ff9248;--s3:#3fcf9f;--s4:#e59ac8;
--s5:#f0c348;--s6:#7fd6e8}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:36px 24px 72px}
h1{font-size:30px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:20px;margin:44px 0 4px;letter-spacing:-.005em}
h3{font-size:15px;margin:22px 0 8px}
p{margin:6px 0 14px;max-width:76ch}
.lead{font-size:17px;color:var(--soft)}
.note,figcaption,caption,small{color:var(--soft)}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:18px 0 0;font-size:14px}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(210px,1fr));gap:12px;margin:22px 0 8px}
.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.tile b{display:block;font-size:26px;line-height:1.25;font-variant-numeric:tabular-nums}
.tile span{font-size:13px;color:var(--soft)}.tile em{font-style:normal;font-size:13px;color:var(--soft);display:block}
.finding{border-left:4px solid var(--accent);padding:10px 16px;background:var(--card);border-radius:0 10px 10px 0;
margin:18px 0}
.finding p{margin:2px 0;max-width:none}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:14px}
.chart{width:100%;height:auto;display:block;overflow:visible}
.chart text{font-family:inherit;font-size:12px;fill:var(--soft)}
.chart text.label{font-size:12.5px}.chart text.end{font-size:12.5px;font-weight:600}
.grid{stroke:var(--line);stroke-width:1}.axis{stroke:var(--soft);stroke-width:1}
.line{fill:none;stroke-width:2.4;stroke-linejoin:round;stroke-linecap:round}
.seed{fill:none;stroke-width:1.2;opacity:.4}.level{stroke-width:1.4;stroke-dasharray:1 4;stroke-linecap:round}
.mark{stroke:var(--card);stroke-width:1.2}
.pool{fill:var(--soft);opacity:.22}.other{fill:var(--soft);opacity:.5}.before{fill:none;stroke:var(--ink);stroke-width:1;opacity:.6}
.scatter{background:var(--faint);border-radius:8px}
.bars{max-width:860px}.chart text.name{fill:var(--ink)}.chart text.figure{font-size:10px}
.reference{stroke:var(--ink);stroke-width:2.2}.swatch{stroke:var(--line)}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;margin:4px 0 12px;font-size:13.5px}
.key{width:14px;height:14px;vertical-align:-2px;margin-right:7px}
.tick-key{display:inline-block;width:3px;height:14px;background:var(--ink);vertical-align:-2px;margin:0 9px 0 4px}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:10px;margin:10px 0 16px}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:12px 14px 4px;font-size:13px}
th,td{padding:6px 12px;text-align:right;border-top:1px solid var(--line);white-space:nowrap}
thead th{border-top:0;color:var(--soft);font-weight:600;font-size:12.5px;vertical-align:bottom}
th:first-child{text-align:left}tbody th{font-weight:500}td small{display:block;font-size:11.5px}
tbody tr:hover{background:var(--faint)}
.heat{background:linear-gradient(90deg,rgba(var(--heat),.22) var(--v),transparent var(--v))}
code{font:12.5px ui-monospace,"SF Mono",Menlo,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.gallery{display:grid;grid-template-columns:repeat(6,1fr);gap:12px;margin:8px 0 18px}
.picture,.small{margin:0}.picture figcaption,.small figcaption{font-size:12.5px;padding:4px 2px 0;
overflow-wrap:anywhere}
.picture b{color:var(--ink);font-weight:600}
.photo{width:100%;height:auto;display:block;border-radius:6px}
.dim{fill:#0b0f16;fill-opacity:.5}
.under,.outline{fill:none;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.under{stroke:#10141b;stroke-width:4}.outline{stroke:#ffd23f;stroke-width:2}
.badge{fill:#10141b;fill-opacity:.86}.rank{fill:#ffd23f;font-family:inherit;font-weight:700}
.swatch-key{display:inline-block;width:12px;height:12px;border-radius:3px;vertical-align:-1px;margin:0 5px 0 12px}
.photo-key{display:inline-block;width:16px;height:11px;border:2px solid #ffd23f;outline:1px solid #10141b;
vertical-align:-1px;margin-right:8px}
.scatters{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:14px}
.tight th,.tight td{padding:5px 6px;font-size:12.5px}
details{margin:8px 0}summary{cursor:pointer;font-weight:600;padding:6px 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 20px;margin:12px 0;font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media (max-width:1000px){.gallery{grid-template-columns:repeat(3,1fr)}}
@media print{body{background:#fff}.card,.tile,.scroll{break-inside:avoid}}
@media (max-width:600px){main{padding:20px 14px 48px}h1{font-size:24px}.gallery{grid-template-columns:repeat(2,1fr)}
dl{grid-template-columns:1fr;gap:0}
.chart:not(.bars) :is(text.tick,text.label,text.end){font-size:17px}.chart text.label[transform]{translate:-15px 0}
dd{margin-bottom:6px}}
"""
