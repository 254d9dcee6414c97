"""Values with their units, as a person reads them."""

from __future__ import annotations

_TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))
_MANY = ((1e9, "G"), (1e6, "M"))
_THIN = "\N{NARROW NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"


def quantity(value: float, unit: str) -> str:
    """Return a value with its unit: ``655 µs``, ``1 MiB``, ``12 400``, ``25.1 M``."""
    if unit == "ns":
        return _scaled(value, _TIMES)
    if unit == "B":
        return _scaled(value, _SIZES)
    text = _scaled(value, _MANY) if abs(value) >= 1e6 else _digits(value)
    return text if unit in ("count", "1", "") else f"{text}{_THIN}{unit}"


def change(ratio: float | None) -> str:
    """Return a relative change as a signed percentage; empty where there is none to tell."""
    if ratio is None:
        return ""
    percent = ratio * 100
    if abs(percent) < 0.05:
        return "±0 %"
    if abs(percent) >= 1000:
        return f"\N{MULTIPLICATION SIGN}{ratio + 1:.0f}"
    shown = f"{percent:+.0f}" if abs(percent) >= 10 else f"{percent:+.1f}"
    return f"{shown.replace('-', _MINUS)} %"


def _scaled(value: float, scales: tuple[tuple[float, str], ...]) -> str:
    for scale, name in scales:
        if abs(value) >= scale:
            return f"{_three(value / scale)}{_THIN}{name}"
    return f"{_digits(value)}{_THIN}{scales[-1][1]}"


def _three(value: float) -> str:
    if value.is_integer():
        return f"{value:.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _digits(value: float) -> str:
    if value.is_integer():
        return f"{int(value):,}".replace(",", _THIN)
    return f"{value:.4g}"
