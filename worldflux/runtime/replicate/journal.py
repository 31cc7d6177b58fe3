"""What runs have started on Replicate, written down so that another process can end it.

One file for each run that may still have a prediction, below `$WORLDFLUX_HOME/replicate`. The
intent is durable before the request is sent, and the id as soon as it is known. Predictions
carry no tags, so one whose id was never learnt is found by its version and its exact inputs.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.errors import WorldFluxError
from worldflux.runtime.remote import client

if TYPE_CHECKING:
    from worldflux.runtime.replicate.client import Api

CLOCK_SLACK = timedelta(minutes=2)
#: Replicate's own deadline comes first.
GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class Entry:
    """The prediction of one run.

    Attributes:
        asked_at: seconds since 1970, before the request was sent.
        deadline: seconds since 1970, when Replicate ends it by itself.
        client: the process that follows it.
        inputs: digest of the inputs that Replicate shows; `hidden` ones are left out.
        prediction: its id; None until the answer came.
        api_url: the server that was asked; empty is Replicate's own.
    """

    run_id: str
    version: str
    asked_at: float
    deadline: float
    inputs: str
    client: str = ""
    hidden: tuple[str, ...] = ()
    prediction: str | None = None
    api_url: str = ""


def intend(
    run_id: str,
    version: str,
    inputs: Mapping[str, Any],
    hidden: tuple[str, ...],
    lasting: float,
    api_url: str = "",
) -> Entry:
    """Write down what is about to be asked for, and of whom; `lasting` is in seconds."""
    now = time.time()
    digest = _digest(inputs, hidden)
    entry = Entry(run_id, version, now, now + lasting, digest, client.me(), hidden, api_url=api_url)
    write(entry)
    return entry


def write(entry: Entry) -> None:
    """Durably: on disk before it returns."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = folder / f"{entry.run_id}.new"
    with open(new, "w", encoding="utf-8") as stream:
        json.dump(asdict(entry), stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(new, folder / f"{entry.run_id}.json")


def close(run_id: str) -> None:
    """Nothing of this run is left over there. Silent when that was known."""
    (_folder() / f"{run_id}.json").unlink(missing_ok=True)


def read(run_id: str) -> Entry | None:
    """The entry of a run; None when it has none, or none that makes sense."""
    try:
        values = json.loads((_folder() / f"{run_id}.json").read_text(encoding="utf-8"))
        return Entry(**{**values, "hidden": tuple(values["hidden"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def entries() -> list[Entry]:
    """All open entries, oldest first."""
    names = sorted(path.stem for path in _folder().glob("*.json"))
    return [entry for name in names if (entry := read(name)) is not None]


def look(
    api_of: Callable[[str], Api], runs: Sequence[str], *, end: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    """Every prediction that is written down as open; named, late and abandoned ones are ended.

    Args:
        api_of: the API at an address; an empty one is the configured server.
    """
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for entry in entries():
        why = _why(entry, runs)
        if not why and entry.prediction is None:
            continue  # its client is asking just now
        try:
            row = settle(api_of(entry.api_url), entry, end=end and bool(why))
        except WorldFluxError as error:
            problems.append(f"run {entry.run_id}: {error.problem}")
            continue
        if row is not None:
            rows.append({**row, "why": why})
    return rows, problems


def left_behind() -> list[str]:
    """A warning for doctor about notes that nobody follows any more; asks nobody."""
    named = ((entry, _why(entry, ())) for entry in entries())
    return client.left_behind(
        [
            {"instance_id": entry.prediction or "a prediction", "run_id": entry.run_id, "why": why}
            for entry, why in named
        ]
    )


def _why(entry: Entry, runs: Sequence[str]) -> str:
    """Why a prediction of ours is to be ended; empty when it is not."""
    if entry.run_id in runs:
        return "asked for"
    if time.time() > entry.deadline + GRACE_SECONDS:
        return "past its deadline"
    return "its client is dead" if client.is_dead(entry.client) else ""


def settle(api: Api, entry: Entry, *, end: bool = True) -> dict[str, Any] | None:
    """Look at what an entry stands for, and end it when asked to; None when nothing runs.

    Raises:
        WorldFluxError: Replicate can not be asked, or it can not be told which prediction is ours.
    """
    from worldflux.runtime.replicate.client import TERMINAL

    found = [entry.prediction] if entry.prediction else _lookalikes(api, entry)
    if len(found) > 1:
        raise WorldFluxError(
            f"{len(found)} predictions look like its own, none was touched: {', '.join(found)}",
            "look at replicate.com/predictions",
            code="leftover",
        )
    status = api.get(found[0]).get("status") if found else "none"
    if not found or status in TERMINAL:
        close(entry.run_id)
        return None
    if end:
        api.cancel(found[0])
        close(entry.run_id)
    return {
        "instance_id": found[0],
        "region": "replicate",
        "run_id": entry.run_id,
        "state": status,
        "deadline": entry.deadline,
        "ended": end,
    }


def _folder() -> Path:
    home = os.environ.get("WORLDFLUX_HOME")
    return (Path(home) if home else Path.home() / ".worldflux") / "replicate"


def _lookalikes(api: Api, entry: Entry) -> list[str]:
    """Running predictions of the same version and inputs, asked for since the entry was written."""
    from worldflux.runtime.replicate.client import TERMINAL

    earliest = datetime.fromtimestamp(entry.asked_at, timezone.utc) - CLOCK_SLACK
    found = []
    for each in api.recent():
        same = each.get("version") == entry.version and each.get("status") not in TERMINAL
        if same and _time(each.get("created_at")) >= earliest:
            inputs = each.get("input")
            if isinstance(inputs, dict) and _digest(inputs, entry.hidden) == entry.inputs:
                found.append(str(each.get("id")))
    return found


def _time(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return datetime.min.replace(tzinfo=timezone.utc)


def _digest(inputs: Mapping[str, Any], hidden: tuple[str, ...]) -> str:
    shown = {name: value for name, value in inputs.items() if name not in hidden}
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()
