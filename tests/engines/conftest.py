"""Fixtures of the launchers' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engines_lab import Lab, make_lab, need
from slurm_lab import Slurm, running_slurm


@pytest.fixture(scope="session")
def cluster() -> Iterator[Slurm]:
    """One Slurm for all tests of this process."""
    need("slurmctld", "slurmd", "munged", "submitit")
    with running_slurm() as slurm:
        yield slurm


@pytest.fixture
def slurm(cluster: Slurm) -> Slurm:
    """The cluster, with an empty queue and a ready node."""
    cluster.clear()
    return cluster


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A project; sweeps that a failed test left at work are ended."""
    made = make_lab(tmp_path)
    yield made
    made.end()
