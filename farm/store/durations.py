"""How long jobs hold their boards, from those of before."""

from __future__ import annotations

from statistics import median

import sqlalchemy as sa

from farm.store import models as t
from farm.store.engine import Store

LAST_JOBS = 10
"""Jobs of a board type, the newest, that an expectation rests on."""


def held_s(store: Store, board_type: str) -> float:
    """Return how many seconds jobs of a board type hold their board, 0 where none is known.

    It is the median of the newest jobs that ended in order, each from its lease to its end.
    """
    leased = (
        sa.select(t.State.job_id, sa.func.min(t.State.at).label("at"))
        .where(t.State.state == "leased")
        .group_by(t.State.job_id)
        .subquery()
    )
    with store.read() as connection:
        found = connection.execute(
            sa.select(t.Job.ended_at - leased.c.at)
            .join(leased, leased.c.job_id == t.Job.id)
            .where(t.Job.board_type == board_type, t.Job.ok)
            .order_by(t.Job.started_at.desc())
            .limit(LAST_JOBS)
        ).scalars()
        known = [max(0.0, float(one)) for one in found]
    return median(known) if known else 0.0
