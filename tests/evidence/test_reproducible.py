"""The same run gives the same bytes on every Python that WorldFlux runs on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from evidence_lab import make_key, make_run

HERE = Path(__file__).parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
#: What building needs, beside WorldFlux itself.
PACKAGES = ("cryptography", "rfc8785", "jmespath")


def interpreter(version: str) -> str | None:
    """A Python of this version: this one, one on the PATH, or one installed beside this one."""
    if version == ".".join(map(str, sys.version_info[:2])):
        return sys.executable
    found = shutil.which(f"python{version}")
    if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
        return found
    beside = sorted(Path(sys.base_prefix).parent.glob(f"{version}.*/bin/python3"))
    return str(beside[-1]) if beside else None


@pytest.mark.slow
def test_every_python_builds_the_same_archive(tmp_path: Path) -> None:
    """All interpreters of this machine agree with one another, each in an environment of its own."""
    folder = make_run(tmp_path / "runs")
    make_key(tmp_path / "keys")
    uv = Path(sys.executable).parent / "uv"
    digests = {}
    for version in VERSIONS:
        python = interpreter(version)
        if python is None:
            continue
        place = tmp_path / f"venv-{version}"
        cache = os.environ.get("WORLDFLUX_TEST_UV_CACHE", str(tmp_path / "cache"))
        env = {**os.environ, "UV_CACHE_DIR": cache}
        for words in (
            [uv, "venv", "-q", "--python", python, place],
            [uv, "pip", "install", "-q", "--python", place / "bin/python", *PACKAGES],
        ):
            subprocess.run(words, env=env, check=True, timeout=170)
        words = [
            place / "bin/python",
            HERE / "build_once.py",
            folder,
            tmp_path / "keys",
            tmp_path / "out.zip",
        ]
        ended = subprocess.run(words, env=env, capture_output=True, text=True, check=True, timeout=60)
        digests[version] = ended.stdout.strip()
    assert len(digests) >= 1 and len(set(digests.values())) == 1, digests
    if os.environ.get("WORLDFLUX_TEST_REQUIRE_ALL"):
        assert len(digests) >= 2, "only one Python is installed"
