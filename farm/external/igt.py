"""Output of IGT GPU tools: one test program's own, and the ``results.json`` of ``igt_runner``.

A test with subtests gives a case for each, and for dynamic subtests ``subtest@dynamic``; a test
without any is one case of its own name, as in IGT's ``igt@test``. Exit statuses: lib/igt_core.h.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farm.external.results import MAX_CASES, Case, Output, Status, clean, named

ON_EACH = (
    "core_auth",
    "core_getclient",
    "core_getversion",
    "dumb_buffer",
    "kms_addfb_basic",
    "kms_getfb",
    "kms_prime",
    "kms_prop_blob",
    "syncobj_basic",
    "syncobj_eventfd",
    "syncobj_timeline",
    "syncobj_wait",
)
"""Tests of any DRM device about buffers, fences or the sharing of them."""

ON_VGEM = ("dmabuf_sync_file", "vgem_basic", "vgem_slow")
"""Tests that open vgem, whichever device they are told."""

ON_NONE = ("sw_sync",)
"""Tests that open no DRM device."""

TESTS = (*ON_EACH, *ON_VGEM, *ON_NONE)

MAX_JSON = 32 << 20
"""Largest ``results.json`` that is read, in bytes."""


class Exit(IntEnum):
    """What a test program's exit status means."""

    SUCCESS = 0
    SKIP = 77
    INVALID = 79
    FAILURE = 98
    ABORT = 112


_STATUS = {
    "SUCCESS": Status.PASS,
    "SKIP": Status.SKIP,
    "FAIL": Status.FAIL,
    "CRASH": Status.CRASH,
    "TIMEOUT": Status.TIMEOUT,
}
_HEADER = re.compile(r"IGT-Version: .+")
_START = re.compile(r"Starting (dynamic )?subtest: (\S{1,200})")
_END = re.compile(r"(Dynamic subtest|Subtest) (\S{1,200}): ([A-Z]{4,8}) \((\d{1,9}\.\d{1,9})s\)")
_WHOLE = re.compile(r"([A-Z]{4,8}) \((\d{1,9}\.\d{1,9})s\)")
_WHY = re.compile(
    r".*?(Test requirement not met in .*|Test requirement: .*|Failed assertion: .*|"
    r"Test assertion failure .*|Received signal SIG\w+.*|last errno: .*|Last errno: .*|"
    r"No dynamic tests executed\.)"
)
_CRITICAL = re.compile(
    r"(?:\[ *[\d.]{1,20}\] )?\(\S{1,80}\) (?:\[thread:\d+\] )?(?:\S{1,80}-)?CRITICAL: (.+)"
)
_FAILED = re.compile(r"(?:Dynamic subtest|Subtest|Test) (\S{1,200}) failed\.")
_DEBUG_BLOCK = re.compile(r"^\*\*\*\* DEBUG \*\*\*\*$.*?^\*\*\*\*  END  \*\*\*\*$", re.M | re.S)
_MAX_TOLD = 3


def _failures(errors: str) -> dict[str, list[str]]:
    """Return by test what a program wrote to stderr before it said that the test failed."""
    found: dict[str, list[str]] = {}
    told: list[str] = []
    for line in _DEBUG_BLOCK.sub("", errors).splitlines():
        if match := _FAILED.fullmatch(line.strip()):
            found.setdefault(match[1], told[:_MAX_TOLD])
            told = []
        elif match := _CRITICAL.fullmatch(line.strip()):
            told.append(clean(match[1], 160))
    return found


@dataclass(slots=True)
class _Reading:
    test: str
    failures: dict[str, list[str]] = field(default_factory=dict)
    begun: bool = False
    subtest: str = ""
    dynamic: str = ""
    cases: list[Case] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    whole: Case | None = None
    problem: str = ""

    def take(self, line: str) -> None:
        if _HEADER.fullmatch(line):
            self.begun = True
        elif match := _START.fullmatch(line):
            self._start(match[2], dynamic=match[1] is not None)
        elif match := _END.fullmatch(line):
            self._end(*match.groups())
        elif match := _WHOLE.fullmatch(line):
            self.whole = self._case(self.test, match[1], match[2])
        elif (match := _WHY.fullmatch(line)) and len(self.told) < _MAX_TOLD:
            self.told.append(clean(match[1], 160))

    def _start(self, name: str, *, dynamic: bool) -> None:
        if dynamic:
            self.dynamic = name
        else:
            if self.subtest:
                self._wrong(f"subtest {name} starts before {self.subtest} has ended")
            self.subtest = name

    def _end(self, kind: str, name: str, word: str, seconds: str) -> None:
        if word == "SKIP" and not self.subtest:  # without a start, as more, for a reason told once
            self.told = self.lacking = self.told or self.lacking
        if name in self.failures:
            self.told = self.failures[name]
        if kind == "Dynamic subtest":
            name, self.dynamic = f"{self.subtest}@{name}", ""
        elif self.subtest and name != self.subtest:
            self._wrong(f"subtest {name} ends, {self.subtest} had started")
        else:
            self.subtest = self.dynamic = ""
        if len(self.cases) < MAX_CASES:
            self.cases.append(self._case(name, word, seconds))
        else:
            self._wrong(f"more than {MAX_CASES} subtests")

    def _wrong(self, problem: str) -> None:
        self.problem = self.problem or problem

    def _case(self, name: str, word: str, seconds: str) -> Case:
        status = _STATUS.get(word)
        if status is None:
            self._wrong(f"{name} has the unknown result {word!r}")
            status = Status.FAIL
        why = "; ".join(self.told) if status is not Status.PASS else ""
        self.told = []
        return Case(name, status, why, float(seconds))


def parse(
    test: str, text: str, status: int, errors: str = "", *, planned: Iterable[str] = ()
) -> Output:
    """Return what the program ``test`` said on its output and error streams.

    ``errors`` is what it wrote to stderr: the reasons of failures that stdout does not tell.
    Subtests that were ``planned`` and that it does not tell of are missing.
    """
    reading = _Reading(test, _failures(errors))
    for line in text.splitlines():
        reading.take(line.strip())
    cases = reading.cases or ([reading.whole] if reading.whole else [])
    open_one = "@".join(filter(None, (reading.subtest, reading.dynamic)))
    if open_one and status not in (Exit.INVALID,):
        why = "; ".join(reading.told) or f"it started and never ended; exit status {status}"
        cases.append(Case(open_one, Status.CRASH, why))
    problem = _problem(reading, cases, status, errors)
    return Output(named([*cases, *_untold(cases, planned)]), problem=problem)


def _untold(cases: Iterable[Case], planned: Iterable[str]) -> list[Case]:
    told = {case.name for case in cases}
    return [Case(name, Status.MISSING, "it never ran") for name in planned if name not in told]


def _problem(reading: _Reading, cases: list[Case], status: int, errors: str) -> str:
    last = clean(errors.strip().rpartition("\n")[2], 160)
    if status == Exit.INVALID:
        return f"it rejects how it was called: {last or 'no word why'}"
    if not reading.begun:
        return f"it printed no 'IGT-Version:'{f': {last}' if last else ''}"
    if reading.problem:
        return reading.problem
    if not cases:
        return "it told of no result"
    failed = any(case.status.is_failure for case in cases)
    if failed == (status in (Exit.SUCCESS, Exit.SKIP)):
        word = "a failure" if failed else "no failure"
        return f"its results tell of {word}, its exit status is {status}"
    return ""


# --- igt_runner -----------------------------------------------------------------------------------

_RUNNER = {
    "pass": Status.PASS,
    "warn": Status.PASS,
    "dmesg-warn": Status.FAIL,
    "dmesg-fail": Status.FAIL,
    "fail": Status.FAIL,
    "abort": Status.CRASH,
    "crash": Status.CRASH,
    "incomplete": Status.CRASH,
    "timeout": Status.TIMEOUT,
    "skip": Status.SKIP,
    "notrun": Status.MISSING,
}
"""igt_runner's words (runner/resultgen.c) and ours."""

_WARNED = re.compile(r"<[0-4]> \[ *[\d.]{1,20}\] (.+)")
"""A line of the kernel's log for which a result becomes dmesg-warn or dmesg-fail."""


class _Time(BaseModel):
    model_config = ConfigDict(extra="ignore")

    start: float = 0.0
    end: float = 0.0


class _Test(BaseModel):
    model_config = ConfigDict(extra="ignore")

    result: str
    err: str = ""
    out: str = ""
    dmesg: str = ""
    time: _Time = _Time()


class _Results(BaseModel):
    model_config = ConfigDict(extra="ignore")

    kind: str = Field(alias="__type__", pattern="^TestrunResult$")
    tests: Annotated[dict[str, _Test], Field(max_length=MAX_CASES)]
    totals: dict[str, dict[str, int | str]] = {}


def parse_results(text: str, test: str, errors: str = "", *, planned: Iterable[str] = ()) -> Output:
    """Return what the ``results.json`` of one run of ``igt_runner`` holds about one test.

    A case is named as there, less what is before the subtest: ``basic-read``. ``errors`` is what
    igt_runner said; subtests that were ``planned`` and are not in it are missing.
    """
    if len(text) > MAX_JSON:
        return Output((), problem=f"results.json has more than {MAX_JSON} characters")
    if not text.strip():
        last = clean(errors.strip().rpartition("\n")[2], 160)
        return Output((), problem=f"igt_runner wrote no results.json: {last or 'no word why'}")
    try:
        results = _Results.model_validate_json(text)
    except (ValidationError, ValueError, RecursionError) as error:
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        return Output((), problem=f"results.json is none of igt_runner's: {clean(told, 160)}")
    unknown = sorted({test.result for test in results.tests.values()} - set(_RUNNER))
    if unknown:
        return Output((), problem=f"results.json has the unknown result {clean(unknown[0], 40)!r}")
    others = [name for name in results.tests if name.split("@")[:2] != ["igt", test]]
    if others:
        return Output((), problem=f"results.json tells of {clean(others[0], 80)!r}, not of {test}")
    cases = [_run_case(name, one) for name, one in results.tests.items()]
    problem = "" if cases else "results.json holds no test"
    counts = Counter(test.result for test in results.tests.values())
    totals = {
        word: count
        for word, count in results.totals.get("", {}).items()
        if isinstance(count, int) and count
    }
    if totals and totals != counts:
        problem = f"results.json's totals are {json.dumps(totals)}, its results {dict(counts)}"
    return Output(named([*cases, *_untold(cases, planned)]), problem=problem)


def _run_case(name: str, test: _Test) -> Case:
    subtest = name.partition("@")[2].partition("@")[2]
    why = "; ".join([test.result, *_reasons(subtest, test)]) if test.result != "pass" else ""
    duration = max(0.0, test.time.end - test.time.start)
    return Case(subtest or name.partition("@")[2], _RUNNER[test.result], why, duration)


def _reasons(subtest: str, test: _Test) -> list[str]:
    """Return what the kernel's log, or the program, says of a result that is no pass."""
    if test.result.startswith("dmesg"):
        found = [match[1] for match in map(_WARNED.fullmatch, test.dmesg.splitlines()) if match]
    else:
        found = _failures(test.err).get(subtest.rpartition("@")[2], [])
    if not found:
        lines = f"{test.out}\n{test.err}".splitlines()
        found = [match[1] for match in map(_WHY.fullmatch, lines) if match]
    return [clean(one, 160) for one in dict.fromkeys(found)][:_MAX_TOLD]
