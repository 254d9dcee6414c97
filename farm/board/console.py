"""What the kernel says on a console: complaint patterns and an incremental recogniser.

:data:`PATTERNS` is the one table of kernel complaints. A new pattern is a new row here and a sample
line in the table's test.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MAX_LINE = 4096
"""Longest console line, in bytes; longer ones are cut into lines of this length."""

LEFT_BEHIND = "left behind by the case: "
"""How a line begins that says what a case left behind; the harness says it, and no kernel."""

BOOT_BANNER = "boot_banner"
"""Name of the pattern that says that a kernel starts."""

LOADER_BANNERS: Mapping[str, str] = {
    "uboot_banner": "U-Boot",
    "uboot_spl_banner": "U-Boot's first stage",
}
"""Names of the patterns that say that a boot loader starts, and of what starts."""

BANNERS: Mapping[str, str] = {BOOT_BANNER: "the kernel", **LOADER_BANNERS}
"""Names of all patterns that say that something starts: in mid-test the board reset itself."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of complaint.

    ``fatal`` says that the kernel is not to be trusted any more, so the board is power-cycled.
    """

    name: str
    regex: str
    fatal: bool = False


PATTERNS: tuple[Pattern, ...] = (
    Pattern("leak", f"^{LEFT_BEHIND}"),
    Pattern("panic", r"(?<!-\[ end )Kernel panic - not syncing", fatal=True),
    Pattern("oops", r"Internal error: Oops|\bOops: |\bOops\[#", fatal=True),
    Pattern("kernel_fault", r"Unable to handle kernel", fatal=True),
    Pattern("kernel_bug", r"kernel BUG at ", fatal=True),
    Pattern("internal_error", r"Internal error: ", fatal=True),
    Pattern("kasan", r"BUG: KASAN: "),
    Pattern("kfence", r"BUG: KFENCE: "),
    Pattern("ubsan", r"UBSAN: "),
    Pattern("soft_lockup", r"BUG: soft lockup", fatal=True),
    Pattern("hard_lockup", r"hard LOCKUP", fatal=True),
    Pattern("rcu_stall", r"rcu: INFO: .*(?:stall|detected)", fatal=True),
    Pattern(
        "lockdep",  # kernel/locking/lockdep.c, 6.12
        r"WARNING: (?:possible (?:circular|recursive) locking|possible irq lock inversion|"
        r"inconsistent lock state|suspicious RCU usage|bad (?:unlock balance|contention)|"
        r"held lock freed|lock held when returning|possible reset-order|Nested lock was not taken|"
        r"\S+-safe -> \S+-unsafe lock order|\S+/\d+ still has locks held)|"
        r"possible circular locking dependency|INFO: trying to register non-static key",
    ),
    Pattern("memory_leak", r"kmemleak: \d+ new suspected memory leaks"),
    # DMA_API_DEBUG: this line says what, the WARNING after it only where (kernel/dma/debug.c).
    Pattern(
        "dma_api",
        r"DMA-API: (?!Mapped at|preallocated|\d+ debug entries|debugging (?:en|dis)abled|"
        r"dma_debug_entry pool|(?:enable|switching off) )",
    ),
    Pattern("warning", r"WARNING: (?!.*kernel/dma/debug\.c:)(?:CPU: ?\d+ |\S+:\d+ at |\S+ at )"),
    # slab_bug() (mm/slub.c, 6.12): the cache's name, no colon after BUG.
    Pattern("slab", r"\bBUG \S.{0,63} \((?:Not tainted|Tainted: [^)]{1,64})\): "),
    Pattern("bug", r"\bBUG: "),
    Pattern("hung_task", r"INFO: task .{1,64} blocked for more than"),
    Pattern("out_of_memory", r"Out of memory: |invoked oom-killer"),
    Pattern("smmu_event", r"arm-smmu-v3 \S+ ?.*event 0x[0-9a-f]+"),
    Pattern("smmu_context_fault", r"Unhandled context fault"),
    Pattern("no_network", r"^farm: no network card", fatal=True),  # farm/image/init.sh
    Pattern("loader_crash", r'"\w[\w ]*" handler, esr 0x|### ERROR ### Please RESET', fatal=True),
    Pattern(BOOT_BANNER, r"Booting Linux on physical CPU", fatal=True),
    Pattern("uboot_banner", r"^U-Boot \d{4}\.\d\d", fatal=True),
    Pattern("uboot_spl_banner", r"^U-Boot [ST]PL \d{4}\.\d\d", fatal=True),
)
"""Kernel complaints, most telling first: a line's complaint is the first row that matches."""


@dataclass(frozen=True, slots=True)
class ConsoleEvent:
    """A complaint on the console; ``line_number`` counts the lines of the recording from 0."""

    pattern: str
    fatal: bool
    line: str
    line_number: int


class Matcher:
    """Finds the complaint that a line is, if it is one."""

    def __init__(self, extra: Iterable[tuple[str, str]] = ()) -> None:
        """Take a board type's own patterns, name and regular expression, after the table's."""
        rows = [*PATTERNS, *(Pattern(name, regex) for name, regex in extra)]
        self._rows = [(row, re.compile(row.regex)) for row in rows]

    def match(self, line: str) -> Pattern | None:
        """Return the first row that matches ``line``."""
        for row, regex in self._rows:
            if regex.search(line):
                return row
        return None


def escape(data: bytes) -> str:
    r"""Return bytes as printable text: control characters and bad UTF-8 become ``\xNN``."""
    text = data.decode("utf-8", errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\t" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class Recogniser:
    """Turns a stream of bytes, however it is cut into chunks, into lines and complaints."""

    def __init__(self, matcher: Matcher | None = None) -> None:
        """Start at line 0 of a recording."""
        self._matcher = matcher or Matcher()
        self._partial = bytearray()
        self._number = 0

    @property
    def line_number(self) -> int:
        """Number of the line that is being received."""
        return self._number

    @property
    def partial(self) -> str:
        """Return what has been received of the line that has not ended yet."""
        return escape(bytes(self._partial))

    def feed(self, data: bytes) -> tuple[list[str], list[ConsoleEvent]]:
        """Take the next bytes; return the lines that they complete and the complaints in these."""
        self._partial += data
        lines: list[str] = []
        start = 0
        while True:
            end = self._partial.find(b"\n", start, start + MAX_LINE + 1)
            if end >= 0:
                lines.append(escape(bytes(self._partial[start:end]).rstrip(b"\r")))
                start = end + 1
            elif len(self._partial) - start > MAX_LINE:
                lines.append(escape(bytes(self._partial[start : start + MAX_LINE])))
                start += MAX_LINE
            else:
                break
        del self._partial[:start]
        return lines, self._complaints(lines)

    def flush(self) -> tuple[list[str], list[ConsoleEvent]]:
        """End the line that is being received, as when the board was switched off in its middle."""
        lines = [escape(bytes(self._partial).rstrip(b"\r"))] if self._partial else []
        self._partial.clear()
        return lines, self._complaints(lines)

    def _complaints(self, lines: Sequence[str]) -> list[ConsoleEvent]:
        events = []
        for line in lines:
            row = self._matcher.match(line)
            if row is not None:
                events.append(ConsoleEvent(row.name, row.fatal, line, self._number))
            self._number += 1
        return events
