"""How a run ended, in the manifest's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from worldflux.manifest.parts import Status
    from worldflux.runtime.base import RuntimeResult


@dataclass(frozen=True)
class Ending:
    """Final status of a run, with the error that explains every status but `succeeded`."""

    status: Status
    exit_code: int | None
    code: str = ""
    message: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Stopped:
    """Why a batch system stopped a run.

    Attributes:
        status: `cancelled` by somebody; `interrupted` when the job will be started again;
            `timeout` at the time limit of the job.
        reason: in words; empty for `cancelled`.
    """

    status: Literal["cancelled", "interrupted", "timeout"]
    reason: str = ""

    def ending(self, exit_code: int | None) -> Ending:
        """The ending of a run that was stopped so."""
        if self.status == "interrupted":
            hint = "the batch system starts the job again as another run"
            return Ending("interrupted", exit_code, "requeued", self.reason, hint)
        if self.status == "timeout":
            hint = "ask for more time: hydra.launcher.timeout_min=MINUTES"
            return Ending("timeout", exit_code, "timeout", self.reason, hint)
        return Ending("cancelled", exit_code, "cancelled", "the run was cancelled", "run it again")


def ending_of(result: RuntimeResult, faults: Sequence[str], timeout: float | None) -> Ending:
    """The ending that a runtime's result and the collected findings amount to.

    Args:
        result: what the plugin returned.
        faults: metrics and artifacts that the recipe promised and the run did not bring.
        timeout: the limit in seconds, for the message.
    """
    code = result.exit_code
    outcome = result.metadata.get("outcome") or ("exited" if code >= 0 else "signalled")
    log = f"logs/{result.log_path.name}"
    reason = str(result.metadata.get("reason") or "")
    if outcome == "timeout":
        limit = f"the command ran longer than {timeout or 0:g} seconds"
        return Ending("timeout", code, "timeout", reason or limit, "raise `timeout` or the budget")
    if outcome == "cancelled":
        return Ending("cancelled", code, "cancelled", "the run was cancelled", "run it again")
    if outcome in ("interrupted", "refused"):
        return Ending(
            "interrupted" if outcome == "interrupted" else "refused",
            code,
            str(outcome),
            reason or f"the runtime reports {outcome}",
            f"read {log}",
        )
    if code < 0:
        return Ending("failed", code, "signal", f"the command was ended by signal {-code}", f"read {log}")
    if code > 0:
        problem = reason or f"the command ended with exit code {code}"
        return Ending("failed", code, "exit_code", problem, f"read {log}")
    if faults:
        hint = "mend the recipe or what the command writes; `optional: true` allows it to be missing"
        return Ending("failed", code, "collect", "; ".join(faults), hint)
    return Ending("succeeded", 0)
