"""What is asked of the store."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterable
from statistics import median
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from farm.errors import UsageError
from farm.events import Effort
from farm.model import Absent, ImageProvenance, Purpose, Verdict
from farm.settling import Part, in_order
from farm.store import models as t
from farm.store.engine import Store
from farm.store.ingest import chunks
from farm.store.records import (
    ArtifactRecord,
    BootRecord,
    Cell,
    ComplaintRecord,
    ImageRecord,
    JobRecord,
    Point,
    ReplicateRecord,
    RunLine,
    RunRecord,
    SampleRecord,
    StateRecord,
    TestRecord,
)

LAST = ("last", "latest")
"""Words that name the newest run."""

_MEASURED = (Verdict.PASS, Verdict.FAIL, Verdict.XFAIL, Verdict.XPASS)


def resolve_run(store: Store, wanted: str) -> str:
    """Return the id of the run that an id, a unique prefix of one, or ``last`` means.

    Raises:
        UsageError: there is none, or more than one; names the nearest.
    """
    with store.read() as connection:
        ids = list(
            connection.execute(
                sa.select(t.Run.id).order_by(t.Run.started_at.desc(), t.Run.id.desc())
            ).scalars()
        )
    if wanted in ids:
        return wanted
    if not ids:
        raise UsageError(
            f"no run {wanted!r}: {store.url} holds none",
            next_step="start one with `farm run`, or restore one with `farm ingest JOURNAL`",
        )
    if wanted in LAST:
        return ids[0]
    matching = [run for run in ids if wanted and run.startswith(wanted)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise UsageError(
            f"{wanted!r} means {len(matching)} runs: {_some(matching)}",
            next_step="give more of the id",
        )
    near = difflib.get_close_matches(wanted, ids, n=3, cutoff=0.4) or ids
    raise UsageError(
        f"no run {wanted!r} in {store.url}; the nearest are {_some(near)}",
        next_step="`farm runs` lists them all; `last` is the newest",
    )


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:3]) + (" …" if len(ids) > 3 else "")


def list_runs(store: Store, limit: int | None = None) -> tuple[RunLine, ...]:
    """Return runs, newest first."""
    with store.read() as connection:
        runs = connection.execute(
            sa.select(t.Run.id, t.Run.started_at)
            .order_by(t.Run.started_at.desc(), t.Run.id.desc())
            .limit(limit)
        ).all()
        ids = [run.id for run in runs]
        ended: dict[str, float] = {}
        parts: dict[str, list[Part]] = defaultdict(list)
        verdicts: dict[str, dict[str, dict[Verdict, int]]] = defaultdict(dict)
        for some in chunks(ids):
            for job in connection.execute(
                sa.select(
                    *(t.Job.run_id, t.Job.job, t.Job.board, t.Job.ended_at),
                    *(t.Job.ok, t.Job.purpose, t.Job.follows),
                )
                .where(t.Job.run_id.in_(some))
                .order_by(t.Job.started_at, t.Job.job)
            ):
                ended[job.run_id] = max(ended.get(job.run_id, 0.0), job.ended_at)
                verdicts[job.run_id].setdefault(job.board, {})
                parts[job.run_id].append(
                    Part(job.job, Purpose(job.purpose), job.follows, job.ok, {})
                )
            for run_id, board, verdict, number in connection.execute(
                sa.select(t.Job.run_id, t.Job.board, t.Test.verdict, sa.func.count())
                .join(t.Test, t.Test.job_id == t.Job.id)
                .where(t.Job.run_id.in_(some), t.Test.final)
                .group_by(t.Job.run_id, t.Job.board, t.Test.verdict)
            ):
                verdicts[run_id][board][Verdict(verdict)] = number
    return tuple(
        RunLine(
            run.id,
            run.started_at,
            ended.get(run.id, run.started_at),
            in_order(parts[run.id]),
            verdicts[run.id],
        )
        for run in runs
    )


def load_run(store: Store, run: str) -> RunRecord:
    """Return a run with everything that belongs to it.

    Raises:
        UsageError: there is no such run.
    """
    with store.read() as connection:
        started = connection.execute(
            sa.select(t.Run.started_at).where(t.Run.id == run)
        ).scalar_one_or_none()
        if started is None:
            raise UsageError(f"no run {run!r}", next_step="`farm runs` lists them")
        jobs = connection.execute(
            sa.select(t.Job.__table__, t.Image.profile, t.Image.content_id)
            .join(t.Image, t.Image.id == t.Job.image_id)
            .where(t.Job.run_id == run)
            .order_by(t.Job.started_at, t.Job.job)
        ).all()
        return RunRecord(run, started, tuple(_job(connection, job) for job in jobs))


def history(
    store: Store,
    series: Collection[str],
    *,
    until: RunRecord,
    limit: int = 30,
    itself: bool = True,
) -> dict[tuple[str, str], tuple[Point, ...]]:
    """Return what series measured up to and including a run, oldest first, by (series, test).

    One point is the median of a test's values in one run. ``limit`` is how many runs are looked
    back at; without ``itself`` the run is one of them and has no point. Attempts that were
    superseded, and those that ended as INFRA or ERROR, do not count.
    """
    with store.read() as connection:
        runs = _runs_until(connection, until, limit)
        if not itself:
            runs.remove(until.id)
        keys, types = _series_keys(connection, series) if runs else ({}, set())
        tests = {row.id: row for row in connection.execute(_measured(runs, types))}
        values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for some in chunks(list(tests)):
            # By test, as they are stored: by series each row would be sought by itself.
            for number, at_series, value in connection.execute(
                sa.select(t.Sample.test_id, t.Sample.series_id, t.Sample.value).where(
                    t.Sample.test_id.in_(some)
                )
            ):
                if at_series in keys:
                    test = tests[number]
                    values[keys[at_series], test.test, test.run_id].append(value)
    about = {row.run_id: (row.started_at, row.kernel or "") for row in tests.values()}
    found: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for (key, name, run), measured in values.items():
        at, kernel = about[run]
        found[key, name].append(Point(run, at, median(measured), len(measured), kernel))
    return {
        name: tuple(sorted(points, key=lambda point: (point.at, point.run)))
        for name, points in found.items()
    }


def verdict_history(
    store: Store, run: RunRecord, limit: int = 10
) -> dict[tuple[str, str], tuple[tuple[str, Verdict], ...]]:
    """Return (run, verdict) of earlier runs, oldest first, by (board, nodeid).

    Told for the run's own boards, and for its tests that did not pass; looks back ``limit`` runs.
    """
    wanted = {
        (job.board, test.nodeid)
        for job in run.jobs
        for test in job.final_tests
        if test.verdict not in (Verdict.PASS, Verdict.SKIP)
    }
    found: dict[tuple[str, str], list[tuple[str, Verdict]]] = defaultdict(list)
    with store.read() as connection:
        earlier = [one for one in _runs_until(connection, run, limit + 1) if one != run.id]
        for some in chunks(sorted({nodeid for _, nodeid in wanted})):
            for row in connection.execute(
                sa.select(t.Job.board, t.Test.nodeid, t.Job.run_id, t.Test.verdict)
                .join(t.Test, t.Test.job_id == t.Job.id)
                .join(t.Run, t.Run.id == t.Job.run_id)
                .where(t.Job.run_id.in_(earlier), t.Test.final, t.Test.nodeid.in_(some))
                .order_by(t.Run.started_at, t.Run.id, t.Job.started_at)
            ):
                found[row.board, row.nodeid].append((row.run_id, Verdict(row.verdict)))
    return {name: tuple(verdicts) for name, verdicts in found.items() if name in wanted}


def _runs_until(connection: Connection, until: RunRecord, limit: int) -> list[str]:
    """Return the ids of the newest runs up to and including one, newest first."""
    return list(
        connection.execute(
            sa.select(t.Run.id)
            .where(
                (t.Run.started_at < until.started_at)
                | ((t.Run.started_at == until.started_at) & (t.Run.id <= until.id))
            )
            .order_by(t.Run.started_at.desc(), t.Run.id.desc())
            .limit(limit)
        ).scalars()
    )


def _series_keys(
    connection: Connection, series: Collection[str]
) -> tuple[dict[int, str], set[str]]:
    """Return the series' keys by their ids, and the board types whose they are."""
    keys: dict[int, str] = {}
    types: set[str] = set()
    for some in chunks(sorted(set(series))):
        for number, key, board_type in connection.execute(
            sa.select(t.Series.id, t.Series.key, t.Series.board_type).where(t.Series.key.in_(some))
        ):
            keys[number] = key
            types.add(board_type)
    return keys, types


def _measured(runs: Collection[str], board_types: Collection[str]) -> sa.Executable:
    """Return the query for the tests of runs, on boards of some types, that measured something."""
    return (
        sa.select(t.Test.id, t.Test.test, t.Job.run_id, t.Run.started_at, t.Boot.kernel)
        .select_from(t.Test)
        .join(t.Job, t.Job.id == t.Test.job_id)
        .join(t.Run, t.Run.id == t.Job.run_id)
        .outerjoin(t.Boot, (t.Boot.job_id == t.Test.job_id) & (t.Boot.boot == t.Test.boot))
        .where(
            t.Job.run_id.in_(runs),
            t.Job.board_type.in_(board_types),
            t.Test.final,
            t.Test.verdict.in_([verdict.value for verdict in _MEASURED]),
        )
        .order_by(t.Test.id)
    )


def _job(connection: Connection, job: Any) -> JobRecord:
    boots = _boots(connection, job.id)
    return JobRecord(
        **t.values_of(job, t.JOB_FIELDS),
        run=job.run_id,
        image=ImageRecord(job.profile, job.content_id, _packages(connection, job.image_id)),
        hardware=job.hardware,
        argv=tuple(job.argv),
        effort=Effort.model_validate(job.effort),
        purpose=Purpose(job.purpose),
        follows=tuple(job.follows),
        boots=boots,
        states=tuple(
            StateRecord(one.at, one.state, one.detail)
            for one in _below(connection, t.State, job.id)
        ),
        tests=_tests(connection, job.id),
        complaints=tuple(
            ComplaintRecord(one.at, one.pattern, one.line, one.nodeid, one.attempt, one.fatal)
            for one in _below(connection, t.Complaint, job.id)
        ),
        artifacts=tuple(
            ArtifactRecord(one.name, one.path, one.sha256, one.kind)
            for one in _below(connection, t.Artifact, job.id)
        ),
    )


def _below(
    connection: Connection, table: type[t.State] | type[t.Complaint] | type[t.Artifact], job: int
) -> Iterable[Any]:
    return connection.execute(
        sa.select(table.__table__).where(table.job_id == job).order_by(table.position)
    )


def _packages(connection: Connection, image: int) -> tuple[ImageProvenance, ...]:
    rows = connection.execute(
        sa.select(t.Package.__table__)
        .where(t.Package.image_id == image)
        .order_by(t.Package.package, t.Package.architecture, t.Package.version)
    )
    return tuple(
        ImageProvenance(row.package, row.version, row.architecture, row.sha256) for row in rows
    )


def _boots(connection: Connection, job: int) -> tuple[BootRecord, ...]:
    facts: dict[int, dict[str, str]] = defaultdict(dict)
    for row in connection.execute(
        sa.select(t.Covariate.__table__).where(t.Covariate.job_id == job)
    ):
        facts[row.boot][row.name] = row.value
    rows = connection.execute(
        sa.select(t.Boot.__table__).where(t.Boot.job_id == job).order_by(t.Boot.boot)
    )
    return tuple(
        BootRecord(row.boot, row.at, row.kernel, row.boot_s, facts[row.boot], row.topology)
        for row in rows
    )


def _tests(connection: Connection, job: int) -> tuple[TestRecord, ...]:
    samples: dict[int, list[SampleRecord]] = defaultdict(list)
    for row in connection.execute(
        sa.select(t.Sample.__table__, t.Series.key, t.Series.metric, t.Series.sample_params)
        .join(t.Series, t.Series.id == t.Sample.series_id)
        .join(t.Test, t.Test.id == t.Sample.test_id)
        .where(t.Test.job_id == job)
        .order_by(t.Sample.test_id, t.Sample.position)
    ):
        samples[row.test_id].append(
            SampleRecord(row.key, row.metric, row.value, row.unit, row.sample_params, row.replicate)
        )
    absent: dict[int, list[Absent]] = defaultdict(list)
    for row in connection.execute(
        sa.select(t.AbsentCounter.__table__)
        .join(t.Test, t.Test.id == t.AbsentCounter.test_id)
        .where(t.Test.job_id == job)
        .order_by(t.AbsentCounter.test_id, t.AbsentCounter.position)
    ):
        absent[row.test_id].append(Absent(row.counter, row.reason))
    return tuple(
        _test(row, tuple(samples[row.id]), tuple(absent[row.id]))
        for row in connection.execute(
            sa.select(t.Test.__table__).where(t.Test.job_id == job).order_by(t.Test.position)
        )
    )


def _test(row: Any, samples: tuple[SampleRecord, ...], absent: tuple[Absent, ...]) -> TestRecord:
    has_cell = row.exporter or row.importer or row.outcome
    return TestRecord(
        **t.values_of(row, t.TEST_FIELDS),
        params=row.params,
        requirements=tuple(row.requirements),
        verdict=Verdict(row.verdict),
        console=tuple(row.console),
        cell=Cell(row.exporter, row.importer, row.outcome, row.errno) if has_cell else None,
        samples=samples,
        absent=absent,
        observed=row.observed,
        replicates=tuple(
            ReplicateRecord(Verdict(one["verdict"]), one["reason"], one["duration_s"])
            for one in row.replicates
        ),
        seeded=row.seeded,
        decisions=row.decisions,
    )
