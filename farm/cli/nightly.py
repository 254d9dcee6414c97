"""``farm nightly``: a plan's night, compared with the nights before it, and told of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from farm.cli.labs import CoordinatorOption, chosen_lab
from farm.cli.output import (
    JsonFlag,
    add_row,
    err,
    error_text,
    out,
    print_json,
    printable,
    table,
)
from farm.cli.results import STYLES, DbOption
from farm.cli.resume import NoResume, resume_all
from farm.cli.telling import Smtp, SmtpFrom, SmtpUrl, SmtpUser, as_object, tell_people
from farm.errors import InfraError, UsageError

if TYPE_CHECKING:
    from farm.cli.morning import MorningReport
    from farm.cli.night import Night
    from farm.cli.plancheck import Teller

app = typer.Typer()

FIRST = 10
"""Tests that ``--dry-run`` lists of each board type; --json has all of them."""


@app.command()
def nightly(
    plan: Annotated[
        str, typer.Argument(metavar="PLAN", help="A plan of reports/plans/, or a plan's file.")
    ],
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check the plan and say what would run, in which order; boot nothing."
        ),
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Put the run's folder (journals, logs, reports) here. Default: the data folder.",
            show_default=False,
        ),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(
            "--junit",
            metavar="FILE",
            help="Write the night's verdicts here as JUnit XML; an older file goes at the start.",
            show_default=False,
        ),
    ] = None,
    smtp: SmtpUrl = "",
    smtp_user: SmtpUser = "",
    smtp_from: SmtpFrom = "",
    no_resume: NoResume = False,
    coordinator: CoordinatorOption = None,
    db: DbOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a nightly plan, compare it with the nights before, and write the morning report.

    What failed or changed last night runs first, then what is new, then by the requirements'
    priority; what the time box leaves no room for is MISS. Follow-up jobs retry INFRA and repeat
    new failures. Results are stored before anybody is told. What a dead controller left is finished
    first, and whom it had not told of a night is told. See docs/nightly.md.

    Exits like farm run: 1 if a test failed or broke; else 3 if something was not learnt, or
    somebody could not be told; 2 for a wrong plan; else 0.
    """
    from farm.cli.night import carry_out_night, prepare
    from farm.cli.outcome import check_store, worst_exit
    from farm.cli.plancheck import tellers
    from farm.notify import doubts
    from farm.plans import PlanSource, find_plan

    if junit is not None and not dry_run:
        _remove(junit)
    source = PlanSource(find_plan(plan))
    mail = Smtp(smtp, smtp_user, smtp_from)
    told = tellers(source.plan, source, mail)
    check_store(db)
    night = prepare(source, chosen_lab(coordinator), db, to)
    problems = doubts([one.channel for one in told])
    for one, problem in zip(told, problems, strict=True):
        if problem:
            who = "" if problem.startswith(one.channel.to) else f"{one.channel.to}: "
            said = f"{who}{problem}; tried again when the night is over"
            err().print(printable(said), soft_wrap=True)
    if dry_run:
        _print_preview(night, told, problems, as_json=as_json)
        return
    if not no_resume and resume_all(night.types, mail):
        night = prepare(source, night.coordinator, db, to)  # they may have changed the order
    claim, outcome, found = carry_out_night(night)
    if junit is not None:
        _write_junit(found, junit)
    if not as_json:
        _print(found)
    deliveries = tell_people(claim, outcome, found, mail)
    untold = 3 if any(one.problem for one in deliveries) else 0
    code = worst_exit((outcome.exit, found.morning.exit, untold))
    if as_json:
        print_json(found.body | {"exit": code, "told": [as_object(one) for one in deliveries]})
    night.check_boards(outcome.jobs)
    raise typer.Exit(code)


def _remove(junit: Path) -> None:
    """Remove what an earlier night left: a CI must not take it for this one's.

    Raises:
        UsageError: that cannot be done.
    """
    try:
        junit.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"--junit {junit}: cannot be written: {error.strerror}") from error


def _write_junit(found: MorningReport, junit: Path) -> None:
    from farm.report.html import write_whole
    from farm.report.junit import render

    try:
        write_whole(junit, render(found.morning.run))
    except OSError as error:
        trouble = InfraError(f"{junit}: cannot be written: {error.strerror}")
        err().print(printable(error_text(trouble)))


def _print(found: MorningReport) -> None:
    from farm.report.morning import sections, text

    console = out()
    listed = sections(found.morning)
    red = {section.title for section in listed if section.name in ("new", "flaky")}
    for line in text(found.morning).splitlines():
        first = line.split(" ", 1)[0]
        style = next((STYLES[name] for name in STYLES if name.value == first), "")
        style = style or ("bold red" if line.partition(" (")[0] in red else "")
        console.print(Text(printable(line), style=style), soft_wrap=True)
    for name, path in (("morning report", found.path), ("report", found.report)):
        if path:
            console.print(f"{name}: {path}", soft_wrap=True)


def _print_preview(
    night: Night, told: Sequence[Teller], problems: Sequence[str], *, as_json: bool
) -> None:
    parts = night.preview()
    tells = [
        {"to": one.channel.to, "when": one.when, "problem": problem}
        for one, problem in zip(told, problems, strict=True)
    ]
    plan = night.plan
    if as_json:
        print_json({"plan": plan.name, "time_box_s": plan.time_box, "tell": tells, "parts": parts})
        return
    console = out()
    box = f"{plan.time_box:g} s" if plan.time_box else "none"
    console.print(f"plan {plan.name}: {printable(plan.description)}; time box: {box}")
    for part in parts:
        for kind in part["board_types"]:
            many, unknown = len(kind["tests"]), kind["unknown"]
            words = [f"{kind['board_type']} with {kind['image']}: {many} tests"]
            words += [f"about {kind['estimate_s']:.0f} s of tests"] * (unknown < many)
            words += [f"{unknown} never ran"] * bool(unknown)
            title = ", ".join(words)
            listing = table("test", "why now", "priority", title=title)
            for test in kind["tests"][:FIRST]:
                add_row(listing, [test["nodeid"], test["rank"], test["priority"]])
            console.print(listing)
            if many > FIRST:
                console.print(f"… and {many - FIRST} more")
    for one in tells:
        console.print(printable(f"tells {one['to']} ({one['when']})"), soft_wrap=True)
