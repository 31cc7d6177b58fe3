"""What `worldflux doctor` says about environments: true, without a change, without a password."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from envcache_lab import PROJECT

from worldflux.runtime.envcache import doctor
from worldflux.runtime.venvs.doctor import file_system
from worldflux.runtime.venvs.uvtool import find, installed_version

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /data rw,nosuid - nfs4 server:/x rw
31 30 0:27 / /data/local rw - xfs /dev/vdb rw
32 22 0:28 / /with\\040space rw - lustre x rw
"""


def test_a_healthy_machine(tmp_path: Path) -> None:
    """Versions and space are told, nothing is made, nothing is an error."""
    lines = doctor(tmp_path / "not" / "yet" / "there")
    assert lines[0] == f"uv {installed_version()}"
    assert "GB free" in lines[1] and not [line for line in lines if line.startswith("error:")]
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_that_of_the_program() -> None:
    """What is read from the package's name is what the program itself says."""
    said = subprocess.run([find(), "--version"], capture_output=True, text=True, check=True).stdout
    assert said.split()[1] == installed_version()


def test_a_folder_that_can_not_be_used(tmp_path: Path) -> None:
    """A file in the way blocks runs, and says what to do."""
    (tmp_path / "file").touch()
    (line,) = [line for line in doctor(tmp_path / "file" / "envs") if line.startswith("error:")]
    assert "WORLDFLUX_HOME" in line


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    """Without the right to write, the doctor says so beforehand and a start says so in one line."""
    script = (
        "import configparser, os, sys, subprocess, urllib.parse, uv; from pathlib import Path\n"
        "from worldflux.errors import WorldFluxError\n"
        "from worldflux.runtime import base, envcache\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "root = Path('/not-yours/envs')\n"
        "print('\\n'.join(envcache.doctor(root)))\n"
        "try: envcache.acquire(root, base.Adapter('x'), environ={})\n"
        "except WorldFluxError as error: print(error.code, error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert "error: environments: / can not be written to" in done.stdout
    assert "cache-not-writable environments need a writable folder: set WORLDFLUX_HOME" in done.stdout


def test_a_folder_open_to_others_is_told(tmp_path: Path) -> None:
    """Whoever can write to the cache can run code in this person's name."""
    tmp_path.chmod(0o777)
    assert any("others can write" in line for line in doctor(tmp_path))
    tmp_path.chmod(stat.S_IRWXU)
    assert not any("others can write" in line for line in doctor(tmp_path))


def test_sources_are_shown_without_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where packages come from is told, the login is not."""
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:hunter22@mirror/simple")
    text = "\n".join(doctor(tmp_path))
    assert "UV_DEFAULT_INDEX=https://****@mirror/simple" in text and "hunter22" not in text


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/x", "ext4"),
        ("/data", "nfs4"),
        ("/data/a/b", "nfs4"),
        ("/data/local/x", "xfs"),
        ("/database", "ext4"),
        ("/with space/x", "lustre"),
    ],
)
def test_the_kind_of_file_system(tmp_path: Path, path: str, kind: str) -> None:
    """The nearest mount point decides."""
    (tmp_path / "mounts").write_text(MOUNTS)
    assert file_system(Path(path), mounts=tmp_path / "mounts") == kind
    assert file_system(Path(path), mounts=tmp_path / "none") == ""


def test_this_machine_says_its_kind(tmp_path: Path) -> None:
    """The system's real table is understood."""
    assert file_system(tmp_path) != "" or sys.platform == "darwin"
