"""Telling people of a night that is over: whom is written down first, and each of them marked.

A controller may die while it tells them. Whoever finishes its run then tells those who were not
told; who was being told just then may hear of it twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farm import failpoints, paths
from farm.cli.output import err, error_text, printable
from farm.errors import InfraError, UsageError
from farm.run.job import STOPPED
from farm.run.unfinished import Mark, Telling

if TYPE_CHECKING:
    from farm.cli.morning import MorningReport
    from farm.cli.outcome import Outcome
    from farm.notify import Channel, Delivery, Message
    from farm.plans import Tell
    from farm.run.unfinished import Claim

SmtpUrl = Annotated[
    str,
    typer.Option(
        "--smtp",
        envvar="FARM_SMTP",
        metavar="URL",
        help="Mail server: smtp://, smtp+starttls:// or smtps://HOST[:PORT].",
        show_default=False,
    ),
]
SmtpUser = Annotated[
    str,
    typer.Option(
        "--smtp-user",
        envvar="FARM_SMTP_USER",
        metavar="NAME",
        help="Its user; the password is FARM_SMTP_PASSWORD, or in FARM_SMTP_PASSWORD_FILE.",
        show_default=False,
    ),
]
SmtpFrom = Annotated[
    str,
    typer.Option(
        "--smtp-from",
        envvar="FARM_SMTP_FROM",
        metavar="ADDRESS",
        help="Address that mails come from.",
        show_default=False,
    ),
]

AGAIN = "You may have been told of this night before: who told of it died in the midst of that."


@dataclass(frozen=True, slots=True)
class Smtp:
    """The settings of the mail server; no plan holds them."""

    url: str
    user: str
    sender: str


def channel_of(tell: Tell, smtp: Smtp) -> Channel:
    """Return the way to tell somebody of whom a plan says this.

    Raises:
        UsageError: there is no mail server for a mail, no variable with a webhook's URL, or a
            command cannot be executed.
    """
    if tell.command:
        from farm.notify.command import Command

        return Command(tell.command, folder=paths.project_root())
    if tell.mail:
        from farm.notify.mail import Mail, server

        if not smtp.url:
            raise UsageError(
                "no mail server is known",
                next_step="set FARM_SMTP=smtp+starttls://host:port, or smtp in farm.toml",
            )
        return Mail(
            tell.mail,
            server(
                smtp.url,
                sender=smtp.sender,
                user=smtp.user,
                password=os.environ.get("FARM_SMTP_PASSWORD", ""),
                password_file=os.environ.get("FARM_SMTP_PASSWORD_FILE", ""),
            ),
        )
    from farm.notify.webhook import Webhook

    if tell.webhook:
        return Webhook(tell.webhook)
    try:
        return Webhook(os.environ.get(tell.webhook_from or "", ""))
    except UsageError as error:
        raise UsageError(
            f"{tell.webhook_from} does not hold an http:// or https:// URL",
            next_step=f"export {tell.webhook_from}=https://…",
        ) from error


def tell_people(
    claim: Claim, outcome: Outcome, found: MorningReport, smtp: Smtp | None
) -> list[Delivery]:
    """Tell whomever a night's plan wants told and nobody has tried to tell yet; say how it went.

    The run is forgotten once everybody was tried and the store has its results. Without ``smtp``
    nobody is told yet: it stays owed. So it does where a user stops it, and for whom there is no
    way to tell with the settings at hand.
    """
    record = claim.record
    marks = record.telling.marks if record.telling else [Mark.DUE] * len(record.tell)
    due = [
        number
        for number, one in enumerate(record.tell)
        if marks[number] in (Mark.DUE, Mark.BEGUN) and (one.when == "always" or found.morning.exit)
    ]
    deliveries: list[Delivery] = []
    if due:
        troubles = list(found.morning.troubles)
        telling = Telling(kept=outcome.kept, report=outcome.report, troubles=troubles, marks=marks)
        book = _Book(claim, telling)
        failpoints.hit("telling.recorded")
        if smtp is None:
            err().print(f"run {record.run}: nobody is told of it yet: farm resume {record.run}")
            return []
        deliveries = list(_tell_each(book, record.tell, due, found, smtp))
        if any(book.telling.marks[number] in (Mark.DUE, Mark.BEGUN) for number in due):
            err().print(f"not everybody was told; to tell the others: farm resume {record.run}")
            err().print(f"to leave it at that: farm resume {record.run} --close")
            return deliveries
    if outcome.kept:
        claim.forget()
    return deliveries


class _Book:
    """How far telling has come, in writing as far as the disk takes it."""

    def __init__(self, claim: Claim, telling: Telling) -> None:
        self.telling = telling
        self._claim = claim
        self._complained = False
        self._write()

    def mark(self, number: int, mark: Mark) -> None:
        self.telling = self.telling.marked(number, mark)
        self._write()

    def _write(self) -> None:
        try:
            self._claim.owe_telling(self.telling)
        except InfraError as error:  # people are told all the same
            if not self._complained:
                err().print(printable(error_text(error)), soft_wrap=True)
            self._complained = True


def _tell_each(
    book: _Book, tell: Sequence[Tell], due: Sequence[int], found: MorningReport, smtp: Smtp
) -> Iterator[Delivery]:
    from farm.notify import Delivery, deliver

    stopped = False
    for number in due:
        told = Delivery(whom(tell[number]), 0, STOPPED)
        try:
            if not stopped:
                channel = channel_of(tell[number], smtp)
                told = Delivery(channel.to, 1, STOPPED)
                message = _message(found, again=book.telling.marks[number] is Mark.BEGUN)
                book.mark(number, Mark.BEGUN)
                failpoints.hit("telling.begun")
                told = deliver(channel, message)
                failpoints.hit("telling.sent")
                book.mark(number, Mark.GIVEN_UP if told.problem else Mark.TOLD)
                failpoints.hit("telling.marked")
        except UsageError as error:
            told = Delivery(whom(tell[number]), 0, f"{error.message} ({error.next_step})")
        except KeyboardInterrupt:
            stopped = True
        tries = {0: "", 1: " in 1 try"}.get(told.tries, f" in {told.tries} tries")
        state = f"not told{tries}: {told.problem}" if told.problem else "told"
        err().print(printable(f"{told.to}: {state}"), soft_wrap=True)
        yield told


def _message(found: MorningReport, *, again: bool) -> Message:
    from farm.notify import Message
    from farm.report import morning as page

    where = f"\nmorning report: {found.path}\n" if found.path else ""
    text = f"{AGAIN}\n\n" * again + page.text(found.morning) + where
    subject = page.subject(found.morning)
    return Message(found.morning.run.id, subject, text, found.page, found.body)


def whom(tell: Tell) -> str:
    """Return whom an entry of a plan tells, without a secret, where there is no way to them."""
    if tell.command:
        return f"command {tell.command[0]}"
    return f"mail to {', '.join(tell.mail)}" if tell.mail else f"webhook of {tell.webhook_from}"


def as_object(told: Delivery) -> dict[str, Any]:
    """Return what became of telling somebody, as JSON has it."""
    return {"to": told.to, "tries": told.tries, "problem": told.problem}
