"""A run told to others: one file per output format."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from farm.report import json, junit, ktap, markdown
from farm.store.records import RunRecord

FORMATS: Mapping[str, Callable[[RunRecord], str]] = {
    "json": json.render,
    "junit": junit.render,
    "ktap": ktap.render,
    "markdown": markdown.render,
}
"""What ``farm export`` writes, by the name of the format."""

__all__ = ["FORMATS"]
