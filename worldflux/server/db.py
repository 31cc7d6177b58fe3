"""The database: SQLite in a file of its own by default, PostgreSQL by URL.

An acknowledged write must survive a power loss, so SQLite runs with `synchronous=FULL` on a write-ahead
log, or, where the library has the WAL-reset bug (3.7.0 to 3.51.2 but for two backports, which can lose
committed writes), with a truncated rollback journal and `synchronous=EXTRA`.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from worldflux.errors import UsageError, WorldFluxError
from worldflux.server.problems import Problem

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
    from sqlalchemy.dialects.sqlite import Insert as SqliteInsert

    Insert = PostgresInsert | SqliteInsert

FILE = "worldflux.db"

#: What is raised when the database can not do what it is asked to: unreachable, locked, damaged, full.
Broken = DBAPIError

#: What all connections of a process may keep of SQLite's pages, together.
CACHE_BYTES = 12_000_000

#: How long a write waits for the other writers.
WAIT_SECONDS = 30.0

#: A connection to PostgreSQL that was used this short a time ago is taken to live still.
RESTED_SECONDS = 1.0

#: File systems whose locks or shared memory SQLite can not trust.
_REMOTE = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "lustre",
    "afs",
    "9p",
    "ceph",
    "glusterfs",
    "gpfs",
    "beegfs",
)


class Database:
    """Connections to one database. Safe to use from several threads; made anew in each process.

    Args:
        engine: for everything, or for all but `write` when there is a `writer`.
    """

    def __init__(self, engine: Engine, writer: Engine | None = None) -> None:
        self.engine, self._writing = engine, writer or engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._writer = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state and can not write.

        Raises:
            Problem: 503 when no connection came free in time.
        """
        with _translated(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection = connection.execution_options(worldflux_begin="BEGIN")
            else:
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes: committed, and durable, when the block ends; rolled back by an exception.

        On SQLite it has the database for itself from its first statement on. On PostgreSQL it is READ
        COMMITTED: lock what you read and then write (`with_for_update`, or `lock`).

        Raises:
            Problem: 503 when the other writers took too long, 507 when the disk is full.
        """
        with _translated(), self._turn(), self._writing.connect() as connection:
            if self.is_sqlite:
                connection = connection.execution_options(worldflux_begin="BEGIN IMMEDIATE")
            with connection.begin():
                yield connection

    @property
    def is_writing(self) -> bool:
        """Whether a write of this process would have to wait for another one of it."""
        return self._writer.locked()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """SQLite has one writer: threads queue up here, where waiting costs nothing."""
        if not self.is_sqlite:
            yield
            return
        if not self._writer.acquire(timeout=WAIT_SECONDS):
            raise busy()
        try:
            yield
        finally:
            self._writer.release()

    @contextmanager
    def sqlite_cursor(self) -> Iterator[Any]:
        """A cursor of the driver outside of any transaction, for VACUUM and the like. SQLite only."""
        with _translated(), self.engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            assert raw is not None
            cursor = raw.cursor()
            cursor.execute("PRAGMA query_only=0")
            yield cursor
            cursor.close()

    def insert(self, table: Table) -> Insert:
        """An INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
        if self.is_sqlite:
            from sqlalchemy.dialects.sqlite import insert as sqlite_insert

            return sqlite_insert(table)
        from sqlalchemy.dialects.postgresql import insert

        return insert(table)

    def lock(self, connection: Connection, names: Sequence[str], *, shared: bool = False) -> None:
        """Until the transaction ends, have each name alone, or shared with other sharers.

        Names are taken in sorted order, so two callers can not wait for one another. Nothing to do on
        SQLite, where a write transaction has everything.
        """
        if self.is_sqlite or not names:
            return
        call = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
        for number in sorted({_lock_number(name) for name in names}):
            connection.execute(text(f"SELECT {call}(:number)"), {"number": number})

    def optimize(self) -> None:
        """Let the planner learn the sizes of tables; cheap when nothing has changed much."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("PRAGMA optimize=0x10002" if self.is_sqlite else "ANALYZE")
            # SQLite is in a transaction here all the same, begun by `begin` below.
            connection.commit()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        self._writing.dispose()


def connect(folder: Path, url: str | None = None, *, pool: int = 5) -> Database:
    """The database of a server; makes the file of an embedded one, but no tables.

    Args:
        folder: the data folder, which exists.
        url: of a PostgreSQL database (`postgresql://user@host/name`); None is SQLite in the folder.
        pool: connections kept open.

    Raises:
        UsageError: another kind of database, or a folder on a network file system.
        WorldFluxError: the driver is not installed.
    """
    if url is None:
        # Every connection has a cache: all writing in one of its own leaves the others to what is read.
        return Database(_sqlite(folder, pool), _sqlite(folder, 1))
    return Database(_postgres(url, pool))


def busy() -> Problem:
    """What a client is told when the database is busy for too long."""
    return Problem(503, "busy", "the database is busy", "try again in a moment", headers={"Retry-After": "2"})


def sqlite_library() -> Any:
    """The SQLite module to use: the standard library's, or `pysqlite3` when only that one is sound."""
    if is_sound(sqlite3.sqlite_version_info):
        return sqlite3
    try:
        import pysqlite3.dbapi2 as newer  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return sqlite3
    return newer if is_sound(newer.sqlite_version_info) else sqlite3


def is_sound(version: tuple[int, ...]) -> bool:
    """Whether a version of SQLite is free of the WAL-reset bug (fixed in 3.51.3, 3.50.7 and 3.44.6)."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def pragmas(version: tuple[int, ...]) -> tuple[str, ...]:
    """What each connection is set to, for the durability that an acknowledgement promises."""
    durable = (
        ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000", "journal_size_limit=67108864")
        if is_sound(version)
        else ("journal_mode=TRUNCATE", "synchronous=EXTRA")
    )
    return (
        f"busy_timeout={int(WAIT_SECONDS * 1000)}", *durable,
        "foreign_keys=ON", f"soft_heap_limit={CACHE_BYTES}", "cache_size=-8000",
        "temp_store=MEMORY", "trusted_schema=OFF",
    )  # fmt: skip


def _sqlite(folder: Path, pool: int) -> Engine:
    kind = file_system(folder)
    if kind in _REMOTE:
        raise UsageError(
            f"{folder} is on a network file system ({kind}), which SQLite can not trust with its locks",
            "keep the data folder on a local disk, or give the server a PostgreSQL database: --database URL",
            code="network-file-system",
        )
    library = sqlite_library()
    settings = pragmas(library.sqlite_version_info)
    engine = create_engine(
        f"sqlite:///{folder / FILE}", module=library, pool_size=pool, max_overflow=pool, pool_timeout=WAIT_SECONDS,
        pool_use_lifo=True,  # each connection has a cache: few that are warm rather than all in turn
        connect_args={"check_same_thread": False, "timeout": WAIT_SECONDS},
    )  # fmt: skip

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # The driver opens deferred transactions of its own, which fail at the step from reading to writing.
        connection.isolation_level = None
        for setting in settings:
            connection.execute(f"PRAGMA {setting}").fetchall()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        how = connection.get_execution_options().get("worldflux_begin", "BEGIN IMMEDIATE")
        connection.exec_driver_sql(f"PRAGMA query_only={int(how == 'BEGIN')}")
        connection.exec_driver_sql(how)

    return engine


def _postgres(url: str, pool: int) -> Engine:
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise UsageError(
            f"a database of the kind {scheme[:20]!r} is not supported",
            "postgresql://user@host/name, or no --database for SQLite in the data folder",
            code="database",
        )
    try:
        engine = create_engine(
            f"postgresql+psycopg://{rest}", pool_size=pool, max_overflow=pool, pool_timeout=WAIT_SECONDS,
            pool_use_lifo=True,
            connect_args={"options": "-c timezone=UTC -c lock_timeout=30s -c statement_timeout=60s"},
        )  # fmt: skip
    except ImportError:
        raise WorldFluxError(
            "PostgreSQL needs a driver that is not installed",
            "pip install 'worldflux[postgres]'",
            code="extra",
        ) from None
    _ask_whether_it_lives(engine)
    return engine


def _ask_whether_it_lives(engine: Engine) -> None:
    """Have a connection that rested for a while answer before it is used; the pool itself would ask each time."""

    @event.listens_for(engine, "checkin")
    def rest(_: Any, record: Any) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def wake(connection: Any, record: Any, _: Any) -> None:
        if time.monotonic() - record.info.pop("rests_since", time.monotonic()) < RESTED_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            if engine.dialect.is_disconnect(error, connection, None):
                raise InvalidatePoolError from error
            raise


def file_system(folder: Path) -> str:
    """The kind of file system a folder is on, as Linux names it; empty where that is not known."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    best, kind, here = "", "", f"{folder.resolve()}/"
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = left.split(" ")[4].encode().decode("unicode_escape", "replace").rstrip("/") + "/"
        if here.startswith(mount) and len(mount) >= len(best):
            best, kind = mount, right.split(" ")[0]
    return kind


def _lock_number(name: str) -> int:
    import hashlib

    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PoolTimeout:
        raise busy() from None
    except OperationalError as error:
        problem = _problem(error)
        if problem is None:
            raise
        raise problem from error


def _problem(error: DBAPIError) -> Problem | None:
    words = str(error.orig).lower()
    state = getattr(error.orig, "sqlstate", None)
    if "disk is full" in words or "disk i/o error" in words or state in ("53100", "53000"):
        return storage_full()
    if "locked" in words or "busy" in words or state in ("55P03", "40001", "40P01", "57014", "53300"):
        return busy()
    return None


def storage_full() -> Problem:
    """What a client is told when the server's disk is full: nothing of its request was stored."""
    return Problem(
        507, "storage-full", "the server's disk is full; nothing of this request was stored",
        "tell whoever runs the server; the run is safe where it is, sync it later",
    )  # fmt: skip
