"""Last verdicts: what became of each requirement on each board, in the newest run that tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from farm.model import Verdict
from farm.store import models as t
from farm.store.engine import Store

RUNS = 50
"""Newest runs that are looked at."""


@dataclass(frozen=True, slots=True)
class BoardVerdicts:
    """A requirement's tests on one board in the newest run that has any; ``verdicts`` counts them.

    ``kernel`` is the one that they ran on, empty where the board never came up.
    """

    board: str
    board_type: str
    run: str
    image: str
    kernel: str
    verdicts: Mapping[Verdict, int]


def last_verdicts(store: Store, run: str = "") -> dict[str, tuple[BoardVerdicts, ...]]:
    """Return by requirement what became of it on each board, in the order of the boards' names.

    With ``run`` in that run, else in the newest of the last :data:`RUNS` runs that tested it there.
    """
    about: dict[tuple[str, str], Any] = {}
    kernels: dict[tuple[str, str], str] = {}
    counts: dict[tuple[str, str], Counter[Verdict]] = {}
    with store.read() as connection:
        for row in connection.execute(_tests(run)):
            for name in row.requirements:
                key = (name, row.board)
                if about.setdefault(key, row).run_id == row.run_id:
                    counts.setdefault(key, Counter())[Verdict(row.verdict)] += 1
                    kernels[key] = row.kernel or kernels.get(key, "")
    found: dict[str, tuple[BoardVerdicts, ...]] = {}
    for key in sorted(about):
        row = about[key]
        told = (row.board, row.board_type, row.run_id, row.profile, kernels[key], counts[key])
        found[key[0]] = (*found.get(key[0], ()), BoardVerdicts(*told))
    return found


def _tests(run: str) -> sa.Executable:
    """Return the tests that count, newest run first, each with the kernel that it ran on."""
    newest = sa.select(t.Run.id).order_by(t.Run.started_at.desc(), t.Run.id.desc()).limit(RUNS)
    return (
        sa.select(
            t.Job.board,
            t.Job.board_type,
            t.Job.run_id,
            t.Image.profile,
            t.Boot.kernel,
            t.Test.requirements,
            t.Test.verdict,
        )
        .select_from(t.Test)
        .join(t.Job, t.Job.id == t.Test.job_id)
        .join(t.Run, t.Run.id == t.Job.run_id)
        .join(t.Image, t.Image.id == t.Job.image_id)
        .outerjoin(t.Boot, (t.Boot.job_id == t.Test.job_id) & (t.Boot.boot == t.Test.boot))
        .where(t.Test.final, t.Run.id == run if run else t.Run.id.in_(newest))
        .order_by(t.Run.started_at.desc(), t.Run.id.desc(), t.Job.started_at.desc())
    )
