"""Which suites a run takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farm import paths
from farm.errors import UsageError
from farm.suites import FILE_NAME, load_suites
from farm.yamlfile import nearest


def choose_suites(words: Sequence[str], root: Path | None = None) -> list[str]:
    """Return paths below ``testsuites/`` for what was asked for; nothing asked is every suite.

    A word is a suite (``mapcache``), a file of one (``mapcache/test_prime.py``), or a node id.

    Raises:
        UsageError: a word names no suite or no file; names the nearest.
        ConfigError: the file of a suite is wrong; starts with ``file:line:``.
    """
    folder = root or paths.testsuites()
    known = list(load_suites(folder))
    if not words:
        if not known:
            raise UsageError(f"{folder} holds no suite (no folder with a {FILE_NAME})")
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
