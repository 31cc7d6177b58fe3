"""What goes into a package, what stays outside, and when none is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from evidence_lab import RUN_ID, make_package, make_run

from worldflux.errors import RefusedError, UsageError, WorldFluxError
from worldflux.evidence import layout
from worldflux.evidence.build import Options, build
from worldflux.evidence.keys import SigningKey
from worldflux.evidence.package import FolderPackage
from worldflux.evidence.trust import Trust
from worldflux.evidence.verify import verify_path
from worldflux.manifest import io
from worldflux.manifest.model import Manifest
from worldflux.manifest.secrets import Gate

STATUSES = ("succeeded", "failed", "timeout", "cancelled", "refused", "interrupted")


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("status", STATUSES)
def test_every_ending_can_be_packed(
    status: str, bare: bool, tmp_path: Path, key: SigningKey, trust: Trust
) -> None:
    """Whatever became of the run, and whatever was collected, its package is verified."""
    folder = make_run(tmp_path / "runs", status, bare=bare)
    make_package(folder, tmp_path / "package", key)
    report = verify_path(tmp_path / "package", trust)
    assert report.state == "verified", report.layers
    packed = FolderPackage(tmp_path / "package").sizes
    assert f"data/logs/{RUN_ID}.log" in packed and "data/metrics.jsonl" in packed


def test_no_artifacts(tmp_path: Path, key: SigningKey, trust: Trust) -> None:
    """A run that left nothing behind has evidence, too."""
    folder = make_run(tmp_path / "runs", artifacts={})
    make_package(folder, tmp_path / "package.zip", key, archive=True)
    assert verify_path(tmp_path / "package.zip", trust).state == "verified"


def test_a_run_that_goes_on_is_refused(tmp_path: Path) -> None:
    """There is nothing to vouch for before the end."""
    folder = make_run(tmp_path / "runs")
    manifest = io.read(folder / "manifest.json")
    run: Any = manifest.run
    run.update(status="running", finished_at=None, duration_seconds=None, exit_code=None, stages=[])
    io.write(folder / "manifest.json", manifest)
    with pytest.raises(UsageError, match="have ended"):
        make_package(folder, tmp_path / "package")


def test_only_what_is_recorded_is_packed(run_folder: Path, tmp_path: Path) -> None:
    """Files that nobody committed, and the process's own notes, stay where they are."""
    (run_folder / "artifacts" / "private.txt").write_text("mine")
    (run_folder / "exit.json").write_text("{}")
    make_package(run_folder, tmp_path / "package")
    assert not any(
        "private" in name or "exit.json" in name for name in FolderPackage(tmp_path / "package").sizes
    )


@pytest.mark.parametrize("harm", ["change", "remove", "link"])
def test_no_evidence_of_a_run_that_was_changed(harm: str, run_folder: Path, tmp_path: Path) -> None:
    """A file that is no longer what was recorded stops the package, and can be left outside by digest."""
    victim = run_folder / "artifacts" / "videos.txt"
    victim.unlink()
    if harm == "change":
        victim.write_text("other")
    if harm == "link":
        victim.symlink_to("/etc/hostname")
    with pytest.raises(WorldFluxError, match=r"videos\.txt") as caught:
        make_package(run_folder, tmp_path / "package")
    assert "--exclude artifacts/videos.txt" in caught.value.hint
    assert not (tmp_path / "package").exists() and not list(tmp_path.glob(".worldflux-*"))
    make_package(run_folder, tmp_path / "package", exclude=["artifacts/videos.txt"])
    assert verify_path(tmp_path / "package", Trust()).layer("completeness").status == "pass"


def test_large_artifacts_stay_outside_by_digest(
    run_folder: Path, tmp_path: Path, key: SigningKey, trust: Trust
) -> None:
    """Above the limit only the digest travels; it is signed for, and said in the crate."""
    built = make_package(run_folder, tmp_path / "package", key, limit=1000)
    (left,) = built.left_out
    assert left.path == "artifacts/videos/roll out (3) é.mp4" and left.size == 2048
    assert not (tmp_path / "package/data" / left.path).exists()
    report = verify_path(tmp_path / "package", trust)
    assert report.state == "verified" and "1 outside by digest" in report.layer("completeness").summary
    from worldflux.evidence import dsse

    bundle = dsse.decode(json.loads((tmp_path / "package" / layout.RUN_STATEMENT).read_bytes()))
    subjects = {each["name"]: each["digest"]["sha256"] for each in json.loads(bundle.payload)["subject"]}
    assert subjects[left.path] == left.sha256


def test_outcomes_of_episodes_are_always_packed(run_folder: Path, tmp_path: Path) -> None:
    """Each trial behind a success rate is a row, also when the file it is from was not committed."""
    manifest = io.read(run_folder / "manifest.json")
    manifest.artifacts = [each for each in manifest.artifacts if each["path"] != "artifacts/eval.json"]
    io.write(run_folder / "manifest.json", manifest)
    make_package(run_folder, tmp_path / "package")
    rows = [json.loads(line) for line in (tmp_path / "package/data/episodes.jsonl").read_text().splitlines()]
    metric = manifest.metrics["solved"]
    assert len(rows) == metric["n"] and sum(row["success"] for row in rows) == metric["k"]
    assert rows[0] == {"episode": 0, "metric": "solved", "success": False}


def test_outcomes_that_contradict_the_record_are_left_out(run_folder: Path, tmp_path: Path) -> None:
    """A file that was changed after the run gives no rows."""
    manifest = io.read(run_folder / "manifest.json")
    manifest.artifacts = []
    io.write(run_folder / "manifest.json", manifest)
    (run_folder / "artifacts/eval.json").write_text('{"episodes": [{"ok": true}]}')
    make_package(run_folder, tmp_path / "package")
    assert not (tmp_path / "package/data/episodes.jsonl").exists()


SECRET = "correct-horse-battery-staple-42"


def gate() -> Gate:
    return Gate.from_environment({"MY_SECRET_TOKEN": SECRET})


def with_file(folder: Path, path: str, data: bytes) -> None:
    """Let the run have recorded other bytes."""
    (folder / path).write_bytes(data)
    manifest = io.read(folder / "manifest.json")
    import hashlib

    document: Any = manifest.to_json()

    def fix(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("path") == path:
                node["sha256"] = hashlib.sha256(data).hexdigest()
                if "bytes" in node:
                    node["bytes"] = len(data)
            for each in node.values():
                fix(each)
        elif isinstance(node, list):
            for each in node:
                fix(each)

    fix(document)
    io.write(folder / "manifest.json", Manifest.from_json(document))


@pytest.mark.parametrize(
    "path",
    [
        "source.diff", "config.yaml", "overrides.yaml", "requirements.lock", "metrics.jsonl", f"logs/{RUN_ID}.log",
        "artifacts/videos.txt", "artifacts/eval.json",
    ],
)  # fmt: skip
def test_every_text_is_searched_for_secrets(path: str, run_folder: Path, tmp_path: Path) -> None:
    """A known value in any packed file stops the package; the file is named, the value is not."""
    with_file(run_folder, path, json.dumps({"text": f"use {SECRET} please"}).encode())
    with pytest.raises(RefusedError) as caught:
        build(run_folder, tmp_path / "package", gate(), Options())
    assert path in caught.value.problem and SECRET not in str(caught.value)
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize("place", [0, 8 * 2**20 - 5, 8 * 2**20, 17 * 2**20])
def test_long_files_are_searched_to_their_end(place: int, run_folder: Path, tmp_path: Path) -> None:
    """A value in a log or a binary file of 18 MiB is found wherever it stands, also on a border."""
    for path, filler in (
        (f"logs/{RUN_ID}.log", b"a line of a log\n"),
        ("artifacts/empty.bin", bytes(range(200, 216))),
    ):
        data = bytearray(filler * (18 * 2**16))
        data[place : place + len(SECRET)] = SECRET.encode()
        folder = make_run(tmp_path / f"runs-{len(filler)}-{path[:3]}", run_id=RUN_ID)
        with_file(folder, path, bytes(data))
        with pytest.raises(RefusedError):
            build(folder, tmp_path / "package", gate(), Options())


def test_looks_alone_stop_a_text_but_not_a_binary_file(run_folder: Path, tmp_path: Path) -> None:
    """A token of a known form in a diff is refused; the same bytes in an image are not judged by looks."""
    token = f"hf_{'aB3dE5' * 6}".encode()
    with_file(run_folder, "artifacts/empty.bin", b"\0\x01\xff" + token)
    make_package(run_folder, tmp_path / "package")
    with_file(run_folder, "source.diff", b"+TOKEN = '" + token + b"'\n")
    with pytest.raises(RefusedError, match=r"source\.diff"):
        make_package(run_folder, tmp_path / "package")


def test_what_is_there_is_not_overwritten(run_folder: Path, tmp_path: Path) -> None:
    """An existing file or folder stands, unless replacing was asked for."""
    (tmp_path / "out.zip").write_text("precious")
    with pytest.raises(UsageError, match="there already"):
        build(run_folder, tmp_path / "out.zip", Gate(), Options(), archive=True)
    assert (tmp_path / "out.zip").read_text() == "precious"
    build(run_folder, tmp_path / "out.zip", Gate(), Options(), archive=True, replace=True)
    assert (tmp_path / "out.zip").read_bytes()[:2] == b"PK"


def test_the_run_folder_is_not_changed(run_folder: Path, tmp_path: Path, key: SigningKey) -> None:
    """Packing reads and does not write there."""
    before = {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")}
    make_package(run_folder, tmp_path / "package", key)
    assert {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")} == before


def test_a_file_that_grows_while_it_is_packed_is_noticed(run_folder: Path, tmp_path: Path) -> None:
    """The second reading must give the bytes of the first; nothing is left behind."""
    log = run_folder / f"logs/{RUN_ID}.log"

    class Meddling(Gate):
        def refuse(self, data: bytes, what: str) -> None:
            if what == layout.CRATE:  # judged after everything was read once
                with log.open("ab") as stream:
                    stream.write(b"more")

    for archive in (False, True):
        with pytest.raises(WorldFluxError, match="has changed while"):
            build(run_folder, tmp_path / "out", Meddling(), Options(exclude=[]), archive=archive)
        assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".worldflux-*"))
        log.write_bytes(log.read_bytes().removesuffix(b"more"))


def test_leftovers_of_killed_builds_are_swept(run_folder: Path, tmp_path: Path) -> None:
    """What is older than an hour goes with the next build; what is younger may be somebody's."""
    old, young = tmp_path / ".worldflux-0a.tmp", tmp_path / ".worldflux-0b.tmp"
    for folder in (old, young):
        (folder / "data").mkdir(parents=True)
    os.utime(old, (0, 0))
    make_package(run_folder, tmp_path / "package")
    assert not old.exists() and young.exists()


def test_two_builds_are_equal(run_folder: Path, tmp_path: Path, key: SigningKey) -> None:
    """Same run, same key: the same archive, byte for byte, from another place and under another clock zone."""
    one = make_package(run_folder, tmp_path / "one.zip", key, archive=True)
    moved = tmp_path / "elsewhere" / RUN_ID
    moved.parent.mkdir()
    run_folder.rename(moved)
    for path in moved.rglob("*"):
        os.utime(path, (0, 0), follow_symlinks=False)
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from evidence_lab import make_package; from worldflux.evidence import keys;"
        "make_package(Path(sys.argv[2]), Path(sys.argv[3]), keys.load(Path(sys.argv[4]), 'lab'), archive=True)"
    )
    words = [sys.executable, "-c", script, str(Path(__file__).parent), str(moved), str(tmp_path / "two.zip")]
    env = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "LANG": "C"}
    subprocess.run([*words, str(tmp_path / "keys")], check=True, env=env)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert one.sha256 is not None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_large_run_is_packed_in_constant_memory(tmp_path: Path, key: SigningKey) -> None:
    """300 MB of artifacts, most of them a hole, are built and verified in less than 100 MB."""
    script = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from evidence_lab import make_package, make_key
from worldflux.evidence.trust import Trust
from worldflux.evidence.verify import verify_path
key = make_key(Path(sys.argv[4]))
make_package(Path(sys.argv[2]), Path(sys.argv[3]), key, archive=True)
assert verify_path(Path(sys.argv[3]), Trust(signers=[key.public])).state == "verified"
(peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""
    folder = make_run(tmp_path / "runs")
    large(folder, 300 * 10**6)
    words = [sys.executable, "-c", script, str(Path(__file__).parent), str(folder), str(tmp_path / "big.zip")]
    ended = subprocess.run([*words, str(tmp_path / "keys")], capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 100, f"{ended.stdout} MB"


def large(folder: Path, size: int) -> None:
    """Let the run have an artifact with a hole in it."""
    import hashlib

    path = folder / "artifacts" / "large.bin"
    with path.open("wb") as stream:
        stream.write(b"start")
        stream.truncate(size)
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    manifest = io.read(folder / "manifest.json")
    manifest.artifacts.append(
        {
            "path": "artifacts/large.bin", "bytes": size, "sha256": digest.hexdigest(),
            "media_type": "application/octet-stream", "commit": True,
        }
    )  # fmt: skip
    io.write(folder / "manifest.json", manifest)
