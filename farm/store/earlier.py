"""What tests came to in earlier runs, for whoever asks what is new."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from farm.model import Verdict, worst
from farm.store import models as t
from farm.store.engine import Store
from farm.store.records import RunRecord

RUNS = 30
"""Newest runs that are looked at."""


@dataclass(frozen=True, slots=True, order=True)
class Where:
    """A test on boards of one type with one image; several boards are taken together."""

    board_type: str
    image: str
    nodeid: str


@dataclass(frozen=True, slots=True)
class Came:
    """What a test came to in one run; ``duration_s`` is the longest that it took on a board."""

    run: str
    at: float
    verdict: Verdict
    duration_s: float = 0.0

    @property
    def told(self) -> bool:
        """Whether it says if what was tested is right."""
        return self.verdict.is_telling


Earlier = Mapping[Where, tuple[Came, ...]]
"""Earlier verdicts by test, oldest first."""


def earlier(
    store: Store, *, plan: str = "", before: RunRecord | None = None, limit: int = RUNS
) -> dict[Where, tuple[Came, ...]]:
    """Return what tests came to in the newest runs, or only in the nights of a plan.

    ``before`` leaves out that run and what came after it. Where boards of a type differ in a run,
    the worst verdict that told something counts.
    """
    runs = sa.select(t.Run.id, t.Run.started_at)
    if plan:
        runs = runs.where(t.Run.id.in_(sa.select(t.Job.run_id).where(t.Job.plan == plan)))
    if before is not None:
        started = before.started_at
        runs = runs.where(
            (t.Run.started_at < started) | ((t.Run.started_at == started) & (t.Run.id < before.id))
        )
    runs = runs.order_by(t.Run.started_at.desc(), t.Run.id.desc()).limit(limit)
    seen: dict[Where, dict[str, list[tuple[Verdict, float]]]] = defaultdict(dict)
    with store.read() as connection:
        chosen = {row.id: row.started_at for row in connection.execute(runs)}
        rows = connection.execute(
            sa.select(
                *(t.Job.run_id, t.Job.board_type, t.Image.profile),
                *(t.Test.nodeid, t.Test.verdict, t.Test.duration_s),
            )
            .join(t.Job, t.Job.id == t.Test.job_id)
            .join(t.Image, t.Image.id == t.Job.image_id)
            .where(t.Test.final, t.Job.run_id.in_(list(chosen)))
        )
        for row in rows:
            where = Where(row.board_type, row.profile, row.nodeid)
            told = (Verdict(row.verdict), row.duration_s)
            seen[where].setdefault(row.run_id, []).append(told)
    order = [run for run, _ in sorted(chosen.items(), key=lambda one: (one[1], one[0]))]
    return {
        where: tuple(_came(run, chosen[run], by_run[run]) for run in order if run in by_run)
        for where, by_run in seen.items()
    }


def _came(run: str, at: float, told: list[tuple[Verdict, float]]) -> Came:
    verdict = amount(verdict for verdict, _ in told)
    return Came(run, at, verdict, max(duration for _, duration in told))


def amount(verdicts: Iterable[Verdict]) -> Verdict:
    """Return what a test's verdicts on several boards amount to: the worst that told something."""
    listed = list(verdicts)
    found = worst(verdict for verdict in listed if verdict.is_telling) or worst(listed)
    assert found is not None, "at least one verdict"
    return found


def last_night(came: Earlier) -> str:
    """Return the newest run that any test came to something in, empty where there is none."""
    newest = max(
        (one[-1] for one in came.values() if one), key=lambda one: (one.at, one.run), default=None
    )
    return newest.run if newest is not None else ""


def last_told(came: Iterable[Came]) -> Came | None:
    """Return the newest verdict that told something, None where none did."""
    return next((one for one in reversed(list(came)) if one.told), None)
