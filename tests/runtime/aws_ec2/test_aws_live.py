"""Opt-in smoke on a real account: `WORLDFLUX_AWS_LIVE=1`, at most five cents a test.

Needs credentials that KEEP of tests/conftest.py does not remove: name a profile with
WORLDFLUX_TEST_AWS_PROFILE. Only this proves real systemd, real cloud-init, real IAM and capacity.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aws_world import PROGRAM, RECIPE, ROOT

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.enable_socket,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(os.environ.get("WORLDFLUX_AWS_LIVE") != "1", reason="WORLDFLUX_AWS_LIVE is not 1"),
]
LIVE = os.environ.get("WORLDFLUX_AWS_LIVE") == "1"
HOME = os.environ.get("HOME", "")
PASSED = {k: v for k, v in os.environ.items() if k.startswith("AWS_")} if LIVE else {}
OPTIONS = ["+recipe=probe", "runtime=aws-ec2", "runtime.instance_types=[t3.micro]", "runtime.disk_gb=8",
           "runtime.market=on-demand", "cost_guard.max_usd=0.05", "timeout=3m"]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    recipe = tmp_path / "recipes" / "probe"
    recipe.mkdir(parents=True)
    (recipe / "recipe.yaml").write_text(RECIPE)
    (recipe / "main.py").write_text(PROGRAM)
    (tmp_path / "worldflux.yaml").write_text("project: live\n")
    return tmp_path


def environment() -> dict[str, str]:
    return {**os.environ, **PASSED, "HOME": HOME, "PYTHONPATH": str(ROOT)}


def start(project: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "worldflux.cli.hydra_app", *OPTIONS, *words]
    return subprocess.Popen(command, cwd=project, env=environment(), text=True, stdout=subprocess.PIPE)


def test_a_small_run(project: Path) -> None:
    """The smallest machine carries out a run; log, artifact and cost come home."""
    process = start(project)
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 0, out
    [run] = (project / "runs").glob("0*")
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["metrics"]["answer"]["value"] == 42 and 0 < manifest["cost"]["estimate_usd"] <= 0.05
    host = (run / "logs" / "host-1.log").read_text()
    assert "worldflux" in host


def test_the_timer_ends_a_machine_without_client_and_agent(project: Path) -> None:
    """With its client killed and its agent stopped, the machine is terminated at its deadline by the timer."""
    import boto3

    process = start(project, "params.mode=sleep", "timeout=1h", "runtime.lifetime=8m", "runtime.setup='true'")
    journal: dict[str, object] = {}
    while not journal.get("attempts") or not journal["attempts"][0]["instance_id"]:  # type: ignore[index]
        time.sleep(2)
        found = list((project / "runs").glob("0*/aws-ec2.json"))
        journal = json.loads(found[0].read_text()) if found else {}
    process.send_signal(signal.SIGKILL)
    process.wait()
    attempt = journal["attempts"][0]  # type: ignore[index]
    session = boto3.session.Session(region_name=str(journal["region"]))
    ec2 = session.client("ec2")
    while time.time() < attempt["deadline"] + 180:
        instance = ec2.describe_instances(InstanceIds=[attempt["instance_id"]])["Reservations"][0][
            "Instances"
        ][0]
        if instance["State"]["Name"] == "terminated":
            assert instance["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
            return
        time.sleep(5)
    ec2.terminate_instances(InstanceIds=[attempt["instance_id"]])
    pytest.fail("the machine outlived its deadline by three minutes")
