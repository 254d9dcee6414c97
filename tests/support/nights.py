"""Journals of jobs that come to what a test says: first jobs, retries and repeats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from journals import write_journal

from farm.events import (
    CaseFinished,
    CaseStarted,
    Event,
    ImageInfo,
    JobFinished,
    JobStarted,
    Key,
    Plan,
)
from farm.model import Purpose, Verdict
from farm.store import Store, ingest

NIGHT_S = 86_400.0
EPOCH = 1_789_970_000.0
REASONS = {Verdict.FAIL: "maps == 1", Verdict.INFRA: "the link was lost"}

Told = Verdict | Sequence[Verdict]
"""A test's verdict, or those of its replicates."""


def night_id(number: int) -> str:
    """Return the run id of the numbered night."""
    return f"202609{number:02d}-020000-{number:04x}"


def nodeid(name: str) -> str:
    """Return the node id of a test of the suite of these journals."""
    return f"mapcache/test_map.py::{name}"


def job_of(
    tests: Mapping[str, Told],
    *,
    night: int = 1,
    board: str = "virt-smmuv3-1",
    board_type: str = "virt-smmuv3",
    purpose: Purpose = Purpose.FIRST,
    follows: Sequence[str] = (),
    plan: str = "nightly",
    reason: str = "",
    lost: bool = False,
    requirements: Mapping[str, Sequence[str]] | None = None,
) -> list[Event]:
    """Return the events of a job in which tests come to this; MISS is planned and never runs."""
    return list(
        _events(
            tests,
            JobStarted(
                t=EPOCH + night * NIGHT_S + {"": 0.0, "retry": 60.0, "repeat": 120.0}[purpose],
                run=night_id(night),
                job=job_name(board, purpose),
                board=board,
                board_type=board_type,
                image=ImageInfo(profile="debian-13", id="c4b1f7a92d03e5ac"),
                hardware={"emulator": "qemu-7.2.22"},
                plan=plan,
                purpose=purpose,
                follows=list(follows),
            ),
            JobFinished(ok=not reason, reason=reason, lost=lost),
            requirements or {},
        )
    )


def job_name(board: str, purpose: Purpose = Purpose.FIRST) -> str:
    """Return the name of a board's job."""
    return f"{board}.{purpose}" if purpose else board


def _events(
    tests: Mapping[str, Told],
    start: JobStarted,
    end: JobFinished,
    needs: Mapping[str, Sequence[str]],
) -> Iterator[Event]:
    now = start.t
    yield start
    keys = [
        Key(
            nodeid=nodeid(name), suite="mapcache", test=name, requirements=list(needs.get(name, ()))
        )
        for name in tests
    ]
    yield Plan(t=now, tests=keys)
    for name, told in tests.items():
        for number, verdict in enumerate([told] if isinstance(told, Verdict) else told):
            if verdict is Verdict.MISS:
                continue
            now += 1.0
            yield CaseStarted(t=now, nodeid=nodeid(name), replicate=number)
            yield CaseFinished(
                t=now + 0.5,
                nodeid=nodeid(name),
                replicate=number,
                verdict=verdict,
                reason=REASONS.get(verdict, ""),
                duration_s=0.5,
            )
    yield end.model_copy(update={"t": now + 1.0})


def keep(store: Store, folder: Path, jobs: Iterable[Sequence[Event]]) -> str:
    """Write the jobs' journals and take them in; return the run's id."""
    run = ""
    for events in jobs:
        start = events[0]
        assert isinstance(start, JobStarted)
        run = start.run
        ingest(write_journal(folder / run / start.job / "journal.jsonl", events), store)
    return run
