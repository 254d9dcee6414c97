"""The morning report of a night: a page, a text for terminals and mails, and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from farm.analysis.morning import Morning, Row
from farm.report.html import TEMPLATES, environment
from farm.report.json import judgement
from farm.report.text import iso, one_line, shorten

SHOWN = 25
"""Rows of a kind that the text lists; page and JSON have all of them."""
REASON = 200
"""Characters of a reason in the text."""


@dataclass(frozen=True, slots=True)
class Section:
    """One kind of news: its name in JSON, its heading, what it means, and its rows."""

    name: str
    title: str
    about: str
    rows: tuple[Row, ...]


def sections(found: Morning) -> list[Section]:
    """Return the news in the order in which they want a look."""
    return [
        Section("new", "New", "failed tonight, and did not when it last told", found.new),
        Section("flaky", "Flaky", "failed some of the times tonight", found.flaky),
        Section("still", "Still broken", "failed when it last told, too", found.still),
        Section("unexpected", "Unexpected", "nothing says yet if it is right", found.unexpected),
        Section("not_run", "Not run", "nothing was learnt tonight, and why", found.not_run),
        Section("fixed", "Fixed", "failed when it last told", found.fixed),
    ]


def subject(found: Morning) -> str:
    """Return the line that a mail or a chat shows first."""
    return one_line(f"[farm] {found.plan}: {found.headline} ({found.run.id})")


def document(found: Morning) -> dict[str, Any]:
    """Return the object that ``farm nightly --json`` prints, without its schema."""
    return {
        "run": found.run.id,
        "plan": found.plan,
        "against": found.against,
        "started": iso(found.run.started_at),
        "ended": iso(found.run.ended_at),
        "exit": found.exit,
        "headline": found.headline,
        "troubles": list(found.troubles),
        "verdicts": {str(name): many for name, many in found.summary.verdicts.items()},
        "jobs": [
            {
                "job": job.job,
                "board": job.board,
                "board_type": job.board_type,
                "image": job.image.profile,
                "kernel": job.kernel,
                "purpose": job.purpose.value,
                "reason": job.reason or job.problem,
            }
            for job in found.run.jobs
        ],
        **{section.name: [_row(row) for row in section.rows] for section in sections(found)},
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "board_type": row.where.board_type,
        "image": row.where.image,
        "nodeid": row.where.nodeid,
        "boards": list(row.boards),
        "verdict": row.verdict.value,
        "reason": row.reason,
        "judgement": judgement(row.judged),
        "before": {"run": row.before.run, "verdict": row.before.verdict.value}
        if row.before
        else None,
        "since": row.since,
        "nights": row.nights,
        "again": row.again,
    }


def text(found: Morning) -> str:
    """Return the report as plain text: what is new first, a test a line with what is known of it.

    What is not run is told by its reason.
    """
    lines = [one_line(found.headline), ""]
    lines += [one_line(f"! {trouble}") for trouble in found.troubles]
    lines += [one_line(line) for line in _boards(found)]
    lines.append(
        f"compared with {one_line(found.against)} and the nights before it"
        if found.against
        else "the first night of this plan"
    )
    for section in sections(found):
        if not section.rows:
            continue
        lines += ["", f"{section.title} ({len(section.rows)}): {section.about}"]
        if section.name == "not_run":
            lines += list(_reasons(section.rows))
            continue
        for row in section.rows[:SHOWN]:
            where = f"{row.where.board_type}, {row.where.image}"
            lines.append(one_line(f"  {row.verdict.value} {row.where.nodeid} ({where})").rstrip())
            lines += [f"      {shorten(one_line(line), REASON)}" for line in told(row)]
        if len(section.rows) > SHOWN:
            lines.append(f"  … and {len(section.rows) - SHOWN} more")
    return "\n".join(lines) + "\n"


def told(row: Row) -> list[str]:
    """Return what is known of a test beside its verdict, a sentence each."""
    known = []
    if row.judged is not None:
        known.append(row.judged.text)
    if row.reason:
        known.append(row.reason)
    if row.nights and not row.verdict.is_failure:
        nights = "1 night" if row.nights == 1 else f"{row.nights} nights"
        known.append(f"was broken for {nights}, since {row.since}")
    elif row.nights > 1:
        known.append(f"for {row.nights} nights, since {row.since}")
    elif row.before is not None:
        known.append(f"{row.before.verdict.value} in {row.before.run}")
    elif row.verdict.is_failure:
        known.append("it never told anything before")
    return known


def reasons(rows: Sequence[Row]) -> Mapping[tuple[str, str, str], tuple[Row, ...]]:
    """Return what did not run by verdict, board type and reason."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        key = (row.verdict.value, row.where.board_type, row.reason)
        found.setdefault(key, []).append(row)
    return {key: tuple(members) for key, members in found.items()}


def _reasons(rows: Sequence[Row]) -> Iterable[str]:
    for (verdict, board_type, reason), members in reasons(rows).items():
        many = "1 test" if len(members) == 1 else f"{len(members)} tests"
        yield f"  {verdict} {many} on {one_line(board_type)}: {shorten(one_line(reason), REASON)}"
        yield from (f"      {one_line(row.where.nodeid)}" for row in members[:3])
        if len(members) > 3:
            yield f"      … and {len(members) - 3} more"


def _boards(found: Morning) -> Iterable[str]:
    for job, counted in zip(found.run.jobs, found.summary.jobs, strict=True):
        verdicts = ", ".join(f"{many} {name.value}" for name, many in counted.verdicts.items())
        why = "; ".join(filter(None, (job.errand, counted.reason)))
        kernel = job.kernel or "never came up"
        line = f"{job.board} ({kernel}): {verdicts or 'nothing that counts'}"
        yield f"{line}; {why}" if why else line


def render(found: Morning, report: str = "") -> str:
    """Return the report as an HTML page; ``report`` is where the run's own is, relative to it."""
    return (
        environment()
        .get_template("morning.html")
        .render(
            morning=found,
            sections=sections(found),
            reasons=reasons,
            told=told,
            report=report,
            style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        )
    )
