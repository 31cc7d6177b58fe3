"""What git knows about the source of a run, asked for without running anybody's programs.

A repository may name programs that git starts while it only looks: filters, hooks, a file
system monitor, external diffs. All of them are switched off here, and so are the network and
everything that would write to the repository.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worldflux.manifest.storage import write_bytes_atomic
from worldflux.run.porcelain import Change, Status, clean_remote, parse_settings, parse_status, reason
from worldflux.run.source import digest_file, readable

if TYPE_CHECKING:
    from worldflux.manifest.parts import Diff, Git, Submodule, Untracked

#: Where the changes of tracked files are saved, in the run's folder.
DIFF_NAME = "source.diff"

#: Seconds that one call of git may take.
TIME_LIMIT = 30.0

#: Largest part of a diff that is kept.
MAX_DIFF_BYTES = 10 * 1000 * 1000

#: More untracked files than this are counted, not listed.
MAX_UNTRACKED = 1000

#: Larger files, and files after this many bytes in total, are listed without a digest.
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_TOTAL_BYTES = 256 * 1024 * 1024

MAX_SUBMODULES = 50

#: With more changed files of Git LFS than this the rest counts as changed.
_MAX_LFS = 200

#: With more changed paths than this the diff is taken of everything.
_MAX_PATHSPECS = 500

_KEPT_VARIABLES = (
    "PATH",
    "HOME",
    "XDG_CONFIG_HOME",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
)
_WANTED_SETTINGS = r"^(remote\..*\.url|branch\..*\.remote|filter\..*\..*)$"
_EMPTY_TREES = {
    40: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    64: "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
_LFS_POINTER = rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\n"


class GitFailure(Exception):
    """git can not tell; the message is one line for `git.problem`, without paths of this machine."""


def git_state(source_dir: Path, run_dir: Path) -> Git:
    """The state of the repository that holds `source_dir`, in the manifest's form.

    Changes of tracked files are saved as `DIFF_NAME` in `run_dir`. Files below the folder that
    holds the runs, and in `.worldflux` folders, are WorldFlux's own and not listed. Never raises
    for what git or the repository does: `present` is false then, and `problem` says why.

    Args:
        source_dir: folder with the recipe's code.
        run_dir: the run's folder, which exists.

    Raises:
        WorldFluxError: `source.diff` can not be written.
    """
    top = _top(source_dir)
    if top is None:
        return {"present": False, "problem": "the source folder is in no git repository"}
    import shutil

    program = shutil.which("git")
    if program is None:
        return {"present": False, "problem": "git is not installed"}
    try:
        return _Repository(program, top).state(source_dir, run_dir)
    except GitFailure as failure:
        return {"present": False, "problem": str(failure)}


class _Repository:
    def __init__(self, program: str, top: Path) -> None:
        self.top = top
        self.command = [program, "--no-pager", "-C", str(top), "-c", "core.fsmonitor="]
        printed = self._run("config", "-z", "--get-regexp", _WANTED_SETTINGS, expected=(0, 1))
        self.settings = parse_settings(printed)
        self.filters = sorted(self._named("filter."))
        for name in self.filters:
            if "=" in name or "\n" in name:
                raise GitFailure("the repository names a filter that can not be switched off")
            for key in ("clean=", "smudge=", "process=", "required=false"):
                self.command += ["-c", f"filter.{name}.{key}"]

    def _named(self, section: str) -> dict[str, str]:
        """Name of a subsection -> the last of its settings, as `remote.NAME.url` -> URL."""
        found = {name: value for name, value in self.settings.items() if name.startswith(section)}
        return {name.split(".", 1)[1].rpartition(".")[0]: value for name, value in found.items()}

    def _run(self, *arguments: str, data: bytes = b"", expected: Sequence[int] = (0,)) -> bytes:
        import subprocess

        command = [*self.command, *arguments]
        try:
            done = subprocess.run(
                command, input=data, capture_output=True, env=_variables(), timeout=TIME_LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            raise GitFailure(f"git {arguments[0]} took longer than {TIME_LIMIT:.0f} seconds") from None
        except OSError as error:
            raise GitFailure(f"git can not be started: {error.strerror}") from None
        if done.returncode not in expected:
            raise GitFailure(reason(done.stderr, arguments[0]))
        return done.stdout

    def state(self, source_dir: Path, run_dir: Path) -> Git:
        status = self.status("all")
        changes, filtered = self._without_filtered(status.changes)
        submodules = self._submodules()
        runs = _below(run_dir.parent, self.top) or _below(run_dir, self.top)
        untracked = [path for path in status.untracked if not _is_ours(path, runs)]
        state: Git = {
            "present": True,
            "commit": status.commit,
            "branch": status.branch,
            "remote": self._remote(status.branch),
            "dirty": bool(changes or filtered) or any(each["dirty"] for each in submodules),
            "diff": None,
            "untracked": _untracked(self.top, untracked[:MAX_UNTRACKED]),
        }
        problems = []
        source = _below(source_dir, self.top)
        if source is not None and any(source.startswith(path) for path in status.ignored):
            problems.append("the source folder is ignored in this repository")
        if filtered:
            problems.append(f"{len(filtered)} changed files pass through a filter and are not in the diff")
        if changes:
            try:
                state["diff"] = self._save_diff(status.commit, changes, bool(filtered), run_dir)
            except GitFailure as failure:
                problems.append(str(failure))
        if len(untracked) > MAX_UNTRACKED:
            state["untracked_omitted"] = len(untracked) - MAX_UNTRACKED
        if submodules:
            state["submodules"] = submodules
        if problems:
            state["problem"] = "; ".join(problems)
        return state

    def status(self, untracked: str) -> Status:
        """One call of `git status`; paths are relative to the top."""
        arguments = ["status", "--porcelain=v2", "--branch", "-z", "--no-renames"]
        arguments += ["--ignore-submodules=dirty", f"--untracked-files={untracked}"]
        if untracked == "all":
            arguments += ["--ignored=matching"]
        return parse_status(self._run(*arguments))

    def _remote(self, branch: str | None) -> str | None:
        urls = self._named("remote.")
        for name in (self.settings.get(f"branch.{branch}.remote"), "origin", *urls):
            if name in urls:
                return clean_remote(urls[name])
        return None

    def _without_filtered(self, changes: list[Change]) -> tuple[list[Change], list[Change]]:
        """Changes that can be compared, and those of files that a filter stands between.

        With filters off, such a file may seem changed because git compares the filter's input
        with its output. For Git LFS the pointer tells the digest; for others nobody can know.
        """
        if not self.filters or not changes:
            return changes, []
        data = b"".join(change.path + b"\0" for change in changes)
        fields = self._run("check-attr", "-z", "--stdin", "filter", data=data).split(b"\0")
        names = {fields[at]: os.fsdecode(fields[at + 2]) for at in range(0, len(fields) - 2, 3)}
        plain: list[Change] = []
        filtered: list[Change] = []
        for change in changes:
            name = names.get(change.path, "")
            if name not in self.filters:
                plain.append(change)
            elif name != "lfs" or len(filtered) > _MAX_LFS or not self._is_lfs_copy(change):
                filtered.append(change)
        return plain, filtered

    def _is_lfs_copy(self, change: Change) -> bool:
        if not change.in_work_tree:
            return False
        pointer = re.match(_LFS_POINTER, self._run("cat-file", "blob", change.index_object)[:1024])
        found = digest_file(self.top / os.fsdecode(change.path), MAX_TOTAL_BYTES * 4)
        return pointer is not None and found is not None and found[1] == pointer[1].decode()

    def _save_diff(self, commit: str | None, changes: list[Change], only_these: bool, run_dir: Path) -> Diff:
        base = commit or _EMPTY_TREES[len(changes[0].index_object)]
        arguments = ["diff-index", "--patch", "--binary", "--full-index", "--no-renames", "--no-color"]
        arguments += ["--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty", base, "--"]
        if only_these or len(changes) <= _MAX_PATHSPECS:
            arguments += [":(top,literal)" + os.fsdecode(change.path) for change in changes[:_MAX_PATHSPECS]]
        data, truncated = self._read_some(arguments, MAX_DIFF_BYTES)
        truncated = truncated or (only_these and len(changes) > _MAX_PATHSPECS)
        write_bytes_atomic(run_dir / DIFF_NAME, data)
        digest = hashlib.sha256(data).hexdigest()
        return {"path": DIFF_NAME, "bytes": len(data), "sha256": digest, "truncated": truncated}

    def _read_some(self, arguments: list[str], limit: int) -> tuple[bytes, bool]:
        """The first `limit` bytes that git prints, and whether there were more."""
        import subprocess
        import threading

        with subprocess.Popen(
            [*self.command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_variables(),
        ) as process:
            timer = threading.Timer(TIME_LIMIT, process.kill)
            timer.start()
            try:
                assert process.stdout is not None
                data = process.stdout.read(limit + 1)
                if len(data) > limit:
                    process.kill()
                    return data[:limit], True
                code = process.wait()
            finally:
                timer.cancel()
        if code != 0:
            raise GitFailure("the diff could not be taken: objects are missing, or it took too long")
        return data, False

    def _submodules(self) -> list[Submodule]:
        if not (self.top / ".gitmodules").is_file():
            return []
        arguments = ["config", "-z", "--file", ".gitmodules", "--get-regexp", r"\.path$"]
        printed = self._run(*arguments, expected=(0, 1))
        found: list[Submodule] = []
        for path in sorted(parse_settings(printed).values())[:MAX_SUBMODULES]:
            folder = self.top / path
            if not _is_inside(folder, self.top):
                continue
            state: Submodule = {"path": readable(os.fsencode(path)), "commit": None, "dirty": False}
            if (folder / ".git").exists():
                inner = _Repository(self.command[0], folder)
                status = inner.status("no")
                plain, filtered = inner._without_filtered(status.changes)
                state["commit"], state["dirty"] = status.commit, bool(plain or filtered)
            found.append(state)
        return found


def _variables() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {
        **kept,
        "LC_ALL": "C",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
    }


def _top(folder: Path) -> Path | None:
    """The nearest folder upwards that holds a `.git`: costs no process where there is none."""
    folder = folder.resolve()
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)


def _below(path: Path, top: Path) -> bytes | None:
    """`path` relative to `top` with a final slash as git prints it; None for `top` and outside."""
    try:
        relative = path.resolve().relative_to(top)
    except ValueError:
        return None
    return os.fsencode(relative.as_posix()) + b"/" if relative.parts else None


def _is_ours(path: bytes, runs: bytes | None) -> bool:
    """Whether WorldFlux made the file: below the folder of runs, or in a `.worldflux` cache."""
    return b".worldflux" in path.split(b"/") or (runs is not None and path.startswith(runs))


def _is_inside(folder: Path, top: Path) -> bool:
    return folder.resolve() != top and top in folder.resolve().parents


def _untracked(top: Path, paths: list[bytes]) -> list[Untracked]:
    found: list[Untracked] = []
    left = MAX_TOTAL_BYTES
    for path in paths:
        size, digest = digest_file(top / os.fsdecode(path), min(left, MAX_FILE_BYTES)) or (0, None)
        left -= size if digest else 0
        found.append({"path": readable(path), "bytes": size, "sha256": digest})
    return found
