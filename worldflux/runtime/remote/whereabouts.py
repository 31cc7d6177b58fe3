"""Where runs of this computer may have something alive: AWS regions, Modal apps.

A place that was chosen for one run on its command line is in no configuration later. So it is
written down before anything is started there, below `$WORLDFLUX_HOME/whereabouts/<runtime>`: a file
for each place, a line with the deadline for each start. Lines are appended, so that processes do
not overwrite one another.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote

#: What is past its deadline is still looked for this long.
KEPT_SECONDS = 7 * 86400.0


def note(runtime: str, place: str, deadline: float) -> None:
    """Remember, durably, that something may live in a place until then (seconds since the epoch)."""
    folder = _folder(runtime)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / quote(place, safe="")).open("a", encoding="ascii") as file:
        file.write(f"{deadline:.0f}\n")
        file.flush()
        os.fsync(file.fileno())


def all_of(runtime: str, configured: Iterable[str]) -> tuple[str, ...]:
    """The configured places and the noted ones that are not long over, without repetition."""
    return tuple(dict.fromkeys((*configured, *_noted(_folder(runtime), time.time() - KEPT_SECONDS))))


def _noted(folder: Path, since: float) -> list[str]:
    try:
        return [unquote(path.name) for path in sorted(folder.iterdir()) if _latest(path) >= since]
    except OSError:
        return []


def _latest(path: Path) -> float:
    """The latest deadline in a file; torn or strange lines count for nothing."""
    words = path.read_text("ascii", "replace").split()
    return max((float(word) for word in words if word.isdigit()), default=0.0)


def _folder(runtime: str) -> Path:
    home = os.environ.get("WORLDFLUX_HOME")
    return (Path(home) if home else Path.home() / ".worldflux") / "whereabouts" / runtime
