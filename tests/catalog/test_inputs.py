"""Inputs of a run: found, checked, and written to the manifest with their commit."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hub_standin import StandInHub

from worldflux.catalog.importer import Wanted, bring
from worldflux.catalog.inputs import locate, verify
from worldflux.errors import RefusedError, UsageError
from worldflux.manifest.model import Manifest
from worldflux.manifest.validator import validate

DATASET = [{"role": "dataset", "ref": "lerobot-dataset:me/pusht@v3.0"}]


@pytest.fixture
def home(hub: StandInHub, pusht: dict[str, bytes], act: dict[str, bytes], tmp_path: Path) -> Path:
    hub.add("me/pusht", pusht, "dataset", refs={"v3.0": ""})
    hub.add("me/act", act)
    bring("lerobot-dataset:me/pusht", home=tmp_path)
    bring("lerobot:me/act", home=tmp_path)
    return tmp_path


def test_an_imported_dataset_carries_its_commit(hub: StandInHub, home: Path, pusht: dict[str, bytes]) -> None:
    """The manifest gets commit, digest, size, license and format of what is really here."""
    (entry,) = verify(DATASET, home=home)
    commit = hub.repos[("dataset", "me/pusht")].commit
    assert entry["revision"] == commit and entry["uri"] == f"hf://datasets/me/pusht@{commit}"
    assert (entry["files"], entry["bytes"]) == (len(pusht), sum(map(len, pusht.values())))
    assert (entry["license"], entry["version"], entry["role"]) == ("mit", "v3.0", "dataset")
    (found,) = locate(DATASET, home=home)
    assert found.path is not None and (found.path / "meta" / "info.json").is_file()


def test_every_form_fits_the_manifest(home: Path, tmp_path: Path) -> None:
    """Imports, local files, URIs and bare names are all valid inputs of a manifest."""
    (tmp_path / "maze.npz").write_bytes(b"maze")
    wanted = [
        *DATASET,
        {"role": "policy", "ref": "lerobot:me/act"},
        {"role": "other", "ref": "maze.npz"},
        {"role": "simulator", "ref": "gym-pusht==0.1.8"},
        {"role": "model", "ref": "https://example.org/w.bin"},
    ]
    manifest = Manifest.new(
        project="p",
        recipe={"name": "r", "description": "", "task": "eval", "source": {"path": "r.yaml", "sha256": None}},
        config={"path": "config.yaml", "sha256": "0" * 64, "overrides": [], "resolved": {}},
        runtime={"name": "local", "plugin": "a:B", "plugin_version": "1", "options": {}},
    )
    manifest.inputs = verify(wanted, home=home, base=tmp_path)  # type: ignore[assignment]
    assert validate(manifest.to_json()) == []
    assert manifest.inputs[2]["sha256"] == hashlib.sha256(b"maze").hexdigest()


@pytest.mark.parametrize(
    "ref", ["lerobot-dataset:me/other", "lerobot:me/pusht", "lerobot-dataset:me/pusht@v9"]
)
def test_what_is_not_imported_says_how(home: Path, ref: str) -> None:
    """A run does not start on an input that is not here; the error has the import command."""
    with pytest.raises(UsageError) as caught:
        verify([{"role": "dataset", "ref": ref}], home=home)
    assert caught.value.hint == f"import it first: worldflux import {ref}"


def test_metadata_alone_is_not_enough(hub: StandInHub, pusht: dict[str, bytes], tmp_path: Path) -> None:
    """A `--meta-only` import can not be run on."""
    hub.add("me/pusht", pusht, "dataset", refs={"v3.0": ""})
    bring("lerobot-dataset:me/pusht", Wanted(meta_only=True), home=tmp_path)
    with pytest.raises(UsageError, match="only the metadata"):
        verify(DATASET, home=tmp_path)


@pytest.mark.parametrize("harm", ["changed", "shortened", "removed"])
def test_a_file_that_is_not_what_was_imported_refuses(home: Path, harm: str) -> None:
    """A changed, shortened or missing file refuses the run, with its name and the way to mend it."""
    (found,) = locate(DATASET, home=home)
    assert found.path is not None
    victim = found.path / "data" / "chunk-000" / "file-001.parquet"
    data = victim.read_bytes()
    victim.unlink()
    if harm != "removed":
        victim.write_bytes(data[::-1][:-1] + b"?" if harm == "changed" else data[:-1])
    with pytest.raises(RefusedError) as caught:
        verify(DATASET, home=home)
    assert caught.value.code == "input_changed" and "file-001.parquet" in caught.value.problem
    assert "worldflux import lerobot-dataset:me/pusht" in caught.value.hint


def test_a_touched_file_is_read_again_and_passes(home: Path) -> None:
    """Other times, same bytes: the file is digested once more, noted, and the run goes on."""
    (found,) = locate(DATASET, home=home)
    assert found.path is not None
    os.utime(found.path / "meta" / "info.json", (1, 1))
    journal = found.path.parent / "done.jsonl"
    before = len(journal.read_text().splitlines())
    assert verify(DATASET, home=home) == [found.manifest]
    assert verify(DATASET, home=home) == [found.manifest]
    assert len(journal.read_text().splitlines()) == before + 1


def test_full_reads_every_byte(home: Path) -> None:
    """`full` finds a change that kept size, times and inode, as a failing disk makes it."""
    (found,) = locate(DATASET, home=home)
    assert found.path is not None
    victim = found.path / "videos" / "observation.image" / "chunk-000" / "file-000.mp4"
    status = victim.stat()
    journal = found.path.parent / "done.jsonl"
    with open(victim, "r+b") as handle:
        handle.write(b"?")
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        if line["path"].endswith("file-000.mp4"):
            line["ctime_ns"] = victim.stat().st_ctime_ns
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    verify(DATASET, home=home)
    with pytest.raises(RefusedError):
        verify(DATASET, home=home, full=True)


def test_local_folders_are_digested_whole(tmp_path: Path) -> None:
    """A folder's digest covers every file's name and bytes, in any order of creation."""
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, names in ((first, "xy"), (second, "yx")):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name)
    one, two = verify([{"role": "other", "ref": "a"}, {"role": "other", "ref": "b"}], base=tmp_path)
    assert one["sha256"] == two["sha256"] and one["files"] == 2
    (second / "y").write_text("changed")
    assert verify([{"role": "other", "ref": "b"}], base=tmp_path)[0]["sha256"] != one["sha256"]


def test_a_path_that_does_not_exist_is_told(tmp_path: Path) -> None:
    """`./weights.npz` that is not there is a mistake, not a name."""
    with pytest.raises(UsageError, match="does not exist"):
        verify([{"role": "model", "ref": "./weights.npz"}], base=tmp_path)
