"""Which Python an environment is made from, and what is known about it.

Nothing is started for the running interpreter, nor for one that was described before and has
not changed since: a warm start must not cost a process.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldflux.errors import UsageError, WorldFluxError
from worldflux.runtime.venvs import durable, probe
from worldflux.runtime.venvs.uvtool import Uv, UvFailure

_CLAUSE = re.compile(r"(>=|<)\s*(\d+(?:\.\d+)*)\Z")
_BARE = re.compile(r"\d+(\.\d+){0,2}(\.\*)?\Z")


@dataclass(frozen=True)
class Interpreter:
    """A Python that environments are made from.

    Attributes:
        path: the program, links resolved.
        facts: what `probe.facts` says of it.
        signature: size in bytes and modification time in nanoseconds of the program.
    """

    path: Path
    facts: Mapping[str, str]
    signature: tuple[int, int]

    @property
    def version(self) -> str:
        return self.facts["version"]


def signature(path: Path) -> tuple[int, int]:
    """Size and modification time of a program; another pair means another program."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def running() -> Interpreter:
    """The interpreter this program runs on, or the one its virtual environment was made from."""
    facts = probe.facts()
    path = Path(facts["path"])
    return Interpreter(path, facts, signature(path))


def described(path: Path, *, cache: Path) -> Interpreter:
    """Any interpreter; its description is kept in `cache` until the program changes.

    Raises:
        UsageError: there is no such program, or it is no Python that can be used.
    """
    try:
        real = path.resolve(strict=True)
        mark = signature(real)
    except OSError as error:
        raise UsageError(
            f"{path}: the Python interpreter is gone ({error.strerror})",
            "install it again, or choose another one by `env.python`",
            code="no-python",
        ) from error
    # The path as given, not the resolved one: in a virtual environment they differ in meaning.
    note = cache / f"{_digest(str(path.absolute()))}.json"
    known = _read(note)
    if known.get("signature") == list(mark) and isinstance(known.get("facts"), dict):
        base = Path(known["facts"]["path"])
        if base == real or os.path.exists(base):
            return Interpreter(base, known["facts"], signature(base))
    facts = _ask(path)
    _note(note, {"signature": list(mark), "facts": facts, "program": str(path)})
    base = Path(facts["path"])
    return Interpreter(base, facts, signature(base))


def resolve(specifier: str, *, given: Path | None, cache: Path, uv: Callable[[], Uv]) -> Interpreter:
    """The interpreter for a recipe: the given one, else the running one, else one that uv finds.

    Args:
        specifier: PEP 440 (`>=3.10`), or a version (`3.11`) which means any of its patches.
        given: use this one or none.
        cache: folder for descriptions.
        uv: makes the uv that is asked, only when the running interpreter does not fit; nothing is
            downloaded.

    Raises:
        UsageError: no interpreter fits; names those that are there. Or the specifier can not
            be read.
    """
    if given is not None:
        chosen = described(given, cache=cache)
        if not satisfies(chosen.version, specifier):
            raise _no_python(specifier, [f"{chosen.version} at {given}"])
        return chosen
    here = running()
    if satisfies(here.version, specifier):
        return here
    return _found(specifier, here, cache, uv())


def satisfies(version: str, specifier: str) -> bool:
    """Whether a version fits a specifier; an empty one fits everything.

    Raises:
        UsageError: the specifier can not be read.
    """
    text = specifier.strip()
    if not text:
        return True
    if _BARE.match(text):
        text = "==" + text + ("" if text.endswith(".*") or text.count(".") == 2 else ".*")
    quick = _plainly(version, text)
    if quick is not None:
        return quick
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(text).contains(version, prereleases=True)
    except InvalidSpecifier as error:
        raise UsageError(
            f"env.python: {specifier!r} is no version specifier",
            'write it like ">=3.10,<3.13" or "==3.11.*"',
        ) from error


def _plainly(version: str, specifier: str) -> bool | None:
    """The answer for `>=` and `<` on a final version; None for all else.

    The general answer needs a library that takes 20 to 40 ms to import, a good part of a warm
    start.
    """
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        return None
    have = _padded(version)
    answer = True
    for clause in specifier.split(","):
        match = _CLAUSE.match(clause.strip())
        if match is None or match[2].count(".") > 3:
            return None
        wanted = _padded(match[2])
        answer = answer and (have >= wanted if match[1] == ">=" else have < wanted)
    return answer


def _padded(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in version.split(".")]
    return tuple(numbers + [0] * (6 - len(numbers)))


def _found(specifier: str, here: Interpreter, cache: Path, uv: Uv) -> Interpreter:
    note = cache / f"find-{_digest(specifier, uv.environment['PATH'])}.json"
    known = _read(note).get("program")
    if isinstance(known, str) and os.path.exists(known):
        chosen = described(Path(known), cache=cache)
        if satisfies(chosen.version, specifier):
            return chosen
    text = specifier.strip()
    try:
        said = uv.run(["python", "find", "--no-project", "--system", text])
    except UvFailure:
        raise _no_python(specifier, _existing(here, uv)) from None
    programs = [line for line in said.splitlines() if line.startswith("/") and os.path.isfile(line)]
    if not programs:
        raise _no_python(specifier, _existing(here, uv))
    chosen = described(Path(programs[-1]), cache=cache)
    if not satisfies(chosen.version, specifier):
        raise _no_python(specifier, _existing(here, uv))
    _note(note, {"program": programs[-1]})
    return chosen


def _existing(here: Interpreter, uv: Uv) -> list[str]:
    """Interpreters on this machine, for people."""
    found = [f"{here.version} at {here.path}"]
    try:
        said = uv.run(["python", "list", "--only-installed", "--output-format", "json"])
        listed = json.loads(next((line for line in said.splitlines() if line.startswith("[")), "[]"))
        found += [f"{item['version']} at {item['path']}" for item in listed]
    except (UvFailure, ValueError, LookupError, TypeError):
        pass
    return list(dict.fromkeys(found))


def _no_python(specifier: str, existing: list[str]) -> UsageError:
    shown = ", ".join(existing[:6]) + (f" and {len(existing) - 6} more" if len(existing) > 6 else "")
    return UsageError(
        f"env.python: no interpreter fits {specifier!r}; there is {shown}",
        "install one (nothing is downloaded by itself) and put it on PATH, or change `env.python`",
        code="no-python",
        details={"existing": existing},
    )


def _ask(path: Path) -> dict[str, str]:
    import subprocess

    # LD_LIBRARY_PATH: a Python from a module system does not start without it.
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    try:
        done = subprocess.run(
            [str(path), "-I", "-S", probe.__file__],
            env={"PATH": "/usr/bin:/bin", **kept},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )
        facts = json.loads(done.stdout)
        if not all(isinstance(facts[name], str) for name in ("version", "soabi", "path")):
            raise ValueError("unknown description")
        return dict(facts)
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"{path}: not a Python that can be used",
            "try it: run the program with --version; choose another one by `env.python`",
            code="no-python",
        ) from error


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _note(path: Path, value: dict[str, Any]) -> None:
    """Remember; a cache that can not be written to only costs the time to ask again."""
    try:
        durable.write_json(path, value)
    except (WorldFluxError, OSError):
        return


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
