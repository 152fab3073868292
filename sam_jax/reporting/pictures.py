"""matplotlib figures as parts of an HTML page."""

import base64
import io
import re
from typing import Any

from markupsafe import Markup, escape

from sam_jax.reporting import canvas

_INK_VARIABLES = {
    canvas.INK: "var(--ink)",
    canvas.MUTED: "var(--muted)",
    canvas.GRID: "var(--grid)",
    canvas.PALETTE[0]: "var(--accent)",
}


def png(drawing: Any, caption: str) -> Markup:
    """Returns the figure as a bitmap on white, for images and clouds of points."""
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=200, facecolor="white")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    width = round(100 * drawing.get_figwidth())
    written = Markup('<img alt="{}" width="{}" src="data:image/png;base64,{}">')
    return written.format(caption, width, data)


def svg(drawing: Any, caption: str) -> Markup:
    """Returns inline SVG with the page's ink and without ids that could clash."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": caption}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None})
    image = buffer.getvalue()
    image = image[image.index("<svg") :]
    image = re.sub(r"<metadata>.*?</metadata>", "", image, flags=re.DOTALL)
    image = re.sub(r'<g id="[^"]*">', "<g>", image)
    image = re.sub(r"<!--.*?-->\n?", "", image, flags=re.DOTALL)
    for color, variable in _INK_VARIABLES.items():
        image = image.replace(color, variable)
    width = round(100 * drawing.get_figwidth())
    label = f'<svg role="img" aria-label="{escape(caption)}" '
    image = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', rf'\1 width="{width}"', image, count=1
    )
    image = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", image, count=1)
    # matplotlib escaped the text that it drew; the rest is ours.
    return Markup(image.replace("<svg ", label, 1))
