"""Which suites a run takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farm import paths
from farm.errors import UsageError
from farm.model import WITHIN
from farm.suites import FILE_NAME, load_suites
from farm.yamlfile import nearest


def choose_suites(words: Sequence[str], root: Path | None = None) -> list[str]:
    """Return paths below ``testsuites/`` for what was asked for.

    Nothing asked is every suite, but those that run only where they are asked for. A word is a
    suite (``mapcache``), a file of one (``mapcache/test_prime.py``), or a node id; that of a test
    within a test stands for the test that it is within.

    Raises:
        UsageError: a word names no suite or no file; names the nearest.
        ConfigError: the file of a suite is wrong; starts with ``file:line:``.
    """
    folder = root or paths.testsuites()
    suites = load_suites(folder)
    known = list(suites)
    if not words:
        if not known:
            raise UsageError(f"{folder} holds no suite (no folder with a {FILE_NAME})")
        return [name for name, suite in suites.items() if suite.default]
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
        chosen.append(word.partition(WITHIN)[0].rstrip("/"))
    return list(dict.fromkeys(chosen))
