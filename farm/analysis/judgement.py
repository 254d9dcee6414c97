"""What follow-ups say of a verdict: a regression, flaky, this board only; tried again elsewhere.

Derived from a run's attempts whenever it is asked for, and kept nowhere: the verdicts stay as they
are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from farm.model import Purpose
from farm.settling import LEFT_OPEN
from farm.store.records import JobRecord, RunRecord, TestRecord


class Kind(StrEnum):
    """What a judgement comes to."""

    REGRESSION = "regression"  # it fails every time, on every board of the type that tried
    FLAKY = "flaky"  # it fails some of the times
    THIS_BOARD = "this board only"  # it fails every time on one board, and never on another
    RETRIED = "retried"  # board or lab broke, and a retry learnt the verdict
    STILL_OPEN = "still open"  # board or lab broke again


@dataclass(frozen=True, slots=True)
class Tally:
    """How often a test failed on a board, of so many times that told something."""

    board: str
    failed: int
    of: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the follow-ups of a test say; ``text`` is the sentence, ``tallies`` what it rests on.

    ``tallies`` is empty for what was retried.
    """

    kind: Kind
    text: str
    tallies: tuple[Tally, ...] = ()

    @property
    def failed(self) -> int:
        """How often it failed, on all boards."""
        return sum(tally.failed for tally in self.tallies)

    @property
    def of(self) -> int:
        """How often it told something, on all boards."""
        return sum(tally.of for tally in self.tallies)

    @property
    def short(self) -> str:
        """The judgement in a few words: ``flaky (3 of 10)``."""
        if self.kind is Kind.FLAKY:
            return f"flaky ({self.failed} of {self.of})"
        return self.kind.value


Judgements = Mapping[tuple[str, str], Judgement]
"""By the job in which a test's verdict stands, and the test's node id."""


def judge(run: RunRecord) -> Judgements:
    """Return the judgements of a run: of failures that were repeated, and of what was retried."""
    found: dict[tuple[str, str], Judgement] = {}
    for job in run.jobs:
        for test in job.final_tests:
            told = None
            if test.verdict.is_failure:
                told = _failure(run, job, test)
            elif job.purpose is Purpose.RETRY or test.verdict in LEFT_OPEN:
                told = _retry(run, job, test)
            if told is not None:
                found[job.job, test.nodeid] = told
    return found


def _failure(run: RunRecord, job: JobRecord, test: TestRecord) -> Judgement | None:
    repeats = [one for one in run.jobs if one.purpose is Purpose.REPEAT and job.job in one.follows]
    if not repeats:
        return None
    counts: dict[str, list[bool]] = {job.board: []}
    for one in (job, *repeats):
        counts.setdefault(one.board, []).extend(_failed(one, test.nodeid))
    tallies = tuple(Tally(board, sum(told), len(told)) for board, told in counts.items() if told)
    first = list(_failed(job, test.nodeid))
    if sum(tally.of for tally in tallies) == len(first):
        return None  # nothing that repeated it told anything
    own, others = tallies[0], tallies[1:]
    return _weigh(own, others, repeated=own.of > len(first))


def _weigh(own: Tally, others: tuple[Tally, ...], *, repeated: bool) -> Judgement | None:
    """Judge a failure by its own board and the others; it failed at least once on its own.

    A failure that was seen once, and on another board never, may be flaky or the board's: that is
    no judgement.
    """
    tallies = (own, *others)
    told = ", ".join(f"{one.failed} of {one.of} times on {one.board}" for one in tallies)
    failed_always = own.failed == own.of
    elsewhere = sum(one.failed for one in others), sum(one.of for one in others)
    if failed_always and elsewhere[0] == elsewhere[1]:
        alone = "" if others else ", and no other board of the type tried it"
        return Judgement(Kind.REGRESSION, f"regression: failed {told}{alone}", tallies)
    if failed_always and not elsewhere[0]:
        if not repeated:
            return None
        return Judgement(Kind.THIS_BOARD, f"this board only: failed {told}", tallies)
    judged = Judgement(Kind.FLAKY, "", tallies)
    return Judgement(Kind.FLAKY, f"{judged.short}: failed {told}", tallies)


def _failed(job: JobRecord, nodeid: str) -> Iterator[bool]:
    """Yield of each time that a job tried a test and learnt something whether it failed."""
    for test in job.tests:
        if test.nodeid == nodeid:
            for verdict in [one.verdict for one in test.replicates] or [test.verdict]:
                if verdict.is_telling:
                    yield verdict.is_failure


def _retry(run: RunRecord, job: JobRecord, test: TestRecord) -> Judgement | None:
    if job.purpose is Purpose.RETRY:
        followed = [one for one in run.jobs if one.job in job.follows]
        before = _last(followed, test.nodeid)
        if before is None:
            why = ", ".join(filter(None, (one.reason for one in followed)))
            where = " and ".join(one.board for one in followed)
            return Judgement(Kind.RETRIED, f"retried: nothing ran on {where}: {why}")
        where, seen = before
        text = f"retried: {seen.verdict.value} on {where}: {seen.reason}"
        return Judgement(Kind.RETRIED, text)
    retries = [one for one in run.jobs if one.purpose is Purpose.RETRY and job.job in one.follows]
    again = _last(retries, test.nodeid)
    if again is None:
        return None
    where, seen = again
    place = "the same board" if where == job.board else where
    return Judgement(
        Kind.STILL_OPEN, f"still open: {seen.verdict.value} again on {place}: {seen.reason}"
    )


def _last(jobs: Iterable[JobRecord], nodeid: str) -> tuple[str, TestRecord] | None:
    """Return board and attempt in which one of these jobs last tried a test."""
    tried = [(job.board, test) for job in jobs for test in job.tests if test.nodeid == nodeid]
    return tried[-1] if tried else None
