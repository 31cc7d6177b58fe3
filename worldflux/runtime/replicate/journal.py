"""What a run started on Replicate, written down so that another process can end it.

The intent is durable before the request is sent, and the id as soon as it is known. Predictions
carry no tags, so one whose id was never learnt is found by its version and its exact inputs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.errors import WorldFluxError

if TYPE_CHECKING:
    from worldflux.runtime.replicate.client import Api

NAME = "replicate.json"
CLOCK_SLACK = timedelta(minutes=2)


@dataclass(frozen=True)
class Entry:
    """One prediction of a run.

    Attributes:
        asked_at: ISO time, before the request was sent.
        inputs: digest of the inputs that Replicate shows; secret ones are left out.
        prediction: its id; None until the answer came.
        ended: nothing is left to end.
    """

    version: str
    asked_at: str
    inputs: str
    hidden: tuple[str, ...] = ()
    prediction: str | None = None
    ended: bool = False


def intend(folder: Path, version: str, inputs: Mapping[str, Any], hidden: tuple[str, ...]) -> Entry:
    """Write down what is about to be asked for."""
    now = datetime.now(timezone.utc).isoformat()
    entry = Entry(version, now, _digest(inputs, hidden), hidden)
    write(folder, entry)
    return entry


def write(folder: Path, entry: Entry) -> None:
    """Durably: on disk before it returns."""
    new = folder / f"{NAME}.new"
    with open(new, "w", encoding="utf-8") as stream:
        json.dump(asdict(entry), stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(new, folder / NAME)


def read(folder: Path) -> Entry | None:
    """The entry of a run folder; None when there is none, or none that makes sense."""
    try:
        values = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return Entry(**{**values, "hidden": tuple(values["hidden"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def end(api: Api, folder: Path, entry: Entry) -> str:
    """End what an entry stands for; returns a line about it, or an empty text."""
    from worldflux.runtime.replicate.client import TERMINAL

    found = [entry.prediction] if entry.prediction else _lookalikes(api, entry)
    if len(found) > 1:
        names = ", ".join(found)
        return f"{len(found)} predictions look like the one of run {folder.name}; none was touched: {names}"
    if not found:
        write(folder, replace(entry, ended=True))
        return ""
    try:
        before = api.get(found[0]).get("status")
        if before not in TERMINAL:
            api.cancel(found[0])
    except WorldFluxError as error:
        return f"prediction {found[0]} of run {folder.name} could not be ended: {error.problem}"
    write(folder, replace(entry, prediction=found[0], ended=True))
    return "" if before in TERMINAL else f"prediction {found[0]} of run {folder.name}"


def _lookalikes(api: Api, entry: Entry) -> list[str]:
    """Running predictions of the same version and inputs, asked for since the entry was written."""
    from worldflux.runtime.replicate.client import TERMINAL

    earliest = datetime.fromisoformat(entry.asked_at) - CLOCK_SLACK
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
