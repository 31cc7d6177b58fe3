"""What a sync would do, told without doing it: every range of bytes that would leave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.errors import WorldFluxError
from worldflux.sync import snapshot
from worldflux.sync.client import Client
from worldflux.sync.outcome import outcome_of
from worldflux.sync.plan import Options, RunPlan, plan_run
from worldflux.sync.wire import MOST_NAMES, RunState

if TYPE_CHECKING:
    from worldflux.manifest.io import SecretGate


def preview(
    run_ids: Sequence[str], runs_dir: Path, options: Options, gate: SecretGate, client: Client | None
) -> list[dict[str, Any]]:
    """One row a run: what would become of it, and the ranges of bytes that would leave.

    Args:
        client: asked what the server holds, and told nothing; None when there is nobody to ask:
            then everything would leave.

    Raises:
        TemporaryError, AccessError: the server could not be asked.
    """
    rows: list[dict[str, Any]] = []
    for start in range(0, len(run_ids), MOST_NAMES):
        part = run_ids[start : start + MOST_NAMES]
        states = client.states(part) if client is not None else {}
        for run_id in part:
            rows.append(
                _row(run_id, runs_dir / run_id, states.get(run_id, RunState()), options, gate, client)
            )
    return rows


def _row(
    run_id: str,
    folder: Path,
    state: RunState,
    options: Options,
    gate: SecretGate,
    client: Client | None,
) -> dict[str, Any]:
    try:
        seen = snapshot.read(folder)
        missing = None
        if client is not None and seen.artifacts:
            missing = client.missing_blobs(artifact.sha256 for artifact in seen.artifacts)
        plan = plan_run(seen, state, options, gate, missing)
    except WorldFluxError as error:
        if error.exit_code in (3, 5):
            raise
        return {**outcome_of(run_id, error).to_json(), "ranges": []}
    row: dict[str, Any] = {"run_id": run_id, "outcome": _word(plan), "bytes": plan.bytes}
    if plan.torn:
        row["torn"] = list(plan.torn)
    return {**row, "ranges": list(plan.ranges()) if plan.needed else []}


def _word(plan: RunPlan) -> str:
    if not plan.needed:
        return "unchanged"
    return "new" if plan.state.status in ("absent", "deleted") else "updated"
