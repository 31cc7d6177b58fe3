"""One job of a sweep, and what makes it another one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from worldflux.config.request import RunRequest

#: What does not make another job: how it is filed, what it may cost, how the sweep goes about it.
FILING = ("objective", "sweep", "cost_guard", "runs_dir", "sync", "name", "tags", "project")


@dataclass(frozen=True)
class Job:
    """One run of a sweep. `job_id` is a digest of the resolved configuration, never a position."""

    job_id: str
    request: RunRequest


def job_id_of(request: RunRequest) -> str:
    """Digest of what a job computes: its resolved configuration without how it is filed."""
    computed = {key: value for key, value in request.parameters.items() if key not in FILING}
    text = json.dumps(computed, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
