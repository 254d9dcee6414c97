"""What a program of somebody else's suite said, whichever format it speaks."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum

MAX_CASES = 10_000
"""Results of one program that are taken: they go into one event of the journal."""
MAX_NAME = 160
MAX_REASON = 400

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[^\x20-\x7e]")


class Status(StrEnum):
    """What became of one test, in the words of deqp-runner's lists, as drm-ci keeps them."""

    PASS = "Pass"
    FAIL = "Fail"
    SKIP = "Skip"
    CRASH = "Crash"
    TIMEOUT = "Timeout"
    LEAK = "Leak"  # something of that name is left behind: no program's word, but the board's
    EXPECTED_FAIL = "ExpectedFail"  # the program itself expects it
    MISSING = "Missing"  # the program knows it and did not run it

    @property
    def is_failure(self) -> bool:
        """Whether a list may name it as expected."""
        return self in (Status.FAIL, Status.CRASH, Status.TIMEOUT, Status.LEAK)


@dataclass(frozen=True, slots=True)
class Case:
    """One test of the program; its name is the program's own, cleaned."""

    name: str
    status: Status
    reason: str = ""
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Output:
    """All that a program said.

    ``problem`` says why it cannot be believed as a whole (cut off, contradictory, not its format);
    ``ended`` why the program ended early by its own word. ``skipped`` says why it ran nothing. Each
    is empty otherwise. What ``cases`` holds was said in any case. ``untold`` names the tests that
    were planned and not told of, by their numbers (``#6``); the program ended at the first of them.
    """

    cases: tuple[Case, ...]
    problem: str = ""
    ended: str = ""
    skipped: str = ""
    untold: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every test that the program has is among the cases."""
        return not (self.problem or self.ended or self.skipped)


def clean(text: str, limit: int) -> str:
    """Return printable ASCII on one line, single-spaced, of at most ``limit`` characters."""
    words = " ".join(_CONTROL.sub(" ", text).split())
    return words if len(words) <= limit else f"{words[: limit - 3]}..."


def named(cases: list[Case]) -> tuple[Case, ...]:
    """Return the cases with names that are cleaned and unique: a second one gets ``#2``."""
    seen: Counter[str] = Counter()
    found = []
    for case in cases:
        name = clean(case.name, MAX_NAME) or "unnamed"
        seen[name] += 1
        if seen[name] > 1:
            name = f"{name}#{seen[name]}"
        found.append(replace(case, name=name, reason=clean(case.reason, MAX_REASON)))
    return tuple(found)


def counted(cases: tuple[Case, ...]) -> str:
    """Return how many of the cases came out how: ``6 Pass, 1 Fail``."""
    found = Counter(case.status for case in cases)
    return ", ".join(f"{found[status]} {status}" for status in Status if found[status]) or "none"
