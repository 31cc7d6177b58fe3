"""Which interpreter is taken, and that knowing it again costs nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from envcache_lab import PROJECT
from hypothesis import given, settings
from hypothesis import strategies as st
from nightly import times
from packaging.specifiers import SpecifierSet

from worldflux.errors import UsageError
from worldflux.runtime.venvs import probe
from worldflux.runtime.venvs.interpreter import described, resolve, running, satisfies
from worldflux.runtime.venvs.uvtool import Uv

HERE = ".".join(map(str, sys.version_info[:3]))


def no_uv() -> Uv:
    raise AssertionError("uv was asked")


@pytest.fixture
def uv(tmp_path: Path) -> Callable[[], Uv]:
    return lambda: Uv({"PATH": os.environ["PATH"]}, cache=tmp_path / "uv-cache", scratch=tmp_path / "scratch")


def test_the_running_interpreter_and_its_own_process_agree(tmp_path: Path) -> None:
    """What is computed in this process is what the base interpreter says of itself."""
    here = running()
    asked = described(here.path, cache=tmp_path)
    assert (asked.facts, asked.path, asked.signature) == (here.facts, here.path, here.signature)
    assert here.version == HERE.replace("+", "") or here.version.startswith(HERE)
    assert here.path == here.path.resolve()


def test_a_virtual_environment_stands_for_its_base(tmp_path: Path) -> None:
    """Environments are made from the base, so that they outlive the one WorldFlux runs in."""
    assert described(Path(sys.executable), cache=tmp_path).path == running().path


def test_a_description_is_kept_until_the_program_changes(tmp_path: Path) -> None:
    """The second look starts no process; a changed program is asked again."""
    program, log = tmp_path / "python", tmp_path / "log"
    program.write_text(f'#!/bin/sh\necho asked >> "{log}"\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    for _ in range(3):
        described(program, cache=tmp_path / "notes")
    assert log.read_text() == "asked\n"
    program.write_text(program.read_text() + "# changed\n")
    described(program, cache=tmp_path / "notes")
    assert log.read_text() == "asked\nasked\n"


def test_damaged_notes_are_asked_again(tmp_path: Path) -> None:
    """A note that can not be read, or not be written, only costs time."""
    for text in ("", "{", "[]", '{"signature": 1}', "\x00"):
        described(running().path, cache=tmp_path / "notes")
        (note,) = (tmp_path / "notes").iterdir()
        note.write_text(text)
        assert described(running().path, cache=tmp_path / "notes").facts == running().facts
    (tmp_path / "file").touch()
    assert described(running().path, cache=tmp_path / "file" / "notes").facts == running().facts


@pytest.mark.parametrize("program", ["exit 3", "echo '{}'", "echo no", "echo '[]'", "kill -9 $$"])
def test_what_is_no_python_is_told(tmp_path: Path, program: str) -> None:
    """A program that does not answer like a Python is refused by name."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{program}\n")
    path.chmod(0o755)
    with pytest.raises(UsageError, match="not a Python") as caught:
        described(path, cache=tmp_path / "notes")
    assert str(path) in caught.value.problem and caught.value.hint


def test_modules_nearby_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking an interpreter imports nothing from the current folder or PYTHONPATH."""
    for name in ("json", "platform", "sysconfig", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert described(running().path, cache=tmp_path / "notes").facts == running().facts


def test_the_probe_runs_as_a_script() -> None:
    """It needs nothing but the standard library."""
    done = subprocess.run([sys.executable, "-I", "-S", probe.__file__], capture_output=True, check=True)
    assert set(json.loads(done.stdout)) == {"implementation", "version", "soabi", "platform", "libc", "path"}


@pytest.mark.parametrize(
    "specifier", ["", ">=3.8", ">=3.8,<4", HERE, HERE.rpartition(".")[0], "3.*", f"=={HERE}", "!=2.7"]
)
def test_the_running_interpreter_comes_first(tmp_path: Path, specifier: str) -> None:
    """When it fits it is taken, and nothing is searched."""
    assert resolve(specifier, given=None, cache=tmp_path, uv=no_uv).path == running().path


def test_a_given_interpreter_must_fit(tmp_path: Path) -> None:
    """One that was named is used or refused, never replaced by another."""
    assert resolve(">=3", given=Path(sys.executable), cache=tmp_path, uv=no_uv).path == running().path
    with pytest.raises(UsageError) as caught:
        resolve("<3", given=Path(sys.executable), cache=tmp_path, uv=no_uv)
    assert HERE in caught.value.problem
    with pytest.raises(UsageError, match="is gone"):
        resolve("", given=tmp_path / "nothing", cache=tmp_path, uv=no_uv)


def test_another_version_is_found_on_the_path(tmp_path: Path, uv: Callable[[], Uv]) -> None:
    """An interpreter on PATH or kept by pyenv is found once, then remembered."""
    other = next((v for v in ("3.13", "3.12", "3.11", "3.10", "3.9") if v != HERE.rpartition(".")[0]), "")
    try:
        found = resolve(f"=={other}.*", given=None, cache=tmp_path, uv=uv)
    except UsageError:
        pytest.skip(f"no Python {other} on this machine")
    assert found.version.startswith(other + ".")
    remembered = Uv({"PATH": os.environ["PATH"]}, cache=tmp_path, scratch=tmp_path)
    remembered.program = "/nonexistent"
    assert resolve(f"=={other}.*", given=None, cache=tmp_path, uv=lambda: remembered) == found


def test_when_nothing_fits_the_error_names_what_is_there(tmp_path: Path, uv: Callable[[], Uv]) -> None:
    """Nothing is downloaded; the error lists interpreters and says what to do."""
    with pytest.raises(UsageError) as caught:
        resolve(">=3.99", given=None, cache=tmp_path, uv=uv)
    assert str(running().path) in caught.value.problem and ">=3.99" in caught.value.problem
    assert caught.value.exit_code == 2 and "env.python" in caught.value.hint


@pytest.mark.parametrize("specifier", ["three", ">=", "=>3", "3..1", ">=3.10 or 2"])
def test_specifiers_that_can_not_be_read(specifier: str) -> None:
    """A typing error is told with a good example."""
    with pytest.raises(UsageError) as caught:
        satisfies("3.11.7", specifier)
    assert ">=3.10" in caught.value.hint


@pytest.mark.parametrize(
    ("version", "specifier", "fits"),
    [
        ("3.11.7", "3.11", True),
        ("3.11.7", "3.1", False),
        ("3.11.7", "3.11.7", True),
        ("3.11.7", "3.11.8", False),
        ("3.11.7", "3", True),
        ("3.14.0rc1", ">=3.13", True),
        ("3.14.0rc1", ">=3.14", False),
        ("3.11.7", "~=3.10", True),
        ("3.13.0", "<3.13", False),
        ("3.13.0", "<=3.13", True),
        ("3.11.7", " >= 3.10 , < 3.12 ", True),
    ],
)
def test_specifiers_mean_what_people_mean(version: str, specifier: str, fits: bool) -> None:
    """A bare version stands for its patches; the rest is PEP 440."""
    assert satisfies(version, specifier) is fits


versions = st.lists(st.integers(0, 20), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
clauses = st.tuples(st.sampled_from([">=", "<"]), versions).map("".join)


@settings(max_examples=times(120, 400), deadline=None)
@given(versions, st.lists(clauses, min_size=1, max_size=3).map(",".join))
def test_the_quick_answer_is_the_right_one(version: str, specifier: str) -> None:
    """The comparison that saves an import agrees with the library."""
    assert satisfies(version, specifier) is SpecifierSet(specifier).contains(version, prereleases=True)


def test_the_quick_answer_needs_no_library() -> None:
    """`>=3.10,<3.14` is answered without importing packaging."""
    code = (
        "import sys; from worldflux.runtime.venvs.interpreter import satisfies\n"
        "before = 'packaging' in sys.modules; assert satisfies('3.11.7', '>=3.10,<3.14')\n"
        "assert before or 'packaging' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)
