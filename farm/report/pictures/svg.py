"""Drawings by matplotlib as inline SVG whose colours follow the page, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

SHADES = 5
"""How many shades tell a cost; the page's ``--cost-0`` … are cheap to dear."""

LINES = 6
"""How many lines can be told apart; ``--line-0`` … are safe for the colour-blind."""

MARKERS = "osD^vP"
"""A shape for each line, so that colour alone tells nothing."""

# matplotlib writes colours as literals; these stand for the page's variables until the end.
_VARIABLES = {
    name: f"#0102{number:02x}"
    for number, name in enumerate(
        (
            *("ink", "muted", "grid", "refused", "wrong", "untold", "card", "soft", "fail"),
            *(f"cost-{shade}" for shade in range(SHADES)),
            *(f"cost-ink-{shade}" for shade in range(SHADES)),
            *(f"line-{number}" for number in range(LINES)),
        )
    )
}
_FONT = 9
_ZOOM = 105
"""Pixels of the page that an inch becomes at most, so that letters are alike in all drawings."""


def colour(name: str) -> str:
    """Return what matplotlib is given for one of the page's variables (``--ink``: ``ink``)."""
    return _VARIABLES[name]


def line_colour(number: int) -> str:
    """Return the colour of a line by its number; they repeat after :data:`LINES`."""
    return colour(f"line-{number % LINES}")


@dataclass(frozen=True, slots=True)
class Drawing:
    """An SVG element, and the width in pixels at which its letters are as large as the page's."""

    svg: Markup
    width: int


def draw(
    width: float, height: float, name: str, label: str, paint: Callable[[Any], None]
) -> Drawing:
    """Return what ``paint`` draws into a matplotlib figure.

    Args:
        width: inches, at 72 units of the SVG each.
        height: inches.
        name: keeps the element's ids apart from those of other drawings.
        label: what it shows, for those who do not see it.
        paint: draws into the figure that it is given.
    """
    # Loaded here: only a report with a drawing pays for matplotlib.
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,
        "font.size": _FONT,
        "axes.formatter.useoffset": False,
    }
    with rc_context(settings):
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        paint(figure)
        out = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    natural = round(width * _ZOOM)
    style = f"max-width:{natural}px;min-width:{natural // 2}px"
    return Drawing(Markup(_inlined(out.getvalue(), name, label, style)), natural)


def dress(axes: Any) -> None:
    """Give axes the page's colours: a light grid, no box, small labels."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(colour("grid"))
    axes.tick_params(which="both", colors=colour("muted"), labelsize=8, length=2)
    axes.grid(which="major", color=colour("grid"), linewidth=0.6)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(colour("muted"))
        axis.label.set_size(8.5)


def _inlined(svg: str, name: str, label: str, style: str) -> str:
    """Return the SVG element alone, with a label, ids of its own and the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    prefix = "".join(char if char.isalnum() else "-" for char in name)
    svg = re.sub(r'\bid="([^"]*)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\1{prefix}-", svg)
    for variable, literal in _VARIABLES.items():
        svg = svg.replace(literal, f"var(--{variable})")
    head = f'<svg role="img" aria-label="{escape(label)}" style="{style}"'
    return svg.replace("<svg", head, 1)
