"""The image of a run: the recipe's Python and its locked packages."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worldflux.errors import UsageError, WorldFluxError
from worldflux.manifest.storage import write_bytes_atomic
from worldflux.runtime.base import Adapter
from worldflux.runtime.modal import sdk

#: What Modal's Debian images offer, the best tried first.
SERIES = ("3.12", "3.11", "3.13", "3.10")
PINNED = "--require-hashes --no-deps --only-binary=:all:"


def python_series(specifier: str, preferred: str) -> str:
    """The Python to build on: the one of this machine when it fits, so that results agree.

    Args:
        specifier: PEP 440, such as `>=3.10`; empty accepts any.
        preferred: this machine's own, such as `3.11`.

    Raises:
        UsageError: none fits.
    """
    from packaging.specifiers import SpecifierSet

    wanted = SpecifierSet(specifier)
    exact = [each.version for each in wanted if each.operator == "==" and "*" not in each.version]
    if exact:
        return exact[0]
    for series in (preferred, *SERIES):
        # A series stands for its newest release, whatever number that has.
        if series in SERIES and any(wanted.contains(f"{series}.{patch}") for patch in (99, 0)):
            return series
    raise UsageError(
        f"env.python: no image has a Python {specifier}", f"Modal has {', '.join(sorted(SERIES))}"
    )


def define(
    modal: Any, adapter: Adapter, lock_file: Path, *, python: str, registry: str | None, apt: Sequence[str]
) -> Any:
    """The image, not yet built.

    Args:
        lock_file: is given the adapter's lock.
        registry: an image with a Python of its own instead of Debian's.
    """
    image = (
        modal.Image.from_registry(registry) if registry else modal.Image.debian_slim(python_version=python)
    )
    if apt:
        image = image.apt_install(*apt)
    if adapter.lock.strip():
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(lock_file, adapter.lock.encode())
        options = PINNED if "--hash=" in adapter.lock or not adapter.allow_unpinned else "--only-binary=:all:"
        image = image.pip_install_from_requirements(str(lock_file), extra_options=options)
    return image


def built(
    client: Any, app_name: str, adapter: Adapter, folder: Path, *, registry: str | None, apt: Sequence[str]
) -> Any:
    """The image, built or found in Modal's cache.

    Args:
        folder: keeps the lock; the SDK reads it again whenever something is put on top of the image.

    Raises:
        UsageError: no image has the Python.
        WorldFluxError: a step of the build failed.
    """
    modal = sdk.load()
    python = python_series(adapter.python, ".".join(map(str, sys.version_info[:2])))
    lock_file = folder / f"{hashlib.sha256(adapter.lock.encode()).hexdigest()[:16]}.txt"
    with sdk.explained("build the image"):
        image = define(modal, adapter, lock_file, python=python, registry=registry, apt=apt)
        app = modal.App.lookup(app_name, create_if_missing=True, client=client)
        try:
            return image.build(app)
        except modal.exception.RemoteError as error:
            text = " ".join(str(error).split())[:500]
            raise WorldFluxError(
                f"the image could not be built: {text}",
                "check env.requirements; modal.com shows the log",
                code="env",
            ) from None
