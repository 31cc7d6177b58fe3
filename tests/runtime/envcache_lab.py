"""Helpers of the tests of environments: a small house of wheels, children that use what they get."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from wheelhouse import Wheelhouse

from worldflux.runtime import envcache
from worldflux.runtime.base import Adapter
from worldflux.runtime.envcache import Environment

CHILD = Path(__file__).with_name("acquire_child.py")
#: Where `python -c` finds the package that is under test.
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def house(tmp_path: Path) -> Wheelhouse:
    """Two small packages, one with a script."""
    house = Wheelhouse(tmp_path / "wheels")
    code = "VERSION = '1.0'\ndef main():\n    print('alpha says hi')\n"
    house.add("alpha-one", "1.0", files={"alpha_one.py": code}, scripts={"alpha-hi": "alpha_one:main"})
    house.add("beta", "2.0", requires=("alpha-one>=1",))
    return house


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "envs"


def get(root: Path, house: Wheelhouse, lock: str | None = None, **options: Any) -> Environment:
    """The environment for a lock, by default for all of the house; the lease is given back at once."""
    environ = options.pop("environ", house.environ())
    text = house.lock() if lock is None else lock
    adapter = Adapter("test", python=options.pop("python", ""), lock=text,
                      allow_unpinned=options.pop("unpinned", False))  # fmt: skip
    with envcache.use(root, adapter, environ=environ, **options) as environment:
        return environment


def printed(python: Path, code: str, **options: Any) -> str:
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, env={}, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def children(root: Path, house: Wheelhouse, count: int, **more: Any) -> list[subprocess.Popen[str]]:
    asked = json.dumps({"root": str(root), "lock": house.lock(), "environ": house.environ(), **more})
    start = [sys.executable, str(CHILD), asked]
    return [
        subprocess.Popen(
            start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]


@contextmanager
def in_use(started: list[subprocess.Popen[str]]) -> Iterator[list[dict[str, Any]]]:
    """What each child said, while all of them keep their environment."""
    try:
        answers = []
        for child in started:
            assert child.stdout is not None
            line = child.stdout.readline()
            assert line, child.communicate()[1]
            answers.append(json.loads(line))
        yield answers
    finally:
        for child in started:
            child.communicate(timeout=60)


def names_left(root: Path) -> list[str]:
    """What looks like an environment or the remains of one."""
    return sorted(
        path.name
        for path in root.iterdir()
        if path.is_dir() and path.name not in ("uv-cache", "interpreters")
    )
