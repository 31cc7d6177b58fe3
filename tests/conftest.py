"""Every test runs away from the person's own files: HOME, project and caches are temporary."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import warm_python
from hypothesis import settings
from nightly import times
from scheduling import (
    pytest_collection_modifyitems,
    pytest_configure_node,
    pytest_ignore_collect,
    pytest_xdist_make_scheduler,
)

__all__ = [
    "pytest_collection_modifyitems",
    "pytest_configure_node",
    "pytest_ignore_collect",
    "pytest_xdist_make_scheduler",
]

# Next to nothing of what is imported and collected is ever given up again: to look through it takes seconds.
gc.disable()

# How long an example takes says something about the machine, not about the code.
settings.register_profile("worldflux", deadline=None, max_examples=times(40, 100))
settings.load_profile("worldflux")

# A suite that was started in the background ignores Ctrl-C, and so would every process it starts.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: Kept from the outside: what finds programs, certificates and package caches.
KEEP = (
    "PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE", "CI", "PIP_CERT", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "COVERAGE_FILE",
    "WORLDFLUX_TEST_UV_CACHE",
)  # fmt: skip


def _scrub(remove: Callable[[str], object]) -> None:
    """Remove every inherited variable that could change a result."""
    # A copy of the project, as mutants are, must be what the commands that tests start import, too.
    copied = os.environ.get("PYTHONPATH") == str(Path(__file__).parents[1])
    for name in list(os.environ):
        if name == "PYTHONPATH" and copied:
            continue
        if name not in KEEP and not name.startswith(("WORLDFLUX_TEST_", "PYTEST_", "COV_")):
            remove(name)


_scrub(
    os.environ.__delitem__
)  # once for all: to take them away and to give them back for each test takes seconds
_homes = itertools.count()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Look for what tests give up, from here on, and not at what has been collected."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HOME of its own and no inherited variable that could change a result; returns that HOME."""
    _scrub(monkeypatch.delenv)
    home = tmp_path_factory.getbasetemp() / f"home-{next(_homes)}"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WORLDFLUX_HOME", str(home / ".worldflux"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return home


@pytest.fixture(autouse=True, scope="session")
def warm() -> Iterator[None]:
    """Ends the process that forks commands with the session."""
    yield
    warm_python.close()
