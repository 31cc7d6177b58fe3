"""Requirements without hashes: resolved once, locked from then on, the lock kept with the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from envcache_lab import children, get, house, in_use, printed, root
from wheelhouse import Wheelhouse

from worldflux.errors import ConfigError, TemporaryError
from worldflux.runtime.base import Adapter
from worldflux.runtime.venvs.lockfile import parse

__all__ = ["house", "root"]  # fixtures


def test_an_open_list_becomes_a_lock(root: Path, house: Wheelhouse) -> None:
    """What it resolved to, dependencies included, is pinned with hashes and can be used as a lock itself."""
    told: list[str] = []
    environment = get(root, house, "beta\n", unpinned=True, on_progress=told.append)
    lock = parse(environment.lock_text)
    assert lock.complete and {item.key: item.pin for item in lock.requirements} == {
        "alpha-one": "1.0",
        "beta": "2.0",
    }
    assert f"sha256:{house.wheels[1].sha256}" in environment.lock_text
    assert any(line.startswith("resolving") for line in told)
    assert get(root, house, environment.lock_text).path == environment.path


def test_a_release_in_between_changes_nothing(root: Path, house: Wheelhouse) -> None:
    """The second start is the same environment without asking anybody; a changed list takes the new one."""
    first = get(root, house, "alpha-one\n", unpinned=True)
    house.add("alpha-one", "1.5")
    second = get(root, house, "alpha-one\n", unpinned=True, environ={"PATH": "/nonexistent"})
    assert (second.built, second.path) == (False, first.path)
    newer = get(root, house, "alpha-one>1\n", unpinned=True)
    assert printed(newer.python, "import alpha_one; print(alpha_one.VERSION)") == "1.5"


def test_a_lost_environment_comes_back_as_it_was(root: Path, house: Wheelhouse) -> None:
    """The environment may be collected; what was resolved is still what is built."""
    first = get(root, house, "alpha-one\n", unpinned=True)
    os.rename(first.path, root.parent / "gone")
    house.add("alpha-one", "1.5")
    second = get(root, house, "alpha-one\n", unpinned=True)
    assert (second.built, second.path, second.lock_text) == (True, first.path, first.lock_text)


def test_a_complete_lock_is_not_resolved_again(root: Path, house: Wheelhouse) -> None:
    """Permission for open lists changes nothing about a list that is not open."""
    strict = get(root, house)
    assert get(root, house, unpinned=True).path == strict.path


def test_eight_first_starts_resolve_once(root: Path, house: Wheelhouse) -> None:
    """Processes that start together with the same open list get the same lock and one build."""
    with in_use(children(root, house, 8, lock="beta\n", unpinned=True)) as answers:
        assert sorted(answer["built"] for answer in answers) == [False] * 7 + [True]
        assert len({answer["lock"] for answer in answers}) == 1


def test_source_distributions_are_not_built(root: Path, house: Wheelhouse) -> None:
    """Resolving runs no code of a package: an older wheel is taken, never a newer source."""
    (house.folder / "alpha_one-9.0.tar.gz").write_bytes(b"never looked into")
    assert "alpha-one==1.0" in get(root, house, "alpha-one\n", unpinned=True).lock_text


def test_permission_is_needed(root: Path, house: Wheelhouse) -> None:
    """An open list is refused unless the adapter allows it."""
    assert Adapter("x").allow_unpinned is False
    with pytest.raises(ConfigError, match="not pinned"):
        get(root, house, "beta\n")


def test_from_the_registry(root: Path) -> None:
    """With nothing configured, a small real package is resolved, locked, installed and imported."""
    environ = {name: os.environ[name] for name in ("PATH", "HOME", "SSL_CERT_FILE") if name in os.environ}
    if "WORLDFLUX_TEST_UV_CACHE" in os.environ:
        environ["UV_CACHE_DIR"] = os.environ["WORLDFLUX_TEST_UV_CACHE"]
    nothing = Wheelhouse(root)
    try:
        environment = get(root, nothing, "iniconfig\nsix==1.17.0\n", unpinned=True, environ=environ)
    except TemporaryError as error:
        pytest.skip(f"no package index can be reached: {error.problem}")
    assert printed(environment.python, "import six, iniconfig; print(six.__version__)") == "1.17.0"
    assert all(item.hashes for item in parse(environment.lock_text).requirements)
