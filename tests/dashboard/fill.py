"""Runs for the dashboard's tests: real manifests of varied kinds, sent as a client sends them."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from sent_runs import SentRun, send
from server_process import Server

from worldflux.manifest.model import success_metric

#: Runs in one bundle.
BATCH = 250
STATUSES = ("succeeded",) * 14 + ("failed", "failed", "timeout", "interrupted", "cancelled", "refused")


@dataclass
class VariedRun(SentRun):
    """A run with everything that a page shows; `edit` changes its document."""

    created: datetime = field(default_factory=lambda: datetime(2026, 11, 1, tzinfo=timezone.utc))
    seconds: float = 95.0
    recipe: str = "push-eval"
    runtime: str = "local"
    adapter: dict[str, Any] | None = None
    media_types: dict[str, str] = field(default_factory=dict)
    edit: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        document = super().document()
        run = document["run"]
        started, ended = (
            self.created + timedelta(seconds=1),
            self.created + timedelta(seconds=1 + self.seconds),
        )
        run["created_at"] = stamp(self.created)
        if run["started_at"] is not None:
            run["started_at"] = stamp(started)
        if run["finished_at"] is not None:
            run["finished_at"], run["duration_seconds"] = stamp(ended), self.seconds
        run["stages"] = stages(started, ended, run["status"])
        document["recipe"] |= {
            "name": self.recipe,
            "description": "Evaluate a policy that pushes a block to its place.",
        }
        document["runtime"]["name"] = self.runtime
        if self.adapter is not None:
            document["adapter"] = self.adapter
        for artifact in document["artifacts"]:
            artifact["media_type"] = self.media_types.get(
                artifact["path"].removeprefix("artifacts/"), artifact["media_type"]
            )
        for path, value in self.edit.items():
            *folders, name = path.split("/")
            place = document
            for folder in folders:
                place = place[folder]
            place[name] = value
        return document


def stamp(moment: datetime) -> str:
    """A time in the manifest's form."""
    return moment.isoformat(timespec="milliseconds")


def stages(started: datetime, ended: datetime, status: str) -> list[dict[str, Any]]:
    """What a run went through."""
    if status == "queued":
        return []
    whole, parts = ended - started, (("preflight", 0.02), ("env", 0.13), ("run", 0.8), ("collect", 0.05))
    found, at = [], started
    for name, share in parts:
        end = at + whole * share
        found.append(
            {"name": name, "started_at": stamp(at), "finished_at": stamp(end), "status": "succeeded"}
        )
        at = end
    if status == "running":
        return [*found[:2], found[2] | {"finished_at": None, "status": "running"}]
    if status != "succeeded":
        return [*found[:2], found[2] | {"status": status if status != "queued" else "failed"}]
    return found


def curve(seed: int, lr: float, steps: int) -> bytes:
    """A loss that falls and a reward that rises, as metrics.jsonl."""
    noise = random.Random(seed)
    lines = []
    for step in range(steps):
        loss = 2.2 * math.exp(-step * lr * 0.6) + 0.08 + noise.gauss(0, 0.03)
        lines.append({"name": "loss", "step": step, "value": round(abs(loss), 5)})
        lines.append(
            {
                "name": "reward",
                "step": step,
                "value": round(40 * (1 - math.exp(-step * lr * 0.4)) + noise.gauss(0, 1.5), 4),
            }
        )
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def sweep(count: int, *, project: str = "pusht", steps: int = 0, seed: int = 7) -> Iterator[VariedRun]:
    """Runs over learning rates, horizons and seeds, oldest first."""
    rng = random.Random(seed)
    begin = datetime(2026, 11, 21, 14, tzinfo=timezone.utc) - timedelta(minutes=7 * count)
    for number in range(count):
        lr, horizon, policy = (
            rng.choice((0.01, 0.03, 0.1)),
            rng.choice((8, 16)),
            rng.choice(("diffusion", "act")),
        )
        k = min(50, max(0, round(50 * (0.35 + 0.4 * (policy == "diffusion") + lr) + rng.gauss(0, 4))))
        metrics: dict[str, Any] = {
            "success": success_metric(k, 50),
            "loss": {"value": round(rng.uniform(0.05, 0.6), 5), "step": 49, "kind": "value"},
            "reward": {"value": round(rng.uniform(10, 45), 3), "step": 49, "kind": "value", "unit": "points"},
        }
        status = rng.choice(STATUSES) if number % 5 else "succeeded"
        paid = number % 3 == 0
        chosen = {"lr": lr, "horizon": horizon, "policy": policy, "episodes": 50}
        yield VariedRun(
            project=project,
            name=f"{policy}-h{horizon}-{number:05d}",
            status=status,
            metrics=metrics if status == "succeeded" else {},
            params={"recipe": "push-eval", "seed": number % 10, "params": chosen},
            series=curve(number, lr, steps) if steps else None,
            logs={},
            tags=["nightly"] if number % 4 == 0 else [],
            created=begin + timedelta(minutes=7 * number),
            seconds=rng.uniform(2, 5000),
            runtime="modal" if paid else "local",
            edit={"cost": cost(rng.uniform(0.02, 1.9)), "git": git(rng, number % 7 == 0)} if paid else {},
        )


def cost(usd: float) -> dict[str, Any]:
    """A cost with its parts."""
    part = {"name": "gpu:H100", "quantity": round(usd / 3.95, 4), "unit": "hour", "unit_price_usd": 3.95}
    return {
        "currency": "USD", "estimate_usd": round(usd, 4), "known": True, "price_per_hour": 3.95,
        "price_source": "price table", "price_date": "2026-11-01", "excludes": ["egress"], "budget_usd": 5,
        "parts": [part | {"amount_usd": round(usd, 4)}],
    }  # fmt: skip


def git(rng: random.Random, dirty: bool) -> dict[str, Any]:
    """The state of a repository."""
    return {
        "present": True, "commit": f"{rng.getrandbits(160):040x}", "branch": "main", "remote": None,
        "dirty": dirty, "diff": None, "untracked": [],
    }  # fmt: skip


def send_all(server: Server, runs: Sequence[SentRun] | Iterator[SentRun], key: str = "") -> int:
    """Send runs in bundles, each while the next is made; how many."""
    left, sent = iter(runs), 0
    with ThreadPoolExecutor(1) as sender:
        under_way: Future[int] | None = None
        while batch := list(itertools.islice(left, BATCH)):
            frames = [frame for run in batch for frame in run.frames()]
            sent += under_way.result() if under_way else 0
            under_way = sender.submit(_send, server, frames, len(batch), key)
        return sent + (under_way.result() if under_way else 0)


def _send(server: Server, frames: list[bytes], runs: int, key: str) -> int:
    answer = send(server, *frames, key=key, zipped=True)
    assert answer.status_code == 200, answer.text[:2000]
    return runs
