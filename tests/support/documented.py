"""What ``docs/json.md`` says of a command's JSON."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "json.md"


def documented(heading: str) -> set[str]:
    """Return the field names in the tables of a section of docs/json.md."""
    text = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    assert section, heading
    return {
        name
        for row in re.findall(r"^\| (`.*?`) \|", section[1], re.M)
        for name in re.findall(r"`(\w+)`", row)
    }
