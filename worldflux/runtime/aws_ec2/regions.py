"""Where machines of ours may be: the configured regions, and those that runs of this computer chose.

A region that was chosen for one run on its command line is in no configuration later. So it is
written down before the launch, below `$WORLDFLUX_HOME/aws-regions`: a file for each region, a line
with the deadline for each launch. Lines are appended, so that processes do not overwrite one another.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

#: A machine past its deadline is still looked for this long.
KEPT_SECONDS = 7 * 86400.0


def note(region: str, deadline: float) -> None:
    """Remember, durably, that a machine may live in a region until then (seconds since the epoch)."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / region).open("a", encoding="ascii") as file:
        file.write(f"{deadline:.0f}\n")
        file.flush()
        os.fsync(file.fileno())


def all_of(configured: Iterable[str]) -> tuple[str, ...]:
    """The configured regions and the noted ones that are not long over, without repetition."""
    return tuple(dict.fromkeys((*configured, *_noted(time.time() - KEPT_SECONDS))))


def _noted(since: float) -> list[str]:
    try:
        return [path.name for path in sorted(_folder().iterdir()) if _latest(path) >= since]
    except OSError:
        return []


def _latest(path: Path) -> float:
    """The latest deadline in a file; torn or strange lines count for nothing."""
    words = path.read_text("ascii", "replace").split()
    return max((float(word) for word in words if word.isdigit()), default=0.0)


def _folder() -> Path:
    home = os.environ.get("WORLDFLUX_HOME")
    return (Path(home) if home else Path.home() / ".worldflux") / "aws-regions"
