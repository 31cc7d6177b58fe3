"""Whether the packages in an environment are really there, byte by byte.

An installer that was killed, or ran into a full disk, can leave an environment whose package
list is complete while files are missing; asking the installer does not show it. Every wheel
lists its files with size and digest (RECORD), so that is what is compared. This is stricter
than importing the modules, and runs none of their code.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worldflux.runtime.venvs.lockfile import Lock, normalised

_METADATA_FIELD = re.compile(r"^(Name|Version):[ \t]*(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Findings:
    """What is wrong with the packages of an environment; false when nothing is.

    Attributes:
        contents: files that are not what their package lists. The list itself may be wrong: some
            published wheels do not match their own RECORD.
        refused: what no wheel can excuse: packages that are missing or not in the lock, files
            outside the environment, files shared with another folder.
    """

    contents: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.contents or self.refused)

    @property
    def first(self) -> str:
        """One finding, and how many more there are."""
        every = (*self.refused, *self.contents)
        return every[0] + (f" (and {len(every) - 1} more)" if len(every) > 1 else "") if every else ""


def findings(environment: Path, lock: Lock) -> Findings:
    """Compare every file of an environment's packages with their RECORD, and the packages with a lock.

    Args:
        environment: folder of a virtual environment.
    """
    listed: dict[str, list[tuple[bool, str]]] = {}
    refused: list[str] = []
    installed: dict[str, str] = {}
    for site in site_packages(environment):
        for info in sorted(site.glob("*.dist-info")):
            name, version = _identity(info)
            if not name:
                refused.append(f"{info.name}: no METADATA with a name and a version")
                continue
            installed[normalised(name)] = version
            for entry in _record(environment, site, info):
                if entry.grave:
                    refused.append(f"{name}: {entry.problem}")
                else:
                    problem = f"{name}: {entry.problem}" if entry.problem else ""
                    listed.setdefault(entry.path, []).append((entry.vouched, problem))
    refused += _lock_problems(installed, lock)
    # Of several wheels that install one file the last one wins: it is whole as one of them states it.
    doubted = (each for each in listed.values() if not any(v and not problem for v, problem in each))
    contents = tuple(problem for each in doubted for _, problem in each if problem)
    return Findings(contents, tuple(refused))


@dataclass(frozen=True)
class _Entry:
    """One line of a RECORD, compared with its file.

    Attributes:
        vouched: the line states a digest.
        problem: empty when the file is as stated. grave: no wheel can excuse it.
    """

    path: str
    vouched: bool
    problem: str = ""
    grave: bool = False


def installed_packages(environment: Path) -> dict[str, str]:
    """Version of each installed package, by its normalised name."""
    result: dict[str, str] = {}
    for site in site_packages(environment):
        for info in sorted(site.glob("*.dist-info")):
            name, version = _identity(info)
            if name:
                result[normalised(name)] = version
    return result


def site_packages(environment: Path) -> list[Path]:
    """Folders with packages; `lib64` counts when it is a folder of its own."""
    found: list[Path] = []
    for library in ("lib", "lib64"):
        folder = environment / library
        if folder.is_dir() and not folder.is_symlink():
            found += sorted(folder.glob("py*/site-packages"))
    return found


def _identity(info: Path) -> tuple[str, str]:
    try:
        text = (info / "METADATA").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", ""
    fields = dict(_METADATA_FIELD.findall(text.partition("\n\n")[0]))
    return (fields["Name"], fields["Version"]) if len(fields) == 2 else ("", "")


def _record(environment: Path, site: Path, info: Path) -> Iterator[_Entry]:
    """Every file of one package."""
    try:
        text = (info / "RECORD").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        yield _Entry("", False, "no readable RECORD", grave=True)
        return
    root = os.path.realpath(environment)
    for row in csv.reader(text.splitlines()):
        path = os.path.normpath(site / row[0]) if row else root
        if not os.path.realpath(path).startswith(root):
            yield _Entry(path, False, f"{row[0]} lies outside the environment", grave=True)
        elif row:
            stated = row[1:3] if len(row) > 2 else ("", "")
            grave, problem = _file_problem(path, *stated)
            yield _Entry(path, bool(stated[0]), f"{row[0]} {problem}" if problem else "", grave)


def _file_problem(path: str, stated: str, size: str) -> tuple[bool, str]:
    algorithm, _, expected = stated.partition("=")
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            # A second name for the same bytes: whoever writes to it changes this environment.
            if status.st_nlink > 1:
                return True, "is shared with another folder by a hard link"
            if size.isdigit() and int(size) != status.st_size:
                return False, f"has {status.st_size} bytes instead of {size}"
            if not stated:
                return False, ""
            checksum = hashlib.new(algorithm)
            while block := file.read(1 << 20):
                checksum.update(block)
    except OSError as error:
        return False, f"can not be read ({error.strerror})"
    except ValueError:
        return False, f"has a digest of an unknown kind ({algorithm})"
    actual = base64.urlsafe_b64encode(checksum.digest()).rstrip(b"=").decode()
    return False, "" if actual == expected.rstrip("=") else "does not have the stated digest"


def _lock_problems(installed: dict[str, str], lock: Lock) -> Iterator[str]:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    def allowed(version: str, pin: str) -> bool:
        try:
            return SpecifierSet(f"=={pin}").contains(version, prereleases=True)
        except InvalidSpecifier:
            return version == pin

    pins: dict[str, set[str]] = {}
    for item in lock.requirements:
        pins.setdefault(item.key, set()).add(item.pin)
        # A line with a marker may not concern this platform; the installer has decided that.
        if not item.marker and item.key not in installed:
            yield f"{item.name}: not installed"
    for name, version in installed.items():
        if name not in pins:
            yield f"{name}: installed but not in the lock"
        elif not any(allowed(version, pin) for pin in pins[name]):
            yield f"{name}: version {version} is not the one in the lock"
