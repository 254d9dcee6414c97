"""Ingest: from a journal into the store; the same journal twice changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from farm.errors import JournalError
from farm.model import ImageProvenance
from farm.store import models as t
from farm.store.engine import Store
from farm.store.fold import Folded, fold_journal
from farm.store.records import ImageRecord, JobRecord, SampleRecord
from farm.store.settle import settle

_CHUNK = 1000
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What an ingest found and did.

    ``tests`` counts tests, ``samples`` the samples of all their attempts. ``changed`` is false
    where the store already held this journal, or a longer version of it. ``problem`` names the
    first line of the journal that could not be read and counts the others, if there are any.
    """

    run: str
    job: str
    events: int
    tests: int
    samples: int
    changed: bool
    problem: str


def ingest(journal: Path, store: Store) -> IngestResult:
    """Bring the store to what a journal says.

    A journal that ends early is taken as far as it goes: a case that had started is INFRA, one
    that had not is MISS. A longer version of a journal replaces what its shorter one left.

    Raises:
        JournalError: nothing can be read from the journal, or another journal of the same run and
            job is in the store.
    """
    folded = fold_journal(journal)
    for attempt in (1, 2):
        try:
            with store.write() as connection:
                changed = _ingest(connection, folded, journal)
            break
        except IntegrityError:
            # Where writers are not alone, two may add the same image or series at once.
            if attempt == 2:
                raise
    job = folded.job
    return IngestResult(
        run=job.run,
        job=job.job,
        events=job.events,
        tests=len(job.final_tests),
        samples=sum(len(test.samples) for test in job.tests),
        changed=changed,
        problem=job.problem,
    )


def _ingest(connection: Connection, folded: Folded, journal: Path) -> bool:
    job = folded.job
    stored = connection.execute(
        sa.select(t.Job.id, t.Job.head, t.Job.events, t.Job.problem).where(
            t.Job.run_id == job.run, t.Job.job == job.job
        )
    ).one_or_none()
    if stored is not None:
        if stored.head != folded.head:
            raise JournalError(
                f"{journal}:1: another journal of run {job.run!r}, job {job.job!r} is in the store",
                next_step="ingest it into another database (--db)",
            )
        known = (stored.events, not stored.problem)
        if known >= (job.events, not job.problem):
            return False
        connection.execute(sa.delete(t.Job).where(t.Job.id == stored.id))
    _run(connection, job)
    job_id = _job(connection, folded)
    _boots(connection, job_id, job)
    _logs(connection, job_id, job)
    _tests(connection, job_id, job)
    settle(connection, job.run)
    return True


def _run(connection: Connection, job: JobRecord) -> None:
    started = connection.execute(
        sa.select(t.Run.started_at).where(t.Run.id == job.run)
    ).scalar_one_or_none()
    if started is None:
        connection.execute(sa.insert(t.Run).values(id=job.run, started_at=job.started_at))
    elif job.started_at < started:
        connection.execute(
            sa.update(t.Run).where(t.Run.id == job.run).values(started_at=job.started_at)
        )


def _job(connection: Connection, folded: Folded) -> int:
    job = folded.job
    return int(
        connection.execute(
            sa.insert(t.Job)
            .values(
                **t.values_of(job, t.JOB_FIELDS),
                run_id=job.run,
                image_id=_image(connection, job.image),
                hardware=dict(job.hardware),
                argv=list(job.argv),
                effort=job.effort.model_dump(),
                purpose=job.purpose.value,
                follows=list(job.follows),
                head=folded.head,
            )
            .returning(t.Job.id)
        ).scalar_one()
    )


def _image(connection: Connection, image: ImageRecord) -> int:
    """Return the id of the image's row; packages that a row lacks are added to it."""
    found = connection.execute(
        sa.select(t.Image.id).where(
            t.Image.profile == image.profile, t.Image.content_id == image.id
        )
    ).scalar_one_or_none()
    if found is None:
        found = connection.execute(
            sa.insert(t.Image)
            .values(profile=image.profile, content_id=image.id)
            .returning(t.Image.id)
        ).scalar_one()
    held = {
        (row.package, row.architecture, row.version)
        for row in connection.execute(
            sa.select(t.Package.package, t.Package.architecture, t.Package.version).where(
                t.Package.image_id == found
            )
        )
    }
    _insert(connection, t.Package, _package_rows(found, image.packages, held))
    return int(found)


def _package_rows(
    image_id: int, packages: Iterable[ImageProvenance], held: set[tuple[str, str, str]]
) -> Iterator[dict[str, Any]]:
    for one in packages:
        if (one.package, one.architecture, one.version) not in held:
            yield {
                "image_id": image_id,
                "package": one.package,
                "architecture": one.architecture,
                "version": one.version,
                "sha256": one.sha256,
            }


def _boots(connection: Connection, job_id: int, job: JobRecord) -> None:
    _insert(
        connection,
        t.Boot,
        (
            {
                "job_id": job_id,
                "boot": boot.boot,
                "at": boot.at,
                "kernel": boot.kernel,
                "boot_s": boot.boot_s,
                "topology": dict(boot.topology),
            }
            for boot in job.boots
        ),
    )
    _insert(
        connection,
        t.Covariate,
        (
            {"job_id": job_id, "boot": boot.boot, "name": name, "value": value}
            for boot in job.boots
            for name, value in boot.facts.items()
        ),
    )


def _logs(connection: Connection, job_id: int, job: JobRecord) -> None:
    """Insert what happened beside the tests: states, complaints, artifacts."""
    tables: tuple[tuple[type[t.Base], Sequence[Any], tuple[str, ...]], ...] = (
        (t.State, job.states, ("at", "state", "detail")),
        (
            t.Complaint,
            job.complaints,
            ("at", "pattern", "line", "nodeid", "attempt", "fatal"),
        ),
        (t.Artifact, job.artifacts, ("name", "path", "sha256", "kind")),
    )
    for table, records, names in tables:
        _insert(
            connection,
            table,
            (
                {"job_id": job_id, "position": position}
                | {name: getattr(record, name) for name in names}
                for position, record in enumerate(records)
            ),
        )


def _tests(connection: Connection, job_id: int, job: JobRecord) -> None:
    rows = [
        {
            **t.values_of(test, t.TEST_FIELDS),
            "job_id": job_id,
            "position": position,
            "params": dict(test.params),
            "requirements": list(test.requirements),
            "verdict": test.verdict.value,
            "console": list(test.console),
            "exporter": test.cell.exporter if test.cell else "",
            "importer": test.cell.importer if test.cell else "",
            "outcome": test.cell.outcome if test.cell else "",
            "errno": test.cell.errno if test.cell else "",
            "observed": dict(test.observed),
            "replicates": [asdict(one) for one in test.replicates],
            "seeded": test.seeded,
            "decisions": test.decisions,
        }
        for position, test in enumerate(job.tests)
    ]
    if not rows:
        return
    ids = connection.execute(
        sa.insert(t.Test).returning(t.Test.id, sort_by_parameter_order=True), rows
    ).scalars()
    by_test = list(zip(ids, job.tests, strict=True))
    series = _series(connection, job)
    _insert(
        connection,
        t.Sample,
        (
            {
                "test_id": test_id,
                "series_id": series[sample.series],
                "replicate": sample.replicate,
                "position": position,
                "value": sample.value,
                "unit": sample.unit,
            }
            for test_id, test in by_test
            for position, sample in enumerate(test.samples)
        ),
    )
    _insert(
        connection,
        t.AbsentCounter,
        (
            {
                "test_id": test_id,
                "counter": absent.counter,
                "position": position,
                "reason": absent.reason,
            }
            for test_id, test in by_test
            for position, absent in enumerate(test.absent)
        ),
    )


def _series(connection: Connection, job: JobRecord) -> dict[str, int]:
    """Return the ids of the job's series by key, adding those that are new."""
    wanted: dict[str, dict[str, Any]] = {}
    for test in job.tests:
        for sample in test.samples:
            if sample.series not in wanted:
                wanted[sample.series] = _series_row(job, test.case or test.test, test, sample)
    ids = _series_ids(connection, list(wanted))
    missing = [row for key, row in wanted.items() if key not in ids]
    if missing:
        _insert(connection, t.Series, missing)
        ids |= _series_ids(connection, [row["key"] for row in missing])
    return ids


def _series_row(job: JobRecord, case: str, test: Any, sample: SampleRecord) -> dict[str, Any]:
    return {
        "key": sample.series,
        "board_type": job.board_type,
        "hardware": dict(job.hardware),
        "case": case,
        "case_hash": test.case_hash,
        "case_params": dict(test.params),
        "sample_params": dict(sample.params),
        "metric": sample.metric,
    }


def _series_ids(connection: Connection, keys: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for some in chunks(keys):
        rows = connection.execute(
            sa.select(t.Series.key, t.Series.id).where(t.Series.key.in_(some))
        )
        found.update((row.key, row.id) for row in rows)
    return found


def _insert(connection: Connection, table: type[t.Base], rows: Iterable[dict[str, Any]]) -> None:
    listed = list(rows)
    if listed:
        connection.execute(sa.insert(table), listed)


def chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Yield the items in pieces that fit one statement's parameters."""
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
