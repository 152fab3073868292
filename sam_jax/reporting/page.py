"""Self-contained HTML reports from templates that escape whatever they are given.

Fragments are made by small functions, and ``page`` puts them together: question,
verdict, contents, then the fragments in order. A page loads nothing from outside,
follows the reader's light or dark setting and prints.
"""

import functools
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from sam_jax.reporting import inline_svg, tables
from sam_jax.reporting.tables import Cell


class Heading(Markup):
    """The heading of a section, with what the list of contents needs of it."""

    label: str
    anchor: str


def page(
    title: str,
    question: str,
    verdict: str,
    body: Sequence[Markup],
    subtitle: str = "",
    about: Mapping[str, Any] | None = None,
) -> str:
    """Returns a whole HTML document.

    A reader sees question and verdict first, then the list of contents.

    Args:
        title: What was done, in a few words.
        question: The question that the run asks.
        verdict: The answer in a few sentences, with its numbers; one a line.
        body: Fragments from the functions of this module.
        subtitle: Data, models, size of the run.
        about: Settings, versions, command and commit, for the end of the page.
    """
    blocks, footer = list(body), ""
    if about is not None:
        written = json.dumps(dict(about), indent=2, default=str)
        block = Markup("<pre>{}</pre>").format(written)
        blocks.append(details("Settings, versions, commit", block))
        footer = f"{about.get('command', '')} | commit {about.get('commit', '')}"
    return _render(
        "page.html",
        title=title,
        question=question,
        verdict=verdict.splitlines(),
        contents=[block for block in body if isinstance(block, Heading)],
        body=blocks,
        subtitle=subtitle,
        footer=footer,
        style=Markup(_template_text("style.css")),
        script=Markup(_template_text("page.js")),
    )


def heading(title: str) -> Heading:
    """Returns the heading of a section; the list of contents links to it."""
    anchor = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    written = Heading(Markup('<h2 id="{}">{}</h2>').format(anchor, title))
    written.label, written.anchor = title, anchor
    return written


def text(paragraph: str) -> Markup:
    """Returns a paragraph."""
    return Markup("<p>{}</p>").format(paragraph)


def warning(paragraph: str) -> Markup:
    """Returns a paragraph that the reader must not miss."""
    return Markup('<p class="warning" role="note">{}</p>').format(paragraph)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str = ""
) -> Markup:
    """Returns a table; the first column heads its rows, columns of numbers align.

    Args:
        columns: Heads, with units.
        rows: One cell per column in every row.
        caption: What the table shows.

    Raises:
        ArgumentError: If a row has another number of cells than there are columns.
    """
    written = []
    for row in rows:
        written.append([tables.split_interval(tables.cell_text(cell)) for cell in row])
    words = re.sub(r"[^a-z0-9]+", "_", f"{caption or columns[0]}".lower()).split("_")
    return Markup(
        _render(
            "table.html",
            columns=columns,
            numeric=tables.numeric_columns(columns, rows),
            rows=written,
            caption=caption,
            csv=tables.csv_text(columns, rows),
            file="_".join(filter(None, words[:6])) + ".csv",
            not_resolvable=tables.NOT_RESOLVABLE,
        )
    )


def figure(drawing: Any, caption: str) -> Markup:
    """Returns a matplotlib Figure with its caption.

    Args:
        drawing: From ``audit_figures``, whose ink then follows the page's; any Figure
            will do.
        caption: What to see in it, read out to those who cannot see.
    """
    written = '<figure><div class="wide">{}</div><figcaption>{}</figcaption></figure>'
    return Markup(written).format(inline_svg.svg(drawing, caption), caption)


def side_by_side(*fragments: Markup) -> Markup:
    """Returns fragments next to each other, or stacked where the page is narrow."""
    cells = Markup("").join(Markup("<div>{}</div>").format(f) for f in fragments)
    return Markup('<div class="row">{}</div>').format(cells)


def details(summary: str, *fragments: Markup) -> Markup:
    """Returns fragments folded away under a line to click; unfolded in print."""
    written = Markup("<details><summary>{}</summary>{}</details>")
    return written.format(summary, Markup("").join(fragments))


def _template_text(name: str) -> str:
    folder = pathlib.Path(__file__).parent / "templates"
    return (folder / name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("sam_jax.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)
