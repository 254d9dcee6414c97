"""What a debug kernel's kmemleak finds: objects that nothing refers to, blamed on who made them.

kmemleak scans memory for pointers when it is told to, and lists each allocated object to which it
saw none, with the jiffies of its allocation. :class:`MemoryLeaks` writes down the jiffies at which
each test began, so one scan, whenever it comes, tells whose the object is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

FILE = "/sys/kernel/debug/kmemleak"
KMEMLEAK = "kmemleak"
"""Name of the fact that a board has it, and of what is absent where it does not work."""
PATTERN = "memory_leak"
"""Name of the complaint, also of the one with which the kernel says that there is something."""
MAX_OBJECTS = 1000
"""Objects of one scan that are told apart; of more only the first."""
SCAN_S = 600.0
"""Bound on scanning: seconds on an idle emulator, more the more memory is in use."""

_HEAD = re.compile(r"unreferenced (?:\S+ )?object(?: \(\w+\))? 0x([0-9a-f]+) \(size (\d{1,18})\):")
_WHO = re.compile(r' *comm "(.*)", pid (\d{1,10}), jiffies (\d{1,20})\b.*')
_FRAME = re.compile(r"    (?:\[<\S+>\] )?([A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+.*")
_ALLOCATOR = re.compile(
    r"_*(?:do_)?(?:kmem_cache_|kmemleak_|slab_|kmalloc|kzalloc|kcalloc|krealloc|kvmalloc|kvzalloc|"
    r"vmalloc|vzalloc|kmemdup|kstrdup)"
)
_SHOWN = 4
# What is white is told from the second scan on that sees the same content, if it is 5 s old by
# then (kmemleak_scan(), MSECS_MIN_AGE; mm/kmemleak.c, Linux 6.12). A pointer may be on its way
# while it is looked for, so what is found is believed if one more scan does not find it either.
_SCAN = (
    f"echo scan > {FILE} && sleep 6 && echo scan > {FILE} && "
    f'if [ -n "$(head -c 1 {FILE})" ]; then echo scan > {FILE}; fi && '
    f"cat {FILE} && echo clear > {FILE}"
)


@dataclass(frozen=True, slots=True)
class LostObject:
    """An allocated object that nothing refers to; ``lines`` is how kmemleak tells of it.

    ``jiffies`` is when ``comm`` with the thread id ``pid`` allocated it, in ``callers``, the
    nearest first and the allocator left out. An interrupt has the pid 0.
    """

    size: int
    comm: str
    pid: int
    jiffies: int
    callers: tuple[str, ...]
    lines: tuple[str, ...]

    def __str__(self) -> str:
        """Return it in a line."""
        way = " < ".join(self.callers[:_SHOWN]) or "an unknown caller"
        return f"{self.size} bytes by {self.comm} (pid {self.pid}) in {way}"


@dataclass(frozen=True, slots=True)
class Leak:
    """All objects that one owner lost."""

    owner: str
    objects: tuple[LostObject, ...]
    excused: bool

    def __str__(self) -> str:
        """Return it in a line, as a complaint of the kernel."""
        count = len(self.objects)
        said = f"kmemleak: {count} object{'s' if count > 1 else ''} that nothing refers to: "
        return f"{said}{self.objects[0]}{', …' if count > 1 else ''}"


def parse(text: str) -> list[LostObject]:
    """Return what kmemleak's file lists, at most :data:`MAX_OBJECTS`."""
    found: list[LostObject] = []
    lines: list[str] = []
    for line in [*text.splitlines(), "unreferenced"]:
        if line.startswith("unreferenced") and lines:
            one = _object(lines)
            if one is not None:
                found.append(one)
            if len(found) == MAX_OBJECTS:
                break
            lines = []
        lines.append(line)
    return found


def _object(lines: Sequence[str]) -> LostObject | None:
    head = _HEAD.match(lines[0])
    who = _WHO.fullmatch(lines[1]) if len(lines) > 1 else None
    if head is None or who is None:
        return None
    frames = (match[1] for line in lines[2:] if (match := _FRAME.fullmatch(line)))
    callers = tuple(one for one in frames if not _ALLOCATOR.match(one))
    return LostObject(int(head[2]), who[1], int(who[2]), int(who[3]), callers, tuple(lines))


@dataclass(slots=True)
class MemoryLeaks:
    """Whose memory is lost on one booted board.

    ``run`` runs a shell command on it and returns what it printed, ``jiffies`` returns those of the
    board, never the same twice. What a ``known`` line matches is excused.
    """

    run: Callable[[str, float], str]
    jiffies: Callable[[], int]
    known: Sequence[re.Pattern[str]] = ()
    _begun: list[tuple[int, str]] = field(default_factory=list)
    _tolerant: set[str] = field(default_factory=set)
    _dirty: bool = False

    def open(self) -> None:
        """Have kmemleak scan when it is told to, and not by itself.

        Raises:
            BoardError: it does not obey, since it is switched off; or the board has no time.
        """
        self.run(f"echo scan=off > {FILE}", SCAN_S)
        self.jiffies()

    def begin(self, owner: str) -> None:
        """Note that what is allocated from here on is ``owner``'s.

        Raises:
            BoardError: the board does not tell the time, or was lost.
        """
        self._dirty = True
        if not self._begun or self._begun[-1][1] != owner:
            self._begun.append((self.jiffies(), owner))

    def tolerate(self) -> None:
        """Note that whoever has begun last loses memory on purpose."""
        if self._begun:
            self._tolerant.add(self._begun[-1][1])

    def scan(self) -> list[Leak]:
        """Return what was lost since the last scan, by its owners; takes seconds.

        What was lost before anybody began has the owner "", and is excused: it was lost at boot.

        Raises:
            BoardError: kmemleak is switched off, or the board was lost.
        """
        if not self._dirty:
            return []
        self._dirty = False
        lost: dict[str, list[LostObject]] = {}
        for one in parse(self.run(_SCAN, SCAN_S)):
            lost.setdefault(self._owner(one), []).append(one)
        return [leak for owner, objects in lost.items() for leak in self._leaks(owner, objects)]

    def _owner(self, lost: LostObject) -> str:
        before = [owner for jiffies, owner in self._begun if jiffies <= lost.jiffies]
        return before[-1] if before else ""

    def _leaks(self, owner: str, objects: Sequence[LostObject]) -> list[Leak]:
        if not owner or owner in self._tolerant:
            return [Leak(owner, tuple(objects), True)]
        known = [one for one in objects if self._is_known(one)]
        other = [one for one in objects if not self._is_known(one)]
        both = (Leak(owner, tuple(known), True), Leak(owner, tuple(other), False))
        return [leak for leak in both if leak.objects]

    def _is_known(self, lost: LostObject) -> bool:
        line = str(Leak("", (lost,), False))
        return any(one.search(line) for one in self.known)
