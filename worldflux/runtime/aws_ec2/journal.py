"""What this computer knows about the machines of one run, written down before each step that costs.

One file in the run's folder. It holds no URL, no variable and no credential.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from worldflux.errors import WorldFluxError
from worldflux.manifest.storage import write_bytes_atomic

FILE = "aws-ec2.json"


class Journal:
    """The journal of one run; every change is durable when the call returns.

    Attributes:
        data: `run_id`, `region`, `bucket`, `prefix`, `state` (planned, launching, running, done),
            `attempts` (a list, newest last).
    """

    def __init__(self, path: Path, data: dict[str, Any]) -> None:
        self.path, self.data = path, data

    @classmethod
    def begin(cls, folder: Path, **facts: Any) -> Journal:
        """A new journal in a run's folder."""
        journal = cls(folder / FILE, {"version": 1, "state": "planned", "attempts": [], **facts})
        journal.write()
        return journal

    @classmethod
    def read(cls, folder: Path) -> Journal | None:
        """The journal in a run's folder, or None when it has none.

        Raises:
            WorldFluxError: it can not be read.
        """
        path = folder / FILE
        try:
            data = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise WorldFluxError(
                f"{path} can not be read: {error}",
                "find the machine by its tag: worldflux runs reap",
                code="journal",
            ) from None
        return cls(path, data)

    @property
    def attempt(self) -> dict[str, Any]:
        """The newest attempt."""
        newest: dict[str, Any] = self.data["attempts"][-1]
        return newest

    @property
    def open(self) -> bool:
        """A machine of this run may be alive."""
        return self.data["state"] in ("launching", "running")

    def launching(self, **facts: Any) -> None:
        """The next call is RunInstances: note its token and deadline first."""
        self.data["attempts"].append({"instance_id": None, **facts})
        self.data["state"] = "launching"
        self.write()

    def note(self, state: str | None = None, **facts: Any) -> None:
        """Facts about the newest attempt, and the run's state when it changes."""
        if self.data["attempts"]:
            self.attempt.update(facts)
        self.data["state"] = state or self.data["state"]
        self.write()

    def write(self) -> None:
        text = json.dumps(self.data, indent=1, ensure_ascii=True, allow_nan=False)
        write_bytes_atomic(self.path, text.encode(), mode=0o600)
