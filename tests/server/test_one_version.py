"""A running server stays what it was started as, whatever is installed in the place of its files."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from worldflux import __version__
from worldflux.server import workers

#: Modules that only another configuration uses, and loads at its start.
ELSEWHERE = {"worldflux.server.blob_s3"}

STARTED = """
import json, sys
from worldflux.server.app import create_app
from worldflux.server.dashboard import assets, pages
from worldflux.server.ingest import reading
from worldflux.server.settings import Settings
create_app(Settings(sys.argv[1]))
reading.prepare()
loaded = {name: module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "worldflux"}
print(json.dumps([loaded, assets.tree.cache_info().currsize, list(pages._frames().cache)[0][1]]))
"""


def imported_later(file: Path) -> Iterator[str]:
    """What the functions of a module import of this project."""
    for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            )
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module), *(f"{node.module}.{name}" for name in names)]
            yield from (name for name in names if name.partition(".")[0] == "worldflux")


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_all_of_its_own_is_loaded_at_the_start(tmp_path: Path) -> None:
    """No function of a loaded module imports one of ours that is not loaded; the pages are in memory, too."""
    ended = subprocess.run(
        [sys.executable, "-c", STARTED, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    loaded, trees, frame = json.loads(ended.stdout)
    later = {
        name for file in loaded.values() if file for name in imported_later(Path(file)) if is_module(name)
    }
    assert later - loaded.keys() == ELSEWHERE
    assert len(later) > 3
    assert trees == 1 and frame == "frame.html"


def test_a_worker_of_another_version_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    """One that is started anew after an upgrade says so in the log, with what to do; else nothing is said."""
    workers.tell_upgrade(__version__)
    assert capfd.readouterr().err == ""
    workers.tell_upgrade("0.0.1")
    (line,) = capfd.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told["running"], told["upgraded"]) == ("0.0.1", __version__)
    assert "restart the server" in told["hint"]
