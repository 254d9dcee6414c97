"""What the HTML page shows, worked out from a run and its history; no markup here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farm.analysis.headline import Headline, Line, Measured, headlines, moved
from farm.analysis.judgement import Judgement, Judgements, judge
from farm.analysis.requirements import RequirementRow, requirements
from farm.analysis.summary import second_attempts
from farm.analysis.trend import History, Trend, trends
from farm.analysis.verdicts import total
from farm.model import WORST_FIRST, Verdict, tally
from farm.store.records import ComplaintRecord, JobRecord, RunRecord, TestRecord

MAX_DETAILED = 1500
"""Tests of which all numbers are in the page: of a larger run, only of those that did not pass."""

VerdictHistory = Mapping[tuple[str, str], tuple[tuple[str, Verdict], ...]]
"""Earlier runs' verdicts, oldest first, by (board, nodeid)."""


@dataclass(frozen=True, slots=True)
class Case:
    """One test as a row of the page; ``anchor`` is its id in it, ``judged`` what repeats say."""

    anchor: str
    job: JobRecord
    test: TestRecord
    trends: tuple[Trend, ...]
    columns: tuple[str, ...]
    table: tuple[tuple[str, tuple[Trend | None, ...]], ...]
    quiet: tuple[str, ...]
    earlier_attempts: tuple[TestRecord, ...]
    complaints: tuple[ComplaintRecord, ...]
    earlier: tuple[tuple[str, Verdict], ...]
    judged: Judgement | None

    @property
    def unseen(self) -> tuple[ComplaintRecord, ...]:
        """The kernel's complaints that the console excerpt does not show."""
        return tuple(one for one in self.complaints if one.line not in self.test.console)

    @property
    def since(self) -> str:
        """Say how long it has been like this: new, or the run since which."""
        if not self.earlier:
            return "first run of this test here"
        good = [index for index, (_, verdict) in enumerate(self.earlier) if not _bad(verdict)]
        if good and good[-1] == len(self.earlier) - 1:
            return f"new: {self.earlier[-1][1].value} in the run before"
        bad_for = len(self.earlier) - (good[-1] + 1 if good else 0)
        return f"bad for {bad_for + 1} runs, since {self.earlier[-bad_for][0]}"


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed in one way: one test, with every set of parameters and board that did."""

    cases: tuple[Case, ...]

    @property
    def first(self) -> Case:
        """The case that stands for the others."""
        return self.cases[0]

    @property
    def boards(self) -> tuple[JobRecord, ...]:
        """The jobs in which it failed, each once."""
        return tuple({case.job.job: case.job for case in self.cases}.values())


@dataclass(frozen=True, slots=True)
class Gap:
    """Tests of one board that told nothing for one reason."""

    verdict: Verdict
    board: str
    reason: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite's cases, by test function; several that one reason left out are in ``skipped``."""

    name: str
    verdicts: Mapping[Verdict, int]
    tests: tuple[tuple[str, tuple[Case, ...]], ...]
    skipped: tuple[tuple[str, tuple[Case, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class RequirementSuite:
    """A suite's requirements; ``verdicts`` counts what each amounts to on each board."""

    name: str
    rows: tuple[RequirementRow, ...]
    verdicts: Mapping[Verdict, int]


@dataclass(frozen=True, slots=True)
class Board:
    """One job as a card of the page."""

    job: JobRecord
    verdicts: Mapping[Verdict, int]
    facts: tuple[tuple[str, Any], ...]
    devices: tuple[Mapping[str, str], ...]
    groups: tuple[Mapping[str, str], ...]
    stages: tuple[tuple[str, float], ...]
    stray: tuple[ComplaintRecord, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that the template shows."""

    run: RunRecord
    verdicts: Mapping[Verdict, int]
    boards: tuple[Board, ...]
    failures: tuple[Failure, ...]
    gaps: tuple[Gap, ...]
    new: tuple[Failure, ...]
    known: tuple[Failure, ...]
    suites: tuple[Suite, ...]
    headlines: tuple[Headline, ...]
    moved: tuple[tuple[Line, TestRecord], ...]
    absent: tuple[tuple[str, str, tuple[str, ...], int], ...]
    requirements: tuple[RequirementSuite, ...]
    earlier_runs: int
    detailed: bool

    @property
    def headline(self) -> str:
        """Say in one line how the run came out."""
        tests = sum(self.verdicts.values())
        if not tests:
            return "Nothing ran"
        failed = sum(number for verdict, number in self.verdicts.items() if verdict.is_failure)
        new = self.verdicts.get(Verdict.NEW, 0)
        gaps = sum(number for verdict, number in self.verdicts.items() if verdict.is_gap) - new
        if failed:
            return f"{failed} of {tests} tests failed"
        if gaps:
            return f"{gaps} of {tests} tests told nothing"
        if new:
            return f"{new} of {tests} tests saw what nothing expects yet"
        ran = tests - self.verdicts.get(Verdict.SKIP, 0)
        known = self.verdicts.get(Verdict.XFAIL, 0)
        if known:
            return f"{ran - known} of {ran} tests passed, {known} failed as known"
        return f"All {ran} tests passed" if ran else "Every test was skipped"

    @property
    def second_attempts(self) -> str:
        """Say how many tests were tried twice, and why; empty where none was."""
        return second_attempts([why for job in self.run.jobs for why in job.first_reasons])


def page(
    run: RunRecord,
    history: History,
    verdict_history: VerdictHistory,
    known: Mapping[str, tuple[str, str]] | None = None,
) -> Page:
    """Work out the page of a run; ``known`` has suite and sentence of requirements."""
    judged = judge(run)
    cases = [
        _case(job, test, f"c{job_number}-{number}", history, verdict_history, judged)
        for job_number, job in enumerate(run.jobs)
        for number, test in enumerate(job.final_tests)
    ]
    measured: list[Measured] = [(case.job, case.test, case.trends) for case in cases]
    boards = tuple(_board(job) for job in run.counting)
    return Page(
        run=run,
        verdicts=total(board.verdicts for board in boards),
        boards=boards,
        failures=_failures(cases),
        gaps=_gaps(cases),
        new=_on_boards(case for case in cases if case.test.verdict is Verdict.NEW),
        known=_on_boards(case for case in cases if case.test.verdict is Verdict.XFAIL),
        suites=_suites(cases),
        headlines=headlines(measured),
        moved=moved(measured),
        absent=_absent(cases),
        requirements=_by_suite(requirements(run, known)),
        earlier_runs=len({point.run for points in history.values() for point in points} - {run.id}),
        detailed=len(cases) <= MAX_DETAILED,
    )


def _by_suite(rows: Iterable[RequirementRow]) -> tuple[RequirementSuite, ...]:
    suites: dict[str, list[RequirementRow]] = {}
    for row in rows:
        suites.setdefault(row.suite, []).append(row)
    return tuple(
        RequirementSuite(
            suite,
            tuple(members),
            tally(
                verdict for row in members for verdict, names in row.boards.items() for _ in names
            ),
        )
        for suite, members in suites.items()
    )


def _bad(verdict: Verdict) -> bool:
    return verdict.is_failure or verdict.is_gap


def _case(
    job: JobRecord,
    test: TestRecord,
    anchor: str,
    history: History,
    verdict_history: VerdictHistory,
    judged: Judgements,
) -> Case:
    found = trends(test, history, job.run, noiseless=job.exact)
    loud = [trend for trend in found if not trend.quiet]
    columns = tuple(dict.fromkeys(_column(trend) for trend in loud))
    by_metric: dict[str, dict[str, Trend]] = {}
    for trend in loud:
        by_metric.setdefault(trend.metric, {})[_column(trend)] = trend
    return Case(
        anchor=anchor,
        job=job,
        test=test,
        trends=found,
        columns=columns,
        table=tuple(
            (metric, tuple(row.get(column) for column in columns))
            for metric, row in by_metric.items()
        ),
        quiet=tuple(
            dict.fromkeys(trend.metric for trend in found if trend.metric not in by_metric)
        ),
        earlier_attempts=tuple(
            one for one in job.tests if one.nodeid == test.nodeid and not one.final
        ),
        complaints=tuple(one for one in job.complaints if one.nodeid == test.nodeid),
        earlier=verdict_history.get((job.board, test.nodeid), ()),
        judged=judged.get((job.job, test.nodeid)),
    )


def _column(trend: Trend) -> str:
    """Return the heading of a sample: its phase, and what else tells it apart."""
    rest = (f"{name}={value}" for name, value in trend.params.items() if name != "phase")
    return " ".join(filter(None, (trend.params.get("phase", ""), *rest)))


def _failures(cases: Iterable[Case]) -> tuple[Failure, ...]:
    groups: dict[tuple[Any, ...], list[Case]] = {}
    for case in cases:
        test = case.test
        if test.verdict.is_failure:
            key = (test.verdict, test.suite, test.test, test.reason)
            groups.setdefault(key, []).append(case)
    failures = (Failure(tuple(members)) for members in groups.values())
    return tuple(
        sorted(failures, key=lambda failure: WORST_FIRST.index(failure.first.test.verdict))
    )


def _on_boards(cases: Iterable[Case]) -> tuple[Failure, ...]:
    """Return tests with their parameters, those of several boards for one reason as one."""
    groups: dict[tuple[Any, ...], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.test.nodeid, case.test.reason), []).append(case)
    return tuple(Failure(tuple(members)) for members in groups.values())


def _gaps(cases: Iterable[Case]) -> tuple[Gap, ...]:
    groups: dict[tuple[Verdict, str, str], list[Case]] = {}
    for case in cases:
        if case.test.verdict.is_gap and case.test.verdict is not Verdict.NEW:
            key = (case.test.verdict, case.job.board, case.test.reason)
            groups.setdefault(key, []).append(case)
    return tuple(Gap(*key, tuple(members)) for key, members in groups.items())


def _suites(cases: Iterable[Case]) -> tuple[Suite, ...]:
    suites: dict[str, list[Case]] = {}
    for case in cases:
        suites.setdefault(case.test.suite, []).append(case)
    return tuple(_suite(name, members) for name, members in suites.items())


def _suite(name: str, cases: Sequence[Case]) -> Suite:
    skipped: dict[str, list[Case]] = {}
    for case in cases:
        if case.test.verdict is Verdict.SKIP:
            skipped.setdefault(case.test.reason, []).append(case)
    folded = {reason: tuple(members) for reason, members in skipped.items() if len(members) > 1}
    tests: dict[str, list[Case]] = {}
    for case in cases:
        if case.test.verdict is not Verdict.SKIP or case.test.reason not in folded:
            tests.setdefault(case.test.test, []).append(case)
    return Suite(
        name,
        tally(case.test.verdict for case in cases),
        tuple((test, tuple(members)) for test, members in tests.items()),
        tuple(folded.items()),
    )


def _absent(cases: Iterable[Case]) -> tuple[tuple[str, str, tuple[str, ...], int], ...]:
    """Return counters that boards could not give: why, on which boards, in how many cases."""
    found: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        for one in case.test.absent:
            found.setdefault((one.counter, one.reason), []).append(case.job.board)
    return tuple(
        (*key, tuple(dict.fromkeys(boards)), len(boards)) for key, boards in sorted(found.items())
    )


def _board(job: JobRecord) -> Board:
    topology = job.boots[-1].topology if job.boots else {}
    running = {test.nodeid for test in job.tests}
    return Board(
        job=job,
        verdicts=tally(test.verdict for test in job.final_tests),
        facts=_facts(job),
        devices=_devices(topology),
        groups=_groups(topology),
        stages=_stages(job),
        stray=tuple(one for one in job.complaints if one.nodeid not in running),
    )


def _devices(topology: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    """Return the board's devices with their nodes; what a board told may be of any shape."""
    known = _mapping(topology.get("devices"))
    nodes: dict[tuple[str, ...], list[str]] = {}
    for kind in ("drm", "v4l2"):
        for node in _list(topology.get(kind)):
            told = _mapping(node)
            name = str(told.get("pci") or told.get("device") or "")
            device = _mapping(known.get(name))
            row = (
                name,
                str(device.get("driver") or told.get("driver") or ""),
                str(device.get("iommu_group", "")),
                str(device.get("dma_mask_bits", "")),
            )
            nodes.setdefault(row, []).append(str(told.get("node", "") if told else node))
    rows = [
        {"device": device, "driver": driver, "nodes": " ".join(names), "group": group, "dma": dma}
        for (device, driver, group, dma), names in nodes.items()
    ]
    rows.extend({"nodes": f"dma_heap/{heap}"} for heap in _list(topology.get("heaps")))
    if topology.get("udmabuf"):
        limits = _mapping(topology["udmabuf"])
        named = " ".join(f"{name}={limits[name]}" for name in limits if name != "device")
        rows.append({"nodes": "udmabuf", "driver": named})
    return tuple(rows)


def _facts(job: JobRecord) -> tuple[tuple[str, Any], ...]:
    """Return what the last boot told, save what the page tells elsewhere."""
    if not job.boots:
        return ()
    boot = job.boots[-1]
    facts = [(name, value) for name, value in boot.facts.items() if not name.startswith("absent_")]
    rest = [(name, boot.topology.get(name)) for name in ("memory_kib", "cma", "absent")]
    return (*facts, *((name.replace("_kib", ", KiB"), told) for name, told in rest if told))


def _groups(topology: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    known = _mapping(topology.get("devices"))
    rows = []
    for group in _list(topology.get("iommu_groups")):
        told = _mapping(group)
        members = []
        for member in _list(told.get("devices")):
            name = str(_mapping(member).get("name", "")) or str(member)
            driver = _mapping(member).get("driver") or _mapping(known.get(name)).get("driver")
            members.append(f"{name} ({driver})" if driver else name)
        rows.append(
            {
                "id": str(told.get("id", "")),
                "type": str(told.get("type", "")),
                "devices": ", ".join(members),
            }
        )
    return tuple(rows)


def _stages(job: JobRecord) -> tuple[tuple[str, float], ...]:
    """Return where the time went: seconds by state, in the order in which they were entered."""
    spent: dict[str, float] = {}
    ends = [state.at for state in job.states[1:]] + [job.ended_at]
    for state, end in zip(job.states, ends, strict=False):
        spent[state.state] = spent.get(state.state, 0.0) + max(0.0, end - state.at)
    return tuple((state, seconds) for state, seconds in spent.items() if seconds >= 0.05)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
