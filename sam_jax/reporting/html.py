"""Self-contained HTML reports, and the same tables as text for the terminal.

Fragments are made by small functions that escape whatever they are given, and ``page``
puts them together: question, verdict, then the fragments in order. A page loads nothing
from outside, follows the reader's light or dark setting and prints. Cells of tables are
plain values; one function writes them for both HTML and text.
"""

import base64
import html
import io
import json
import math
import re
from collections.abc import Sequence
from typing import Any, NewType, TypeAlias

from sam_jax.metrics.estimate import Estimate
from sam_jax.reporting import plots

Html = NewType("Html", str)
"""A fragment that is safe to put into a page as it is."""

Cell: TypeAlias = str | int | float | Estimate | None
"""None is an empty cell; a NaN estimate is one that the data cannot resolve."""

NOT_RESOLVABLE = "not resolvable (n < 1/FPR)"
_NUMBER = re.compile(r"[-+<>]?\s?[\d.]")
_INTERVAL = re.compile(r" (\[.*\])$")
_INK_VARIABLES = {
    plots.INK: "var(--ink)",
    plots.MUTED: "var(--muted)",
    plots.GRID: "var(--grid)",
    plots.PALETTE[0]: "var(--accent)",
}


def page(
    title: str,
    question: str,
    verdict: str,
    body: Sequence[Html],
    subtitle: str = "",
    footer: str = "",
) -> str:
    """Returns a whole HTML document.

    A reader sees question and verdict first; put the main table and the main figure at
    the start of ``body`` to have them on the first screen.

    Args:
        title: What was done, in a few words.
        question: The question that the run asks.
        verdict: The answer in one sentence, with its numbers.
        body: Fragments from the functions of this module.
        subtitle: Data, models, size of the run.
        footer: Versions, commit, command.
    """
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{_STYLE}</style></head><body><main>",
            f"<header><h1>{html.escape(title)}</h1>",
            f'<p class="subtitle">{html.escape(subtitle)}</p></header>',
            '<section class="answer">',
            f'<p class="question">{html.escape(question)}</p>',
            f'<p class="verdict">{html.escape(verdict)}</p></section>',
            *body,
            f"<footer>{html.escape(footer)}</footer>" if footer else "",
            "</main></body></html>",
            "",
        ]
    )


def heading(text: str) -> Html:
    """Returns the heading of a section."""
    return Html(f"<h2>{html.escape(text)}</h2>")


def text(paragraph: str) -> Html:
    """Returns a paragraph."""
    return Html(f"<p>{html.escape(paragraph)}</p>")


def warning(paragraph: str) -> Html:
    """Returns a paragraph that the reader must not miss."""
    return Html(f'<p class="warning" role="note">{html.escape(paragraph)}</p>')


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str = ""
) -> Html:
    """Returns a table; the first column heads its rows, columns of numbers align.

    Args:
        columns: Heads, with units.
        rows: One cell per column in every row.
        caption: What the table shows.

    Raises:
        ValueError: If a row has another number of cells than there are columns.
    """
    _check_rows(columns, rows)
    numeric = _numeric_columns(columns, rows)
    kinds = [' class="number"' if is_number else "" for is_number in numeric]
    head = "".join(
        f'<th scope="col"{kind}>{html.escape(column)}</th>'
        for kind, column in zip(kinds, columns, strict=True)
    )
    body = []
    for row in rows:
        first, *others = (
            _cell_html(cell, kind) for cell, kind in zip(row, kinds, strict=True)
        )
        first = first.replace("<td", '<th scope="row"').replace("</td>", "</th>")
        body.append(f"<tr>{first}{''.join(others)}</tr>")
    return Html(
        '<div class="table"><table>'
        + (f"<caption>{html.escape(caption)}</caption>" if caption else "")
        + f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def figure(drawing: Any, caption: str, bitmap: bool = False) -> Html:
    """Returns a matplotlib Figure with its caption.

    Args:
        drawing: From ``plots``, whose ink then follows the page's; any Figure will do.
        caption: What to see in it, read out to those who cannot see.
        bitmap: PNG instead of SVG: smaller for images and very many points.
    """
    picture = _png(drawing, caption) if bitmap else _svg(drawing, caption)
    return Html(
        f"<figure>{picture}<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def side_by_side(*fragments: Html) -> Html:
    """Returns fragments next to each other, or stacked where the page is narrow."""
    cells = "".join(f"<div>{fragment}</div>" for fragment in fragments)
    return Html(f'<div class="row">{cells}</div>')


def details(summary: str, *fragments: Html) -> Html:
    """Returns fragments folded away under a line to click."""
    inside = "".join(fragments)
    return Html(f"<details><summary>{html.escape(summary)}</summary>{inside}</details>")


def json_block(value: Any, summary: str) -> Html:
    """Returns a JSON value, folded away: the configuration, the versions."""
    written = html.escape(json.dumps(value, indent=2, default=str))
    return details(summary, Html(f"<pre>{written}</pre>"))


def text_table(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], width: int = 100
) -> str:
    """Returns the table as aligned text for a terminal.

    Args:
        columns: Heads, with units.
        rows: As for ``table``.
        width: Where the table would be wider, intervals move below their values; where
            it still is, each row becomes a block of lines, one per column.

    Raises:
        ValueError: If a row has another number of cells than there are columns.

    Example:
        >>> print(text_table(["optimizer", "AUC"], [["sgd", 0.735], ["sam", 0.7]]))
        optimizer    AUC
        ----------------
        sgd        0.735
        sam        0.700
    """
    _check_rows(columns, rows)
    numeric = _numeric_columns(columns, rows)
    lines = [[cell_text(cell) for cell in row] for row in rows]
    for body in (lines, [half for line in lines for half in _halves(line)]):
        aligned = _aligned(columns, body, numeric)
        if len(aligned[1]) <= width:
            return "\n".join(aligned)
    return _text_blocks(columns, lines)


def format_estimate(estimate: Estimate, sign: bool = False) -> str:
    """Returns ``value [low, high]`` with as many digits as the interval deserves.

    At least 3 decimals, and one significant digit of the half width.

    Args:
        estimate: Value and interval; NaN is not resolvable.
        sign: Whether to write a plus sign, as for differences.

    Example:
        >>> format_estimate(Estimate(0.735, 0.728, 0.742, 0.004, 30.0, 0.0))
        '0.735 [0.728, 0.742]'
    """
    if math.isnan(estimate.value):
        return NOT_RESOLVABLE
    half = (estimate.high - estimate.low) / 2
    decimals = 3 if half <= 0 else min(max(3, -math.floor(math.log10(half))), 6)
    value = f"{estimate.value:{'+' if sign else ''}.{decimals}f}"
    return f"{value} [{estimate.low:.{decimals}f}, {estimate.high:.{decimals}f}]"


def format_percent(value: float, decimals: int = 1) -> str:
    """Returns a fraction as per cent.

    Example:
        >>> format_percent(0.8731)
        '87.3 %'
    """
    return "" if math.isnan(value) else f"{100 * value:.{decimals}f} %"


def format_p_value(value: float) -> str:
    """Returns a p-value with two significant digits, or its bound when tiny.

    Example:
        >>> format_p_value(0.0312), format_p_value(1e-9)
        ('0.031', '< 0.0001')
    """
    if math.isnan(value):
        return ""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def cell_text(cell: Cell) -> str:
    """Returns a cell as text: floats with 3 decimals, estimates with intervals."""
    if cell is None:
        return ""
    if isinstance(cell, Estimate):
        return format_estimate(cell)
    if isinstance(cell, str | int):
        return str(cell)
    return "" if math.isnan(cell) else f"{cell:.3f}"


def _check_rows(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    for number, row in enumerate(rows):
        if len(row) != len(columns):
            raise ValueError(
                f"rows must have one cell per column ({len(columns)}), "
                f"got {len(row)} in row {number}."
            )


def _is_number(cell: Cell) -> bool:
    """Whether a cell may stand in a column of numbers."""
    if cell is None or not isinstance(cell, str):
        return True
    return cell in ("", NOT_RESOLVABLE) or _NUMBER.match(cell) is not None


def _numeric_columns(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]]
) -> list[bool]:
    return [
        bool(rows) and all(_is_number(row[column]) for row in rows)
        for column in range(len(columns))
    ]


def _cell_html(cell: Cell, kind: str) -> str:
    written = html.escape(cell_text(cell))
    written = _INTERVAL.sub(r' <span class="interval">\1</span>', written)
    if written == html.escape(NOT_RESOLVABLE):
        written = f'<span class="interval">{written}</span>'
    return f"<td{kind}>{written}</td>"


def _aligned(columns, body, numeric: Sequence[bool]) -> list[str]:
    """Returns the lines of a text table: head, rule, body."""
    table_lines = [list(columns), *body]
    widths = [max(map(len, column)) for column in zip(*table_lines, strict=True)]
    aligned = [
        "  ".join(
            cell.rjust(size) if right else cell.ljust(size)
            for cell, size, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in table_lines
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [aligned[0], rule, *aligned[1:]]


def _halves(line: Sequence[str]) -> list[list[str]]:
    """Returns a row's values and, if it has any, its intervals as a row below."""
    matches = [_INTERVAL.search(cell) for cell in line]
    below = [match.group(1) if match else "" for match in matches]
    above = [_INTERVAL.sub("", cell) for cell in line]
    return [above, below] if any(below) else [above]


def _text_blocks(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Returns one block per row, a line per column, for tables that are too wide."""
    size = max(len(column) for column in columns[1:])
    blocks = [
        "\n".join(
            [
                line[0],
                *(
                    f"  {column.ljust(size)}  {cell}".rstrip()
                    for column, cell in zip(columns[1:], line[1:], strict=True)
                ),
            ]
        )
        for line in lines
    ]
    return "\n".join(blocks)


def _png(drawing: Any, caption: str) -> str:
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=200, facecolor="white")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    width = round(100 * drawing.get_figwidth())
    alt = html.escape(caption)
    return f'<img alt="{alt}" width="{width}" src="data:image/png;base64,{data}">'


def _svg(drawing: Any, caption: str) -> str:
    """Returns inline SVG with the page's ink and without ids that could clash."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": caption}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    for color, variable in _INK_VARIABLES.items():
        svg = svg.replace(color, variable)
    width = round(100 * drawing.get_figwidth())
    label = f'<svg role="img" aria-label="{html.escape(caption)}" '
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', rf'\1 width="{width}"', svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg ", label, 1)


_STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --card: #f6f7f9; --ink: #1b1f24;
  --muted: #5b6570; --grid: #dfe3e8; --accent: #0072b2; --warn: #a33f00;
  --warn-card: #fdf1e8; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --card: #1d2126;
  --ink: #e6e9ed; --muted: #a0a9b3; --grid: #343b43; --accent: #56b4e9;
  --warn: #f0a36b; --warn-card: #2e2219; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 22px 24px 48px; }
h1 { font-size: 1.6rem; line-height: 1.25; letter-spacing: -0.01em; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 0.6rem; padding-top: 0.8rem;
  border-top: 1px solid var(--grid); }
p { margin: 0.6rem 0; max-width: 76ch; }
.subtitle { color: var(--muted); margin: 0.2rem 0 0; font-size: 0.92rem;
  max-width: none; }
.answer { background: var(--card); border-left: 4px solid var(--accent);
  border-radius: 0 6px 6px 0; padding: 0.7rem 1.1rem; margin: 1rem 0 1.1rem; }
.question { color: var(--muted); margin: 0; font-size: 0.95rem; max-width: none; }
.verdict { font-size: 1.15rem; font-weight: 600; line-height: 1.4;
  margin: 0.2rem 0 0; max-width: none; }
.warning { background: var(--warn-card); border-left: 4px solid var(--warn);
  border-radius: 0 6px 6px 0; padding: 0.6rem 1.1rem; max-width: none; }
.table { overflow-x: auto; margin: 0.9rem 0; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); font-size: 0.88rem;
  padding-bottom: 0.4rem; }
th, td { text-align: left; padding: 0.34rem 0.7rem; vertical-align: baseline; }
th:first-child { padding-left: 0.2rem; }
thead th { color: var(--muted); font-weight: 600; font-size: 0.82rem;
  border-bottom: 1.5px solid var(--muted); vertical-align: bottom; }
tbody th { font-weight: 600; min-width: 11em; }
tbody tr + tr { border-top: 1px solid var(--grid); }
.number { text-align: right; white-space: nowrap; }
.interval { color: var(--muted); font-size: 0.92em; }
figure { margin: 1rem 0; }
figure svg, figure img { display: block; max-width: 100%; height: auto; }
figcaption { color: var(--muted); font-size: 0.88rem; margin-top: 0.3rem;
  max-width: 90ch; }
.row { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: flex-start; }
.row > div { flex: 1 1 400px; min-width: 0; }
details { margin: 0.7rem 0; }
summary { cursor: pointer; color: var(--accent); }
pre { background: var(--card); border-radius: 6px; padding: 0.8rem 1rem;
  overflow-x: auto; font-size: 0.82rem; line-height: 1.45; }
footer { color: var(--muted); font-size: 0.82rem; margin-top: 2.4rem;
  padding-top: 0.8rem; border-top: 1px solid var(--grid); }
@media print { :root { --page: #fff; --card: #f6f7f9; --ink: #1b1f24;
  --muted: #5b6570; --grid: #dfe3e8; } main { padding: 0; max-width: none; }
  body { font-size: 11pt; } figure, tr, .answer { break-inside: avoid; }
  h2 { break-after: avoid; } .table { overflow: visible; } }
"""
