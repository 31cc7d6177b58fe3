"""Images of the Modal stand-in: the few build steps a runner uses, really carried out."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

REQUIREMENTS = "/.requirements.txt"


@dataclass(frozen=True)
class Image:
    """What a box starts from.

    Attributes:
        python: folder of the interpreter that comes first on PATH; None is this machine's own.
        environment: `ENV` lines.
        mounts: mounts that were attached to it.
        steps: every line of every layer, oldest first.
    """

    python: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/root"
    mounts: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


class BuildFailed(Exception):
    """A step of an image failed; the message is what the builder shows."""


def build(
    base: Image | None,
    steps: Sequence[str],
    mounts: Sequence[str],
    read: Callable[[str], bytes | None],
    cache: Path,
) -> Image:
    """Carry out one layer.

    `RUN python -m pip install -r` really installs, into an environment shared by equal files.
    Other `RUN` lines (apt and the like) are recorded only. A step with `FAIL_BUILD` fails.

    Args:
        read: content of a file that the layer copies in; None when there is none.
        cache: where environments are kept.

    Raises:
        BuildFailed: a step fails.
    """
    image = replace(base or Image(), steps=(*(base.steps if base else ()), *steps))
    image = replace(image, environment=dict(image.environment), mounts=(*image.mounts, *mounts))
    for step in steps:
        word, _, rest = step.partition(" ")
        if "FAIL_BUILD" in step:
            raise BuildFailed(f"the step `{step}` failed with exit code 1")
        if word == "ENV":
            name, _, value = rest.partition("=")
            image.environment[name] = value.strip("'\"")
        elif word == "WORKDIR":
            image = replace(image, workdir=rest.strip())
        elif word == "RUN" and "pip install" in rest and REQUIREMENTS in rest:
            image = replace(image, python=_install(rest, read(REQUIREMENTS), cache))
    return image


def _install(line: str, requirements: bytes | None, cache: Path) -> Path:
    """The folder of a Python that has the packages."""
    if requirements is None:
        raise BuildFailed(f"there is no {REQUIREMENTS} in the build context")
    from worldflux.errors import WorldFluxError
    from worldflux.runtime import envcache
    from worldflux.runtime.base import Adapter

    pinned = "--require-hashes" in shlex.split(line)
    adapter = Adapter("image", lock=requirements.decode(), allow_unpinned=not pinned)
    try:
        with envcache.acquire(cache, adapter) as lease:
            return Path(lease.environment.python).parent
    except WorldFluxError as error:
        raise BuildFailed(error.problem) from None


def interpreter() -> Path:
    """This machine's Python, without the packages of the environment that we run in."""
    return Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
