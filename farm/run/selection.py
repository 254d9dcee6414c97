"""Which suites a run takes."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path

from farm import paths
from farm.errors import UsageError

SUITE_FILE = "suite.toml"
"""What makes a folder of ``testsuites/`` a suite."""


def all_suites(root: Path | None = None) -> list[str]:
    """Return the names of every suite, sorted."""
    return sorted(file.parent.name for file in (root or paths.testsuites()).glob(f"*/{SUITE_FILE}"))


def choose_suites(words: Sequence[str], root: Path | None = None) -> list[str]:
    """Return paths below ``testsuites/`` for what was asked for; nothing asked is every suite.

    A word is a suite (``mapcache``), a file of one (``mapcache/test_prime.py``), or a node id.

    Raises:
        UsageError: a word names no suite or no file; names the nearest.
    """
    folder = root or paths.testsuites()
    known = all_suites(folder)
    if not words:
        if not known:
            raise UsageError(f"{folder} holds no suite (no folder with a {SUITE_FILE})")
        return known
    chosen: list[str] = []
    for word in words:
        path = word.partition("::")[0].rstrip("/")
        suite, _, file = path.partition("/")
        if suite not in known:
            raise UsageError(
                f"no suite {suite!r}{nearest(suite, known)}",
                next_step=f"choose from: {', '.join(known)}",
            )
        if file and not (folder / path).is_file():
            files = sorted(item.name for item in (folder / suite).glob("test_*.py"))
            raise UsageError(
                f"suite {suite} has no file {file!r}{nearest(file, files)}",
                next_step=f"choose from: {', '.join(files)}",
            )
        chosen.append(word.rstrip("/"))
    return list(dict.fromkeys(chosen))


def nearest(word: str, candidates: Collection[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the candidate most like ``word``, or nothing."""
    close = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
