"""TAP as kernel selftests print it (tools/testing/selftests/kselftest.h, kselftest_harness.h).

What is believed is a plan that all results fill, in order, totals that agree with them, and an exit
status that contradicts neither; but 0 tells nothing, as ``drivers/dma-buf/udmabuf.c`` ends with it
whatever failed.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from farm.external.results import MAX_CASES, Case, Output, Status, clean, counted, named

KSFT_XFAIL, KSFT_SKIP = 2, 4
"""Exit statuses, kselftest.h; the last is that of a selftest that ran nothing."""

_VERSION = re.compile(r"K?TAP version \d{1,2}")
_PLAN = re.compile(r"1\.\.(\d{1,9})(?: *# *SKIP *(.*))?")
_RESULT = re.compile(r"(not )?ok (\d{1,9})(?: - | |$)(.*)")
_DIRECTIVE = re.compile(r"((?:.*? )?)# (SKIP|XFAIL|TODO|XPASS|error|ERROR)\b:? ?(.*)")
_GAVE_UP = re.compile(r"ok (\d{1,9}) # SKIP ?(.*)")
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
    gave_up: str = ""
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
            if self.gave_up:
                raise _Garbled(f"{clean(line, 80)!r} after it had given up")
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
        # ksft_exit_skip() after a plan counts wrongly: its number is one too high.
        if (given_up := _GAVE_UP.fullmatch(line)) and int(given_up[1]) == wanted + 1:
            self.gave_up = clean(given_up[2], 200) or "it does not say why"
            return
        if int(match[2]) != wanted:
            raise _Garbled(f"result {int(match[2])} where {wanted} was expected")
        if wanted > MAX_CASES:
            raise _Garbled(f"more than {MAX_CASES} results")
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
        if word == "XPASS":
            return Case(name, Status.FAIL, f"it passes, which it is not to: {why}")
        if word == "SKIP":
            return Case(name, Status.SKIP, why or "; ".join(self.told))
        if word in ("XFAIL", "TODO"):
            return Case(name, Status.EXPECTED_FAIL, why or "; ".join(self.told))
        return Case(name, Status.PASS)

    def untold(self) -> tuple[str, ...]:
        """Return the numbers of the results that the plan lacks, as far as results are taken."""
        end = min(self.planned or 0, MAX_CASES)
        return tuple(f"#{number}" for number in range(len(self.cases) + 1, end + 1))

    def short(self) -> str:
        """Return how many results the plan lacks, in words; nothing if it lacks none."""
        if not self.untold():
            return ""
        return f"it planned {self.planned} tests and told of {len(self.cases)}"

    def problem(self, status: int) -> str:
        """Return what keeps what was said from being believed, given the exit status."""
        if not self.begun:
            return "it printed no TAP"
        if self.gave_up and status != KSFT_SKIP:
            return f"it gave up ({self.gave_up}) with exit status {status}"
        found = Counter(case.status for case in self.cases)
        if self.totals:
            passed, fail, xfail, xpass, skip, error = self.totals
            told = (passed, fail + xpass + error, xfail, skip - bool(self.gave_up))
            kinds = (Status.PASS, Status.FAIL, Status.EXPECTED_FAIL, Status.SKIP)
            if told != tuple(found[kind] for kind in kinds):
                words = ", ".join(f"{n} {kind}" for n, kind in zip(told, kinds, strict=True))
                return f"its totals say {words}; its results {counted(tuple(self.cases))}"
        if status == KSFT_SKIP and (self.untold() or not self.cases):
            return ""
        if self.planned is None:
            return "it printed no plan"
        if len(self.cases) > self.planned:
            return f"it planned {self.planned} tests and told of {len(self.cases)}"
        if status == KSFT_SKIP and len(self.cases) > found[Status.SKIP]:
            return "it ran all of its tests, and its exit status says that it skipped them"
        if self.untold() or self.bailed or self.skipped or found[Status.FAIL]:
            return ""
        fitting = {
            0: True,
            KSFT_XFAIL: found[Status.EXPECTED_FAIL],
            KSFT_SKIP: found[Status.SKIP],
        }
        if not fitting.get(status):
            return f"none of its tests failed, and its exit status is {status}"
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
    cases, untold = named(reading.cases), reading.untold()
    last = "; ".join(clean(one, 120) for one in reading.told[-1:])
    problem = garbled or reading.problem(status)
    if problem:
        return Output(cases, problem=problem, untold=untold)
    failed = any(case.status is Status.FAIL for case in cases)
    if reading.skipped or (status == KSFT_SKIP and not failed):
        skips = [case.reason for case in cases if case.reason]
        told = [reading.skipped, reading.gave_up, *skips, last, "it does not say why"]
        return Output(cases, skipped=next(filter(None, told)), untold=untold if cases else ())
    ended = f"it bailed out: {reading.bailed}" if reading.bailed else ""
    if not untold or ended:
        return Output(cases, ended=ended, untold=untold)
    if 0 < status < 128:  # it gave up by its own will, and says so
        return Output(cases, ended=f"{reading.short()}: {last or 'no word why'}", untold=untold)
    return Output(cases, problem=reading.short(), untold=untold)
