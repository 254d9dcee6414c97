"""Which tests a run tries again, and on which boards; pure decisions over what its jobs came to.

A *retry* tries what board or lab left open, on another board of the type where there is one, else
on the same once more. A *repeat* tries what failed anew several times, on the same board and on
another, so that a regression can be told from a flaky test and from a broken board.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from farm.model import WITHIN, Purpose, Verdict
from farm.run.job import TIME_BOX, JobSpec
from farm.run.orchestrator import Job
from farm.settling import LEFT_OPEN, Part, standing

MAX_REPEATED = 20
"""New failures of one job that are repeated: where there are more, what broke is not one test."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is tried again: ``infra`` what was left open, ``new`` how often each new failure."""

    infra: bool = False
    new: int = 0

    def __bool__(self) -> bool:
        """Return whether anything is."""
        return self.infra or self.new > 0


@dataclass(slots=True)
class FollowUp:
    """One job to be: these tests on this board, of which jobs; ``like`` is the first of them.

    ``tests`` is None for all that the jobs before were to run.
    """

    board: str
    like: JobSpec
    follows: list[str] = field(default_factory=list)
    tests: list[str] | None = field(default_factory=list)

    def take(self, job: JobSpec, tests: Sequence[str] | None) -> None:
        """Have it follow a further job."""
        self.follows.append(job.job)
        if tests is None or self.tests is None:
            self.tests = None
        else:
            self.tests = list(dict.fromkeys([*self.tests, *tests]))


Boards = Callable[[JobSpec], Sequence[str]]
"""Names the boards that are to be had for what a job was to do: of its type, with its image."""


def retries(jobs: Sequence[Job], boards: Boards) -> list[FollowUp]:
    """Return the retries of what was left open."""
    found: dict[str, FollowUp] = {}
    troubled = _troubled(jobs)
    load: Counter[str] = Counter()
    for job in jobs:
        if job.spec.purpose is not Purpose.FIRST or not _was_left(job):
            continue
        tests = _left_open(job)
        others = [name for name in boards(job.spec) if name != job.spec.board]
        best = sorted(others, key=lambda name: (name in troubled, load[name]))
        chosen = best[0] if best else job.spec.board
        load[chosen] += 1
        found.setdefault(chosen, FollowUp(chosen, job.spec)).take(job.spec, tests)
    return list(found.values())


def repeats(
    jobs: Sequence[Job], boards: Boards, is_new: Callable[[JobSpec, str], bool]
) -> tuple[list[FollowUp], list[str]]:
    """Return the repeats of new failures, and what to say of those that are too many."""
    found: dict[str, FollowUp] = {}
    said = []
    stands = standing(parts(jobs))
    troubled = _troubled(jobs)  # no witnesses
    load: Counter[str] = Counter()
    for job in jobs:
        verdicts = job.view.final_verdicts()
        failed = (
            nodeid
            for nodeid, verdict in verdicts.items()
            if verdict.is_failure and nodeid in stands[job.spec.job] and is_new(job.spec, nodeid)
        )
        tests = list(dict.fromkeys(nodeid.partition(WITHIN)[0] for nodeid in failed))
        if len(tests) > MAX_REPEATED:
            said.append(
                f"{job.spec.board}: {len(tests)} tests fail anew; the first {MAX_REPEATED} of them "
                "are repeated"
            )
            tests = tests[:MAX_REPEATED]
        if not tests:
            continue
        others = [name for name in boards(job.spec) if name not in {job.spec.board, *troubled}]
        other = sorted(others, key=lambda name: load[name])[:1]
        load.update(other)
        for name in (job.spec.board, *other):
            found.setdefault(name, FollowUp(name, job.spec)).take(job.spec, tests)
    return list(found.values()), said


def _troubled(jobs: Sequence[Job]) -> set[str]:
    """Return the boards that broke in this run."""
    return {job.spec.board for job in jobs if Verdict.INFRA in job.view.final_verdicts().values()}


def _was_left(job: Job) -> bool:
    """Return whether the farm is why a job left tests open, and another try may settle them.

    That is where board, lab or worker was lost, before a test or in the midst of it, or where a
    test's second attempt was INFRA as well. Tests that somebody kept from running are not tried.
    """
    if job.view.reason == TIME_BOX:
        return False
    left = _left_open(job)
    if job.view.lost:
        return left is None or bool(left)
    verdicts = job.view.final_verdicts()
    return any(verdicts[nodeid] is Verdict.INFRA for nodeid in left or ())


def _left_open(job: Job) -> list[str] | None:
    """Return the tests that a job left open, None where it did not even get to know them."""
    if not job.view.planned:
        return None
    return [
        nodeid
        for nodeid, verdict in job.view.final_verdicts().items()
        if verdict in LEFT_OPEN and WITHIN not in nodeid
    ]


def spec_of(follow_up: FollowUp, base: JobSpec, purpose: Purpose, times: int = 1) -> JobSpec:
    """Return the job of a follow-up; ``base`` is what any job on that board is told.

    A repeat measures anew also where an exact board's answers are known, and decides by the seed of
    the job that it follows.
    """
    like = follow_up.like
    name = f"{base.job}.{purpose}"
    select = like.select if follow_up.tests is None else follow_up.tests
    return base.model_copy(
        update={
            "job": name,
            "folder": base.folder.parent / name,
            "suites": like.suites,
            "select": select,
            "purpose": purpose,
            "follows": follow_up.follows,
            "effort": like.effort.model_copy(update={"repeat": max(times, 1)}),
            "shard": like.shard if follow_up.tests is None else 0,
            "shards": like.shards if follow_up.tests is None else 1,
            "cached": like.cached and purpose is not Purpose.REPEAT,
        }
    )


def parts(jobs: Iterable[Job]) -> list[Part]:
    """Return a run's jobs as :mod:`farm.settling` takes them."""
    return [
        Part(
            job=job.spec.job,
            purpose=job.spec.purpose,
            follows=job.spec.follows,
            ok=job.view.ok,
            verdicts=job.view.final_verdicts(),
        )
        for job in jobs
    ]
