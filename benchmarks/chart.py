"""A bar for each server, as SVG."""

from __future__ import annotations

from html import escape

from benchmarks.results import Row, Table, shown

_WIDTH, _LABELS, _FIGURES, _LINE, _TOP = 860, 300, 150, 26, 56
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 15px }
  .quiet { fill: #59636e }
  .bar { fill: #8c959f } .ours { fill: #0969da }
  .spread { stroke: #1f2328; stroke-width: 1.5 } .one { stroke: #d1242f; stroke-dasharray: 3 3 }
  .back { fill: #ffffff }
"""


def drawn(table: Table, column: str) -> str:
    """The table's column as bars from 0, each with a line from its lowest to its highest figure."""
    longest = max(row.figures[column].high for row in table.rows)
    scale = (_WIDTH - _LABELS - _FIGURES) / longest
    height = _TOP + _LINE * len(table.rows) + 16
    bars = "\n".join(_bar(row, column, _TOP + _LINE * number, scale) for number, row in enumerate(table.rows))
    one = _LABELS + scale
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">\n'
        f"<title>{escape(table.title)}</title>\n<style>{_STYLE}</style>\n"
        f'<rect class="back" width="{_WIDTH}" height="{height}"/>\n'
        f'<text class="title" x="12" y="24">{escape(table.title)}</text>\n'
        f'<text class="quiet" x="12" y="42">{escape(column)}, as a ratio to {escape(table.rows[0].name)}</text>\n'
        f"{bars}\n"
        f'<line class="one" x1="{one:.1f}" y1="{_TOP - 4}" x2="{one:.1f}" y2="{height - 12}"/>\n</svg>\n'
    )


def _bar(row: Row, column: str, top: int, scale: float) -> str:
    figure = row.figures[column]
    middle = top + _LINE / 2
    kind = "ours" if row.name.startswith("hrpc") else "bar"
    low, high = _LABELS + figure.low * scale, _LABELS + figure.high * scale
    return (
        f'<text x="{_LABELS - 10}" y="{middle + 4}" text-anchor="end">{escape(row.name)}</text>\n'
        f'<rect class="{kind}" x="{_LABELS}" y="{top + 4}" width="{figure.median * scale:.1f}" height="{_LINE - 8}"/>\n'
        f'<line class="spread" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>\n'
        f'<text x="{high + 8:.1f}" y="{middle + 4}">{escape(shown(figure))}</text>'
    )
