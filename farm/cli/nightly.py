"""``farm nightly``: a plan's night, compared with the nights before it, and told of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from farm.cli.labs import CoordinatorOption, chosen_lab
from farm.cli.output import JsonFlag, add_row, err, out, print_json, printable, table
from farm.cli.results import STYLES, DbOption
from farm.cli.resume import NoResume, resume_all

if TYPE_CHECKING:
    from farm.cli.morning import MorningReport
    from farm.cli.night import Night
    from farm.cli.plancheck import Teller
    from farm.notify import Delivery

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
    smtp: Annotated[
        str,
        typer.Option(
            "--smtp",
            envvar="FARM_SMTP",
            metavar="URL",
            help="Mail server: smtp://, smtp+starttls:// or smtps://HOST[:PORT].",
            show_default=False,
        ),
    ] = "",
    smtp_user: Annotated[
        str,
        typer.Option(
            "--smtp-user",
            envvar="FARM_SMTP_USER",
            metavar="NAME",
            help="Its user; the password is FARM_SMTP_PASSWORD, or in FARM_SMTP_PASSWORD_FILE.",
            show_default=False,
        ),
    ] = "",
    smtp_from: Annotated[
        str,
        typer.Option(
            "--smtp-from",
            envvar="FARM_SMTP_FROM",
            metavar="ADDRESS",
            help="Address that mails come from.",
            show_default=False,
        ),
    ] = "",
    no_resume: NoResume = False,
    coordinator: CoordinatorOption = None,
    db: DbOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a nightly plan, compare it with the nights before, and write the morning report.

    What failed or changed last night runs first, then what is new, then by the requirements'
    priority; what the time box leaves no room for is MISS. Follow-up jobs retry INFRA and repeat
    new failures. Results are stored before anybody is told. What a dead controller left is finished
    first; people are told of it if it is a night of this plan. See docs/nightly.md.

    Exits like farm run: 1 if a test failed or broke; else 3 if something was not learnt, or
    somebody could not be told; 2 for a wrong plan; else 0.
    """
    from farm.cli.night import carry_out_night, prepare
    from farm.cli.outcome import check_store
    from farm.cli.plancheck import Smtp, tellers
    from farm.notify import doubts
    from farm.plans import PlanSource, find_plan

    source = PlanSource(find_plan(plan))
    told = tellers(source.plan, source, Smtp(smtp, smtp_user, smtp_from))
    check_store(db)
    night = prepare(source, chosen_lab(coordinator), db, to)
    problems = doubts([one.channel for one in told])
    for one, problem in zip(told, problems, strict=True):
        if problem:
            said = f"{one.channel.to}: {problem}; tried again when the night is over"
            err().print(printable(said), soft_wrap=True)
    if dry_run:
        _print_preview(night, told, problems, as_json=as_json)
        return
    if not no_resume and (finished := resume_all(night.types)):
        for died in finished:
            if died.morning is not None and died.morning.morning.plan == source.plan.name:
                _tell(told, died.morning)
        night = prepare(source, night.coordinator, db, to)  # they may have changed the order
    jobs, found = carry_out_night(night)
    if not as_json:
        _print(found)
    deliveries = _tell(told, found)
    code = found.morning.exit or (3 if any(one.problem for one in deliveries) else 0)
    if as_json:
        print_json(found.body | {"exit": code, "told": [_delivery(one) for one in deliveries]})
    night.check_boards(jobs)
    raise typer.Exit(code)


def _tell(told: Sequence[Teller], found: MorningReport) -> list[Delivery]:
    """Tell whoever wants to be told, and say on stderr what became of it."""
    from farm.notify import Message, deliver
    from farm.report import morning as page

    channels = [one.channel for one in told if one.when == "always" or found.morning.exit]
    where = f"\nmorning report: {found.path}\n" if found.path else ""
    text = page.text(found.morning) + where
    message = Message(page.subject(found.morning), text, found.page, found.body)
    try:
        deliveries = deliver(channels, message)
    except KeyboardInterrupt:
        err().print("stopped; not everybody was told")
        return []
    for one in deliveries:
        state = f"not told in {one.tries} tries: {one.problem}" if one.problem else "told"
        err().print(printable(f"{one.to}: {state}"), soft_wrap=True)
    return deliveries


def _delivery(one: Delivery) -> dict[str, Any]:
    return {"to": one.to, "tries": one.tries, "problem": one.problem}


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
