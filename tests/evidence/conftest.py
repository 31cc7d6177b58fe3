"""Fixtures of the evidence tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from evidence_lab import make_key, make_package, make_run

from worldflux.evidence.keys import SigningKey
from worldflux.evidence.trust import Trust


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """A signing key."""
    return make_key(tmp_path / "keys")


@pytest.fixture
def trust(key: SigningKey) -> Trust:
    """Trust in that key, and in nothing else."""
    return Trust(signers=[key.public])


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run that succeeded, with artifacts whose names are not easy."""
    return make_run(tmp_path / "runs")


@pytest.fixture
def package(tmp_path: Path, run_folder: Path, key: SigningKey) -> Path:
    """Its signed package, as a folder."""
    make_package(run_folder, tmp_path / "package", key)
    return tmp_path / "package"


@pytest.fixture
def archive(tmp_path: Path, run_folder: Path, key: SigningKey) -> Path:
    """Its signed package, as an archive."""
    make_package(run_folder, tmp_path / "package.zip", key, archive=True)
    return tmp_path / "package.zip"
