"""The output of ``v4l2-compliance`` (v4l-utils 1.22 to 1.32) for one device node.

A case is named by its section and the test: ``Control ioctls (Input 0)/VIDIOC_QUERYCTRL``. The
lines ``fail:`` before a test that failed are its reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from farm.external.results import MAX_CASES, Case, Output, Status, clean, named

_BEGIN = re.compile(r"Compliance test for .+:")
_SECTION = re.compile(r"([A-Z][^:]{0,100}):")
_CONTEXT = re.compile(r"Test (input|output) (\d{1,3})")
_TEST = re.compile(r"\s*test (.{1,200}?): (OK|FAIL|Cannot test)\b(.*)")
_TOLD = re.compile(r"\s*(fail|warn): (.*)")
_TOTAL = re.compile(
    r"Total for .+: (\d{1,9}), Succeeded: (\d{1,9}), Failed: (\d{1,9}), Warnings: (\d{1,9})"
)
_MAX_TOLD = 4


@dataclass(slots=True)
class _Reading:
    begun: bool = False
    section: str = ""
    context: str = ""
    cases: list[Case] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    total: tuple[int, ...] = ()

    def take(self, line: str) -> None:
        if match := _TEST.fullmatch(line):
            self._test(*match.groups())
        elif match := _TOLD.fullmatch(line):
            if len(self.told) < _MAX_TOLD:
                self.told.append(clean(match[2], 160))
        elif match := _TOTAL.fullmatch(line):
            self.total = tuple(map(int, match.groups()))
        elif _BEGIN.fullmatch(line):
            self.begun = True
        elif match := _SECTION.fullmatch(line):
            self._enter(match[1])

    def _enter(self, title: str) -> None:
        if match := _CONTEXT.fullmatch(title):
            self.context = f" ({match[1].capitalize()} {match[2]})"
        elif "(" in title:  # names its own input or pad
            self.context = ""
            self.section = title
        else:
            self.section = title + self.context

    def _test(self, name: str, word: str, rest: str) -> None:
        rest = rest.strip()
        why = "; ".join(self.told)
        self.told = []
        if word == "FAIL":
            status = Status.FAIL
        elif word == "Cannot test":
            status, why = Status.SKIP, f"cannot test{rest}"
        elif rest == "(Not Supported)":
            status, why = Status.SKIP, "the driver does not support it"
        else:
            status, why = Status.PASS, f"warnings: {why}" if why else ""
        if len(self.cases) <= MAX_CASES:
            self.cases.append(Case(f"{self.section}/{name}", status, why))

    def problem(self, status: int) -> str:
        """Return what keeps the whole from being believed, given the exit status."""
        if not self.begun:
            return "it printed no 'Compliance test for'"
        if len(self.cases) > MAX_CASES:
            return f"more than {MAX_CASES} tests"
        if not self.total:
            return "its output ends before 'Total for'"
        counted = [case for case in self.cases if not case.reason.startswith("cannot test")]
        failed = sum(case.status is Status.FAIL for case in counted)
        if self.total[0] != len(counted) or self.total[2] != failed:
            return (
                f"its total says {self.total[0]} tests and {self.total[2]} failed, "
                f"its results {len(counted)} and {failed}"
            )
        if (status != 0) != (failed > 0):  # it exits with what its last failing test returned
            return f"{failed} of its tests failed, and its exit status is {status}"
        return ""


def parse(text: str, status: int) -> Output:
    """Return what ``v4l2-compliance`` said about one node, ending with the exit status."""
    reading = _Reading()
    for line in re.split(r"[\r\n]+", text):
        reading.take(line.rstrip())
    return Output(named(reading.cases[:MAX_CASES]), problem=reading.problem(status))
