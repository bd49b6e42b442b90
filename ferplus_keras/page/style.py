"""How report.html looks: light, dark, narrow and printed."""

COLOURS = 10
"""Line colours `--c0` … of the style below; each reaches 3:1 on its background."""

DASHES = ("none", "7 3", "2 3")
"""Dashes of lines, so that colour alone never tells two apart."""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f4f5f7; --panel: #ffffff; --ink: #1a1f28; --quiet: #596273; --line: #d9dde4;
  --heat: 37 99 235; --heat-most: .72; --accent: #1d4ed8;
  --c0: #1d5fd0; --c1: #c2410c; --c2: #15803d; --c3: #8b2fd6; --c4: #be123c;
  --c5: #0e7490; --c6: #946200; --c7: #c0268f; --c8: #4b5563; --c9: #6d4c41;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ground: #101318; --panel: #191d24; --ink: #e7eaf0; --quiet: #a3adbc; --line: #333b47;
    --heat: 96 165 250; --heat-most: .6; --accent: #8ab4ff;
    --c0: #74b0ff; --c1: #ff9a5c; --c2: #5fd08c; --c3: #c8a2ff; --c4: #ff8195;
    --c5: #4fcfe0; --c6: #e5c258; --c7: #ff8fd0; --c8: #aab4c3; --c9: #cfae9f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
main, header, nav ul { max-width: 1180px; margin: 0 auto; padding: 0 16px; }
header { padding-top: 28px; padding-bottom: 12px; }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.2; letter-spacing: -.01em; }
h2 { margin: 36px 0 6px; font-size: 1.25rem; }
h3 { margin: 0 0 8px; font-size: 1rem; }
p { margin: 6px 0 12px; max-width: 75ch; }
header p, .quiet, .caption, figcaption { color: var(--quiet); }
header p { margin: 4px 0 0; }
a { color: var(--accent); }
code { font: .86em ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
nav {
  position: sticky; top: 0; z-index: 3; background: var(--ground);
  border-bottom: 1px solid var(--line);
}
nav ul {
  display: flex; gap: 4px 15px; list-style: none; overflow-x: auto; white-space: nowrap;
  padding-top: 8px; padding-bottom: 8px; font-size: .88rem;
}
nav a { text-decoration: none; }
section { scroll-margin-top: 44px; }
.panels { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); }
.panel, figure {
  margin: 0; min-width: 0; padding: 16px; background: var(--panel);
  border: 1px solid var(--line); border-radius: 10px; break-inside: avoid;
}
.panel + .panel { margin-top: 16px; }
.panels > .panel + .panel { margin-top: 0; }
.score { font-size: 2.5rem; font-weight: 650; line-height: 1.1; letter-spacing: -.02em; }
.score small { font-size: 1rem; font-weight: 400; letter-spacing: 0; color: var(--quiet); }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 8px 0 0; }
.facts dt { color: var(--quiet); }
.facts dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; max-width: 100%; }
.scroll:focus-visible, a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
.caption { margin: 0 0 6px; font-size: .9rem; }
.panel > .scroll + p { margin-top: 12px; }
th, td { padding: 5px 10px; text-align: right; border-bottom: 1px solid var(--line); }
thead th { font-weight: 600; color: var(--quiet); vertical-align: bottom; }
th:first-child { text-align: left; padding-left: 0; font-weight: 600; white-space: nowrap; }
tbody th:first-child { position: sticky; left: 0; background: var(--panel); z-index: 1; }
td { white-space: nowrap; }
td.text { text-align: left; white-space: normal; min-width: 20em; color: var(--quiet); }
td.bar { background: linear-gradient(90deg, rgb(var(--heat) / .3) calc(var(--v) * 100%),
  transparent 0) no-repeat 4px 4px / calc(100% - 8px) calc(100% - 8px); min-width: 84px; }
table.wide { width: 100%; }
table.explained th:last-child { text-align: left; }
th .axis { display: flex; justify-content: space-between; font-weight: 400; }
.matrix td, .matrix tbody th { border: 0; }
.matrix td {
  min-width: 46px; height: 46px; padding: 2px; text-align: center; line-height: 1.15;
  border: 1px solid var(--panel); border-radius: 5px;
  background: rgb(var(--heat) / calc(var(--v) * var(--heat-most)));
}
.matrix small { display: block; font-size: .72rem; font-weight: 400; }
.matrix tbody th { line-height: 1.15; }
.matrix td.none { color: var(--quiet); }
.matrix thead th { padding: 4px 2px; text-align: center; border: 0; }
.matrix thead th span { writing-mode: vertical-rl; transform: rotate(180deg); }
.matrix td.right { outline: 1.5px solid rgb(var(--heat) / .9); outline-offset: -2px; }
figure svg { display: block; width: 100%; height: auto; }
figure > svg { max-width: 540px; margin: 0 auto; }
svg text { fill: var(--ink); font-size: 13px; }
svg .minor { fill: var(--quiet); }
svg .grid { stroke: var(--line); fill: none; }
svg .frame { stroke: var(--quiet); fill: none; }
svg .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
figcaption { font-size: .9rem; margin-top: 8px; }
.key { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 8px 0 0; padding: 0;
  font-size: .9rem; font-variant-numeric: tabular-nums; }
.key i { display: inline-block; width: 22px; height: 0; border-top: 3px solid; margin-right: 6px;
  vertical-align: middle; }
.key i.dash1 { border-top-style: dashed; } .key i.dash2 { border-top-style: dotted; }
.whisker { display: block; width: 180px; height: 16px; }
.cards { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); }
.cards figure { display: grid; grid-template-columns: 96px 1fr; gap: 4px 12px; padding: 12px;
  align-items: start; }
.cards img { width: 96px; height: 96px; border-radius: 6px; background: #888; }
.cards figcaption { grid-column: 1 / -1; margin: 0; color: var(--ink); font-size: .88rem; }
.cards svg text { font-size: 11.5px; }
.cards + h3 { margin-top: 20px; }
.badge { border: 1px solid var(--c1); color: var(--c1); border-radius: 99px; padding: 0 7px;
  font-size: .78rem; white-space: nowrap; }
main { padding-bottom: 40px; }
@media (max-width: 480px) {
  h1 { font-size: 1.4rem; }
  .panels, .cards { grid-template-columns: minmax(0, 1fr); }
  .panel, figure { padding: 12px; }
  th:first-child { white-space: normal; min-width: 5.5em; }
  .facts { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .facts dd { margin-bottom: 8px; }
  .facts.pairs dd { margin: 0; }
  .facts.pairs { grid-template-columns: max-content 1fr; gap: 2px 14px; }
}
@media print {
  :root { --ground: #fff; color-scheme: light; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 12px; }
  nav { display: none; }
  .scroll { overflow: visible; }
  h2, h3 { break-after: avoid; }
  table { font-size: 10px; }
  th, td { padding: 3px 5px; }
  td.text, td.bar { min-width: 0; }
  .whisker { width: 90px; }
  .caption, figcaption, .key { font-size: 11px; }
  figure > svg { max-width: 380px; }
}
"""
