"""What became of a run, in a few numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from farm.analysis.verdicts import exit_code, total
from farm.model import Verdict, tally
from farm.settling import in_order
from farm.store import Store, load_run
from farm.store.records import JobRecord, RunRecord, TestRecord


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One job's outcome; ``verdicts`` counts its tests by their last attempt.

    ``ok`` says whether the job ended in order, ``reason`` why it did not.
    """

    job: str
    board: str
    board_type: str
    image: str
    kernel: str
    journal: str
    ok: bool
    reason: str
    verdicts: Mapping[Verdict, int]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run's outcome; ``exit`` is the exit code that it asks for."""

    run: str
    jobs: tuple[JobSummary, ...]
    verdicts: Mapping[Verdict, int]
    exit: int


def run_summary(store: Store, run: str) -> RunSummary:
    """Return the outcome of the run with this id.

    Raises:
        UsageError: there is no such run.
    """
    return summarise(load_run(store, run))


def summarise(run: RunRecord) -> RunSummary:
    """Return the outcome of a run that was read from the store."""
    jobs = tuple(
        JobSummary(
            job=job.job,
            board=job.board,
            board_type=job.board_type,
            image=job.image.profile,
            kernel=job.kernel,
            journal=job.journal,
            ok=job.ok,
            reason=job.reason or job.problem,
            verdicts=tally(test.verdict for test in job.final_tests),
        )
        for job in run.jobs
    )
    verdicts = total(job.verdicts for job in jobs)
    return RunSummary(run.id, jobs, verdicts, exit_of([verdicts], ok=in_order(run.parts)))


def second_attempts(first_reasons: Sequence[str]) -> str:
    """Say how many tests were tried twice, from the reasons of their first attempts; or nothing.

    Their last attempts count, so nothing else of a run's outcome tells of them.
    """
    number = len(first_reasons)
    if not number:
        return ""
    tests = "1 test" if number == 1 else f"{number} tests"
    said = f"{tests} needed a second attempt, as the board hung or its link was lost"
    return f"{said}: {first_reasons[0]}" + (" …" if len(set(first_reasons)) > 1 else "")


def exit_of(verdicts: Iterable[Mapping[Verdict, int]], *, ok: bool) -> int:
    """Return the exit code of a run: its jobs' verdict counts, and whether it ended in order.

    A run that did not end in order has a gap whatever its verdicts, and so has one in which nothing
    ran; one board of several that share the tests may have had none of them.
    """
    return exit_code(total(verdicts)) or (0 if ok else 3)


def unsettled(run: RunRecord) -> tuple[tuple[JobRecord, TestRecord], ...]:
    """Return the tests to repeat: what failed and what was not learnt, each with its job."""
    return tuple(
        (job, test)
        for job in run.jobs
        for test in job.final_tests
        if test.verdict.is_failure or test.verdict.is_gap
    )
