"""The tables.

A run has jobs; a job has boots, states, complaints, artifacts and tests; a test has samples and
absent counters. A sample's natural key (run, job, nodeid, attempt, metric, parameters, replicate)
is ``(test, series, replicate)`` here, since a series is one metric with one set of parameters.
Everything below a job goes with it, so that a longer version of its journal can replace it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    JSON,
    Double,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from farm.store.series import KEY_LENGTH

JOB_FIELDS = (
    *("job", "board", "board_type", "farm_version", "controller", "boot_id", "pid"),
    *("started_at", "ended_at", "events", "finished", "ok", "reason", "problem", "journal"),
    "plan",
)
TEST_FIELDS = (
    *("nodeid", "attempt", "final", "suite", "test", "case", "case_hash", "reason", "duration_s"),
    *("started_at", "boot"),
)
"""Columns that a record has as they are: under the same name, as the same value."""


def values_of(source: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return these attributes of a record or a row."""
    return {name: getattr(source, name) for name in names}


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can name them too."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy's own spelling)
        dict[str, Any]: JSON,
        list[str]: JSON,
        str: Text,
        float: Double,
    }


class Run(Base):
    """One invocation over one or more boards."""

    __tablename__ = "run"

    id: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[float] = mapped_column(index=True)


class Image(Base):
    """A board image by profile and content."""

    __tablename__ = "image"
    __table_args__ = (UniqueConstraint("profile", "content_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    profile: Mapped[str]
    content_id: Mapped[str]


class Package(Base):
    """One package of an image."""

    __tablename__ = "package"

    image_id: Mapped[int] = mapped_column(
        ForeignKey("image.id", ondelete="CASCADE"), primary_key=True
    )
    package: Mapped[str] = mapped_column(primary_key=True)
    architecture: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str]


class Job(Base):
    """A run's part on one board. ``head`` is the hash of the journal's first event."""

    __tablename__ = "job"
    __table_args__ = (UniqueConstraint("run_id", "job"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    job: Mapped[str]
    board: Mapped[str]
    board_type: Mapped[str]
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    hardware: Mapped[dict[str, Any]]
    farm_version: Mapped[str]
    argv: Mapped[list[str]]
    controller: Mapped[str]
    boot_id: Mapped[str]
    pid: Mapped[int]
    effort: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    plan: Mapped[str] = mapped_column(server_default="")
    purpose: Mapped[str] = mapped_column(String(8), server_default="")
    follows: Mapped[list[str]] = mapped_column(server_default=text("'[]'"))
    started_at: Mapped[float]
    ended_at: Mapped[float]
    head: Mapped[str] = mapped_column(String(64))
    events: Mapped[int]
    finished: Mapped[bool]
    ok: Mapped[bool]
    reason: Mapped[str]
    problem: Mapped[str]
    journal: Mapped[str]


class Boot(Base):
    """One boot of the board."""

    __tablename__ = "boot"

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    boot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float]
    kernel: Mapped[str]
    boot_s: Mapped[float]
    topology: Mapped[dict[str, Any]]


class Covariate(Base):
    """What held during a boot and may explain its samples: command line, firmware, memory …"""

    __tablename__ = "covariate"

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    boot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class State(Base):
    """A step in a job's life."""

    __tablename__ = "state"

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float]
    state: Mapped[str]
    detail: Mapped[str]


class Test(Base):
    """One attempt of one test with one set of parameters."""

    __tablename__ = "test"
    __table_args__ = (
        UniqueConstraint("job_id", "nodeid", "attempt"),
        Index("ix_test_job_id_position", "job_id", "position"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    nodeid: Mapped[str]
    attempt: Mapped[int]
    final: Mapped[bool]
    position: Mapped[int]
    suite: Mapped[str]
    test: Mapped[str]
    case: Mapped[str]
    case_hash: Mapped[str]
    params: Mapped[dict[str, Any]]
    requirements: Mapped[list[str]]
    verdict: Mapped[str] = mapped_column(String(8))
    reason: Mapped[str]
    duration_s: Mapped[float]
    started_at: Mapped[float]
    boot: Mapped[int]
    console: Mapped[list[str]]
    exporter: Mapped[str]
    importer: Mapped[str]
    outcome: Mapped[str]
    errno: Mapped[str]
    observed: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    replicates: Mapped[list[dict[str, Any]]] = mapped_column(JSON, server_default=text("'[]'"))
    seeded: Mapped[bool] = mapped_column(server_default=false())
    decisions: Mapped[str] = mapped_column(server_default="")


class Series(Base):
    """Samples that may be compared; ``key`` is one of :class:`farm.store.series.SeriesKeys`."""

    __tablename__ = "series"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(KEY_LENGTH), unique=True)
    board_type: Mapped[str]
    hardware: Mapped[dict[str, Any]]
    case: Mapped[str]
    case_hash: Mapped[str]
    case_params: Mapped[dict[str, Any]]
    sample_params: Mapped[dict[str, Any]]
    metric: Mapped[str]


class Sample(Base):
    """One measured value."""

    __tablename__ = "sample"
    __table_args__ = (Index("ix_sample_series_id", "series_id"),)

    test_id: Mapped[int] = mapped_column(
        ForeignKey("test.id", ondelete="CASCADE"), primary_key=True
    )
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), primary_key=True)
    replicate: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int]
    value: Mapped[float]
    unit: Mapped[str]


class AbsentCounter(Base):
    """A counter that the board could not give, and why."""

    __tablename__ = "absent"

    test_id: Mapped[int] = mapped_column(
        ForeignKey("test.id", ondelete="CASCADE"), primary_key=True
    )
    counter: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    reason: Mapped[str]


class Complaint(Base):
    """A kernel complaint."""

    __tablename__ = "complaint"

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float]
    pattern: Mapped[str]
    line: Mapped[str]
    nodeid: Mapped[str]
    attempt: Mapped[int]
    fatal: Mapped[bool]


class Artifact(Base):
    """A file of a job."""

    __tablename__ = "artifact"

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    path: Mapped[str]
    sha256: Mapped[str]
    kind: Mapped[str]
