"""The Python of an environment and the distributions installed in it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

#: Seconds that an interpreter may take to say where it looks for packages.
TIME_LIMIT = 20.0

_QUESTION = """
import json, platform, sys
print(json.dumps([platform.python_implementation(), platform.python_version(), sys.path]))
"""
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._!+-]{0,127}")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Interpreter(NamedTuple):
    """What is known of a Python: `path` holds the folders it imports from."""

    implementation: str
    version: str
    path: tuple[str, ...]


def interpreter(python: Path) -> Interpreter | None:
    """A Python's implementation, version and import folders; None when it can not be started.

    Nothing is started for this process's own Python and for an environment made by uv or
    virtualenv, whose `pyvenv.cfg` says it all.
    """
    if python == Path(sys.executable):
        import platform

        return Interpreter(platform.python_implementation(), platform.python_version(), tuple(sys.path))
    return _from_configuration(python) or _ask(python)


def packages(python: Path) -> dict[str, str]:
    """Normalised name -> version of every distribution that `python` can import.

    Read from the names of the metadata folders, which takes about a millisecond for a hundred
    of them. An interpreter is started only when it is not this process's own and not the one
    of a closed virtual environment. Where a name is found twice, the first on the path counts,
    as it does for `import`.
    """
    if python == Path(sys.executable):
        return _installed(sys.path)
    folder = _site_packages(python)
    if folder is not None:
        return _installed([str(each) for each in folder])
    found = _ask(python)
    return _installed(found.path) if found else {}


def _configuration(python: Path) -> dict[str, str]:
    """`pyvenv.cfg` of the environment the interpreter belongs to; empty when it is in none."""
    try:
        text = (python.parent.parent / "pyvenv.cfg").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _site_packages(python: Path) -> list[Path] | None:
    """Folders with the packages of a closed virtual environment; None for every other Python."""
    if _configuration(python).get("include-system-site-packages", "true").lower() != "false":
        return None
    root = python.parent.parent
    found = sorted(root.glob("lib*/python3*/site-packages"))
    unique = {os.path.realpath(folder): folder for folder in reversed(found)}  # lib64 is a link to lib
    return list(unique.values()) if len(unique) in (1, 2) else None


def _from_configuration(python: Path) -> Interpreter | None:
    configuration = _configuration(python)
    implementation, version = configuration.get("implementation"), configuration.get("version_info")
    folders = _site_packages(python)
    if implementation is None or version is None or folders is None:
        return None
    return Interpreter(implementation, ".".join(version.split(".")[:3]), tuple(map(str, folders)))


def _ask(python: Path) -> Interpreter | None:
    import json
    import subprocess

    try:
        done = subprocess.run(
            [str(python), "-I", "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIME_LIMIT,
            check=True,
        )
        implementation, version, path = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(str(implementation), str(version), tuple(map(str, path)))


def _installed(path: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in path:
        try:
            with os.scandir(folder or ".") as entries:
                names = [(entry.name, entry.path) for entry in entries]
        except OSError:  # a zip file, or an entry that is gone
            continue
        for name, place in names:
            if name.endswith(".dist-info"):
                title, _, version = name.removesuffix(".dist-info").rpartition("-")
            elif name.endswith((".egg-info", ".egg-link")):
                title, version = _egg(name, place)
            else:
                continue
            normal = re.sub(r"[-_.]+", "-", title).lower()
            if _NAME.fullmatch(normal) and _VERSION.fullmatch(version):
                found.setdefault(normal, version)
    return dict(sorted(found.items()))


def _egg(name: str, place: str) -> tuple[str, str]:
    """Name and version of an old kind of installation, whose file name may have only the first."""
    stem = re.sub(r"-py\d[\d.]*$", "", name.rpartition(".")[0])
    title, dash, version = stem.partition("-")
    if dash:
        return title, version
    candidates = [place, os.path.join(place, "PKG-INFO")]
    if name.endswith(".egg-link"):
        try:
            with open(place, encoding="utf-8") as file:
                candidates = [os.path.join(file.readline().strip(), f"{stem}.egg-info", "PKG-INFO")]
        except (OSError, UnicodeDecodeError):
            return title, ""
    for candidate in candidates:
        try:
            with open(candidate, encoding="utf-8", errors="replace") as file:
                match = re.search(r"^Version: *(\S+)", file.read(4096), re.MULTILINE)
        except OSError:
            continue
        if match:
            return title, match[1]
    return title, ""
