"""TAP as kernel selftests print it (tools/testing/selftests/kselftest.h, kselftest_harness.h).

The exit status is not believed: ``drivers/dma-buf/udmabuf.c`` ends with 0 whatever failed. What is
believed is a plan that all results fill, in order, and totals that agree with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from farm.external.results import MAX_CASES, Case, Output, Status, clean, named

KSFT_SKIP = 4
"""Exit status of a selftest that ran nothing, kselftest.h."""

_VERSION = re.compile(r"K?TAP version \d{1,2}")
_PLAN = re.compile(r"1\.\.(\d{1,9})(?: *# *SKIP *(.*))?")
_RESULT = re.compile(r"(not )?ok (\d{1,9})(?: - | |$)(.*)")
_DIRECTIVE = re.compile(r"(.*?) ?# ?(SKIP|XFAIL|TODO|XPASS|ERROR)\b:? ?(.*)", re.I)
_TOTALS = re.compile(
    r"# Totals: pass:(\d{1,9}) fail:(\d{1,9}) xfail:(\d{1,9}) xpass:(\d{1,9}) skip:(\d{1,9})"
    r" error:(\d{1,9})"
)
HEAP = re.compile(r"# Testing heap: (\S{1,100})")
"""What dmabuf-heap.c prints before the results of each heap, which have the same names."""

_ORNAMENT = re.compile(r"\[RUN\]\s*|.*\[(?:PASS|FAIL), ?(?=.*\]$)|(?: (?:0|-\d{1,6})|\]|:)$")
"""What udmabuf.c and sync_test.c print around a name, and the number some print behind it."""
_BAIL = re.compile(r"Bail out!(.*)")
_TOLD = 3


class _Garbled(Exception):
    """A line that contradicts the format or those before it."""


@dataclass(slots=True)
class _Reading:
    group: re.Pattern[str] | None = None
    prefix: str = ""
    begun: bool = False
    planned: int | None = None
    skipped: str = ""
    cases: list[Case] = field(default_factory=list)
    failed: int = 0
    totals: tuple[int, ...] = ()
    bailed: str = ""
    told: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        if _VERSION.fullmatch(line):
            if self.begun:
                raise _Garbled("a second version line")
            self.begun = True
        elif line.startswith("1.."):
            self._plan(line)
        elif re.match(r"(not )?ok\b", line):
            self._result(line)
        elif match := _TOTALS.match(line):
            self.totals = tuple(map(int, match.groups()))
        elif match := _BAIL.match(line):
            self.bailed = clean(match[1], 200) or "it gave no reason"
        elif self.group is not None and (match := self.group.match(line)):
            self.prefix = f"{match[1]}/"
        elif line.strip("# \t"):
            self.told = [*self.told, line.lstrip("# \t")][-_TOLD:]

    def _plan(self, line: str) -> None:
        match = _PLAN.fullmatch(line)
        if match is None or not self.begun or self.planned is not None:
            raise _Garbled(f"{clean(line, 80)!r} where no plan was expected")
        self.planned = int(match[1])
        if not self.planned:
            self.skipped = clean(match[2] or "", 200) or "it has no tests"

    def _result(self, line: str) -> None:
        match = _RESULT.fullmatch(line)
        if match is None or not self.begun:
            raise _Garbled(f"{clean(line, 80)!r} is no result of a test")
        wanted = len(self.cases) + 1
        if int(match[2]) != wanted:
            raise _Garbled(f"result {int(match[2])} where {wanted} was expected")
        if wanted > MAX_CASES:
            raise _Garbled(f"more than {MAX_CASES} results")
        self.failed += match[1] is not None
        self.cases.append(self._case(match[3], failed=match[1] is not None))
        self.told = []

    def _case(self, text: str, *, failed: bool) -> Case:
        directive = _DIRECTIVE.fullmatch(text)
        name, word, why = (text, "", "") if directive is None else directive.groups()
        # ksft_test_result_skip() and its like print the name behind the directive.
        name, why = (name, why) if name.strip() else (why, "")
        name = self.prefix + _ORNAMENT.sub("", name.strip()).strip()
        if failed:
            return Case(name, Status.FAIL, why or "; ".join(self.told))
        if word.upper() == "SKIP":
            return Case(name, Status.SKIP, why or "; ".join(self.told))
        if word.upper() in ("XFAIL", "TODO"):
            return Case(name, Status.EXPECTED_FAIL, why or "; ".join(self.told))
        return Case(name, Status.PASS)

    def short(self) -> str:
        """Return how many results the plan lacks, in words; nothing if it lacks none."""
        if self.planned is None or len(self.cases) >= self.planned:
            return ""
        return f"it planned {self.planned} tests and told of {len(self.cases)}"

    def problem(self) -> str:
        """Return what keeps what was said from being believed."""
        if not self.begun:
            return "it printed no TAP"
        if self.planned is None:
            return "it printed no plan"
        if len(self.cases) > self.planned:
            return f"it planned {self.planned} tests and told of {len(self.cases)}"
        told = (self.totals[1] + self.totals[3] + self.totals[5]) if self.totals else self.failed
        if told != self.failed and not self.short():
            return f"its totals say {told} failed, its results {self.failed}"
        return ""


def parse(text: str, status: int, *, group: re.Pattern[str] | None = None) -> Output:
    """Return what a selftest said that ended with the exit status ``status``.

    A line that ``group`` matches gives the names after it a prefix, such as :data:`HEAP`.
    """
    reading = _Reading(group)
    garbled = ""
    try:
        for line in text.splitlines():
            reading.take(line.rstrip())
    except _Garbled as error:
        garbled = str(error)
    cases = named(reading.cases)
    last = "; ".join(clean(one, 120) for one in reading.told[-1:])
    if status == KSFT_SKIP and not reading.failed:
        # ksft_exit_skip() after a plan counts wrongly: its number is one too high.
        why = re.search(r"# SKIP *(.*)", text, re.I)
        return Output(cases, skipped=clean(why[1], 200) if why else last or "it does not say why")
    if reading.skipped and not garbled:
        return Output(cases, skipped=reading.skipped)
    problem = garbled or reading.problem()
    if problem or not reading.short():
        return Output(cases, problem=problem, ended=_bailed(reading))
    if reading.bailed or 0 < status < 128:  # it gave up by its own will, and says so
        return Output(
            cases, ended=_bailed(reading) or f"{reading.short()}: {last or 'no word why'}"
        )
    return Output(cases, problem=reading.short())


def _bailed(reading: _Reading) -> str:
    return f"it bailed out: {reading.bailed}" if reading.bailed else ""
