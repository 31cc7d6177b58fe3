"""A repository that is damaged, foreign or hostile: nothing runs, nothing changes, nothing is guessed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from git_lab import contents, git, look, new_repository, stored_diff

from worldflux.run import repository

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


def test_no_repository(tmp_path: Path, run_dir: Path) -> None:
    """A plain folder is told in one line, without starting git."""
    state = look(tmp_path, run_dir)
    assert state == {"present": False, "problem": "the source folder is in no git repository"}


def test_git_is_missing(repo: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git the record says so; it does not say clean."""
    monkeypatch.setenv("PATH", str(run_dir))
    assert look(repo, run_dir) == {"present": False, "problem": "git is not installed"}


def test_git_hangs(repo: Path, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A git that does not answer, as on a dead network disk, is given up after the limit."""
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(repository, "TIME_LIMIT", 0.3)
    assert "took longer than" in look(repo, run_dir)["problem"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_a_repository_of_another_user(repo: Path, run_dir: Path) -> None:
    """Git refuses such a repository; the record says why and names no path."""
    for path in (repo, repo / ".git"):
        os.chown(path, 65534, 65534)
    state = look(repo, run_dir)
    assert state["present"] is False
    assert "belongs to another user" in state["problem"] and str(repo) not in state["problem"]


def test_a_damaged_repository(repo: Path, run_dir: Path) -> None:
    """A broken index or a missing object is told, not raised and not taken for clean."""
    (repo / ".git" / "index").write_bytes(b"rubbish")
    state = look(repo, run_dir)
    assert state == {"present": False, "problem": "git status failed: the repository may be damaged"}
    (repo / ".git" / "HEAD").write_bytes(b"rubbish")
    assert look(repo, run_dir)["present"] is False


def test_git_variables_of_the_caller_do_not_mislead(
    repo: Path, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called from a git hook, where GIT_DIR points elsewhere, it still looks at the right repository."""
    other = new_repository(tmp_path / "other")
    git(other, "commit", "-q", "--allow-empty", "-m", "another commit")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    state = look(repo, run_dir)
    monkeypatch.undo()
    assert state["commit"] == git(repo, "rev-parse", "HEAD")


def test_looking_changes_nothing(repo: Path, run_dir: Path) -> None:
    """Index, objects and configuration are the same afterwards, also with stale times in the index."""
    for name in ("same.txt", "other.txt"):
        (repo / name).write_text("x\n")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "two")
    (repo / "other.txt").write_text("y\n")
    for name in ("same.txt", "other.txt"):
        os.utime(repo / name, (1, 1))
    before = contents(repo)
    assert look(repo, run_dir)["dirty"] is True
    assert contents(repo) == before
    plain(repo, "status")
    assert contents(repo) != before, "nothing was stale, so nothing could have changed"


PROGRAMS = (
    "core.fsmonitor", "core.pager", "core.editor", "core.askPass", "core.sshCommand", "credential.helper",
    "filter.evil.clean", "filter.evil.smudge", "filter.e.v.il.process", "filter.late.process",
    "diff.external", "diff.evil.command", "diff.conv.textconv",
)  # fmt: skip
HOOKS = ("post-index-change", "fsmonitor-watchman", "pre-commit", "post-checkout", "reference-transaction")
ATTRIBUTES = "*.py filter=evil\n*.dat filter=e.v.il\n*.x filter=late\n*.md diff=evil\n*.tex diff=conv\n"


@pytest.fixture
def trap(repo: Path, tmp_path: Path) -> Path:
    """A repository that names programs everywhere; each one started adds its name to the file."""
    sprung = tmp_path / "sprung"
    hooks = tmp_path / "programs"
    hooks.mkdir()
    (repo / ".gitattributes").write_text(ATTRIBUTES)
    for name in ("a.dat", "b.x", "c.md", "d.tex", "e.txt", "same.txt"):
        (repo / name).write_text("x\n")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "attributes")
    for name in (*PROGRAMS, *HOOKS):
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >> '{sprung}'\ncat\n")
        (hooks / name).chmod(0o755)
        if name in PROGRAMS:
            git(repo, "config", name, str(hooks / name))
    git(repo, "config", "core.hooksPath", str(hooks))
    git(repo, "config", "filter.late.required", "true")
    for name in ("a.dat", "b.x", "c.md", "d.tex", "e.txt"):  # as long as before, so that content decides
        (repo / name).write_text("y\n")
    (repo / "run.py").write_text("print(2)\n")
    for path in repo.glob("*.*"):
        os.utime(path, (1, 1))
    sprung.unlink(missing_ok=True)
    return sprung


def test_a_hostile_repository_runs_nothing(repo: Path, run_dir: Path, trap: Path) -> None:
    """Filters, monitors, hooks, external diffs and converters of the repository stay quiet."""
    state = look(repo, run_dir)
    assert not trap.exists(), trap.read_text()
    assert state["dirty"] is True
    assert state["problem"] == "3 changed files pass through a filter and are not in the diff"
    assert stored_diff(state, run_dir).count(b"\n+y\n") == 3
    plain(repo, "status")  # dies of the filter that is required
    git(repo, "config", "--remove-section", "filter.late")
    for command in (["status"], ["diff", "HEAD"], ["diff", "--no-ext-diff", "HEAD"]):
        plain(repo, *command)
    expected = {
        "core.fsmonitor", "filter.evil.clean", "filter.e.v.il.process", "filter.late.process",
        "diff.external", "diff.evil.command", "diff.conv.textconv", "post-index-change",
    }  # fmt: skip
    assert expected <= set(trap.read_text().split()), "the trap does not work, so its silence means nothing"


def plain(folder: Path, *command: str) -> None:
    """Call git without any care, whether or not it can do it."""
    subprocess.run(["git", *command], cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, check=False)


def test_a_hostile_submodule_runs_nothing(repo: Path, run_dir: Path, trap: Path, tmp_path: Path) -> None:
    """The same holds for programs that only the submodule's own configuration names."""
    outer = new_repository(tmp_path / "outer")
    shutil.copytree(repo, outer / "sub", symlinks=True)
    (outer / ".gitmodules").write_text('[submodule "sub"]\n\tpath = sub\n\turl = ../project\n')
    assert look(outer, run_dir)["submodules"][0]["dirty"] is True
    assert not trap.exists(), trap.read_text()


def test_a_filter_that_can_not_be_switched_off_stops_the_look(repo: Path, run_dir: Path) -> None:
    """A name that the command line can not carry means no state, not a program that runs."""
    with open(repo / ".git" / "config", "a") as file:
        file.write('[filter "a=b"]\n\tclean = false\n')
    assert look(repo, run_dir)["problem"] == "the repository names a filter that can not be switched off"


def test_a_checked_out_lfs_file_is_not_dirty(repo: Path, run_dir: Path, tmp_path: Path) -> None:
    """With Git LFS the index holds a pointer: the same content is clean, another one is dirty."""
    program = tmp_path / "clean"
    program.write_text(
        "#!/bin/sh\nf=$(mktemp); cat > $f; echo version https://git-lfs.github.com/spec/v1\n"
        "echo oid sha256:$(sha256sum < $f | cut -d' ' -f1); echo size $(wc -c < $f)\n"
    )
    program.chmod(0o755)
    git(repo, "config", "filter.lfs.clean", str(program))
    (repo / ".gitattributes").write_text("*.bin filter=lfs -text\n")
    (repo / "weights.bin").write_bytes(b"w" * 1000)
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "weights")
    assert "git-lfs" in git(repo, "cat-file", "blob", "HEAD:weights.bin")
    os.utime(repo / "weights.bin", (1, 1))
    state = look(repo, run_dir)
    assert (state["dirty"], state["diff"], state.get("problem")) == (False, None, None)
    (repo / "weights.bin").write_bytes(b"W" * 1000)
    state = look(repo, run_dir)
    assert (state["dirty"], state["diff"]) == (True, None)
    (repo / "run.py").write_text("changed\n")
    state = look(repo, run_dir)
    assert b"run.py" in stored_diff(state, run_dir) and b"weights" not in stored_diff(state, run_dir)


def test_missing_objects_are_not_fetched(repo: Path, run_dir: Path, tmp_path: Path) -> None:
    """In a partial clone nothing goes out for an object: the diff is missing, and the record says so."""
    git(repo, "config", "uploadpack.allowFilter", "true")
    (repo / "big.txt").write_text("x" * 5000)
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "big")
    partial = tmp_path / "partial"
    git(tmp_path, "clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{repo}", str(partial))
    git(partial, "read-tree", "HEAD")
    (partial / "big.txt").write_text("changed")
    sprung = tmp_path / "sprung"
    git(partial, "config", "remote.origin.url", f"ext::touch {sprung}")
    git(partial, "config", "protocol.allow", "always")
    before = contents(partial)
    state = look(partial, run_dir)
    assert (state["dirty"], state["diff"], state["remote"]) == (True, None, None)
    assert state["commit"] == git(repo, "rev-parse", "HEAD")
    assert "objects are missing" in state["problem"]
    assert contents(partial) == before and not sprung.exists()
    with pytest.raises(subprocess.CalledProcessError):
        git(partial, "diff", "HEAD")
    assert sprung.exists(), "the trap does not work, so its silence means nothing"
