"""What a command line or a plan asks for, and what of it is written down to go on with later."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from farm.cli.placing import Placing

if TYPE_CHECKING:
    from farm.events import Effort
    from farm.image.own import Own
    from farm.plans import Tell
    from farm.pytest_plugin.catalogue import Narrowing
    from farm.run.followups import Rules
    from farm.run.plan import Wish
    from farm.run.unfinished import Asked, Claim, RunRecord


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    suites: Sequence[str]
    boards: Sequence[str]
    match: Mapping[str, str]
    image: str
    own: Own
    narrowing: Narrowing
    out: Path | None
    coordinator: str
    db: str | None
    wait_s: float
    effort: Effort
    cached: bool
    rules: Rules
    placing: Placing = field(default_factory=Placing)


def asked_of(
    options: Options,
    select: Mapping[str, Sequence[str]] | None,
    *,
    plan: str = "",
    part: str = "",
    deadline: float | None = None,
) -> Asked:
    """Return what is written down of options; ``select`` are the tests that they come to.

    ``plan``, ``part`` and ``deadline`` are those of a night.
    """
    from farm.run.unfinished import Asked

    return Asked(
        coordinator=options.coordinator,
        boards=list(options.boards),
        match=dict(options.match),
        features=list(options.placing.features),
        image=options.image,
        owner=options.placing.owner,
        priority=options.placing.priority,
        wait_s=options.wait_s,
        suites=list(dict.fromkeys(word.partition("::")[0] for word in options.suites)),
        select=None if select is None else {name: list(ids) for name, ids in select.items()},
        effort=options.effort,
        cached=options.cached,
        retry_infra=options.rules.infra,
        repeat_new=options.rules.new,
        plan=plan,
        part=part,
        deadline=deadline,
        argv=sys.argv[1:],
    )


def options_of(record: RunRecord, asked: int) -> Options:
    """Return one thing that a run was asked for as options.

    What chose its tests is not in them: the tests are.
    """
    from farm.image.own import Own
    from farm.pytest_plugin.catalogue import Narrowing
    from farm.run.followups import Rules

    found = record.asked[asked]
    return Options(
        suites=found.suites,
        boards=tuple(found.boards),
        match=found.match,
        image=found.image,
        own=Own(),
        narrowing=Narrowing(),
        out=None,
        coordinator=found.coordinator,
        db=record.db,
        wait_s=found.wait_s,
        effort=found.effort,
        cached=found.cached,
        rules=Rules(found.retry_infra, found.repeat_new),
        placing=Placing(tuple(found.features), found.owner, found.priority),
    )


def new_claim(options: Options, asked: Sequence[Asked], tell: Sequence[Tell] = ()) -> Claim:
    """Return the claim to a new run, which owes nothing yet; ``tell`` is whom it is to tell."""
    from farm import paths
    from farm.run.job import new_run_id
    from farm.run.unfinished import Claim

    run_id = new_run_id()
    folder = (options.out.absolute() if options.out else paths.runs_dir()) / run_id
    return Claim.new(run_id, folder, options.db, asked, tell)


def wish_of(claim: Claim, asked: int) -> Wish:
    """Return what every job is to do, from now on, for one thing that a run was asked for."""
    from farm.run.plan import Wish

    record = claim.record
    found = record.asked[asked]
    return Wish(
        run=record.run,
        coordinator="",
        folder=record.folder,
        suites=found.suites,
        select=found.select,
        image=found.image,
        wait_s=found.wait_s,
        effort=found.effort,
        cached=found.cached,
        until=_until(record, asked),
        plan=found.plan,
        part=found.part,
        argv=found.argv,
        owner=found.owner,
        priority=found.priority,
        claim=claim,
        asked=asked,
    )


def _until(record: RunRecord, asked: int) -> float | None:
    """Return when no further test is to begin: each part has its share of the time that is left."""
    deadline = record.asked[asked].deadline
    if deadline is None:
        return None
    now = time.time()
    return now + max(0.0, deadline - now) / (len(record.asked) - asked)
