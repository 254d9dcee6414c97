"""Text from boards, made fit to show: no escape sequence, no control or forbidden character."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_BIDI = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """Return the text without terminal escapes; other control characters become ``\\xNN``.

    What is left is legal in XML 1.0 and HTML once escaped; newlines and tabs stay.
    """
    text = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    return _BIDI.sub(_shown, _FORBIDDEN.sub(_shown, text))


def one_line(text: str) -> str:
    """Return the text made plain, on one line."""
    return " ".join(plain(text).split())


def shorten(text: str, limit: int) -> str:
    """Return the text cut to ``limit`` characters, an ellipsis at the end of what is cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def number(value: float) -> int | float:
    """Return an integral value as an int, so that it is written without a fraction."""
    return int(value) if value.is_integer() else value


def iso(at: float) -> str:
    """Return seconds since the epoch as local time in ISO 8601 with its offset."""
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")


def assignments(params: Mapping[str, str]) -> str:
    """Return parameters as ``a=1 b=2``."""
    return " ".join(f"{name}={value}" for name, value in params.items())


def duration(seconds: float) -> str:
    """Return a duration in at most two units."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def _shown(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
