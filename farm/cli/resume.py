"""``farm resume``: finishing what a dead controller left unfinished."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from farm import failpoints
from farm.cli.carryout import end_leases_of_killed_jobs, orchestrate, settle
from farm.cli.options import options_of, wish_of
from farm.cli.outcome import Outcome, as_object, print_summary, was_stopped, worst_exit
from farm.cli.output import JsonFlag, err, error_text, print_json
from farm.cli.ownlab import lab_again
from farm.cli.phases import Phases
from farm.cli.telling import Smtp, SmtpFrom, SmtpUrl, SmtpUser, tell_people
from farm.cli.telling import as_object as told_object
from farm.errors import FarmError, JournalError, LabError, UsageError
from farm.settling import LEFT_OPEN

if TYPE_CHECKING:
    from pathlib import Path

    from farm.cli.morning import MorningReport
    from farm.inventory import BoardType
    from farm.lab.place import Place
    from farm.notify import Delivery
    from farm.run.job import JobSpec
    from farm.run.orchestrator import Job
    from farm.run.unfinished import Claim, Part, RunRecord
    from farm.run.view import JobView

    Views = Mapping[str, JobView]

Say = Callable[[str], None]

app = typer.Typer()

ONLINE_S = 30.0
"""How long boards of a run that is finished may take to come online, in seconds."""

NoResume = Annotated[
    bool,
    typer.Option(
        "--no-resume",
        help="Leave runs alone that a dead controller left unfinished (see: farm resume).",
    ),
]

CLOSED = "closed by farm resume --close"
"""Why the tests never ran that a closed run had left."""


@app.command()
def resume(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run's id, or the start of one. Default: every run that is unfinished.",
            show_default=False,
        ),
    ] = "",
    close: Annotated[
        bool,
        typer.Option(
            "--close", help="Run nothing any more: what is left is MISS. Tell nobody, either."
        ),
    ] = False,
    smtp: SmtpUrl = "",
    smtp_user: SmtpUser = "",
    smtp_from: SmtpFrom = "",
    as_json: JsonFlag = False,
) -> None:
    """Finish the runs that a dead controller left: killed, out of memory, or a power cut.

    Boards that such a run still holds go off and are released. Tests that have a verdict keep it,
    the rest run, under the same run's id, with the follow-ups and the parts of a night that had not
    begun. A night gets its morning report, and whomever its plan tells and nobody has told yet is
    told. `farm run` and `farm nightly` resume by themselves before they begin; `farm run` tells
    nobody.

    Examples:

      farm resume                     finish whatever is unfinished

      farm resume 20261121 --close    run nothing more of it; its tests that are left are MISS

    Exits as `farm run` does, for a night as `farm nightly`; 0 where nothing was unfinished.
    """
    from farm.inventory import load_board_types

    types = load_board_types()
    finished: list[Resumed] = []
    chosen = _chosen(run)
    for claim in _claims(chosen):
        mail = Smtp(smtp, smtp_user, smtp_from)
        finished.append(resume_one(claim, types, mail, close=close, say=err().print))
        if not as_json:
            print_summary(finished[-1].outcome)
    resumed = {one.outcome.run for one in finished}
    for record in chosen:
        if record.run not in resumed:
            err().print(f"run {record.run} is being carried out by process {record.pid}")
    if not chosen:
        err().print("no run is unfinished")
    worst = worst_exit(one.outcome.exit for one in finished)
    if as_json:
        runs = [
            as_object(one.outcome)
            | {
                "morning": one.morning.path if one.morning else "",
                "told": [told_object(told) for told in one.told],
            }
            for one in finished
        ]
        print_json({"exit": worst, "runs": runs})
    raise typer.Exit(worst)


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run that was finished, or ``stopped`` by a user.

    A night has its morning report, and whom of its people were ``told`` now.
    """

    outcome: Outcome
    morning: MorningReport | None
    told: Sequence[Delivery]
    stopped: bool


def resume_all(types: Mapping[str, BoardType], smtp: Smtp | None = None) -> list[Resumed]:
    """Finish every run that a dead controller left; trouble with one is told, and costs nothing.

    Without ``smtp`` nobody is told of nights. A Ctrl-C meanwhile ends the command.
    """
    from farm.run import unfinished

    finished = []
    for claim in _claims(unfinished.every()):
        run = claim.record.run
        say = err().print
        if claim.record.told_only and smtp is None:
            say(f"run {run}: not everybody was told of this night; farm resume {run} tells them")
            claim.let_go()
            continue
        why = (
            "not everybody was told of this night"
            if claim.record.told_only
            else "its controller died"
        )
        say(f"run {run}: {why}; finishing it first (--no-resume leaves it)")
        try:
            found = resume_one(claim, types, smtp, close=False, say=say)
        except FarmError as error:
            print(error_text(error), file=sys.stderr)
            say(f"run {run}: still unfinished; close it with: farm resume {run} --close")
            continue
        say(f"run {run}: finished; look at it with: farm show {run}")
        if found.stopped:
            raise typer.Exit(found.outcome.exit)
        finished.append(found)
    return finished


def resume_one(
    claim: Claim, types: Mapping[str, BoardType], smtp: Smtp | None, *, close: bool, say: Say
) -> Resumed:
    """Finish a run, or ``close`` it, and keep its results.

    What has begun goes on; then come its follow-ups, and the parts of a night that have not begun.
    A night's people are told, but for those who were already. Closing tells nobody; nor does it
    leave anything owed.

    Raises:
        UsageError: a file that its lab was made of is gone.
        InfraError: a process of it does not end, or its lab is not to be had.
    """
    from farm.run.job import STOPPED

    record = claim.record
    try:
        if record.told_only:
            outcome, troubles, stopped = *_over(record), False
        else:
            outcome, troubles, stopped = _go_on_or_close(claim, types, close=close, say=say)
        night = _morning(record, outcome, troubles, say) if record.plan else None
        told: list[Delivery] = []
        if night is not None and not close:
            told = tell_people(claim, outcome, night, smtp)
        elif close or outcome.kept:
            claim.forget()
        stopped = stopped or any(one.problem == STOPPED for one in told)
        codes = [outcome.exit, 3 if any(one.problem for one in told) else 0]
        codes += [night.morning.exit] if night else []
        return Resumed(replace(outcome, exit=worst_exit(codes)), night, told, stopped)
    finally:
        claim.let_go()


def _go_on_or_close(
    claim: Claim, types: Mapping[str, BoardType], *, close: bool, say: Say
) -> tuple[Outcome, list[str], bool]:
    """Finish the jobs of a run; return what it came to, its troubles, and if a user stopped it."""
    from farm.run.job import STOPPED
    from farm.run.resumption import await_alone, look

    record = claim.record
    await_alone(record.jobs)
    views = {spec.job: look(spec) for spec in record.jobs}
    done = sum(view.done for view in views.values())
    planned = sum(len(view.planned) for view in views.values())
    say(f"run {record.run}: {done} of {planned or '?'} tests have their verdicts")
    jobs: list[Job] = []
    troubles: list[str] = []
    stopped = False
    for number in range(len(record.asked)):
        ending = CLOSED if close else STOPPED if stopped else ""
        more, missing = _finish(claim, number, views, types, ending=ending, say=say)
        jobs += more
        troubles += missing
        stopped = STOPPED in troubles or was_stopped(jobs)
    died = f"its controller died; it was finished on {time.strftime('%Y-%m-%d at %H:%M')}"
    outcome = settle(record, jobs)
    if troubles:
        outcome = replace(outcome, exit=outcome.exit or 3)
    return outcome, [died, *troubles], stopped


def _over(record: RunRecord) -> tuple[Outcome, list[str]]:
    """Return what a night came to whose results are kept, and its troubles."""
    from farm.cli.outcome import exit_of
    from farm.run.orchestrator import Job
    from farm.run.resumption import as_placed, look
    from farm.run.view import Follower

    assert record.telling is not None
    views = [(spec, look(spec)) for spec in record.jobs]
    jobs = [
        Job(as_placed(spec, view), view, Follower(spec.journal), over=True) for spec, view in views
    ]
    outcome = Outcome(record.run, jobs, exit_of(jobs), record.telling.report)
    return outcome, list(record.telling.troubles)


def _finish(
    claim: Claim,
    number: int,
    views: Views,
    types: Mapping[str, BoardType],
    *,
    ending: str,
    say: Say,
) -> tuple[list[Job], list[str]]:
    """Finish one thing that a run was asked for; return its jobs, and what kept some from running.

    ``ending`` is why nothing of it is to run any more, or empty.
    """
    from farm.cli.night import begin
    from farm.run.job import STOPPED
    from farm.run.resumption import settled

    parts = claim.record.begun(number)
    if not parts:
        if ending:
            return [], [f"{claim.record.asked[number].part}: not begun, {ending}"]
        return begin(claim, number, types, Phases())
    jobs: list[Job] = []
    stopped = False
    for part in parts:
        if ending or stopped or all(settled(s, views[s.job]) for s in part.jobs):
            jobs += _end(part, views, ending or STOPPED, say)
        else:
            more, stopped = _go_on(part, views, types, claim.record.folder, say)
            jobs += more
        stopped = stopped or was_stopped(jobs)
    if not ending and not stopped:
        more, stopped = _follow_up(claim, number, jobs, types, say)
        jobs += more
    return jobs, [STOPPED] * (stopped and not was_stopped(jobs))


def _follow_up(
    claim: Claim, number: int, jobs: Sequence[Job], types: Mapping[str, BoardType], say: Say
) -> tuple[list[Job], bool]:
    """Run the follow-ups that were not begun, if there is anything to follow.

    Returns them, and whether a user stopped them.
    """
    from farm.cli.followup import follow_up

    options = options_of(claim.record, number)
    came = {verdict for job in jobs for verdict in job.view.final_verdicts().values()}
    wanting = any(one.is_failure or one in LEFT_OPEN for one in came)
    if not options.rules or not (wanting or any(job.view.lost for job in jobs)):
        return [], False
    part = claim.record.begun(number)[0]
    try:
        with _lab(part, types, claim.record.folder / "lab") as address:
            wish = replace(wish_of(claim, number), coordinator=address, own_lab=part.lab)
            try:
                return follow_up(jobs, options, types, wish)
            finally:
                end_leases_of_killed_jobs(address)
    except FarmError as error:
        say(f"no follow-ups: {error.message}")
        return [], False


def _morning(
    record: RunRecord, outcome: Outcome, troubles: Sequence[str], say: Say
) -> MorningReport:
    """Write the morning report of a run that is a night."""
    from farm.cli.morning import report_morning

    found = report_morning(record, outcome.jobs, outcome.report, troubles)
    say(f"night of plan {record.plan}: {found.morning.headline}; {found.path}")
    return found


def _go_on(
    part: Part, views: Views, types: Mapping[str, BoardType], folder: Path, say: Say
) -> tuple[list[Job], bool]:
    """Run what is left of jobs; return them all, and whether a user stopped them."""
    from farm.board import payload
    from farm.lab.coordinator import Coordinator, local_host
    from farm.lab.lease import new_identity
    from farm.lab.reconcile import end_dead_leases
    from farm.run.job import JobSpec
    from farm.run.resumption import DEADLY, as_placed, resumption

    names = {as_placed(spec, views[spec.job]).board for spec in part.jobs}
    with _lab(part, types, folder / "lab") as address:
        with Coordinator(address, new_identity(local_host())) as lab:

            def online(places: Mapping[str, Place]) -> bool:
                return all(places[name].online for name in names & set(places))

            if not lab.wait_for(online, 0.0):  # after a power cut exporters come up when we do
                say(f"waiting up to {ONLINE_S:g} s for {', '.join(sorted(names))} to come online")
                lab.wait_for(online, ONLINE_S)
        for name in end_dead_leases(address):
            say(f"{name}: switched off and released; the dead run held it")
        with Coordinator(address, new_identity(local_host())) as lab:
            places = lab.places()
        found = [
            resumption(spec.model_copy(update={"coordinator": address}), views[spec.job], places)
            for spec in part.jobs
        ]
        payload.build()
        failpoints.hit("resume.prepared")
        try:
            jobs, stopped = orchestrate([one for one in found if isinstance(one, JobSpec)])
        finally:
            end_leases_of_killed_jobs(address)
    ran = {job.spec.job: job for job in jobs}
    every = [
        ran.get(spec.job) or _ended(spec, views[spec.job], str(reason), say, lost=reason != DEADLY)
        for spec, reason in zip(part.jobs, found, strict=True)
    ]
    return every, stopped


@contextlib.contextmanager
def _lab(part: Part, types: Mapping[str, BoardType], logs: Path) -> Iterator[str]:
    if part.lab is None:
        yield part.coordinator
        return
    with lab_again(part.lab, types, Phases(), logs=logs) as address:
        yield address


def _end(part: Part, views: Views, reason: str, say: Say) -> list[Job]:
    """Run nothing any more: free the boards that are still held, and end the jobs' journals."""
    from farm.lab.reconcile import end_dead_leases

    try:
        for name in end_dead_leases(part.coordinator):
            say(f"{name}: switched off and released; the dead run held it")
    except LabError as error:
        if part.lab is None:  # a lab of the run's own went with it
            say(f"{error.message}: boards that the run held may still be on")
    return [_ended(spec, views[spec.job], reason, say) for spec in part.jobs]


def _ended(spec: JobSpec, view: JobView, reason: str, say: Say, *, lost: bool = False) -> Job:
    """Return a job that does not go on, its journal ended; ``lost`` is as in JobFinished."""
    from farm.run.closing import close
    from farm.run.orchestrator import Job
    from farm.run.resumption import as_placed, look, settled
    from farm.run.view import Follower

    if not view.over:
        try:
            done = settled(spec, view)
            close(spec, "" if done else reason, lost=lost and not done)
            view = look(spec)
        except JournalError as error:
            say(str(error))
            view.close(reason)
    return Job(as_placed(spec, view), view, Follower(spec.journal), over=True)


def _chosen(run: str) -> list[RunRecord]:
    from farm.run import unfinished

    every = unfinished.every()
    found = [record for record in every if record.run.startswith(run)]
    if run and not found:
        names = ", ".join(record.run for record in every)
        raise UsageError(
            f"no run {run!r} is unfinished",
            next_step=f"unfinished are: {names}" if names else "nothing is; see: farm runs",
        )
    return found


def _claims(records: Sequence[RunRecord]) -> Iterator[Claim]:
    """Yield the runs whose controllers are dead, each while nobody else has it."""
    from farm.run import unfinished

    for record in records:
        if (claim := unfinished.claim(record.run)) is not None:
            yield claim
