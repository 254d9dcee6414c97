"""One run, from the lab that it takes boards of to the report that it leaves."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from farm import failpoints
from farm.cli.options import Options, asked_of, new_claim, wish_of
from farm.cli.outcome import Outcome, exit_of, keep, split_time
from farm.cli.output import err, error_text
from farm.cli.ownlab import lab_of, with_all_cores
from farm.cli.phases import Phases
from farm.cli.placing import place, with_featured_types
from farm.errors import FarmError, LabError

if TYPE_CHECKING:
    from farm.inventory import BoardType
    from farm.run.job import JobSpec
    from farm.run.orchestrator import Job
    from farm.run.plan import Wish
    from farm.run.unfinished import Claim, RunRecord


def carry_out(
    options: Options,
    types: Mapping[str, BoardType],
    select: Mapping[str, Sequence[str]] | None,
    phases: Phases,
) -> Outcome:
    """Run what was asked for on the lab of the run; keep the results and write the report.

    ``select`` are node ids by board type that limit it. A job's end is never an error here, nor is
    a report that cannot be written; the outcome tells of both.

    Raises:
        UsageError: what was asked for cannot be, on any board.
        InfraError: there is no lab, no image, or no board free.
    """
    claim = new_claim(options, [asked_of(options, select)])
    jobs, _ = run_part(options, types, wish_of(claim, 0), phases)
    outcome = conclude(claim, jobs, phases)
    if outcome.kept:
        claim.forget()
    return outcome


def run_part(
    options: Options, types: Mapping[str, BoardType], wish: Wish, phases: Phases
) -> tuple[list[Job], bool]:
    """Run the jobs of one run, or of a part of it, and their follow-ups.

    Returns them when they are over, and whether a user stopped them.

    Raises:
        UsageError: what was asked for cannot be, on any board.
        InfraError: there is no lab, no image, or no board free.
    """
    from farm.board import payload
    from farm.cli.followup import follow_up

    options = with_all_cores(with_featured_types(options, types), types)
    with lab_of(options, types, phases, logs=wish.folder / "lab") as lab:
        wish = replace(wish, coordinator=lab.coordinator, own_lab=lab.own)
        with phases.phase("lab"):
            specs = place(options, types, wish)
        try:
            with phases.phase("payload"):
                payload.build()
            failpoints.hit("controller.placed")
            jobs, stopped = run_jobs(specs, wish)
            if options.rules and not stopped:
                with phases.phase("follow-ups"):
                    more, stopped = follow_up(jobs, options, types, wish)
                    jobs = [*jobs, *more]
        finally:
            end_leases_of_killed_jobs(lab.coordinator)
            failpoints.hit("controller.freed")
    return jobs, stopped


def conclude(claim: Claim, jobs: Sequence[Job], phases: Phases) -> Outcome:
    """Keep the results of a run's jobs and write its report; tell on stderr what goes wrong."""
    split_time([job for job in jobs if not job.spec.purpose], phases)
    with phases.phase("report"):
        return settle(claim.record, jobs)


def settle(record: RunRecord, jobs: Sequence[Job]) -> Outcome:
    """Keep the results of a run whose jobs are over; where something is not kept it stays owed."""
    report, troubles = keep(record.db, record.run, [job.spec for job in jobs], record.folder)
    for trouble in troubles:
        print(error_text(trouble), file=sys.stderr)
    failpoints.hit("controller.kept")
    code = exit_of(jobs) or (3 if troubles else 0)
    return Outcome(record.run, jobs, code, report, kept=not troubles)


def end_leases_of_killed_jobs(address: str) -> None:
    """Free the boards of jobs whose worker and keeper both died; living keepers free their own."""
    from farm.lab.reconcile import end_dead_leases

    with contextlib.suppress(LabError):  # a lab that is gone holds nothing; the jobs tell of it
        for name in end_dead_leases(address):
            err().print(f"{name}: switched off and released; its job left it")


def run_jobs(specs: Sequence[JobSpec], wish: Wish) -> tuple[list[Job], bool]:
    """Run a run's jobs side by side; return them, and whether a user stopped them.

    That they are owed is written down before.

    Raises:
        InfraError: that, or a job's folder, cannot be written.
    """
    from farm.run.unfinished import Part

    assert wish.claim is not None
    wish.claim.owe(
        Part(coordinator=wish.coordinator, lab=wish.own_lab, jobs=list(specs), asked=wish.asked)
    )
    try:
        return orchestrate(specs)
    except FarmError:
        wish.claim.disown()  # none of them was started
        raise


def orchestrate(specs: Sequence[JobSpec]) -> tuple[list[Job], bool]:
    """Run jobs that are owed, showing their progress; answers as :func:`run_jobs` does.

    Raises:
        InfraError: a job's folder cannot be written.
    """
    from farm.lab import durable
    from farm.lab.lease import RELEASE_S
    from farm.run.orchestrator import Orchestrator
    from farm.run.progress import progress

    with progress(err()) as shown:
        orchestrator = Orchestrator(specs, shown)
        jobs = orchestrator.run()
    for spec in specs:  # a dead worker's keeper may still be at work, and may die of it
        with contextlib.suppress(OSError):
            if (lock := durable.lock(spec.lock_file, wait_s=RELEASE_S)) is not None:
                os.close(lock)
    return jobs, orchestrator.interrupts > 0
