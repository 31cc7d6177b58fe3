"""The database under the server: what it promises about durability, locks and its schema."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from run_rows import Row, add, workspace
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from worldflux.errors import UsageError, WorldFluxError
from worldflux.server import db, first, migrations
from worldflux.server.db import Database
from worldflux.server.problems import Problem
from worldflux.server.query.place import EVERY_STATE
from worldflux.server.tables import metadata, runs, settings


@pytest.fixture
def database(tmp_path: Path, database_url: Callable[[], str | None]) -> Iterator[Database]:
    made = db.connect(tmp_path, database_url())
    migrations.upgrade(made)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("version", "sound"),
    [((3, 40, 1), False), ((3, 44, 5), False), ((3, 44, 6), True), ((3, 45, 0), False), ((3, 50, 6), False),
     ((3, 50, 7), True), ((3, 51, 0), False), ((3, 51, 2), False), ((3, 51, 3), True), ((3, 54, 0), True)],
)  # fmt: skip
def test_the_journal_fits_the_library(version: tuple[int, int, int], sound: bool) -> None:
    """A library with the WAL-reset bug gets a rollback journal; either way an acknowledged write is on the disk."""
    assert db.is_sound(version) is sound
    chosen = db.pragmas(version)
    assert ("journal_mode=WAL" in chosen and "synchronous=FULL" in chosen) is sound
    assert ("journal_mode=TRUNCATE" in chosen and "synchronous=EXTRA" in chosen) is not sound


def test_connections_are_set_as_promised(tmp_path: Path) -> None:
    """Every connection of the pool has the settings, and the library is a sound one where there is one."""
    database = db.connect(tmp_path)
    sound = db.is_sound(db.sqlite_library().sqlite_version_info)
    with database.read() as one, database.read() as two:
        for connection in (one, two):
            ask = {
                name: connection.execute(text(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
            expected = (
                {"journal_mode": "wal", "synchronous": 2}
                if sound
                else {"journal_mode": "truncate", "synchronous": 3}
            )
            assert ask == {**expected, "foreign_keys": 1, "busy_timeout": 30000}
    database.close()


def test_an_unsound_library_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the standard library's old SQLite the tables are made and written with a rollback journal."""
    if db.is_sound(sqlite3.sqlite_version_info):
        pytest.skip("the standard library's SQLite is a sound one")
    monkeypatch.setattr(db, "sqlite_library", lambda: sqlite3)
    database = db.connect(tmp_path)
    migrations.upgrade(database)
    assert first.open_once(database) is not None
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "truncate"
    database.close()


def test_reading_can_not_write(database: Database) -> None:
    """A transaction for reading refuses to write, and the next one for writing does."""
    with pytest.raises(DBAPIError), database.read() as connection:
        connection.execute(settings.insert().values(name="a", value="b"))
    with database.write() as connection:
        connection.execute(settings.insert().values(name="a", value="b"))
    with database.read() as connection:
        assert connection.execute(select(settings.c.value)).scalars().all() == ["b"]


def test_reading_sees_one_state(database: Database) -> None:
    """All that one block of reading asks is answered from the same state, whatever is written meanwhile."""
    if database.is_sqlite and not db.is_sound(db.sqlite_library().sqlite_version_info):
        pytest.skip("without a write-ahead log a write waits for those who read")
    with database.write() as connection:
        place = workspace(connection, "state")
    with database.read() as reader:
        before = reader.execute(text("SELECT count(*) FROM runs")).scalar_one()
        with database.write() as connection:
            add(connection, place, [Row()])
        assert reader.execute(text("SELECT count(*) FROM runs")).scalar_one() == before
    with database.read() as reader:
        assert reader.execute(text("SELECT count(*) FROM runs")).scalar_one() == before + 1


def test_a_connection_that_ended_is_replaced(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL may have been restarted since the last question; nobody sees more of that than a new connection."""
    if database.is_sqlite:
        pytest.skip("SQLite has no connection to lose")
    with database.read() as first_one, database.read() as second_one:
        own, other = (
            each.execute(text("SELECT pg_backend_pid()")).scalar_one() for each in (first_one, second_one)
        )
    monkeypatch.setattr(db, "RESTED_SECONDS", 0.0)
    with database.engine.connect() as connection:
        here = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        assert here in (own, other)
        gone = own if here == other else other
        connection.execute(text(f"SELECT pg_terminate_backend({gone}, 5000)"))
        with database.read() as reader:
            assert reader.execute(text("SELECT pg_backend_pid()")).scalar_one() not in (own, other)


def test_a_failed_block_leaves_nothing(database: Database) -> None:
    """An exception takes back all of its transaction."""
    with pytest.raises(KeyError), database.write() as connection:
        connection.execute(settings.insert().values(name="a", value="b"))
        raise KeyError
    with database.read() as connection:
        assert connection.execute(select(settings)).all() == []


def test_many_writers_wait_for_one_another(database: Database) -> None:
    """Six threads that read and then write the same row lose no update and meet no busy database."""
    with database.write() as connection:
        connection.execute(settings.insert().values(name="count", value="0"))

    def add() -> None:
        for _ in range(20):
            with database.write() as connection:
                database.lock(connection, ["count"])
                value = int(connection.execute(select(settings.c.value)).scalar_one())
                connection.execute(settings.update().values(value=str(value + 1)))

    failures: list[BaseException] = []

    def watched() -> None:
        try:
            add()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=watched) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with database.read() as connection:
        assert connection.execute(select(settings.c.value)).scalar() == "120"


def test_writers_of_other_processes_are_waited_for(tmp_path: Path) -> None:
    """A write begins by taking the lock, so that a second process waits at its start and not in its middle."""
    one, two = db.connect(tmp_path), db.connect(tmp_path)
    migrations.upgrade(one)
    entered, order = threading.Event(), []

    def second() -> None:
        entered.wait(10)
        with two.write() as connection:
            order.append("second")
            connection.execute(settings.insert().values(name="b", value="2"))

    thread = threading.Thread(target=second)
    thread.start()
    with one.write() as connection:
        entered.set()
        thread.join(0.3)
        connection.execute(settings.insert().values(name="a", value="1"))
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    for each in (one, two):
        each.close()


def test_a_database_that_stays_busy_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waited too long is told to come back; nothing of theirs is stored."""
    monkeypatch.setattr(db, "WAIT_SECONDS", 0.1)
    one, two = db.connect(tmp_path), db.connect(tmp_path)
    with one.write(), pytest.raises(Problem) as caught, two.write():
        pass
    assert caught.value.status == 503 and caught.value.headers["Retry-After"]
    for each in (one, two):
        each.close()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "lustre"])
def test_network_file_systems_are_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite on a network file system is refused in words; PostgreSQL is the way out."""
    monkeypatch.setattr(db, "file_system", lambda _: kind)
    with pytest.raises(UsageError, match=kind) as caught:
        db.connect(tmp_path)
    assert "PostgreSQL" in caught.value.hint


def test_the_kind_of_a_file_system_is_known() -> None:
    """Mounts are told apart by the longest path."""
    assert db.file_system(Path("/proc/self")) == "proc"
    assert db.file_system(Path("/")) != "proc"


def test_migrations_make_what_the_code_uses(database: Database) -> None:
    """Every table, column, null, index and key of `tables` is in a migrated database, and nothing else is."""
    with database.read() as connection:
        found = inspect(connection)
        assert set(found.get_table_names()) == {*metadata.tables, "alembic_version"}
        for table in metadata.tables.values():
            columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
            assert columns == {column.name: bool(column.nullable) for column in table.columns}, table.name
            indexes = {
                index["name"]
                for index in found.get_indexes(table.name)
                if not index.get("duplicates_constraint")
            }
            assert indexes == {index.name for index in table.indexes}, table.name
            primary = found.get_pk_constraint(table.name)["constrained_columns"]
            assert primary == [column.name for column in table.primary_key.columns]
            foreign = {tuple(key["constrained_columns"]) for key in found.get_foreign_keys(table.name)}
            assert foreign == {tuple(key.column_keys) for key in table.foreign_key_constraints}, table.name


def test_an_older_database_is_brought_up_to_date(
    tmp_path: Path, database_url: Callable[[], str | None]
) -> None:
    """A server of the first step, with a run in it, becomes one of the newest step and keeps the run."""
    old = db.connect(tmp_path, database_url())
    with old.write() as connection:
        for statement in migrations.sql("0001", old.engine.dialect.name):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('0001')")
        add(connection, workspace(connection, "w"), [Row(params={"x": 1, "y": "a"}, metrics={"m": 0.5})])
    assert migrations.upgrade(old) == "0001"
    test_migrations_make_what_the_code_uses(old)
    with old.read() as connection:
        kept = connection.execute(text("SELECT name, text FROM run_params ORDER BY name")).all()
        assert [tuple(row) for row in kept] == [("x", "1"), ("y", "a")]
    old.close()


def test_a_start_does_not_carry_what_upgrading_needs(tmp_path: Path) -> None:
    """Upgraded apart, a database is up to date and the library that did it is not in this process."""
    program = (
        "import sys; from pathlib import Path\n"
        "from worldflux.server import db, migrations\n"
        f"connect = lambda: db.connect(Path({str(tmp_path)!r}))\n"
        "migrations.upgrade_apart(connect)\n"
        "assert migrations.upgrade(connect()) == migrations.HEAD\n"
        "assert 'alembic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_reading_and_writing_have_caches_that_are_bounded_together(tmp_path: Path) -> None:
    """However many connections SQLite has, their caches share one limit; all writing goes through one of them."""
    database = db.connect(tmp_path)
    migrations.upgrade(database)
    with database.write() as writing, database.read() as reading, database.read() as again:
        links = {id(each.connection.driver_connection) for each in (writing, reading, again)}
        limits = {each.execute(text("PRAGMA soft_heap_limit")).scalar() for each in (writing, reading, again)}
    with database.write() as writing:
        assert id(writing.connection.driver_connection) in links
    assert len(links) == 3 and limits == {db.CACHE_BYTES}
    database.close()


@pytest.mark.parametrize("way", ["insert", "update"])
def test_a_run_is_in_a_state_that_totals_know(database: Database, way: str) -> None:
    """The database takes each state of `EVERY_STATE` and no other: a total is the rest when those are taken off."""
    with database.write() as connection:
        place = workspace(connection, "w")
        if way == "insert":
            add(connection, place, [Row({"state": state}) for state in EVERY_STATE])
        else:
            (key,) = add(connection, place, [Row()])
            for state in EVERY_STATE:
                connection.execute(runs.update().where(runs.c.pk == key).values(state=state))
    with pytest.raises(IntegrityError, match="ck_runs_state"), database.write() as connection:
        if way == "insert":
            add(connection, place, [Row({"state": "frozen"})])
        else:
            connection.execute(runs.update().values(state="frozen"))


def test_the_head_is_the_newest_step() -> None:
    """The constant that a start compares with is the last file of the folder."""
    steps = sorted(path.name.split("_")[0] for path in (migrations.HERE / "versions").glob("[0-9]*.py"))
    assert steps[-1] == migrations.HEAD
    for step in steps:
        for dialect in ("sqlite", "postgresql"):
            assert migrations.sql(step, dialect)


def test_a_rehearsal_changes_nothing(tmp_path: Path, database_url: Callable[[], str | None]) -> None:
    """`pending` tells the SQL of an upgrade and leaves the database as it was; the upgrade then does that."""
    database = db.connect(tmp_path, database_url())
    before, script = migrations.pending(database)
    assert before is None and "CREATE TABLE runs" in script
    with database.read() as connection:
        assert inspect(connection).get_table_names() == []
    assert migrations.upgrade(database) is None
    assert migrations.pending(database) == (migrations.HEAD, "")
    assert migrations.upgrade(database) == migrations.HEAD
    database.close()


def test_a_newer_database_is_left_alone(database: Database) -> None:
    """A database of a newer server is refused in words, not written to."""
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(WorldFluxError, match="9999") as caught:
        migrations.upgrade(database)
    assert caught.value.code == "database-newer"


@pytest.mark.parametrize("value", ["'abc'", "1.5"])
def test_tables_are_strict(tmp_path: Path, value: str) -> None:
    """SQLite takes no text and no fraction for an integer."""
    database = db.connect(tmp_path)
    migrations.upgrade(database)
    with pytest.raises(DBAPIError), database.write() as connection:
        connection.execute(
            text(f"INSERT INTO workspaces (slug, created_at, quota_runs) VALUES ('a', 'b', {value})")
        )
    database.close()


def test_rows_can_not_hang_on_another_workspace(database: Database) -> None:
    """A reference carries its workspace: a run can not be filed under another workspace's project."""
    with database.write() as connection:
        for slug in ("one", "two"):
            connection.execute(
                text("INSERT INTO workspaces (slug, created_at) VALUES (:slug, 't')"), {"slug": slug}
            )
        connection.execute(
            text(
                "INSERT INTO projects (workspace_id, slug, created_at)"
                " SELECT pk, 'p', 't' FROM workspaces WHERE slug = 'one'"
            )
        )
    with pytest.raises(DBAPIError), database.write() as connection:
        connection.execute(
            text(
                "INSERT INTO runs (workspace_id, project_id, client_run_id, created_at, status, claimed_status,"
                " received_at, updated_at) SELECT w.pk, p.pk, 'x', 't', 'running', 'running', 't', 't'"
                " FROM workspaces w, projects p WHERE w.slug = 'two'"
            )
        )
