"""What a command returns, before anybody decides how to print it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """Result of one command.

    Attributes:
        data: the stable, machine-readable result; fits the command's schema.
        text: the same for people; not stable.
        exit_code: of the process.
        warnings: worth knowing, not fatal.
        error: what `--json` reports when the exit code is not 0 though nothing was raised, such
            as a run that failed: code, message, hint, details.
    """

    data: Mapping[str, Any]
    text: str = ""
    exit_code: int = 0
    warnings: list[str] = field(default_factory=list)
    error: Mapping[str, Any] | None = None
