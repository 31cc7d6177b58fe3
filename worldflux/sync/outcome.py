"""What became of each run, and what that means for the command's exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worldflux.errors import WorldFluxError
from worldflux.sync.client import BundleRefused
from worldflux.sync.wire import Result

#: In the order in which they are told.
OUTCOMES = ("new", "updated", "unchanged", "conflict", "deleted", "refused", "failed")


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Attributes:
        outcome: one of `OUTCOMES`; `refused` is a secret, or content the server does not take.
        sent: bytes that were sent for it, without what stands around them.
        code, detail, hint: why, when it is not on the server as it is here.
        torn: streams whose last line is not whole and stayed here.
    """

    run_id: str
    outcome: str
    sent: int = 0
    code: str = ""
    detail: str = ""
    hint: str = ""
    torn: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return self.outcome in ("new", "updated", "unchanged")

    def to_json(self) -> dict[str, Any]:
        """The row of a program's answer."""
        row: dict[str, Any] = {"run_id": self.run_id, "outcome": self.outcome, "bytes": self.sent}
        if not self.good:
            row |= {"code": self.code, "detail": self.detail, "hint": self.hint}
        if self.torn:
            row["torn"] = list(self.torn)
        return row


def failed(run_id: str, error: WorldFluxError) -> Outcome:
    """The outcome of a run that an error ended; a refusal is told from trouble that may pass."""
    kind = "refused" if error.exit_code == 4 else "failed"
    return Outcome(run_id, kind, code=error.code, detail=error.problem, hint=error.hint)


def outcome_of(run_id: str, error: WorldFluxError) -> Outcome:
    """The outcome of a run that could not be sent."""
    if isinstance(error, BundleRefused):
        return Outcome(run_id, "refused", code=error.code, detail=error.problem, hint=error.hint)
    if error.code in ("conflict", "deleted"):
        return Outcome(run_id, error.code, code=error.code, detail=error.problem, hint=error.hint)
    return failed(run_id, error)


def told(run_id: str, result: Result) -> Outcome:
    """The outcome of a run that the server did not take, in its words."""
    hints = {
        "conflict": "another copy of this run was synced; compare: worldflux runs list --remote",
        "deleted": f"to bring it back: worldflux sync --force {run_id}; to be done with it, remove its folder here",
    }
    word = result.outcome if result.outcome in hints else "refused"
    detail = "".join(c if c.isprintable() else " " for c in result.detail)[:2000]
    return Outcome(run_id, word, code=result.code or word, detail=detail, hint=hints.get(word, ""))


@dataclass
class Summary:
    """What became of all runs of one command.

    Attributes:
        projects: project -> one of its runs that was looked at.
    """

    server: str
    workspace: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    requests: int = 0
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    projects: dict[str, str] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        self.outcomes[outcome.run_id] = outcome

    def take(self, other: Summary) -> None:
        """Add what another part of the same command brought."""
        self.outcomes.update(other.outcomes)
        self.requests = max(self.requests, other.requests)
        self.seconds += other.seconds
        self.warnings += [each for each in other.warnings if each not in self.warnings]

    @property
    def counts(self) -> dict[str, int]:
        """Outcome -> number of runs, each outcome of `OUTCOMES`."""
        counts = dict.fromkeys(OUTCOMES, 0)
        for each in self.outcomes.values():
            counts[each.outcome] += 1
        return counts

    @property
    def sent(self) -> int:
        return sum(each.sent for each in self.outcomes.values())

    @property
    def exit_code(self) -> int:
        """0 when all runs are there; 3 when another try may bring more; 4 when something is refused."""
        bad = [each for each in self.outcomes.values() if not each.good]
        if any(each.outcome == "failed" for each in bad):
            return 3
        return 4 if bad else 0

    def to_json(self) -> Mapping[str, Any]:
        """The whole as data."""
        return {
            "server": self.server,
            "workspace": self.workspace,
            "counts": self.counts,
            "bytes": self.sent,
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "runs": [self.outcomes[run].to_json() for run in sorted(self.outcomes)],
        }
