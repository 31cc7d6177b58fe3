"""Retention, trash, tombstones and garbage: what is deleted frees disk, and nothing else goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sent_runs import SentRun, patch, result, send, sha256
from sqlalchemy import select, text, update

from worldflux.server import blobs, db, first, migrations
from worldflux.server.auth import Principal
from worldflux.server.blobs import BlobStore, DiskBlobs
from worldflux.server.buckets import Buckets
from worldflux.server.core import Core
from worldflux.server.db import Database
from worldflux.server.ingest import store
from worldflux.server.ops import gc
from worldflux.server.settings import Settings
from worldflux.server.tables import audit_log, chunks, ledger_entries, run_metrics, runs, workspaces
from worldflux.server.tables import blobs as blob_rows
from worldflux.server.uploads import Uploads

OLD = "2020-01-01T00:00:00.000+00:00"


class House:
    """A server's parts without the HTTP: what gc works on."""

    def __init__(self, folder: Path, url: str | None) -> None:
        self.settings = Settings(str(folder), gc_grace_seconds=0.0)
        self.db: Database = db.connect(folder, url)
        migrations.upgrade(self.db)
        first.open_once(self.db)
        self.store: BlobStore = DiskBlobs(folder)
        uploads = Uploads(folder / "uploads", self.store, self.db)
        self.core = Core(self.settings, self.db, self.store, uploads, Buckets(folder))
        self.who = Principal(1, "default", "key", "key_x", "a key", frozenset(["artifacts:write"]))
        self.folder = folder

    def take(self, *sent: SentRun) -> list[dict[str, object]]:
        return store.store(self.core, self.who, b"".join(frame for run in sent for frame in run.frames()))

    def trash(self, run: SentRun, when: str = OLD) -> None:
        with self.db.write() as connection:
            connection.execute(
                update(runs).where(runs.c.client_run_id == run.run_id).values(state="trash", deleted_at=when)
            )

    def collect(self, **more: bool) -> gc.Collected:
        return gc.collect(self.settings, self.db, self.store, **more)

    def files(self) -> set[str]:
        return {path.name for path in (self.folder / "blobs").rglob("*") if path.is_file()}

    def rows(self) -> set[str]:
        with self.db.read() as connection:
            return set(connection.execute(select(blob_rows.c.sha256)).scalars())

    def disk(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def house(tmp_path: Path, tables: Callable[[Path], str | None]) -> Iterator[House]:
    made = House(tmp_path, tables(tmp_path))
    yield made
    made.db.close()
    made.core.buckets.close()


def test_deleted_runs_free_the_disk_and_shared_blobs_survive(house: House) -> None:
    """Purged runs take their rows and own blobs with them; a blob that another run has stays."""
    shared = b"shared by two"
    first_run = SentRun(
        artifacts={"own": b"only mine", "shared": shared}, logs={"output": os.urandom(2_000_000)}
    )
    other = SentRun(artifacts={"shared": shared})
    house.take(first_run, other)
    assert sha256(first_run.logs["output"]) in house.files(), "a large piece of a log is a blob"
    house.trash(first_run)
    before = house.disk()
    rehearsal = house.collect(dry_run=True)
    assert rehearsal.purged == 1 and house.disk() == before
    done = house.collect()
    assert (done.purged, done.blobs) == (1, 2) and done.bytes > 2_000_000
    assert house.disk() < before - 1_900_000
    assert house.files() == house.rows() == {sha256(shared)}
    with house.db.read() as connection:
        pk = connection.execute(
            select(runs.c.pk).where(runs.c.client_run_id == first_run.run_id)
        ).scalar_one()
        assert connection.execute(select(run_metrics.c.name).where(run_metrics.c.run_pk == pk)).all() == []
        assert connection.execute(select(chunks.c.pk).where(chunks.c.run_pk == pk)).all() == []


def test_a_purged_run_does_not_come_back(house: House) -> None:
    """Its tombstone answers 410, also to a client that asks to restore; the ledger tells of both."""
    run = SentRun()
    house.take(run)
    house.trash(run)
    house.collect()
    (told,) = house.take(run)
    assert (told["status"], told["outcome"]) == (410, "deleted")
    answer = store.store(house.core, house.who, run.manifest_frame(restore=True))
    assert answer[0]["status"] == 410
    with house.db.read() as connection:
        kinds = (
            connection.execute(select(ledger_entries.c.kind).order_by(ledger_entries.c.seq)).scalars().all()
        )
    assert kinds == ["run.committed", "run.tombstoned"]


def test_a_run_in_the_trash_comes_back_when_asked(house: House) -> None:
    """Sync of a deleted run is told so; with `restore` it is back as it was."""
    run = SentRun()
    house.take(run)
    house.trash(run, "2999-01-01T00:00:00.000+00:00")
    assert house.collect().purged == 0
    assert house.take(run)[0]["outcome"] == "deleted"
    (told,) = store.store(house.core, house.who, run.manifest_frame(restore=True))
    assert (told["status"], told["outcome"]) == (200, "updated")
    assert house.take(run)[0]["outcome"] == "unchanged"


def test_retention_keeps_what_is_marked(house: House) -> None:
    """Old runs go to the trash after their workspace's days; starred, baseline and running ones do not."""
    plain, starred, running = SentRun(), SentRun(), SentRun(status="running")
    house.take(plain, starred, running)
    with house.db.write() as connection:
        connection.execute(update(runs).values(received_at=OLD))
        connection.execute(update(runs).where(runs.c.client_run_id == starred.run_id).values(starred=True))
        connection.execute(update(workspaces).values(retention_days=30))
    assert house.collect(dry_run=True).expired == 1
    assert house.collect().expired == 1
    with house.db.read() as connection:
        found = {
            row.client_run_id: row.state
            for row in connection.execute(select(runs.c.client_run_id, runs.c.state))
        }
        actions = connection.execute(select(audit_log.c.action)).scalars().all()
    assert found == {plain.run_id: "trash", starred.run_id: "active", running.run_id: "active"}
    assert "run.expire" in actions


def test_a_young_blob_has_time_to_be_referred_to(house: House) -> None:
    """An upload whose run did not come yet is kept for the grace, and collected after it."""
    house.core.uploads.append(1, sha256(b"early"), 0, 5, b"early")
    patient = Settings(house.settings.data_dir, gc_grace_seconds=3600)
    assert gc.collect(patient, house.db, house.store).blobs == 0
    assert house.collect().blobs == 1 and house.files() == set()


class Crash(BaseException):
    """The power went."""


@pytest.mark.parametrize("step", ["before the bytes", "between two", "after the bytes"])
def test_a_crash_in_the_middle_leaves_no_dangling_row(
    house: House, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever gc dies: what a row promises is there, a run that needs the blob is told, and gc ends the work."""
    run = SentRun(artifacts={"a": b"first", "b": b"second"})
    house.take(run)
    house.trash(run)
    real, calls = DiskBlobs.remove, []

    def dying(self: DiskBlobs, workspace_id: int, name: str) -> None:
        calls.append(name)
        if step == "before the bytes":
            raise Crash
        real(self, workspace_id, name)
        if step == "between two" or len(calls) == 2:
            raise Crash

    monkeypatch.setattr(DiskBlobs, "remove", dying)
    with pytest.raises(Crash):
        house.collect()
    monkeypatch.undo()
    with house.db.read() as connection:
        promised = blobs.present(connection, 1, [sha256(b"first"), sha256(b"second")])
    assert set(promised) <= house.files()
    again = SentRun(artifacts={"a": b"first"})
    (told,) = store.store(house.core, house.who, b"".join([*again.stream_frames(), again.manifest_frame()]))
    assert told["outcome"] == "incomplete"
    assert house.take(again)[0]["status"] == 200
    house.collect()
    assert house.files() == house.rows() == {sha256(b"first")}


def test_files_without_a_row_go(house: House) -> None:
    """A writer that died between bytes and row leaves a file that gc removes; a new upload of it works."""
    house.store.put(1, sha256(b"orphan"), b"orphan")
    assert house.collect().leftovers == 1 and house.files() == set()
    house.core.uploads.append(1, sha256(b"orphan"), 0, 6, b"orphan")
    assert house.rows() == {sha256(b"orphan")}


def test_through_the_command(server: object) -> None:
    """`worldflux server gc` counts in a rehearsal and then collects."""
    from server_process import Server

    assert isinstance(server, Server)
    run = SentRun(artifacts={"a": b"some bytes"})
    assert result(send(server, *run.frames(), expect=200))["outcome"] == "stored"
    patch(server, sha256(b"alone"), 0, 5, b"alone", expect=200)
    (server.data / "server.json").write_text('{"gc_grace_seconds": 0}')
    assert server.command("gc", "--dry-run")["blobs"] == 1
    told = server.command("gc")
    assert (told["blobs"], told["purged"]) == (1, 0)
    assert result(send(server, *run.frames(), expect=200))["outcome"] == "unchanged"


def test_what_is_counted_as_stored(house: House) -> None:
    """A run that is synced again and again with new manifests is counted once, not for each of them."""
    run = SentRun(status="running")
    sizes = []
    for number in range(5):
        run.name = f"name {number}"
        house.take(run)
        with house.db.read() as connection:
            sizes.append(store.used_bytes(connection, 1))
    assert max(sizes) - min(sizes) < 100


def test_one_run_that_the_database_refuses(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its neighbours in the bundle are stored all the same, and it is told apart."""
    good, bad, also = SentRun(), SentRun(name="bad"), SentRun()
    real = store.write.apply

    def refusing(connection_db: object, connection: object, *rest: object) -> object:
        if any(verdict.run == bad.run_id for verdict in rest[-1]):  # type: ignore[attr-defined]
            connection.execute(text("INSERT INTO no_such_table VALUES (1)"))  # type: ignore[attr-defined]
        return real(connection_db, connection, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(store.write, "apply", refusing)
    told = {entry["run"]: entry["status"] for entry in house.take(good, bad, also)}
    assert told == {good.run_id: 200, bad.run_id: 500, also.run_id: 200}
