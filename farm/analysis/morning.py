"""What a night says against the nights before it: new, fixed, still broken, flaky, not run.

A test is compared with the last good night of the plan *for it*: the newest in which it told
something. A night that a dead board cut short is no reference for what did not run in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from farm.analysis.judgement import Judgement, Kind, judge
from farm.analysis.summary import RunSummary, summarise
from farm.model import Verdict
from farm.settling import LEFT_OPEN
from farm.store.earlier import Came, Earlier, Where, amount, last_night, last_told
from farm.store.records import JobRecord, RunRecord, TestRecord

MAX_TROUBLE = 80
"""Characters of a trouble in the headline."""

NO_JOB = "no job of this night was to run it"


@dataclass(frozen=True, slots=True)
class Row:
    """A test on boards of one type, and what it came to tonight and when it last told something.

    ``boards`` are those on which it came to ``verdict``; ``judged`` is what its follow-ups say.
    ``since`` is the run with which its present spell of failures began, or the one before it ended,
    and ``nights`` how many nights that spell has told of, this one included where it lasts.
    """

    where: Where
    boards: tuple[str, ...]
    verdict: Verdict
    reason: str
    judged: Judgement | None
    before: Came | None
    since: str = ""
    nights: int = 0
    again: str = ""


@dataclass(frozen=True)
class Morning:
    """What a night says; ``against`` is the newest night that it is compared with, or empty.

    ``troubles`` say what kept a part of it from running at all.
    """

    run: RunRecord
    plan: str
    against: str
    new: tuple[Row, ...]
    still: tuple[Row, ...]
    flaky: tuple[Row, ...]
    fixed: tuple[Row, ...]
    unexpected: tuple[Row, ...]
    not_run: tuple[Row, ...]
    troubles: tuple[str, ...] = ()

    @cached_property
    def summary(self) -> RunSummary:
        """The run's verdicts and exit code."""
        return summarise(self.run)

    @property
    def exit(self) -> int:
        """The exit code that the night asks for."""
        return self.summary.exit or (3 if self.troubles else 0)

    @property
    def headline(self) -> str:
        """Say in one line how the night came out."""
        counts = [
            (len(self.new), "new"),
            (len(self.still), "still broken"),
            (len(self.flaky), "flaky"),
            (len(self.fixed), "fixed"),
            (len(self.unexpected), "unexpected"),
            (len(self.not_run), "not run"),
        ]
        told = ", ".join(f"{number} {word}" for number, word in counts if number)
        if told:
            return told
        if not self.summary.verdicts:
            return "nothing ran"
        if self.troubles:
            first = self.troubles[0]
            return (
                f"no news, but {first if len(first) <= MAX_TROUBLE else f'{first[:MAX_TROUBLE]}…'}"
            )
        return "all is well" if self.exit == 0 else "it did not end in order"


def morning(
    run: RunRecord, earlier: Earlier, *, plan: str = "", troubles: Sequence[str] = ()
) -> Morning:
    """Return what a night says; ``earlier`` are the nights of its plan before it.

    ``plan`` names the plan of a night that has no job; ``troubles`` are as in :class:`Morning`.
    """
    tonight: dict[Where, list[tuple[JobRecord, TestRecord]]] = defaultdict(list)
    for job in run.jobs:
        for test in job.final_tests:
            where = Where(job.board_type, job.image.profile, test.nodeid)
            tonight[where].append((job, test))
    judged = judge(run)
    found: dict[str, list[Row]] = defaultdict(list)
    for where, tests in tonight.items():
        verdict = amount(test.verdict for _, test in tests)
        job, test = next(one for one in tests if one[1].verdict is verdict)
        came = earlier.get(where, ())
        row = Row(
            where=where,
            boards=tuple(dict.fromkeys(j.board for j, one in tests if one.verdict is verdict)),
            verdict=verdict,
            reason=test.reason,
            judged=_loudest(judged.get((j.job, one.nodeid)) for j, one in tests),
            before=last_told(came),
            again=job.again(test),
        )
        kind, spell = _kind(row, came)
        if kind:
            found[kind].append(row if not spell else _with_spell(row, spell, lasts=kind != "fixed"))
    found["not_run"] += _gone(tonight, earlier)
    return Morning(
        run=run,
        plan=next((job.plan for job in run.jobs if job.plan), plan),
        against=last_night(earlier),
        troubles=tuple(troubles),
        **{
            kind: tuple(sorted(found[kind], key=_order))
            for kind in ("new", "still", "flaky", "fixed", "unexpected", "not_run")
        },
    )


def _kind(row: Row, came: Sequence[Came]) -> tuple[str, list[Came]]:
    """Return where a row belongs, empty where it is no news, and the failures just before it."""
    spell: list[Came] = []
    for one in reversed([one for one in came if one.told]):
        if not one.verdict.is_failure:
            break
        spell.insert(0, one)
    if row.verdict.is_failure:
        if row.judged is not None and row.judged.kind is Kind.FLAKY:
            return "flaky", spell
        return ("still" if spell else "new"), spell
    if row.verdict in LEFT_OPEN:
        return "not_run", []
    if row.verdict is Verdict.NEW:
        return "unexpected", []
    if row.verdict.is_telling:
        return ("fixed" if spell else ""), spell
    # Skipped: no news unless it told something when it last ran.
    return ("not_run" if came and came[-1].told else ""), []


def _with_spell(row: Row, spell: Sequence[Came], *, lasts: bool) -> Row:
    return replace(row, since=spell[0].run, nights=len(spell) + lasts)


def _gone(tonight: Mapping[Where, object], earlier: Earlier) -> Iterable[Row]:
    """Yield what told something in the last night, and is in none of tonight's jobs."""
    newest = last_night(earlier)
    for where, came in earlier.items():
        if where not in tonight and came[-1].run == newest and came[-1].told:
            yield Row(where, (), Verdict.MISS, NO_JOB, None, came[-1])


def _loudest(judged: Iterable[Judgement | None]) -> Judgement | None:
    """Return what is told where a test's boards have several judgements."""
    kinds = list(Kind)
    listed = [one for one in judged if one is not None]
    return min(listed, key=lambda one: kinds.index(one.kind), default=None)


def _order(row: Row) -> tuple[int, Where]:
    kinds = list(Kind)
    return (kinds.index(row.judged.kind) if row.judged else len(kinds)), row.where
