"""Sparklines: a series as a tiny inline SVG."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape


def sparkline(
    values: Sequence[float], title: str, *, floor: float = 0.0, width: int = 64, height: int = 16
) -> Markup:
    """Return the values as a line, oldest left, with a dot on the last; ``title`` is its tooltip.

    The height spans the values, but never less than ``floor``, so that noise does not look like
    news; equal values are a line through the middle.
    """
    margin = 2.5
    middle = (min(values) + max(values)) / 2
    span = max(max(values) - min(values), floor) or 1.0
    step = (width - 2 * margin) / max(len(values) - 1, 1)
    points = [
        (margin + index * step, height / 2 - (value - middle) / span * (height - 2 * margin))
        for index, value in enumerate(values)
    ]
    path = "L".join(f"{_short(x)} {_short(y)}" for x, y in points)
    x, y = points[-1]
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" width="{}" height="{}" role="img"><title>{}</title>'
        '<path d="M{}"/><circle cx="{}" cy="{}" r="2"/></svg>'
    ).format(width, height, width, height, escape(title), path, _short(x), _short(y))


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
