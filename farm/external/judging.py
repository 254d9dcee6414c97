"""What the results of a program come to, held against the lists of what is expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from farm.external.lists import SEPARATOR, Kind, Lists
from farm.external.results import Case, Output, Status, counted
from farm.model import Verdict
from farm.yamlfile import nearest

KILLED = 128
"""Exit statuses above this are signals, as a shell tells them."""

_PLAIN = {
    Status.PASS: Verdict.PASS,
    Status.SKIP: Verdict.SKIP,
    Status.EXPECTED_FAIL: Verdict.XFAIL,
    Status.MISSING: Verdict.MISS,
}


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict on a program or on one of its tests; the name is empty for the program itself."""

    name: str
    verdict: Verdict
    reason: str
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program's process ended; ``limit_s`` is set where it was stopped for being slow."""

    status: int
    limit_s: float = 0.0
    truncated: bool = False


def judge(program: str, output: Output, ended: Ended, lists: Lists) -> tuple[Judged, list[Judged]]:
    """Return the verdict on the program as a whole, and those on its tests.

    The program passes if it ran to its end and told of each of its tests, however these came out.
    Where it ended before, and the plan says at which test, that test has the program's verdict and
    those behind it are MISS; SKIP where it gave up, or a list expects that end.
    """
    cases = [judge_case(program, case, lists) for case in output.cases]
    own = _whole(program, output, ended, lists)
    absent = dict(_absent(program, output, lists))
    if own.verdict is Verdict.PASS:
        wrong = [*absent.values(), *_not_left_out(program, output, lists)]
        return (Judged("", Verdict.ERROR, "; ".join(wrong[:3])) if wrong else own), cases
    missed = f"it never ran: {own.reason}"
    gap = Verdict.SKIP if own.verdict in (Verdict.SKIP, Verdict.XFAIL) else Verdict.MISS
    untold = output.untold
    if own.name:  # of the test at which it ended
        cases.append(own)
        untold = untold[1:]
    missing = dict.fromkeys([*untold, *absent])
    return replace(own, name=""), cases + [Judged(name, gap, missed) for name in missing]


def judge_left(
    program: str, own: Verdict, left: Mapping[str, str], lists: Lists
) -> tuple[list[Judged], bool]:
    """Return the verdicts on what a program was expected to leave behind, and whether that is all.

    ``left`` is what it left, by counter, and ``own`` the verdict on the program. An entry of fails
    that a program run to its end does not leave is XPASS.
    """
    held = [
        judge_case(program, Case(name, Status.LEAK, said), lists) for name, said in left.items()
    ]
    known = [one for one in held if one.verdict is Verdict.XFAIL]
    gone = [
        Judged(name, Verdict.XPASS, f"nothing is left; {one.where} expects it: {one.reason}")
        for one in lists.fails_of(program)
        if own is Verdict.PASS and one.status is Status.LEAK
        if (name := one.name.partition(SEPARATOR)[2]) not in left
    ]
    return known + gone, len(known) == len(left)


def judge_case(program: str, case: Case, lists: Lists) -> Judged:
    """Return the verdict on one test of a program; an empty case name is the program itself."""
    name = f"{program}{SEPARATOR}{case.name}" if case.name else program
    verdict, reason = _held(name, case, lists)
    return Judged(case.name, verdict, reason, case.duration_s)


def _held(name: str, case: Case, lists: Lists) -> tuple[Verdict, str]:
    said = f"{case.status}: {case.reason}" if case.reason else str(case.status)
    listed, flake = lists.find(Kind.FAILS, name), lists.find(Kind.FLAKES, name)
    other = flake if listed is None else listed
    if listed is not None and case.status is Status.PASS:
        return Verdict.XPASS, f"it passes; {listed.where} expects {listed.status}: {listed.reason}"
    if listed is not None and case.status is listed.status:
        return Verdict.XFAIL, f"{listed.reason} ({said})"
    if flake is not None and case.status is flake.status:
        return Verdict.XFAIL, f"a known flake: {flake.reason} ({said})"
    if other is not None and case.status.is_failure:
        return Verdict.FAIL, f"{said}; {other.where} expects {other.status}"
    if case.status.is_failure:
        return Verdict.FAIL, said
    return _PLAIN[case.status], case.reason


def _whole(program: str, output: Output, ended: Ended, lists: Lists) -> Judged:
    """Return the verdict on the program; named is the test at which it ended, where that is known.

    Only then is it held against what the lists say of that test, else of the program as a whole.
    """
    found = counted(output.cases)
    at = output.untold[0] if output.untold else ""
    if ended.limit_s:
        slow = Case(at, Status.TIMEOUT, f"it ran for over {ended.limit_s:g} s; so far {found}")
        return judge_case(program, slow, lists)
    if ended.status > KILLED:
        died = Case(at, Status.CRASH, f"it died of signal {ended.status - KILLED}; so far {found}")
        return judge_case(program, died, lists)
    if ended.truncated:
        return Judged("", Verdict.ERROR, f"it printed more than is taken; so far {found}")
    if output.problem:
        told = f"{output.problem} (exit status {ended.status}, {found})"
        return Judged("", Verdict.ERROR, told)
    if output.ended:
        return judge_case(program, Case(at, Status.FAIL, f"{output.ended}; so far {found}"), lists)
    if output.skipped:
        ran = f"after {found}" if output.cases else "at once"
        return Judged("", Verdict.SKIP, f"it gave up {ran}: {output.skipped}")
    beyond = next((one for one in lists.fails_of(program) if one.untold), None)
    if beyond is not None:
        reason = f"it ran to its end ({found}); {beyond.where} expects it to end: {beyond.reason}"
        return Judged("", Verdict.XPASS, reason)
    return judge_case(program, Case("", Status.PASS, found), lists)


def _absent(program: str, output: Output, lists: Lists) -> Iterator[tuple[str, str]]:
    """Yield each test that a list names and the program did not tell of, and what is wrong."""
    told = {case.name for case in output.cases}
    for entry in lists.fails_of(program):
        name = entry.name.partition(SEPARATOR)[2]
        unsaid = entry.untold or entry.status is Status.LEAK
        if name not in told and not output.skipped and not unsaid:
            yield name, f"{entry.where}: {program} has no test {name!r}{nearest(name, told)}"


def _not_left_out(program: str, output: Output, lists: Lists) -> Iterator[str]:
    """Yield what is wrong with each skip that names a test that ran all the same."""
    for case in output.cases:
        skip = lists.skip(f"{program}{SEPARATOR}{case.name}")
        if skip is not None and case.status is not Status.SKIP:
            yield f"{skip.where}: {program} cannot leave out {case.name!r} alone"
