"""Which Python, which packages."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from worldflux.run import distributions
from worldflux.run.distributions import interpreter, packages


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The Python of a virtual environment that tells when it is started; returns that Python."""
    root = tmp_path / "env"
    (root / "bin").mkdir(parents=True)
    (root / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (root / "lib64").symlink_to("lib")
    (root / "pyvenv.cfg").write_text(
        "home = /usr/bin\nimplementation = CPython\nuv = 0.9\nversion_info = 3.11.7\n"
        "include-system-site-packages = false\n"
    )
    python = root / "bin" / "python"
    python.write_text(f'#!/bin/sh\ntouch "{root}/started"\nexit 1\n')
    python.chmod(0o755)
    return python


def site_packages(python: Path) -> Path:
    return python.parent.parent / "lib" / "python3.11" / "site-packages"


def test_own_packages_are_those_of_importlib() -> None:
    """For this process: the same names and versions as the standard library finds."""
    known = {
        re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower(): each.version
        for each in importlib.metadata.distributions()
    }
    assert packages(Path(sys.executable)) == known


def test_packages_of_another_environment_without_starting_it(environment: Path) -> None:
    """A closed environment is read, not run; names are normalised, remains of pip are left out."""
    for name in (
        "Foo_Bar.baz-1.2.3.dist-info", "torch-2.11.0+cu130.dist-info", "epoch-1!2.0.dist-info",
        "~orch-1.0.dist-info", "no_version.dist-info", "numpy", "numpy.libs", "old-0.9-py3.11.egg-info",
    ):  # fmt: skip
        (site_packages(environment) / name).mkdir()
    (site_packages(environment) / "flat-3.0.egg-info").write_text("Metadata-Version: 1.0\nVersion: 3.0\n")
    develop = environment.parent / "src" / "editable.egg-info"
    develop.mkdir(parents=True)
    (develop / "PKG-INFO").write_text("Name: editable\nVersion: 4.1\n")
    (site_packages(environment) / "editable.egg-link").write_text(f"{develop.parent}\n.\n")
    assert packages(environment) == {
        "editable": "4.1",
        "epoch": "1!2.0",
        "flat": "3.0",
        "foo-bar-baz": "1.2.3",
        "old": "0.9",
        "torch": "2.11.0+cu130",
    }
    assert interpreter(environment) == ("CPython", "3.11.7", (str(site_packages(environment)),))
    assert not (environment.parent.parent / "started").exists()


def test_a_real_environment_of_venv(tmp_path: Path) -> None:
    """An environment made by the standard library: its own Python says the same."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    assert packages(python) == {}
    (next((tmp_path / "env").glob("lib/python3*/site-packages")) / "foo-1.0.dist-info").mkdir()
    assert packages(python) == {"foo": "1.0"}
    found = interpreter(python)
    assert found is not None
    assert (found.implementation, found.version) == (
        platform.python_implementation(),
        platform.python_version(),
    )


def test_a_python_outside_of_environments_is_asked(tmp_path: Path) -> None:
    """An open environment sees the system's packages too, so its interpreter is asked for its path."""
    command = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", str(tmp_path / "env")]
    subprocess.run(command, check=True)
    python = tmp_path / "env" / "bin" / "python"
    (next((tmp_path / "env").glob("lib/python3*/site-packages")) / "foo-1.0.dist-info").mkdir()
    code = "import importlib.metadata as m; print(len({d.metadata['Name'] for d in m.distributions()}))"
    told = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert len(packages(python)) == int(told)
    assert packages(python)["foo"] == "1.0"


def test_the_nearer_of_two_versions_counts(tmp_path: Path) -> None:
    """As for import, the first folder on the path decides."""
    for folder, version in (("a", "1.0"), ("b", "2.0")):
        (tmp_path / folder / f"foo-{version}.dist-info").mkdir(parents=True)
    found = distributions._installed([str(tmp_path / "gone"), str(tmp_path / "a"), str(tmp_path / "b")])
    assert found == {"foo": "1.0"}


@pytest.mark.parametrize(
    "text", ["#!/bin/sh\nexit 3\n", "#!/bin/sh\necho rubbish\n", "#!/bin/sh\nexec sleep 600\n"]
)
def test_a_broken_interpreter_is_no_answer(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails, talks rubbish, or hangs gives nothing, in time."""
    monkeypatch.setattr(distributions, "TIME_LIMIT", 0.3)
    python = tmp_path / "python"
    python.write_text(text)
    python.chmod(0o755)
    assert interpreter(python) is None
    assert packages(python) == {}
    assert interpreter(tmp_path / "gone") is None


def test_the_question_is_asked_apart_from_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A json.py in the working folder or on PYTHONPATH does not answer for the interpreter."""
    for name in ("json", "platform", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path))
    found = distributions._ask(Path(sys.executable))
    assert found is not None and found.version == platform.python_version()
