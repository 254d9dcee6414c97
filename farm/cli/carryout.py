"""One run, from the lab that it takes boards of to the report that it leaves."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm.cli.outcome import Outcome, exit_of, keep, split_time
from farm.cli.output import err, error_text
from farm.cli.ownlab import check_configs, lab_of, with_all_cores
from farm.cli.phases import Phases
from farm.errors import LabError

if TYPE_CHECKING:
    from farm.events import Effort
    from farm.image.own import Own
    from farm.inventory import BoardType
    from farm.pytest_plugin.catalogue import Narrowing
    from farm.run.job import JobSpec
    from farm.run.orchestrator import Job


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    suites: Sequence[str]
    boards: Sequence[str]
    match: Mapping[str, str]
    image: str
    own: Own
    narrowing: Narrowing
    out: Path | None
    coordinator: str
    db: str | None
    wait_s: float
    effort: Effort
    cached: bool


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
    from farm import paths
    from farm.board import payload
    from farm.run.job import new_run_id
    from farm.run.plan import Wish

    run_id = new_run_id()
    folder = (options.out.absolute() if options.out else paths.runs_dir()) / run_id
    options = with_all_cores(options, types)
    with lab_of(options, types, phases) as address:
        wish = Wish(
            run=run_id,
            coordinator=address,
            folder=folder,
            suites=options.suites,
            select=select,
            image=options.image,
            wait_s=options.wait_s,
            effort=options.effort,
            cached=options.cached,
            argv=sys.argv[1:],
        )
        with phases.phase("lab"):
            specs = _place(options, types, wish)
        with phases.phase("payload"):
            payload.build()
        try:
            jobs = _run(specs)
        finally:
            _end_leases_of_killed_jobs(address)
    split_time(jobs, phases)
    with phases.phase("report"):
        report, troubles = keep(options.db, run_id, specs, folder)
    for trouble in troubles:
        print(error_text(trouble), file=sys.stderr)
    code = exit_of(jobs) or (3 if troubles else 0)
    return Outcome(run_id, jobs, code, report)


def _place(options: Options, types: Mapping[str, BoardType], wish: Any) -> list[JobSpec]:
    from farm.lab.coordinator import Coordinator, local_host
    from farm.lab.lease import new_identity
    from farm.lab.placement import TYPE_TAG, Request, choose
    from farm.lab.reconcile import end_dead_leases
    from farm.run.plan import jobs

    for name in end_dead_leases(wish.coordinator):
        err().print(f"{name}: ended the lease of a dead run")
    with Coordinator(wish.coordinator, new_identity(local_host())) as lab:
        places = list(lab.places().values())
    request = Request(tuple(options.boards), options.match, may_wait=options.wait_s > 0)
    chosen = [
        place
        for place in choose(places, types, request)
        if wish.select is None or wish.select.get(place.tags[TYPE_TAG])
    ]
    check_configs(types, {place.tags[TYPE_TAG] for place in chosen})
    return jobs(chosen, types, wish)


def _end_leases_of_killed_jobs(address: str) -> None:
    """Free the boards of jobs whose worker and keeper both died; living keepers free their own."""
    from farm.lab.reconcile import end_dead_leases

    with contextlib.suppress(LabError):  # a lab that is gone holds nothing; the jobs tell of it
        for name in end_dead_leases(address):
            err().print(f"{name}: switched off and released; its job left it")


def _run(specs: Sequence[JobSpec]) -> list[Job]:
    from farm.run.orchestrator import Orchestrator
    from farm.run.progress import progress

    with progress(err()) as shown:
        return Orchestrator(specs, shown).run()
