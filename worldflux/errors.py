"""Every error a person may meet, as one tree; the class decides the exit code.

    WorldFluxError            1   something failed while it ran
    ├── UsageError            2   what was typed or written in a file is wrong
    │   └── ConfigError       2   several faults of configuration, reported together
    ├── TemporaryError        3   try again later: network, provider, lock
    ├── RefusedError          4   a guard said no: budget, secret, support policy, VRAM
    ├── AccessError           5   not signed in, or not allowed
    └── Interrupted         130   stopped by the person or the system

An error carries the problem, a hint (what to do next, with the command to type) and
structured details for `--json`. It is printed at one place, `worldflux.cli.render`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class WorldFluxError(Exception):
    """A failure that is explained to the user.

    Args:
        problem: what is wrong and where (file and key, or override); one sentence.
        hint: what to do next, with the nearest right name or the next command.
        code: short stable name for programs; defaults to the class's own.
        details: JSON-serialisable facts for the `--json` envelope. Never a secret value.
    """

    exit_code = 1
    code = "failed"

    def __init__(
        self,
        problem: str,
        hint: str = "",
        *,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        if code is not None:
            self.code = code
        self.details: dict[str, Any] = dict(details or {})

    def __str__(self) -> str:
        return f"{self.problem}\n{self.hint}" if self.hint else self.problem


class UsageError(WorldFluxError):
    exit_code = 2
    code = "usage"


@dataclass(frozen=True)
class Fault:
    """One thing wrong in the configuration.

    Attributes:
        where: `file:key`, or the override as it was typed.
        problem: what is wrong there.
        hint: nearest right name or what to write instead; may be empty.
        job: label of the sweep job it was found in; empty when it concerns all of them.
    """

    where: str
    problem: str
    hint: str = ""
    job: str = ""


class ConfigError(UsageError):
    """All faults of a configuration at once.

    Raises:
        ValueError: when built without a fault.
    """

    code = "config"

    def __init__(self, faults: Sequence[Fault], hint: str = "") -> None:
        if not faults:
            raise ValueError("a ConfigError needs at least one fault")
        self.faults = tuple(faults)
        count = len(self.faults)
        head = "the configuration has one fault" if count == 1 else f"the configuration has {count} faults"
        lines = [head]
        for fault in self.faults:
            job = f" [{fault.job}]" if fault.job else ""
            lines.append(f"  {fault.where}{job}: {fault.problem}")
            if fault.hint:
                lines.append(f"    {fault.hint}")
        super().__init__("\n".join(lines), hint, details={"faults": [vars(fault) for fault in self.faults]})


class TemporaryError(WorldFluxError):
    exit_code = 3
    code = "temporary"


class RefusedError(WorldFluxError):
    exit_code = 4
    code = "refused"


class AccessError(WorldFluxError):
    exit_code = 5
    code = "access"


class Interrupted(WorldFluxError):
    exit_code = 130
    code = "interrupted"
