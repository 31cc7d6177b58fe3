"""Ctrl-C while a command has only just begun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from worldflux.cli.main import unexpected
from worldflux.errors import Interrupted

ROOT = Path(__file__).parents[2]
#: Does what an installed script does, and presses Ctrl-C when a module is about to be imported, or when a function
#: is called.
SCRIPT = """
import importlib, os, signal, sys

program, chosen, module, command = sys.argv[1:]

class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == chosen:
            os.kill(os.getpid(), signal.SIGINT)

def at_call(frame, event, _):
    if frame.f_code.co_name == chosen and event == "call":
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGINT)

sys.setprofile(at_call)
sys.argv = ["/usr/local/bin/" + program, command]
sys.meta_path.insert(0, AtImport())
importlib.import_module(module).main()
"""
MODULES = {"worldflux": "worldflux.cli.main", "worldflux-run": "worldflux.cli.hydra_app"}


def pressed(program: str, module: str, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, program, module, MODULES[program], command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("program", "module"), [("worldflux", "worldflux.errors"), ("worldflux-run", "worldflux.cli.render")]
)
def test_an_early_ctrl_c_has_no_traceback(program: str, module: str, tmp_path: Path) -> None:
    """While a command still imports its parts it just ends, as by the signal, and prints nothing."""
    done = pressed(program, module, "--version", tmp_path)
    assert done.returncode == -signal.SIGINT and done.stdout == done.stderr == ""


def test_a_command_that_runs_answers(tmp_path: Path) -> None:
    """From then on Ctrl-C is told, with the documented exit code."""
    done = pressed("worldflux", "load_project", "status", tmp_path)
    assert done.returncode == 130 and "stopped" in done.stderr and "Traceback" not in done.stderr


def test_ctrl_c_at_the_very_end_has_no_traceback(tmp_path: Path) -> None:
    """Pressed when the answer has been printed, it ends what is left of the process without a word."""
    done = pressed("worldflux", "_shutdown", "status", tmp_path)
    assert done.returncode == -signal.SIGINT and "project" in done.stdout and done.stderr == ""


def test_a_library_that_wraps_an_interrupt() -> None:
    """Ctrl-C while pydantic builds a model comes out as an error of its own, and is an interrupt all the same."""
    from pydantic_core import SchemaError

    wrapped = SchemaError('Error building "literal" validator:\n  KeyboardInterrupt: ')
    assert isinstance(unexpected(wrapped), Interrupted)
    assert not isinstance(unexpected(SchemaError("Error building")), Interrupted)


def test_an_interrupt_while_a_class_is_made() -> None:
    """Python before 3.12 makes an error of its own of a Ctrl-C that comes while a class is told its names."""

    class Pressed:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt

    class Broken:
        def __set_name__(self, owner: type, name: str) -> None:
            raise ValueError("a bug")

    for descriptor, interrupted in ((Pressed, True), (Broken, False)):
        try:
            type("Made", (), {"field": descriptor()})
        except (Exception, KeyboardInterrupt) as error:
            told = unexpected(error) if isinstance(error, Exception) else Interrupted("stopped")
        assert isinstance(told, Interrupted) is interrupted
    bug = ValueError("a bug in what answers Ctrl-C")
    bug.__context__ = KeyboardInterrupt()
    assert not isinstance(unexpected(bug), Interrupted)
