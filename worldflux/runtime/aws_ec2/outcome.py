"""How an attempt ended, in the engine's words: exit code, outcome, one sentence, the cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldflux.runtime.aws_ec2.cost import total
from worldflux.runtime.aws_ec2.journal import Journal
from worldflux.runtime.aws_ec2.watch import Verdict
from worldflux.runtime.base import RuntimeResult

#: What a process gets that is switched off with its machine.
KILLED = -9

#: Ending -> (engine's outcome, one sentence). Endings of the command itself are not here.
SENTENCES: dict[str, tuple[str, str]] = {
    "deadline": ("timeout", "the machine reached the deadline that its budget allows"),
    "spot_interruption": ("interrupted", "AWS took the Spot machine back"),
    "terminated": ("interrupted", "the machine was shut down while the command ran"),
    "terminated_by_someone": ("interrupted", "somebody terminated the machine"),
    "died_without_report": ("interrupted", "the machine switched itself off without a report"),
    "lost_contact": ("interrupted", "the machine fell silent and was terminated"),
    "vanished": ("interrupted", "EC2 does not know the machine any more, and it left no report"),
    "stopped_not_terminated": ("interrupted", "the machine was stopped and not terminated; it was ended"),
    "cancelled": ("cancelled", "the run was cancelled"),
    "setup_failed": ("exited", "the setup on the machine failed"),
    "source_failed": ("exited", "the machine could not get its files"),
    "agent_failed": ("exited", "the agent on the machine failed"),
    "bootstrap_failed": ("exited", "the machine booted and switched itself off before the agent started"),
    "bootstrap_timeout": ("exited", "the machine gave no sign of life in time"),
    "launch_failed": ("exited", "EC2 ended the machine while it was starting"),
}


def result_of(
    verdict: Verdict,
    attempt: Mapping[str, Any],
    journal: Journal,
    folder: Path,
    artifacts: list[Path],
    *,
    timeout: float | None,
) -> RuntimeResult:
    """The runtime's result of a run whose last attempt, this entry of the journal, ended like this."""
    status = verdict.status or {}
    cost = total(journal.data["attempts"])
    run_id = journal.data["run_id"]
    log = folder / "logs" / f"{run_id}.log"
    logged = status.get("log") or {}
    outcome, reason = _sentence(verdict, status, timeout)
    metadata: dict[str, Any] = {
        "outcome": outcome,
        "ending": verdict.ending,
        "reason": reason,
        "instance_id": attempt["instance_id"],
        "instance_type": attempt["variant"]["instance_type"],
        "market": attempt["variant"]["market"],
        "region": journal.data["region"],
        "budget_usd": attempt["plan"]["budget_usd"],
        "deadline": attempt["deadline"],
        "attempts": [_attempt(each) for each in journal.data["attempts"]],
        "state_reason": verdict.state_reason,
        "log_truncated": logged.get("seen", 0) > logged.get("bytes", 0),
        "host_logs": sorted(path.name for path in (folder / "logs").glob("host-*.log")),
        "cost": cost,
        "notes": verdict.notes,
    }
    return RuntimeResult(
        exit_code=_exit_code(verdict, status),
        duration_seconds=float(status.get("seconds", 0.0)),
        log_path=log,
        artifacts=artifacts,
        cost_estimate_usd=cost["estimate_usd"],
        metadata=metadata,
    )


def stored_form(result: RuntimeResult, folder: Path) -> dict[str, Any]:
    """A result as the journal keeps it, for a client that dies before the record is written."""
    return {
        "exit_code": result.exit_code,
        "duration_seconds": result.duration_seconds,
        "log_path": str(result.log_path.relative_to(folder)),
        "artifacts": [str(path.relative_to(folder)) for path in result.artifacts],
        "cost_estimate_usd": result.cost_estimate_usd,
        "metadata": dict(result.metadata),
    }


def from_stored(stored: Mapping[str, Any], folder: Path) -> RuntimeResult:
    """The result that `stored_form` kept."""
    paths = {"log_path": folder / stored["log_path"], "artifacts": [folder / p for p in stored["artifacts"]]}
    return RuntimeResult(**{**stored, **paths})


def _exit_code(verdict: Verdict, status: Mapping[str, Any]) -> int:
    code = status.get("exit_code")
    if verdict.ending == "exited" and isinstance(code, int):
        return code
    if SENTENCES.get(verdict.ending, ("",))[0] == "exited":
        return code if isinstance(code, int) and code > 0 else 1
    return code if isinstance(code, int) and code != 0 else KILLED


def _sentence(verdict: Verdict, status: Mapping[str, Any], timeout: float | None) -> tuple[str, str]:
    if verdict.ending == "time_limit":
        return "timeout", f"the command ran longer than {timeout or 0:g} seconds"
    if verdict.ending == "exited":
        code = status.get("exit_code")
        return ("signalled" if isinstance(code, int) and code < 0 else "exited"), ""
    outcome, sentence = SENTENCES[verdict.ending]
    if status.get("note"):
        sentence += f": {status['note']}"
    if verdict.ending == "launch_failed" and verdict.state_reason:
        sentence += f": {verdict.state_reason}"
    return outcome, sentence[:2000]


def _attempt(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the record keeps of one attempt."""
    wanted = ("attempt", "instance_id", "deadline", "ending", "error", "launched_at", "ended_at")
    kept = {key: entry[key] for key in wanted if entry.get(key) is not None}
    return {**kept, **{key: entry["variant"][key] for key in ("instance_type", "market", "zone")}}
