"""Opening the database: connections, transactions, migrations.

SQLite runs in WAL mode, waits for locks, and every writer starts with BEGIN IMMEDIATE (a reader
that turns writer would meet SQLITE_BUSY whatever the timeout). Any other database that SQLAlchemy
knows is used as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError

from farm.errors import FarmError, InfraError, UsageError
from farm.paths import data_dir

HEAD = "0004"
"""The newest migration; a database at it opens without loading Alembic."""

BUSY_TIMEOUT_MS = 30_000
_MIGRATIONS = Path(__file__).parent / "migrations"
_WRITES = "farm_writes"
_SECRET = re.compile(r"://[^/]*@")


class Store:
    """An open database, migrated to the newest schema."""

    def __init__(self, engine: Engine) -> None:
        """Wrap an engine; use :func:`open_store`, which also migrates."""
        self._engine = engine

    @property
    def url(self) -> str:
        """Where the data lives, without a password."""
        return _shown(self._engine.url)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database throughout."""
        with _told(self.url), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection that alone may write; commits at the end, or rolls back."""
        with (
            _told(self.url),
            self._engine.connect().execution_options(**{_WRITES: True}) as connection,
            connection.begin(),
        ):
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        """Return the store itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close every connection."""
        self.close()


def open_store(url: str | None = None, *, make: bool = True) -> Store:
    """Open the database at an SQLAlchemy URL or file path and bring it to the newest schema.

    ``None`` opens ``farm.db`` in the data folder. A file that is not there is made, unless it is
    named and ``make`` is false: who only reads has mistyped it.

    Raises:
        UsageError: the URL is none, names a file that is no database or is not to be made, or a
            newer schema.
        InfraError: the database cannot be reached or is locked.
    """
    chosen = _url(url)
    try:
        engine = sa.create_engine(chosen)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise UsageError(
            f"{_shown(chosen)}: no database can be opened by this URL: {error}",
            next_step="give a file's path, sqlite:///FILE or postgresql+DRIVER://USER@HOST/NAME "
            "(with its driver installed)",
        ) from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, make=make or url is None)
    store = Store(engine)
    try:
        _migrate(store)
    except BaseException:
        store.close()
        raise
    return store


def _url(url: str | None) -> URL:
    if url is None:
        return URL.create("sqlite", database=str(data_dir() / "farm.db"))
    if "://" not in url:
        return URL.create("sqlite", database=str(Path(url).expanduser().absolute()))
    try:
        return make_url(url)
    except ArgumentError as error:
        raise UsageError(
            f"{_SECRET.sub('://***@', url)}: not a database URL: {error}",
            next_step="give a file's path, sqlite:///FILE or postgresql+DRIVER://USER@HOST/NAME",
        ) from error


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _prepare_sqlite(engine: Engine, *, make: bool) -> None:
    database = engine.url.database
    file = Path(database) if database and database != ":memory:" else None
    if file is not None and not file.parent.is_dir():
        raise UsageError(
            f"{file}: its folder does not exist", next_step=f"make it: mkdir -p {file.parent}"
        )
    if file is not None and not make and not file.exists():
        raise UsageError(
            f"{file}: there is no such database",
            next_step="check --db and FARM_DB; `farm run` and `farm ingest` make one",
        )

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(store: Store) -> None:
    with store.read() as connection:
        if _revision(connection) == HEAD:
            return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with store.write() as connection:
        if _revision(connection) == HEAD:
            return  # somebody else was quicker
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise UsageError(
                f"{store.url}: has schema {_revision(connection)!r}, this farm knows {HEAD!r} and "
                "older",
                next_step="use the farm that wrote it, or another --db",
            ) from error


def _revision(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Tell what the database says in the farm's own errors."""
    try:
        yield
    except OperationalError as error:
        raise _operational(url, error) from error
    except DatabaseError as error:
        if "not a database" in str(error.orig) or "malformed" in str(error.orig):
            raise UsageError(
                f"{url}: not a database: {error.orig}",
                next_step="give another --db, or move the file away and ingest the journals again",
            ) from error
        raise


def _operational(url: str, error: OperationalError) -> FarmError:
    return InfraError(
        f"{url}: the database cannot be used: {error.orig}",
        next_step="check that it is there, writable, and that its disk has room",
    )
