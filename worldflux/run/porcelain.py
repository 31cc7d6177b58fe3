"""What git prints, in Python's words: settings, status, remote addresses, reasons of failure."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from worldflux.run.source import readable


class Change(NamedTuple):
    """A tracked file that differs: its raw path and the object the index has for it."""

    path: bytes
    index_object: str
    in_work_tree: bool


class Status(NamedTuple):
    """What `git status --porcelain=v2 --branch -z` says; paths are relative to the top."""

    commit: str | None
    branch: str | None
    changes: list[Change]
    untracked: list[bytes]
    ignored: list[bytes]


def parse_settings(printed: bytes) -> dict[str, str]:
    """The first value of each setting that `git config -z` printed."""
    found: dict[str, str] = {}
    for entry in printed.split(b"\0"):
        name, _, value = os.fsdecode(entry).partition("\n")
        if name:
            found.setdefault(name, value)
    return found


def parse_status(printed: bytes) -> Status:
    """The output of `git status --porcelain=v2 --branch -z`; a rename counts as two changes."""
    commit: str | None = None
    branch: str | None = None
    changes: list[Change] = []
    untracked: list[bytes] = []
    ignored: list[bytes] = []
    entries = iter(printed.split(b"\0"))
    for entry in entries:
        kind, _, rest = entry.partition(b" ")
        if kind == b"#":
            name, _, value = rest.partition(b" ")
            if name == b"branch.oid" and value != b"(initial)":
                commit = value.decode()
            elif name == b"branch.head" and value != b"(detached)":
                branch = readable(value)[:512]
        elif kind in (b"1", b"u"):
            fields = rest.split(b" ", 7 if kind == b"1" else 9)
            changes.append(Change(fields[-1], fields[6].decode(), fields[0][1:] != b"."))
        elif kind == b"2":
            fields = rest.split(b" ", 8)
            changes += [Change(path, fields[6].decode(), True) for path in (fields[8], next(entries))]
        elif kind == b"?":
            untracked.append(rest)
        elif kind == b"!":
            ignored.append(rest)
    return Status(commit, branch, changes, sorted(untracked), ignored)


def reason(stderr: bytes, command: str) -> str:
    """Why git failed, in one line without paths of this machine."""
    text = stderr.decode("utf-8", "replace")
    if "dubious ownership" in text:
        return "the repository belongs to another user and git refuses it (see git's safe.directory)"
    if "not a git repository" in text:
        return "the source folder is in no git repository"
    return f"git {command} failed: the repository may be damaged"


def clean_remote(url: str) -> str | None:
    """A remote's URL without user, password, query and fragment; None when it is a local path.

    Whatever still holds an `@` after that, or could run a program (`ext::...`), is None too.
    """
    scheme, separator, rest = url.partition("://")
    if separator:
        if scheme.lower() == "file":
            return None
        host, slash, path = rest.partition("/")
        cleaned = f"{scheme}://{host.rpartition('@')[2]}{slash}{re.split('[?#]', path)[0]}"
    else:
        host, separator, path = url.partition(":")
        if not separator or "/" in host or path.startswith(":"):
            return None
        cleaned = f"{host.rpartition('@')[2]}:{path}"
    return cleaned if re.fullmatch(r"[^\x00-\x20\x7f@?#]{1,2048}", cleaned) else None
