"""Lists of what is expected to fail, flakes or must not run, per board type and image.

They look as drm-ci's do (drivers/gpu/drm/ci/xfails in the kernel): three text files,
``STEM-fails.txt``, ``STEM-flakes.txt`` and ``STEM-skips.txt``. ``STEM`` is a board type, an image
profile, or both as ``BOARD-IMAGE``; all that fit count together. A paragraph is comment lines,
which are the reason and must be there, and the entries that it is the reason of::

    # The driver takes any controls in VIDIOC_S_EXT_CTRLS: 6.12 drivers/media/… ctrl_set().
    v4l2-compliance:vivid-000-vid-cap@Control ioctls/VIDIOC_QUERYCTRL,Fail

An entry of fails is a name and what comes of it (``Fail``, ``Crash``, ``Timeout``, ``Leak``); of
flakes, a regular expression that a whole name must match, and what comes of it now and then; of
skips, such an expression alone. ``#6`` names a test that a program planned and did not live to tell
of; what is left behind is named by its counter: ``sync:sync_test@dma_fence_left,Leak``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from farm.errors import ConfigError
from farm.external.results import Status
from farm.yamlfile import nearest

SEPARATOR = "@"
"""Between the name of a program (``sync:sync_test``) and that of one of its tests."""

MAX_BYTES = 1 << 20
_NAMES = "docs/external.md tells what programs are called"
MIN_REASON = 15
_NUMBER = re.compile(rf"{SEPARATOR}#\d+$")
_FILE = re.compile(r"(.+)-(fails|flakes|skips)\.txt")


class Kind(StrEnum):
    """The three files."""

    FAILS = "fails"
    FLAKES = "flakes"
    SKIPS = "skips"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list; one of fails has no ``pattern``, one of skips no ``status``."""

    kind: Kind
    name: str
    reason: str
    where: str
    status: Status | None = None
    pattern: re.Pattern[str] | None = None

    @property
    def untold(self) -> bool:
        """Whether it names the test at which a program ends, by its number in the plan."""
        return _NUMBER.search(self.name) is not None

    def matches(self, name: str) -> bool:
        """Return whether the entry is about a name."""
        return self.pattern.fullmatch(name) is not None if self.pattern else self.name == name


@dataclass(frozen=True, slots=True)
class Lists:
    """What holds for one board type with one image."""

    entries: tuple[Entry, ...] = ()

    def find(self, kind: Kind, name: str) -> Entry | None:
        """Return the first entry about a name."""
        return next((e for e in self.entries if e.kind is kind and e.matches(name)), None)

    def skip(self, name: str) -> Entry | None:
        """Return the entry for which a program, or one of its tests, is not run."""
        return self.find(Kind.SKIPS, name)

    def fails_of(self, program: str) -> tuple[Entry, ...]:
        """Return the expected failures among the tests of one program, and what it may leave."""
        prefix = f"{program}{SEPARATOR}"
        return tuple(e for e in self.entries if e.kind is Kind.FAILS and e.name.startswith(prefix))


def load_lists(
    folder: Path,
    board_type: str,
    images: Collection[str],
    *,
    types: Collection[str],
    profiles: Collection[str],
    programs: Collection[str],
) -> Lists:
    """Return the lists of one board type with one image; every file is checked all the same.

    ``images`` are the names that the image goes by; ``types`` and ``profiles`` every one there is;
    ``programs`` the names of programs, one ending in ``:`` standing for all that begin so.

    Raises:
        ConfigError: a file or a line is wrong; starts with ``file:line:`` and names the nearest.
    """
    mine = {board_type, *images, *(f"{board_type}-{image}" for image in images)}
    stems = {*types, *profiles, *(f"{one}-{other}" for one in types for other in profiles)} | mine
    entries: list[Entry] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _FILE.fullmatch(path.name)
        if match is None or match[1] not in stems:
            stem = match[1] if match else path.name
            raise ConfigError(
                f"{path}:1: the file's name fits no board type or image{nearest(stem, stems)}",
                next_step="name it BOARD-fails.txt, IMAGE-fails.txt or BOARD-IMAGE-fails.txt "
                "(or -flakes.txt, -skips.txt)",
            )
        found = list(_read(path, Kind(match[2]), programs))
        if match[1] in mine:
            entries += found
    _refuse_twice(entries)
    return Lists(tuple(entries))


def _read(path: Path, kind: Kind, programs: Collection[str]) -> Iterator[Entry]:
    try:
        data = path.read_bytes()[: MAX_BYTES + 1]
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}:1: cannot be read: {error}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}:1: larger than {MAX_BYTES} bytes")
    reason: list[str] = []
    under = False  # whether entries of the paragraph have come
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        where = f"{path}:{number}"
        if not words:
            reason, under = [], False
        elif words.startswith("#"):
            reason = [*([] if under else reason), words.lstrip("# ")]
            under = False
        else:
            under = True
            why = " ".join(filter(None, reason))
            if len(why) < MIN_REASON:
                raise ConfigError(
                    f"{where}: {words[:80]!r} has no reason",
                    next_step="write above it, as a comment, why this is expected",
                )
            yield _entry(kind, words, why, where, programs)


def _entry(kind: Kind, words: str, why: str, where: str, programs: Collection[str]) -> Entry:
    status, pattern, name = None, None, words
    if kind is not Kind.SKIPS:
        name, _, word = words.rpartition(",")
        allowed = [one.value for one in Status if one.is_failure]
        if word not in allowed or not name:
            raise ConfigError(
                f"{where}: expected NAME,{'|'.join(allowed)}, found {words[:120]!r}"
                f"{nearest(word, allowed) if name else ''}"
            )
        status = Status(word)
        if status is Status.LEAK and not name.partition(SEPARATOR)[2]:
            raise ConfigError(
                f"{where}: {words[:120]!r} does not say what is left behind",
                next_step=f"write {name[:80]}{SEPARATOR}COUNTER,{word}, such as dma_fence_left",
            )
    if kind is not Kind.FAILS:
        try:
            pattern = re.compile(name)
        except re.error as error:
            raise ConfigError(f"{where}: {name[:80]!r} is no regular expression: {error}") from None
    program = name.partition(SEPARATOR)[0]
    if kind is Kind.FAILS and not _known(program, programs):
        raise ConfigError(
            f"{where}: no program {program!r}{nearest(program, set(programs))}",
            next_step=_NAMES,
        )
    if pattern is not None and not any(map(_may_match(program), programs)):
        raise ConfigError(
            f"{where}: {program!r} matches no program{nearest(program, set(programs))}",
            next_step=_NAMES,
        )
    return Entry(kind, name, why, where, status, pattern)


def _known(program: str, programs: Iterable[str]) -> bool:
    return any(
        program.startswith(one) and program != one if one.endswith(":") else program == one
        for one in programs
    )


def _may_match(program: str) -> Callable[[str], bool]:
    """Return what tells whether the first part of an expression may be about a program."""
    try:
        pattern = re.compile(program)
    except re.error:
        return lambda one: True  # a group that goes on behind the separator

    def may(one: str) -> bool:
        return program.startswith(one) if one.endswith(":") else bool(pattern.fullmatch(one))

    return may


def _refuse_twice(entries: Iterable[Entry]) -> None:
    seen: dict[str, Entry] = {}
    for entry in entries:
        other = seen.setdefault(entry.name, entry)
        if other is not entry:
            raise ConfigError(f"{entry.where}: {entry.name!r} stands at {other.where}, too")
