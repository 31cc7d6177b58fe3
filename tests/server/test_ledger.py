"""The ledger: it only grows, everybody can check that, and whoever changes it is found out."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from worldflux.evidence import merkle
from worldflux.evidence.note import Checkpoint, Verifier
from worldflux.evidence.proof import LedgerProof
from worldflux.manifest.model import new_run_id, utc_now
from worldflux.server import ledger
from worldflux.server.checkpoints import FILE, checkpoint_key
from worldflux.server.db import Database, connect
from worldflux.server.problems import Problem
from worldflux.server.settings import Settings
from worldflux.server.tables import ledger_entries, ledger_heads, projects, workspaces

AT = "2026-11-21T10:00:00.000+00:00"


@pytest.fixture
def database(tmp_path: Path, tables: Callable[[Path], str | None]) -> Iterator[Database]:
    """An empty database of each kind with two projects: 1 in workspace 1, 2 in workspace 2."""
    made = connect(tmp_path, tables(tmp_path), pool=20)
    with made.write() as connection:
        for pk in (1, 2):
            connection.execute(workspaces.insert().values(pk=pk, slug=f"w{pk}", created_at=AT))
            connection.execute(projects.insert().values(pk=pk, workspace_id=pk, slug="demo", created_at=AT))
    yield made
    made.close()


def fill(database: Database, count: int, project: int = 1) -> list[str]:
    """Entries about new runs; their ids."""
    runs = [new_run_id() for _ in range(count)]
    with database.write() as connection:
        ledger.append_all(connection, project, [("run.committed", run, 1, "ab" * 32) for run in runs], AT)
    return runs


def head(database: Database, project: int = 1) -> Any:
    with database.read() as connection:
        return ledger.head(connection, project, project)


def test_entries_are_numbered_and_the_head_is_their_merkle_root(database: Database) -> None:
    """seq counts from 0 in each project apart; root and chain are those of the entries' bytes."""
    assert head(database).size == 0 and head(database).root == merkle.EMPTY.hex()
    with database.write() as connection:
        for index in range(5):
            told = ledger.append(connection, 1, "run.committed", new_run_id(), 1, "cd" * 32, AT)
            assert told == {"seq": index, "size": index + 1}
        assert ledger.append(connection, 2, "run.committed", new_run_id(), 1, "cd" * 32, AT)["seq"] == 0
    with database.read() as connection:
        rows = connection.execute(
            select(ledger_entries).where(ledger_entries.c.project_id == 1).order_by(ledger_entries.c.seq)
        ).all()
        leaves = [merkle.leaf_hash(ledger.body_of(connection, row)) for row in rows]
    assert [leaf.hex() for leaf in leaves] == [row.leaf for row in rows]
    assert head(database).root == merkle.tree_hash(leaves).hex()
    body = json.loads(ledger_body(database, rows[0]))
    assert body == {
        "v": 1, "seq": 0, "prev": ledger.GENESIS, "kind": "run.committed", "run_id": rows[0].run_id, "attempt": 1,
        "manifest_sha256": "cd" * 32, "at": AT,
    }  # fmt: skip


def ledger_body(database: Database, row: Any) -> bytes:
    with database.read() as connection:
        return ledger.body_of(connection, row)


def test_the_same_event_is_one_entry(database: Database) -> None:
    """A repeated commit gets the seq it had; another record, and the first one again, are news."""
    run = new_run_id()
    with database.write() as connection:
        first = ledger.append(connection, 1, "run.committed", run, 1, "aa" * 32, AT)
        again = ledger.append(connection, 1, "run.committed", run, 1, "aa" * 32, utc_now())
        other = ledger.append(connection, 1, "run.superseded", run, 1, "bb" * 32, AT)
        back = ledger.append(connection, 1, "run.superseded", run, 1, "aa" * 32, AT)
        twice = [("run.tombstoned", run, 1, "aa" * 32)] * 2
        assert [each["seq"] for each in ledger.append_all(connection, 1, twice, AT)] == [3, 3]
    assert [each["seq"] for each in (first, again, other, back)] == [0, 0, 1, 2]
    assert head(database).size == 4


def test_an_unknown_kind_is_refused(database: Database) -> None:
    """The log holds three kinds of events and no other."""
    with database.write() as connection, pytest.raises(ValueError, match="kind"):
        ledger.append(connection, 1, "run.improved", new_run_id(), 1, "aa" * 32, AT)


def test_what_is_rolled_back_was_never_there(database: Database) -> None:
    """The entry lives and dies with the commit that it tells of."""
    with pytest.raises(RuntimeError), database.write() as connection:
        ledger.append(connection, 1, "run.committed", new_run_id(), 1, "aa" * 32, AT)
        raise RuntimeError
    assert head(database).size == 0


def test_appends_from_many_threads_make_one_chain(database: Database) -> None:
    """8 threads with 20 entries each: 160 entries, no fork, none lost."""

    def work() -> None:
        for _ in range(20):
            fill(database, 1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert head(database).size == 160
    with database.read() as connection:
        assert ledger.faults(connection, 1, 1) == []


def test_a_head_that_moved_in_between_is_a_conflict(database: Database) -> None:
    """Compare and set: an append on an old head changes nothing."""
    fill(database, 3)
    with database.write() as connection:
        old = ledger._locked_head(connection, 1)
    fill(database, 1)
    with pytest.raises(Problem) as caught, database.write() as connection:
        ledger._move_head(connection, old, 4, "00" * 32, [], AT)
    assert caught.value.status == 409
    assert head(database).size == 4


@pytest.mark.parametrize("count", [1, 2, 7, 255, 256, 257, 600, 1025])
def test_proofs_of_logs_of_every_length(count: int, database: Database) -> None:
    """Each entry's inclusion and each earlier head's growth are proved, across the borders of tiles."""
    fill(database, count)
    now = head(database)
    with database.read() as connection:
        leaves = [
            bytes.fromhex(leaf)
            for leaf in connection.execute(
                select(ledger_entries.c.leaf)
                .where(ledger_entries.c.project_id == 1)
                .order_by(ledger_entries.c.seq)
            ).scalars()
        ]
        for seq in {0, 1, count // 2, 255, 256, 511, count - 1} & set(range(count)):
            path = ledger.inclusion(connection, 1, seq, count)
            assert merkle.proves_inclusion(seq, count, leaves[seq], path, bytes.fromhex(now.root))
        for old in {1, count // 3, 255, 256, 512, count - 1, count} & set(range(1, count + 1)):
            path = ledger.consistency(connection, 1, old, count)
            before = merkle.tree_hash(leaves[:old])
            assert merkle.proves_consistency(old, count, before, bytes.fromhex(now.root), path)


def test_a_log_that_takes_a_deleted_ones_place_has_its_own_proofs(database: Database) -> None:
    """The database's keys are given out again; remembered hashes are not."""
    fill(database, 600)
    with database.read() as connection:
        ledger.inclusion(connection, 1, 0, 600)
    with database.write() as connection:
        connection.execute(ledger_entries.delete())
        connection.execute(ledger_heads.delete())
    fill(database, 600)
    now = head(database)
    with database.read() as connection:
        (first,) = connection.execute(
            select(ledger_entries.c.leaf).where(ledger_entries.c.seq == 0)
        ).scalars()
        path = ledger.inclusion(connection, 1, 0, 600)
    assert merkle.proves_inclusion(0, 600, bytes.fromhex(first), path, bytes.fromhex(now.root))


@pytest.mark.parametrize("harm", ["edit", "swap", "remove", "cut", "forge", "head"])
def test_a_database_that_was_tampered_with_is_found_out(harm: str, database: Database) -> None:
    """Edited, swapped, removed and cut entries, a forged one and a forged head are all told."""
    runs = fill(database, 10)
    e, h = ledger_entries.c, ledger_heads.c
    with database.write() as connection:
        if harm == "edit":
            connection.execute(update(ledger_entries).where(e.seq == 4).values(manifest_sha256="ff" * 32))
        if harm == "swap":
            connection.execute(update(ledger_entries).where(e.seq == 4).values(run_id=runs[5]))
            connection.execute(update(ledger_entries).where(e.seq == 5).values(run_id=runs[4]))
        if harm == "remove":
            connection.execute(ledger_entries.delete().where(e.seq == 4))
        if harm == "cut":
            connection.execute(ledger_entries.delete().where(e.seq == 9))
        if harm == "forge":
            row = connection.execute(select(ledger_entries).where(e.seq == 9)).one()._mapping
            body = ledger.entry_body(9, row["chain"], "run.committed", runs[0], 1, "ff" * 32, AT)
            forged = {"manifest_sha256": "ff" * 32, "leaf": merkle.leaf_hash(body).hex()}
            connection.execute(update(ledger_entries).where(e.seq == 9).values(**forged))
        if harm == "head":
            connection.execute(update(ledger_heads).where(h.project_id == 1).values(root="ff" * 32))
    with database.read() as connection:
        assert ledger.faults(connection, 1, 1)


def test_a_number_is_given_out_once(database: Database) -> None:
    """Two entries can not have one place, whatever the program does."""
    fill(database, 1)
    with pytest.raises(IntegrityError), database.write() as connection:
        row = dict(connection.execute(select(ledger_entries)).one()._mapping)
        connection.execute(ledger_entries.insert().values(**row))


def test_the_ledgers_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    """0600; eight threads at the first use agree on one key; a readable or damaged file is refused."""
    from worldflux.errors import WorldFluxError

    found: list[str] = []

    def look() -> None:
        settings = Settings(data_dir=str(tmp_path), public_url="https://runs.example.org")
        found.append(checkpoint_key.__wrapped__(settings).verifier("o"))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1
    path = tmp_path / FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == [FILE]
    path.chmod(0o640)
    with pytest.raises(WorldFluxError, match="others may read"):
        look_at(tmp_path)
    path.chmod(0o600)
    path.write_text("{}")
    with pytest.raises(WorldFluxError, match="damaged"):
        look_at(tmp_path)


def look_at(folder: Path) -> None:
    checkpoint_key.__wrapped__(Settings(data_dir=str(folder)))


def test_a_checkpoint_is_a_signed_note(tmp_path: Path) -> None:
    """Its three lines and its signature are as C2SP says: checked by hand with another library."""
    import hashlib

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = checkpoint_key.__wrapped__(Settings(data_dir=str(tmp_path), public_url="https://runs.example.org"))
    origin = key.origin("lab", "demo")
    assert origin == "runs.example.org/lab/demo"
    note = key.sign(origin, 7, bytes(range(32)))
    text, _, tail = note.partition("\n\n")
    assert text.split("\n") == [origin, "7", base64.b64encode(bytes(range(32))).decode()]
    name, data = tail.removeprefix("\u2014 ").split()
    raw = base64.b64decode(data)
    public = base64.b64decode(key.verifier(origin).split("+", 2)[2])[1:]
    assert name == origin and raw[:4] == hashlib.sha256(origin.encode() + b"\n\x01" + public).digest()[:4]
    Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], f"{text}\n".encode())
    assert Verifier.parse(key.verifier(origin)).verifies(note)
    assert Checkpoint.parse(note) == Checkpoint(origin, 7, bytes(range(32)))
    assert not Verifier.parse(key.verifier(origin)).verifies(note.replace("\n7\n", "\n8\n"))
    with pytest.raises(ValueError, match="tlog-proof"):
        LedgerProof.parse(note)
