"""What git knows, asked from real repositories: usual ones and odd ones."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from git_lab import git, look, new_repository, stored_diff

from worldflux.run import repository
from worldflux.run.source import readable

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "project")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder outside of the repository."""
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    return folder


def test_a_clean_repository(repo: Path, run_dir: Path) -> None:
    """Commit and branch, nothing dirty, no diff file."""
    state = look(repo, run_dir)
    assert state == {
        "present": True,
        "commit": git(repo, "rev-parse", "HEAD"),
        "branch": "main",
        "remote": None,
        "dirty": False,
        "diff": None,
        "untracked": [],
    }
    assert list(run_dir.iterdir()) == []


def test_the_diff_brings_the_tracked_files_back(repo: Path, run_dir: Path, tmp_path: Path) -> None:
    """Applied to a clean copy of the commit, the saved diff gives every changed file, byte for byte."""
    (repo / "data.bin").write_bytes(bytes(range(256)) * 40)
    (repo / "mode.sh").write_text("#!/bin/sh\n")
    (repo / "gone.txt").write_text("x\n")
    (repo / "crlf.txt").write_bytes(b"a\r\nb")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "two")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repo), str(clone))
    (repo / "data.bin").write_bytes(bytes(reversed(range(256))) * 50)
    (repo / "mode.sh").chmod(0o755)
    (repo / "gone.txt").unlink()
    (repo / "crlf.txt").write_bytes(b"a\nb\r\n\0")
    (repo / "run.py").write_text("print(2)")
    (repo / "staged é.py").write_text("new\n")
    git(repo, "add", "staged é.py")
    state = look(repo, run_dir)
    assert (state["dirty"], state["untracked"], state["diff"]["truncated"]) == (True, [], False)
    assert stored_diff(state, run_dir)
    git(clone, "apply", str(run_dir / "source.diff"))
    for path in repo.iterdir():
        if path.is_file():
            copy = clone / path.name
            assert (copy.read_bytes(), copy.stat().st_mode) == (path.read_bytes(), path.stat().st_mode)
    assert not (clone / "gone.txt").exists()


def test_the_diff_does_not_depend_on_personal_settings(repo: Path, run_dir: Path) -> None:
    """Colours, prefixes, contexts, orders and renames of the user's configuration change nothing."""
    (repo / "b.txt").write_text("same\n" * 30)
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "two")
    git(repo, "mv", "b.txt", "c.txt")
    (repo / "run.py").write_text("print(2)\n")
    plain = stored_diff(look(repo, run_dir), run_dir)
    (repo.parent / "order").write_text("run.py\n")
    for setting in (
        "color.ui=always", "diff.noprefix=true", "diff.mnemonicPrefix=true", "diff.renames=copies",
        "diff.context=0", f"diff.orderFile={repo.parent / 'order'}", "diff.algorithm=patience",
        "diff.ignoreSubmodules=all", "status.renames=copies", "status.showUntrackedFiles=no",
        "status.relativePaths=false", "core.quotePath=false", "core.abbrev=5",
    ):  # fmt: skip
        git(repo, "config", *setting.split("=", 1))
    (repo / "new.py").touch()
    state = look(repo, run_dir)
    assert stored_diff(state, run_dir) == plain
    assert [each["path"] for each in state["untracked"]] == ["new.py"]


def test_a_long_diff_is_cut_and_says_so(repo: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first bytes are kept; their digest is that of the file, and truncated is true."""
    monkeypatch.setattr(repository, "MAX_DIFF_BYTES", 1000)
    (repo / "run.py").write_text("".join(f"print({number})\n" for number in range(10_000)))
    state = look(repo, run_dir)
    assert (state["diff"]["truncated"], state["diff"]["bytes"]) == (True, 1000)
    assert stored_diff(state, run_dir).startswith(b"diff --git a/run.py b/run.py\n")


def test_a_file_that_was_only_touched_is_not_dirty(repo: Path, run_dir: Path) -> None:
    """A new time without a new content is no change."""
    os.utime(repo / "run.py", (1, 1))
    assert look(repo, run_dir)["dirty"] is False


NAMES = [
    b"plain.txt", b"with space", b"tab\there", b"line\nend", b'quote"s', b"back\\slash", b"per%cent", b"-rf",
    b":(top)magic", b"*", b"[a]", b"\xc3\xbcml\xc3\xa4ut", "\U0001f916".encode(), b"latin\xe9",
    b"esc\x1b[31m",
    "right\u202eleft".encode(), b"~", b"#", b"..dots",
]  # fmt: skip


def test_odd_names_are_listed_and_can_be_told_apart(repo: Path, run_dir: Path) -> None:
    """Every file name a disk takes gets a name that fits the manifest; sizes and digests are its own."""
    (repo / "deep" / "er").mkdir(parents=True)
    for name in NAMES:
        with open(os.fsencode(repo / "deep" / "er") + b"/" + name, "wb") as file:
            file.write(name)
    found = {each["path"]: each for each in look(repo, run_dir)["untracked"]}
    assert len(found) == len(NAMES)
    for name in NAMES:
        entry = found["deep/er/" + readable(name)]
        assert (entry["bytes"], entry["sha256"]) == (len(name), hashlib.sha256(name).hexdigest())
    assert {"deep/er/back\\x5cslash", "deep/er/latin\\xe9", "deep/er/line\\x0aend", "deep/er/ümläut"} <= set(
        found
    )


def test_odd_names_of_tracked_files_reach_the_diff(repo: Path, run_dir: Path) -> None:
    """Changed files with pathspec magic, spaces or odd bytes in their names are in the diff."""
    for name in NAMES:
        (repo / os.fsdecode(name)).write_bytes(b"old\n")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "two")
    for name in NAMES:
        (repo / os.fsdecode(name)).write_bytes(b"new\n")
    state = look(repo, run_dir)
    assert stored_diff(state, run_dir).count(b"\n+new\n") == len(NAMES)
    assert state["untracked"] == []


def test_links_pipes_and_huge_files_do_not_harm(
    repo: Path, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link counts by its text and is not followed, a pipe does not hang, a huge file is not read."""
    (tmp_path / "secret").write_text("secret")
    (repo / "link").symlink_to(tmp_path / "secret")
    (repo / "loop").symlink_to("loop")
    os.mkfifo(repo / "pipe")
    monkeypatch.setattr(repository, "MAX_FILE_BYTES", 100)
    (repo / "huge").write_bytes(b"x" * 101)
    found = {each["path"]: each for each in look(repo, run_dir)["untracked"]}
    assert found["link"]["sha256"] == hashlib.sha256(os.fsencode(tmp_path / "secret")).hexdigest()
    assert found["huge"] == {"path": "huge", "bytes": 101, "sha256": None}
    assert found["loop"]["bytes"] == 4
    assert "pipe" not in found or found["pipe"]["sha256"] is None


def test_many_untracked_files_are_counted(repo: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit they are counted, and beyond the total of bytes listed without a digest."""
    monkeypatch.setattr(repository, "MAX_UNTRACKED", 5)
    monkeypatch.setattr(repository, "MAX_TOTAL_BYTES", 25)
    for number in range(8):
        (repo / f"f{number}").write_bytes(b"x" * 10)
    state = look(repo, run_dir)
    assert [each["sha256"] is None for each in state["untracked"]] == [False, False, True, True, True]
    assert state["untracked_omitted"] == 3


def test_the_folder_of_runs_is_not_source(repo: Path) -> None:
    """Runs inside of the repository that nobody told git to ignore are not listed; their like are."""
    for name in ("runs/one", "runs/two", "runs2", ".worldflux", "sub/.worldflux/composed"):
        (repo / name).mkdir(parents=True)
        (repo / name / "video.mp4").write_bytes(b"x")
    state = look(repo, repo / "runs" / "one")
    assert [each["path"] for each in state["untracked"]] == ["runs2/video.mp4"]


def test_a_source_that_git_ignores_is_pointed_out(repo: Path, run_dir: Path) -> None:
    """The commit says nothing about code in an ignored folder, and the state says that."""
    (repo / ".gitignore").write_text(".venv/\n")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "ignore")
    source = repo / ".venv" / "lib" / "recipes"
    source.mkdir(parents=True)
    assert look(source, run_dir)["problem"] == "the source folder is ignored in this repository"
    assert "problem" not in look(repo, run_dir)


def test_without_a_commit(tmp_path: Path, run_dir: Path) -> None:
    """A repository before its first commit: no commit, staged files are the diff."""
    folder = tmp_path / "fresh"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk")
    (folder / "a.py").write_text("a\n")
    state = look(folder, run_dir)
    assert (state["commit"], state["branch"], state["dirty"]) == (None, "trunk", False)
    assert [each["path"] for each in state["untracked"]] == ["a.py"]
    git(folder, "add", ".")
    state = look(folder, run_dir)
    assert (state["commit"], state["dirty"]) == (None, True)
    assert b"+a\n" in stored_diff(state, run_dir)


def test_detached_shallow_worktree_and_sha256(repo: Path, run_dir: Path, tmp_path: Path) -> None:
    """The less usual repositories give their commit like any other."""
    git(repo, "checkout", "-q", "--detach")
    commit = git(repo, "rev-parse", "HEAD")
    assert (look(repo, run_dir)["branch"], look(repo, run_dir)["commit"]) == (None, commit)
    git(repo, "checkout", "-q", "main")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repo}", str(shallow))
    assert (look(shallow, run_dir)["commit"], look(shallow, run_dir)["remote"]) == (commit, None)
    worktree = tmp_path / "elsewhere"
    git(repo, "worktree", "add", "-q", "-b", "side", str(worktree))
    (worktree / "run.py").write_text("changed\n")
    state = look(worktree, run_dir)
    assert (state["branch"], state["commit"], state["dirty"]) == ("side", commit, True)
    assert look(repo, run_dir)["dirty"] is False
    modern = new_repository(tmp_path / "modern", "--object-format=sha256")
    (modern / "run.py").write_text("changed\n")
    state = look(modern, run_dir)
    assert len(state["commit"]) == 64 and b"+changed" in stored_diff(state, run_dir)


def test_a_merge_conflict_is_dirty(repo: Path, run_dir: Path) -> None:
    """In the middle of a merge there is a commit, it is dirty, and nothing fails."""
    git(repo, "checkout", "-q", "-b", "other")
    (repo / "run.py").write_text("print('theirs')\n")
    git(repo, "commit", "-qam", "theirs")
    git(repo, "checkout", "-q", "main")
    (repo / "run.py").write_text("print('ours')\n")
    git(repo, "commit", "-qam", "ours")
    with pytest.raises(subprocess.CalledProcessError):
        git(repo, "merge", "other")
    state = look(repo, run_dir)
    assert (state["dirty"], state["commit"]) == (True, git(repo, "rev-parse", "HEAD"))
    assert b"run.py" in stored_diff(state, run_dir)


def test_submodules_count(repo: Path, run_dir: Path, tmp_path: Path) -> None:
    """A change inside a submodule makes the whole dirty; one that is not checked out is listed."""
    library = new_repository(tmp_path / "library")
    git(repo, "submodule", "add", "-q", str(library), "third party/lib")
    git(repo, "commit", "-q", "-m", "add library")
    commit = git(library, "rev-parse", "HEAD")
    state = look(repo, run_dir)
    assert state["submodules"] == [{"path": "third party/lib", "commit": commit, "dirty": False}]
    assert state["dirty"] is False
    (repo / "third party" / "lib" / "run.py").write_text("patched\n")
    state = look(repo, run_dir)
    assert (state["dirty"], state["submodules"][0]["dirty"], state["diff"]) == (True, True, None)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repo), str(clone))
    state = look(clone, run_dir)
    assert state["submodules"] == [{"path": "third party/lib", "commit": None, "dirty": False}]
    assert state["dirty"] is False


def test_a_submodule_outside_is_not_looked_at(repo: Path, run_dir: Path, tmp_path: Path) -> None:
    """A path in .gitmodules that leads out of the repository is left alone."""
    new_repository(tmp_path / "elsewhere")
    (repo / ".gitmodules").write_text('[submodule "x"]\n\tpath = ../elsewhere\n\turl = x\n')
    assert "submodules" not in look(repo, run_dir)


def test_the_remote_of_the_branch_wins(repo: Path, run_dir: Path) -> None:
    """The branch's own remote, else origin, else any; without its user part."""
    git(repo, "remote", "add", "alpha", "https://u:hunter2@alpha.example.org/x.git")
    assert look(repo, run_dir)["remote"] == "https://alpha.example.org/x.git"
    git(repo, "remote", "add", "origin", "git@origin.example.org:x.git")
    assert look(repo, run_dir)["remote"] == "origin.example.org:x.git"
    git(repo, "config", "branch.main.remote", "alpha")
    assert look(repo, run_dir)["remote"] == "https://alpha.example.org/x.git"
