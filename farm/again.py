"""The command that runs one test once more, as it was run: for whoever tells of its failure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from farm.events import Effort

OWN = ("--kernel", "--modules", "--driver")
"""Options of ``farm run`` that put something of the user's own on the board."""

VIRTUAL = "emulator"
"""What the hardware of virtual boards is known by; which of them it was makes no difference."""


def again(
    nodeid: str,
    *,
    board: str,
    board_type: str,
    hardware: Mapping[str, str],
    image: str,
    argv: Sequence[str] = (),
    effort: Effort | None = None,
) -> str:
    """Return the ``farm run`` command that repeats a test on such a board.

    ``argv`` are the words of the run that it was part of; ``effort`` is given where the test took
    its decisions by a seed.
    """
    words = ["farm", "run", nodeid, "--board", board_type if VIRTUAL in hardware else board]
    words += ["--image", image, *_given(argv, OWN)]
    if effort is not None and effort.seed is not None:
        words += ["--seed", str(effort.seed), "--stress-seconds", f"{effort.stress_s:g}"]
    return shlex.join(words)


def all_again(run: str, commands: Sequence[str]) -> str:
    """Return the ``farm run`` command that repeats at once what :func:`again` does one by one.

    What is booted is the same where it was the same for all of them.
    """
    booted = {tuple(_given(shlex.split(one), ("--image", *OWN))) for one in commands}
    return shlex.join(["farm", "run", "--failed", run, *(booted.pop() if len(booted) == 1 else ())])


def _given(argv: Sequence[str], options: Sequence[str]) -> Iterator[str]:
    for word, following in zip(argv, [*argv[1:], ""], strict=False):
        if word in options:
            yield from (word, following)
        elif word.startswith(tuple(f"{option}=" for option in options)):
            yield word
