"""The stylesheet of the page: light and dark, wide and narrow, screen and paper."""

from hat.report.theme import COLOURS


def _variables(column: int) -> str:
    return " ".join(f"--{name}: {colours[column]};" for name, colours in COLOURS.items())


STYLE = f"""\
:root {{ {_variables(0)} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(1)} }} }}
* {{ box-sizing: border-box; }}
html {{ -webkit-text-size-adjust: 100%; }}
body {{ margin: 0 auto; max-width: 76rem; padding: 0 1.25rem 3rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }}
header {{ padding: 2.25rem 0 0.5rem; }}
h1 {{ font-size: 2rem; line-height: 1.2; margin: 0 0 0.25rem; letter-spacing: -0.02em; }}
h2 {{ font-size: 1.4rem; margin: 3rem 0 0.75rem; padding-top: 1rem; border-top: 1px solid var(--line);
  letter-spacing: -0.01em; }}
h3 {{ font-size: 1.08rem; margin: 2rem 0 0.5rem; overflow-wrap: anywhere; }}
p {{ margin: 0.5rem 0; max-width: 46rem; overflow-wrap: anywhere; }}
.subtitle, figcaption, footer, summary, dt {{ color: var(--muted); }}
nav {{ display: flex; flex-wrap: wrap; gap: 0.4rem; margin: 1rem 0 0; }}
nav a {{ color: var(--ink); text-decoration: none; border: 1px solid var(--line); border-radius: 1rem;
  padding: 0.15rem 0.75rem; font-size: 0.85rem; }}
nav a:hover {{ border-color: var(--blue); color: var(--blue); }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(13.5rem, 1fr)); gap: 0.75rem;
  margin: 1rem 0 1.5rem; }}
.tiles div {{ background: var(--panel); border: 1px solid var(--line); border-radius: 0.6rem; padding: 0.8rem 1rem; }}
.tiles span {{ display: block; }}
.label, .hint {{ color: var(--muted); font-size: 0.8rem; overflow-wrap: anywhere; }}
.value {{ font-size: 1.65rem; font-weight: 650; line-height: 1.3; letter-spacing: -0.01em;
  font-variant-numeric: tabular-nums; }}
.table {{ overflow-x: auto; margin: 0.75rem 0; }}
table {{ border-collapse: collapse; font-size: 0.875rem; }}
th, td {{ text-align: left; padding: 0.35rem 0.9rem 0.35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }}
th {{ font-weight: 600; color: var(--muted); vertical-align: bottom; white-space: nowrap; }}
td {{ font-variant-numeric: tabular-nums; white-space: nowrap; }}
.number {{ text-align: right; }}
.long {{ min-width: 14rem; white-space: normal; overflow-wrap: anywhere; }}
.gallery {{ display: flex; flex-wrap: wrap; gap: 1.25rem 1.5rem; align-items: flex-start; margin: 1rem 0; }}
figure {{ margin: 0; max-width: 100%; break-inside: avoid; }}
figure svg {{ display: block; width: 100%; height: auto; stroke-linejoin: round; stroke-linecap: butt; }}
figure text {{ font-family: inherit !important; }}
figcaption {{ font-size: 0.8rem; line-height: 1.4; padding-top: 0.25rem; overflow-wrap: anywhere; }}
.note {{ border-left: 3px solid var(--orange); background: var(--panel); padding: 0.5rem 0.9rem;
  border-radius: 0 0.4rem 0.4rem 0; }}
details {{ margin: 0.75rem 0; font-size: 0.9rem; }}
summary {{ cursor: pointer; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 0.15rem 1rem; margin: 0.75rem 0;
  font-size: 0.875rem; }}
dd {{ margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }}
pre {{ background: var(--panel); border: 1px solid var(--line); border-radius: 0.4rem; padding: 0.75rem 1rem;
  overflow-x: auto; font: 0.8rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }}
footer {{ margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: 0.8rem; }}
@media (max-width: 40rem) {{
  body {{ padding: 0 0.9rem 2rem; }}
  h1 {{ font-size: 1.6rem; }}
  dl {{ grid-template-columns: 1fr; gap: 0; }}
  dd {{ margin-bottom: 0.35rem; }}
}}
@media print {{
  body {{ max-width: none; padding: 0; font-size: 10.5pt; }}
  nav, details, h3:has(+ details) {{ display: none; }}
  h2, h3 {{ break-after: avoid; }}
  h2 {{ margin-top: 1.5rem; }}
  .table {{ overflow: visible; }}
  table {{ font-size: 8.5pt; }}
  th, td {{ padding-right: 0.5rem; }}
  td {{ white-space: normal; }}
  tr, .tiles div {{ break-inside: avoid; }}
}}
"""
