"""What a batch system is asked about a job that is being stopped, with a stand-in for Slurm's `scontrol`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from worldflux.cli.batch import why_stopped

#: Answers one line of the script's file after the other, and the last one for ever.
SCONTROL = """#!/bin/sh
line=$(head -n 1 "$0.answers"); rest=$(tail -n +2 "$0.answers")
[ -z "$rest" ] || echo "$rest" > "$0.answers"
[ "$line" != unknown ] || exit 1
echo "$line"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes `scontrol` give these answers about the job of this process."""
    script = tmp_path / "scontrol"
    script.write_text(SCONTROL)
    script.chmod(0o755)
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def answers(*lines: str) -> None:
        (tmp_path / "scontrol.answers").write_text("\n".join(lines) + "\n")

    return answers


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        (["JobState=PENDING Restarts=1"], "interrupted"),
        (["unknown", "JobState=PENDING Restarts=1"], "interrupted"),
        (["JobState=RUNNING Restarts=0", "JobState=COMPLETING Restarts=0", "JobState=PENDING Restarts=1"],
         "interrupted"),
        (["JobState=RUNNING Restarts=0 Reason=None", "JobState=TIMEOUT Restarts=0 Reason=TimeLimit"], "timeout"),
        (["JobState=RUNNING Restarts=0", "JobState=CANCELLED Restarts=0"], "cancelled"),
        (["JobState=RUNNING Restarts=0"], "cancelled"),
        (["unknown"], "cancelled"),
    ],
)  # fmt: skip
def test_an_answer_that_comes_too_early_is_asked_for_again(
    slurm: Callable[..., None], answers: list[str], status: str
) -> None:
    """Slurm ends a job's processes before it has noted what becomes of the job."""
    slurm(*answers)
    assert why_stopped().status == status
