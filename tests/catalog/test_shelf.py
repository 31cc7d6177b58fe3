"""Where imports stand on disk: found by name, commit or tag, and never half."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from worldflux.catalog.journal import Done
from worldflux.catalog.reference import parse
from worldflux.catalog.shelf import SCHEMA, Shelf, check_room, contents_digest
from worldflux.errors import TemporaryError, WorldFluxError


def shelve(home: Path, what: str, commit: str, **changes: Any) -> None:
    reference = parse(what)
    berth = Shelf.at(home).berth(reference, commit)
    berth.files.mkdir(parents=True)
    record = {"schema": SCHEMA, "id": reference.id, "commit": commit, "names": [], "imported_at": "2026"}
    berth.write_entry({**record, **changes})


def found(home: Path, what: str) -> str | None:
    berth = Shelf.at(home).find(parse(what))
    return berth.path.name[:3] if berth is not None else None


def test_found_by_commit_tag_and_newest(tmp_path: Path) -> None:
    """A commit may be shortened to seven digits; a tag means the newest import under it."""
    shelve(tmp_path, "lerobot:me/a", "a" * 40, names=["main", "v1"])
    shelve(tmp_path, "lerobot:me/a", "b" * 40, names=["main"])
    assert found(tmp_path, "lerobot:me/a") == "bbb"
    assert found(tmp_path, "lerobot:me/a@main") == "bbb"
    assert found(tmp_path, "lerobot:me/a@v1") == "aaa"
    assert found(tmp_path, "lerobot:me/a@aaaaaaa") == "aaa"
    assert found(tmp_path, "lerobot:me/a@aaaaaa") is None
    assert found(tmp_path, "lerobot-dataset:me/a") is None and found(tmp_path, "lerobot:me/b") is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": "https://worldflux.dev/schemas/catalog-import/v9"}']
)
def test_a_record_that_can_not_be_read_is_no_import(tmp_path: Path, text: str) -> None:
    """Broken records and those of a later version are left alone, and the list goes on."""
    shelve(tmp_path, "lerobot:me/a", "a" * 40)
    shelve(tmp_path, "lerobot:me/b", "b" * 40)
    (tmp_path / "catalog/policies/me/a" / ("a" * 40) / "entry.json").write_text(text)
    assert [record["id"] for record in Shelf.at(tmp_path).entries("policy")] == ["lerobot:me/b"]
    assert found(tmp_path, "lerobot:me/a") is None


def test_files_of_an_import_are_not_taken_for_imports(tmp_path: Path) -> None:
    """A repo that holds an `entry.json` of its own, in a folder that looks like a commit, adds nothing."""
    shelve(tmp_path, "lerobot:me/a", "a" * 40)
    inner = tmp_path / "catalog/policies/me/a" / ("a" * 40) / "files" / ("c" * 40)
    inner.mkdir()
    (inner / "entry.json").write_text(json.dumps({"schema": SCHEMA, "id": "lerobot:evil/x"}))
    assert [record["id"] for record in Shelf.at(tmp_path).entries("policy")] == ["lerobot:me/a"]


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    """A lock held by a process that was killed is free again; one that is held is told."""
    berth = Shelf.at(tmp_path).berth(parse("lerobot:me/a"), "a" * 40)
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom worldflux.catalog.shelf import Berth\n"
        "with Berth(Path(sys.argv[1])).lock('x'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(berth.path)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with (
        pytest.raises(TemporaryError, match="another process is importing lerobot:me/a"),
        berth.lock("lerobot:me/a"),
    ):
        pass
    process.kill()
    process.communicate()
    with berth.lock("lerobot:me/a"):
        pass


def test_one_digest_for_many_files() -> None:
    """The digest is that of sha256sum's output, so that it can be checked without WorldFlux."""
    files = [Done(path, 1, digest * 64, None, 0, 0, 0) for path, digest in (("a", "1"), ("b c", "2"))]
    shown = f"{'1' * 64}  a\n{'2' * 64}  b c\n"
    program = subprocess.run(["sha256sum"], input=shown.encode(), capture_output=True, check=True).stdout
    assert contents_digest(files) == program.decode().split()[0]


def test_room_is_checked(tmp_path: Path) -> None:
    """What fits passes; what does not says how much is missing."""
    check_room(tmp_path, 1)
    with pytest.raises(WorldFluxError) as caught:
        check_room(tmp_path, 2**62)
    assert caught.value.code == "no_space" and caught.value.details["needed"] == 2**62
