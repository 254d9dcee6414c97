"""Marks the attempts that count for a run, over all of its jobs."""

from __future__ import annotations

from collections import defaultdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from farm.model import Purpose, Verdict
from farm.settling import Part, standing
from farm.store import models as t


def settle(connection: Connection, run: str) -> None:
    """Mark the attempts that count; what a follow-up settled no longer counts where it was open.

    A run without follow-ups is left as it is: its jobs' last attempts count. The outcome is the
    same in whichever order the run's journals came in.
    """
    jobs = connection.execute(
        sa.select(t.Job.id, t.Job.job, t.Job.purpose, t.Job.follows, t.Job.ok)
        .where(t.Job.run_id == run)
        .order_by(t.Job.started_at, t.Job.job)
    ).all()
    if all(job.purpose == Purpose.FIRST for job in jobs):
        return
    last: dict[int, dict[str, tuple[int, Verdict]]] = defaultdict(dict)
    for row in connection.execute(
        sa.select(t.Test.id, t.Test.job_id, t.Test.nodeid, t.Test.verdict)
        .where(t.Test.job_id.in_([job.id for job in jobs]))
        .order_by(t.Test.attempt)
    ):
        last[row.job_id][row.nodeid] = (row.id, Verdict(row.verdict))
    parts = [
        Part(
            job=job.job,
            purpose=Purpose(job.purpose),
            follows=job.follows,
            ok=job.ok,
            verdicts={nodeid: verdict for nodeid, (_, verdict) in last[job.id].items()},
        )
        for job in jobs
    ]
    stands = standing(parts)
    for job in jobs:
        mine = stands[job.job]
        rows = [{"row": row, "counts": nodeid in mine} for nodeid, (row, _) in last[job.id].items()]
        if rows:
            connection.execute(
                sa.update(t.Test)
                .where(t.Test.id == sa.bindparam("row"))
                .values(final=sa.bindparam("counts")),
                rows,
            )
