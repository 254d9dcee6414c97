"""What a run leaves behind: its journals in the store, its report, and a summary to look at."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from farm.again import again, all_again
from farm.cli.output import add_row, out, table
from farm.cli.phases import Phases
from farm.errors import FarmError, JournalError
from farm.model import Purpose, Verdict, tally
from farm.settling import in_order, standing

if TYPE_CHECKING:
    from farm.run.job import JobSpec
    from farm.run.orchestrator import Job
    from farm.store import IngestResult


SHOWN = 5
"""Failures whose command is printed; there is one command for more."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to; ``report`` is empty where none could be written.

    ``kept`` says that the store has all its results.
    """

    run: str
    jobs: Sequence[Job]
    exit: int
    report: str
    kept: bool = True


def check_store(db: str | None) -> None:
    """Find out before the run, not after it, that results have nowhere to go."""
    from farm.store import open_store

    with open_store(db):
        pass


def split_time(jobs: Sequence[Job], phases: Phases) -> None:
    """Add where the time of the longest job went."""
    if not jobs:
        return
    view = max((job.view for job in jobs), key=lambda view: sum(view.spent.values()))
    parts = {
        "lease": ("starting", "waiting"),
        "collect": ("leased",),
        "boot": ("booting", "rebooting", "ready"),
        "cases": ("running",),
        "power-off": ("off", "released"),
    }
    for name, states in parts.items():
        phases.add(name, view.time_in(*states))


def keep(
    db: str | None, run_id: str, specs: Sequence[JobSpec], folder: Path
) -> tuple[str, list[FarmError]]:
    """Take the journals into the store and write the report; journals outlive any failure here."""
    from farm.errors import InfraError
    from farm.report.html import write_html
    from farm.store import ingest, open_store

    troubles: list[FarmError] = []
    taken = 0
    again = f"the journals are kept; try again with: farm ingest {folder}"
    try:
        with open_store(db) as store:
            for spec in specs:
                try:
                    result = ingest(spec.journal, store)
                except FarmError as error:
                    troubles.append(error)
                    continue
                taken += 1
                if result.problem:
                    troubles.append(unread(result))
            path = folder / "report.html"
            if taken:
                write_html(store, run_id, path)
                return str(path), troubles
    except FarmError as error:
        troubles.append(error)
    except OSError as error:
        troubles.append(InfraError(f"the report was not written: {error}", next_step=again))
    return "", troubles


def unread(result: IngestResult) -> JournalError:
    """Return what to say of a journal of which something could not be read."""
    return JournalError(
        f"{result.problem}; the {result.events} events that can be read are kept",
        next_step="check the disk; restore the journal from a copy and ingest it again",
    )


def was_stopped(jobs: Sequence[Job]) -> bool:
    """Return whether a user ended one of these jobs, and so all that was to follow."""
    from farm.run.job import STOPPED

    return any(job.view.reason == STOPPED for job in jobs)


def worst_exit(codes: Iterable[int]) -> int:
    """Return what several exit codes amount to: 1 where something failed, else 3, else 0."""
    found = set(codes)
    return next((code for code in (1, 3) if code in found), 0)


def exit_of(jobs: Sequence[Job]) -> int:
    """Return the exit code that jobs ask for."""
    from farm.analysis import exit_of
    from farm.run.followups import parts

    return exit_of(standing_counts(jobs), ok=in_order(parts(jobs)))


def standing_counts(jobs: Sequence[Job]) -> list[dict[Verdict, int]]:
    """Return for each job how many of its tests have each verdict, of those that count."""
    from farm.run.followups import parts

    found = []
    stands = standing(parts(jobs))
    for job in jobs:
        verdicts = job.view.final_verdicts()
        found.append(tally(verdicts[nodeid] for nodeid in stands[job.spec.job]))
    return found


def overhead(jobs: Sequence[Job]) -> dict[str, float] | None:
    """Return what running a payload case cost beyond its own time, in seconds; None without any.

    That is everything around it: pytest, the channel, counters and evidence, the journal.
    """
    found = sorted(one for job in jobs for one in job.view.overheads)
    if not found:
        return None
    return {
        "cases": len(found),
        "median_s": statistics.median(found),
        "p90_s": found[len(found) * 9 // 10],
    }


def as_object(outcome: Outcome) -> dict[str, Any]:
    """Return what ``farm run --json`` prints."""
    return {
        "run": outcome.run,
        "exit": outcome.exit,
        "jobs": [
            {
                "board": job.spec.board,
                "board_type": job.spec.board_type,
                "image": job.spec.image.profile,
                "kernel": job.view.kernel,
                "journal": str(job.spec.journal),
                "seed": job.spec.effort.seed,
                "purpose": job.spec.purpose.value,
                "follows": job.spec.follows,
                "verdicts": {str(name): n for name, n in counts.items()},
            }
            for job, counts in zip(outcome.jobs, standing_counts(outcome.jobs), strict=True)
        ],
        "report": outcome.report,
        "overhead": overhead(outcome.jobs),
    }


def print_second_attempts(first_reasons: Sequence[str]) -> None:
    """Print how many tests were tried twice, if any was."""
    from farm.analysis import second_attempts
    from farm.report.text import one_line

    if said := second_attempts(first_reasons):
        out().print(Text(one_line(said), style="yellow"), soft_wrap=True)


def print_again(commands: Sequence[str], run_id: str) -> None:
    """Print the commands that repeat what failed, or of many the one that repeats them all."""
    console = out()
    for command in commands[:SHOWN]:
        console.print(f"again: {command}", soft_wrap=True, markup=False, highlight=False)
    if len(commands) > SHOWN:
        together = all_again(run_id, commands)
        console.print(
            f"all {len(commands)} again: {together}", soft_wrap=True, markup=False, highlight=False
        )


def _commands(job: Job) -> list[str]:
    """Return the commands that repeat what failed in a job."""
    spec = job.spec
    return [
        again(
            finding.nodeid,
            board=spec.board,
            board_type=spec.board_type,
            hardware=spec.hardware,
            image=spec.image.profile,
            argv=spec.argv,
            effort=spec.effort if finding.seeded else None,
        )
        for finding in job.view.last.values()
        if finding.verdict.is_failure and spec.purpose is not Purpose.REPEAT
    ]


def _note(job: Job) -> str:
    """Return what a follow-up is for, and why a job ended early, where either is so."""
    spec = job.spec
    purpose = f"{spec.purpose} of {', '.join(spec.follows)}" if spec.purpose else ""
    return "; ".join(filter(None, (purpose, job.view.reason)))


def print_summary(outcome: Outcome) -> None:
    """Print a row per board, and where the report is."""
    listing = table("board", "type", "kernel", "verdicts", "", title=f"run {outcome.run}")
    for job, counted in zip(outcome.jobs, standing_counts(outcome.jobs), strict=True):
        # What a repeat sees does not count, but is what one wants to see of it.
        counts = job.view.final_counts() if job.spec.purpose is Purpose.REPEAT else counted
        verdicts = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
        cells = [job.spec.board, job.spec.board_type, job.view.kernel or "never came up"]
        style = "red" if any(verdict.is_failure for verdict in counts) else "green"
        if not job.view.ok or any(verdict.is_gap for verdict in counts):
            style = "yellow" if style == "green" else style
        add_row(
            listing,
            [*cells, verdicts or "nothing ran", _note(job)],
            styles={3: style, 4: "yellow"},
        )
    console = out()
    console.print(listing)
    reasons = [reason for job in outcome.jobs for reason in job.view.first_reasons]
    print_second_attempts(reasons)
    print_again([command for job in outcome.jobs for command in _commands(job)], outcome.run)
    if any(finding.seeded for job in outcome.jobs for finding in job.view.last.values()):
        seeds = dict.fromkeys(str(job.spec.effort.seed) for job in outcome.jobs)
        console.print(f"seed: {', '.join(seeds)}")
    if cost := overhead(outcome.jobs):
        console.print(
            f"a case costs {cost['median_s'] * 1000:.0f} ms beyond its own time at the median "
            f"(9 of 10 at most {cost['p90_s'] * 1000:.0f} ms)",
            soft_wrap=True,
        )
    if outcome.report:
        console.print(f"report: {outcome.report}", soft_wrap=True)
