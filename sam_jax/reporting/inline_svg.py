"""matplotlib figures as inline SVG of an HTML page."""

import io
import re
from typing import Any

from markupsafe import Markup, escape

from sam_jax.reporting import canvas

_VARIABLES = {
    canvas.INK: "var(--ink, currentColor)",
    canvas.MUTED: "var(--muted, currentColor)",
    canvas.GRID: "var(--grid, #8886)",
    "#000000": "currentColor",
} | {c: f"var(--series-{i}, {c})" for i, c in enumerate(canvas.PALETTE, start=1)}
"""Colour of a figure -> the page's, which follows its reader's light or dark setting.

In a notebook, whose page sets none of them, ink is that of the text around.
"""


def svg(drawing: Any, caption: str) -> Markup:
    """Returns inline SVG with the page's colours and without ids that could clash.

    Its groups keep matplotlib's names as classes: ``axes``, ``legend``, ``text``.
    """
    import matplotlib

    buffer = io.StringIO()
    # Salted ids are the same in every run, and differ between the page's figures.
    with matplotlib.rc_context({"svg.hashsalt": caption}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None})
    image = buffer.getvalue()
    image = image[image.index("<svg") :]
    image = re.sub(r"<metadata>.*?</metadata>", "", image, flags=re.DOTALL)
    image = re.sub(r'<g id="([^"]*?)(_\d+)?">', r'<g class="\1">', image)
    image = re.sub(r"<!--.*?-->\n?", "", image, flags=re.DOTALL)
    image = re.sub("#[0-9a-f]{6}", _page_color, image)
    width = round(100 * drawing.get_figwidth())
    # On a narrow page a wide figure scrolls before its words are too small to read.
    style = f'style="min-width: {round(0.6 * width)}px"'
    # What matplotlib draws in plain black names no colour.
    label = f'<svg role="img" aria-label="{escape(caption)}" fill="currentColor" '
    image = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', rf'\1 width="{width}" {style}', image, count=1
    )
    image = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", image, count=1)
    # matplotlib escaped the text that it drew; the rest is written here.
    return Markup(image.replace("<svg ", label, 1))


def _page_color(match: re.Match[str]) -> str:
    """Returns the page's colour in place of a figure's."""
    return _VARIABLES.get(match.group(), match.group())
