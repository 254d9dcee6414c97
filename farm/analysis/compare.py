"""Two runs side by side: what is a fact, what is likely, and what cannot be told.

On exact boards (``docs/exact.md``) every sample that differs is a fact. So is elsewhere a count of
what the kernel was asked to do, such as mappings of buffers (but not the IOMMU's, which follow from
how memory was scattered). Every other number is noisy: a shift is claimed only where the values of
several runs or replicates, taken together, bear it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from farm.analysis.ranks import Shift, shift, spread
from farm.analysis.trend import EXACT_UNITS, RESTLESS, History
from farm.model import Better, Verdict, worst
from farm.store.records import JobRecord, RunRecord, SampleRecord, TestRecord

SCATTERED = ("iommu_",)
"""Starts of counts that follow how the memory happened to be scattered: one for each piece."""

Params = tuple[tuple[str, str], ...]


class Kind(StrEnum):
    """What a change of verdict means."""

    NEW_FAILURE = "new_failure"
    FIXED = "fixed"
    NEW_GAP = "new_gap"  # it is no longer known
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Where:
    """A test on boards of one type."""

    board_type: str
    nodeid: str


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """A test whose verdict is another; ``reason`` is the later one's."""

    where: Where
    kind: Kind
    before: Verdict
    after: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A number that differs, as a fact; None where only the other run has it.

    Of several replicates it is the median. ``worse`` says that it moved the way that is not the
    better one for the metric, and the case is the same.
    """

    where: Where
    metric: str
    unit: str
    params: Mapping[str, str]
    before: float | None
    after: float | None
    exact: bool
    worse: bool


@dataclass(frozen=True, slots=True)
class Side:
    """The values of a noisy metric in one of the runs, with those of its history."""

    values: tuple[float, ...]
    runs: int

    @property
    def median(self) -> float:
        """The middle value."""
        return median(self.values)

    @property
    def spread(self) -> float:
        """The median distance from the median."""
        return spread(self.values)


@dataclass(frozen=True, slots=True)
class Noisy:
    """A number that varies by itself; ``shift`` is None where there are too few values."""

    where: Where
    metric: str
    unit: str
    params: Mapping[str, str]
    before: Side
    after: Side
    shift: Shift | None
    worse: bool


@dataclass(frozen=True, slots=True)
class Identity:
    """Something that two runs were not alike in, so that their numbers may well differ."""

    board_type: str
    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that differs from one run to another.

    ``equal`` counts the exact numbers that are the same, ``noisy`` holds the metrics that moved,
    ``still`` counts those that did not and ``untold`` those with too few values to tell.
    """

    before: str
    after: str
    identity: tuple[Identity, ...]
    verdicts: tuple[VerdictChange, ...]
    only_before: tuple[Where, ...]
    only_after: tuple[Where, ...]
    differences: tuple[Difference, ...]
    equal: int
    noisy: tuple[Noisy, ...]
    still: int
    untold: int

    @property
    def exit(self) -> int:
        """1 with a new failure or a number that got worse, else 3 with a new gap, else 0."""
        kinds = {change.kind for change in self.verdicts}
        worse = any(one.worse for one in self.differences) or any(o.worse for o in self.noisy)
        if Kind.NEW_FAILURE in kinds or worse:
            return 1
        return 3 if Kind.NEW_GAP in kinds else 0


@dataclass(frozen=True, slots=True)
class _Row:
    """All jobs' attempts at one test that count."""

    tests: tuple[tuple[JobRecord, TestRecord], ...]

    @property
    def verdict(self) -> Verdict:
        return worst(test.verdict for _, test in self.tests) or Verdict.MISS

    @property
    def reason(self) -> str:
        mine = self.verdict
        return next(test.reason for _, test in self.tests if test.verdict is mine)

    @property
    def exact(self) -> bool:
        return all(job.exact for job, _ in self.tests)

    @property
    def case_hash(self) -> str:
        return self.tests[0][1].case_hash

    @property
    def kernels(self) -> frozenset[str]:
        return frozenset(job.kernel for job, _ in self.tests)

    def samples(self) -> dict[tuple[str, str, Params], list[tuple[SampleRecord, str]]]:
        """Return the samples by metric, unit and parameters, each with its test's name."""
        found: dict[tuple[str, str, Params], list[tuple[SampleRecord, str]]] = {}
        for _, test in self.tests:
            for one in test.samples:
                name = (one.metric, one.unit, tuple(sorted(one.params.items())))
                found.setdefault(name, []).append((one, test.test))
        return found


def compare(
    before: RunRecord,
    after: RunRecord,
    history: History | None = None,
    better: Mapping[str, Better] | None = None,
) -> Comparison:
    """Return what differs; ``history`` lends noisy metrics the values of other runs.

    ``better`` says by metric which way it should move; of one that it lacks nothing is worse. Of
    the history count the points with the same kernel as the run that they stand for: up to
    ``before`` for the one, after it and up to ``after`` for the other.
    """
    better = better or {}
    rows, later = _rows(before), _rows(after)
    both = [where for where in rows if where in later]
    differences: list[Difference] = []
    noisy: list[Noisy] = []
    equal = 0
    for where in both:
        one, other = rows[where], later[where]
        early, late = one.samples(), other.samples()
        exact = one.exact and other.exact
        same = one.case_hash == other.case_hash
        for name in dict.fromkeys((*early, *late)):
            way = better.get(name[0], Better.NEITHER) if same else Better.NEITHER
            if exact or _counts(name):
                sides = early.get(name, ()), late.get(name, ())
                found = _fact(where, name, *sides, exact=exact, better=way)
                differences += [] if found is None else [found]
                equal += found is None
            elif name in early and name in late:
                values = _sides(
                    early[name], late[name], before, one.kernels, other.kernels, history or {}
                )
                noisy.append(_noisy(where, name, *values, better=way))
    return Comparison(
        before=before.id,
        after=after.id,
        identity=tuple(_identity(before, after, [(w, rows[w], later[w]) for w in both])),
        verdicts=tuple(_verdicts((w, rows[w], later[w]) for w in both)),
        only_before=tuple(where for where in rows if where not in later),
        only_after=tuple(where for where in later if where not in rows),
        differences=tuple(differences),
        equal=equal,
        noisy=tuple(one for one in noisy if one.shift is not None and one.shift.is_real),
        still=sum(one.shift is not None and not one.shift.is_real for one in noisy),
        untold=sum(one.shift is None for one in noisy),
    )


def series_of(*runs: RunRecord) -> set[str]:
    """Return every series that the runs measured, for the history of their noisy metrics."""
    return {
        sample.series
        for run in runs
        for job in run.jobs
        if not job.exact
        for test in job.final_tests
        for sample in test.samples
    }


def _rows(run: RunRecord) -> dict[Where, _Row]:
    found: dict[Where, list[tuple[JobRecord, TestRecord]]] = {}
    for job in run.jobs:
        for test in job.final_tests:
            found.setdefault(Where(job.board_type, test.nodeid), []).append((job, test))
    return {where: _Row(tuple(tests)) for where, tests in found.items()}


def _counts(name: tuple[str, str, Params]) -> bool:
    metric, unit, _ = name
    return unit in EXACT_UNITS and not metric.startswith((*RESTLESS, *SCATTERED))


def _is_worse(by: float, better: Better) -> bool:
    return (by > 0 and better is Better.LOWER) or (by < 0 and better is Better.HIGHER)


def _fact(
    where: Where,
    name: tuple[str, str, Params],
    early: Sequence[tuple[SampleRecord, str]],
    late: Sequence[tuple[SampleRecord, str]],
    *,
    exact: bool,
    better: Better,
) -> Difference | None:
    """Return the difference between the medians of one metric, None where they are equal."""
    metric, unit, params = name
    old, new = (
        median(one.value for one, _ in samples) if samples else None for samples in (early, late)
    )
    if old == new:
        return None
    worse = old is not None and new is not None and _is_worse(new - old, better)
    return Difference(where, metric, unit, dict(params), old, new, exact, worse)


def _sides(
    early: Sequence[tuple[SampleRecord, str]],
    late: Sequence[tuple[SampleRecord, str]],
    before: RunRecord,
    old_kernels: frozenset[str],
    new_kernels: frozenset[str],
    history: History,
) -> tuple[Side, Side]:
    old = _side(early, old_kernels, history, lambda at: at <= before.started_at)
    new = _side(late, new_kernels, history, lambda at: at > before.started_at)
    return old, new


def _side(
    samples: Sequence[tuple[SampleRecord, str]],
    kernels: frozenset[str],
    history: History,
    mine: Callable[[float], bool],
) -> Side:
    """Return the medians of the runs of a side, or the values of its one run."""
    first, test = samples[0]
    points = [
        point.value
        for point in history.get((first.series, test), ())
        if point.kernel in kernels and mine(point.at)
    ]
    if len(points) > 1:
        return Side(tuple(points), len(points))
    return Side(tuple(one.value for one, _ in samples), 1)


def _noisy(
    where: Where, name: tuple[str, str, Params], before: Side, after: Side, *, better: Better
) -> Noisy:
    metric, unit, params = name
    moved = shift(before.values, after.values)
    worse = moved is not None and moved.is_real and _is_worse(moved.by, better)
    return Noisy(where, metric, unit, dict(params), before, after, moved, worse)


def _verdicts(rows: Iterable[tuple[Where, _Row, _Row]]) -> Iterable[VerdictChange]:
    for where, one, other in rows:
        old, new = one.verdict, other.verdict
        if old is new:
            continue
        kind = Kind.OTHER
        if new.is_failure and not old.is_failure:
            kind = Kind.NEW_FAILURE
        elif new.is_gap and not old.is_gap:
            kind = Kind.NEW_GAP
        elif old.is_failure and new in (Verdict.PASS, Verdict.XFAIL):
            kind = Kind.FIXED
        yield VerdictChange(where, kind, old, new, other.reason)


def _identity(
    before: RunRecord, after: RunRecord, rows: Sequence[tuple[Where, _Row, _Row]]
) -> Iterable[Identity]:
    """Yield what boards of the same type were not alike in, then the cases whose source changed."""
    old, new = _facts_by_type(before), _facts_by_type(after)
    for board_type in old:
        if board_type in new:
            for what in dict.fromkeys((*old[board_type], *new[board_type])):
                one, other = old[board_type].get(what, ""), new[board_type].get(what, "")
                if one != other:
                    yield Identity(board_type, what, one, other)
    seen = set()
    for where, one_row, other_row in rows:
        case = one_row.tests[0][1].case or where.nodeid
        hashes = (one_row.case_hash, other_row.case_hash)
        if all(hashes) and hashes[0] != hashes[1] and (where.board_type, case) not in seen:
            seen.add((where.board_type, case))
            yield Identity(where.board_type, f"case {case}", *hashes)


def _facts_by_type(run: RunRecord) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, set[str]]] = {}
    for job in run.jobs:
        facts = found.setdefault(job.board_type, {})
        told = {
            "kernel": job.kernel,
            "image": job.image.profile,
            "image id": job.image.id,
            **{f"hardware {key}": value for key, value in job.hardware.items()},
        }
        for what, value in told.items():
            facts.setdefault(what, set()).update({value} if value else ())
    return {
        board_type: {what: ", ".join(sorted(values)) for what, values in facts.items()}
        for board_type, facts in found.items()
    }
