"""A project whose runs go to the stand-in of AWS through the real command line."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import warm_python
from fake_aws import REGION, FakeAws
from fake_machine import Hypervisor, Machine

import worldflux

ROOT = Path(worldflux.__file__).parents[1]
#: Options that make a machine's life short enough for tests; the same code runs.
QUICK = {
    "instance_types": "[c5.large]",
    "lifetime": 40,
    "margin_seconds": 0,
    "minimum_seconds": 1,
    "upload_seconds": 2,
    "grace_seconds": 1,
    "beat_seconds": 0.2,
    "poll_seconds": 0.1,
    "boot_seconds": 20,
    "settle_seconds": 2,
}
RECIPE = """
description: prints, counts, writes a file
task: eval
command: [python, main.py, "${params.mode}"]
params: {mode: happy}
timeout: 30
metrics:
  answer: {file: report.json, select: answer, optional: true}
artifacts:
  - {path: report.json, commit: true, optional: true}
"""
PROGRAM = """
import json, os, sys, time
mode = sys.argv[1]
print("begun", mode, flush=True)
json.dump({"answer": 42}, open("report.json", "w"))
with open(os.environ["WORLDFLUX_METRICS"], "a") as file:
    file.write(json.dumps({"name": "loss", "value": 0.5, "step": 1}) + chr(10))
if mode == "fail":
    sys.exit(7)
if mode == "sleep":
    time.sleep(600)
if mode == "short":
    time.sleep(1.5)
if mode == "env":
    json.dump(dict(os.environ), open("env.json", "w"))
print("done", flush=True)
"""


class Client:
    """A started `worldflux-run`, to be waited for or killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def wait(self, seconds: float = 60) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, out


class World:
    """A project folder with one recipe, and what is known of AWS."""

    def __init__(self, aws: FakeAws, house: Hypervisor, folder: Path) -> None:
        self.aws, self.house = aws, house
        self.project = folder / "project"
        recipe = self.project / "recipes" / "probe"
        recipe.mkdir(parents=True)
        (recipe / "recipe.yaml").write_text(RECIPE)
        (recipe / "main.py").write_text(PROGRAM)
        (self.project / "worldflux.yaml").write_text("project: probe\npass: [PROBE_TOKEN]\n")
        self._seen = {each.id for each in aws.instances()}
        self.first_call = len(aws.calls)
        self._clients: list[Client] = []
        house.flags.clear()
        house.boots, house.tools = True, ""
        house.environment = {}

    def close(self) -> None:
        for client in self._clients:
            if client.process.poll() is None:
                client.process.kill()
            if client.process.stdout and not client.process.stdout.closed:
                client.process.communicate()  # also of one that ended while nobody waited for it
        for machine in self.machines:
            machine.cut("terminated")
        for instance_id in self.launched:
            self.aws.set_state(instance_id, "terminated")

    # ---- commands

    def command(
        self, *words: str, usd: float | None = 1.0, recipe: str = "probe", **options: Any
    ) -> list[str]:
        chosen = {**QUICK, **options}
        return [
            sys.executable,
            "-m",
            "worldflux.cli.hydra_app",
            f"+recipe={recipe}",
            "runtime=aws-ec2",
            *([f"cost_guard.max_usd={usd}"] if usd is not None else []),
            *(f"runtime.{key}={value}" for key, value in chosen.items()),
            *words,
        ]

    def start(self, *words: str, env: dict[str, str] | None = None, **options: Any) -> Client:
        process = warm_python.WarmPopen(
            self.command(*words, **options),
            cwd=self.project,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._clients.append(Client(process))
        return self._clients[-1]

    def run(self, *words: str, env: dict[str, str] | None = None, **options: Any) -> tuple[int, str]:
        return self.start(*words, env=env, **options).wait()

    def cli(self, *words: str, env: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        """`worldflux ... --json`: exit code and envelope."""
        done = warm_python.run(
            [sys.executable, "-m", "worldflux.cli.main", *words, "--json"],
            cwd=self.project,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, json.loads(done.stdout)

    def dry_run(
        self, *words: str, usd: float = 1.0, env: dict[str, str] | None = None, **options: Any
    ) -> tuple[int, dict[str, Any]]:
        """`worldflux run probe --dry-run --json`."""
        chosen = [f"runtime.{key}={value}" for key, value in {**QUICK, **options}.items()]
        budget = f"cost_guard.max_usd={usd}"
        return self.cli("run", "probe", "runtime=aws-ec2", budget, *chosen, *words, "--dry-run", env=env)

    def configure(self, **options: Any) -> None:
        """Options of the runtime in the project's own configuration."""
        shipped = (ROOT / "conf" / "runtime" / "aws-ec2.yaml").read_text().splitlines()
        kept = [line for line in shipped if line.partition(":")[0] not in options]
        own = self.project / "conf" / "runtime" / "aws-ec2.yaml"
        own.parent.mkdir(parents=True)
        own.write_text("\n".join([*kept, *(f"{key}: {value}" for key, value in options.items()), ""]))

    def image(self, region: str = REGION) -> str:
        """An image that can be launched."""
        import boto3

        found = boto3.client("ssm", region_name=region).get_parameter(
            Name="/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
        )
        return str(found["Parameter"]["Value"])

    def launch_foreign(self, tags: dict[str, str], region: str = REGION) -> str:
        """A machine that WorldFlux did not launch; it boots nothing."""
        import boto3

        named = [{"Key": key, "Value": value} for key, value in tags.items()]
        more: dict[str, Any] = (
            {"TagSpecifications": [{"ResourceType": "instance", "Tags": named}]} if named else {}
        )
        self.house.boots = False
        answer = boto3.client("ec2", region_name=region).run_instances(
            ImageId=self.image(region), InstanceType="t3.micro", MinCount=1, MaxCount=1, **more
        )
        instance_id = str(answer["Instances"][0]["InstanceId"])
        until(lambda: self.aws.instance(instance_id)._state.name == "running", "the machine")
        self.house.boots = True
        return instance_id

    def set_deadline(self, instance_id: str, moment: float) -> None:
        """Let time pass: the machine's tag says another deadline."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(moment))
        self.aws.instance(instance_id).add_tags({"worldflux:deadline": stamp})

    def deadline(self, instance_id: str) -> float:
        """What a machine's tag says, in seconds since the epoch."""
        stamp = self.aws.tag(self.aws.instance(instance_id), "worldflux:deadline")
        return datetime.datetime.fromisoformat(str(stamp)).timestamp()

    # ---- what there is

    @property
    def launched(self) -> list[str]:
        """Instances launched since this test began."""
        return [each.id for each in self.aws.instances() if each.id not in self._seen]

    @property
    def alive(self) -> list[str]:
        return [each for each in self.launched if self.aws.instance(each)._state.name != "terminated"]

    @property
    def machines(self) -> list[Machine]:
        return [self.house.machines[each] for each in self.launched if each in self.house.machines]

    @property
    def launches(self) -> list[Any]:
        """Calls of RunInstances that were meant."""
        return [call for call in self.made("RunInstances") if is_launch(call)]

    def made(self, action: str) -> list[Any]:
        return [call for call in self.aws.calls[self.first_call :] if call.action == action]

    def machine(self) -> Machine:
        """The first machine of this test, as soon as it boots."""
        return until(lambda: self.machines[0] if self.machines else None, "a machine")

    def runs(self) -> list[Path]:
        folder = self.project / "runs"
        return sorted(folder.glob("0*")) if folder.is_dir() else []

    def manifest(self, index: int = -1) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.runs()[index] / "manifest.json").read_text())
        return document

    def journal(self, index: int = -1) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.runs()[index] / "aws-ec2.json").read_text())
        return document

    def log(self, index: int = -1) -> str:
        folder = self.runs()[index]
        return (folder / "logs" / f"{folder.name}.log").read_text()


def ending(world: World) -> tuple[str, str]:
    """Status of the run and the runtime's own word for how it ended."""
    manifest = world.manifest()
    return manifest["run"]["status"], manifest["runtime"]["ending"]


def client_log(world: World) -> str:
    """The log here so far; empty before there is one."""
    try:
        return world.log()
    except (OSError, IndexError):
        return ""


def is_launch(call: Any) -> bool:
    """Whether a call of RunInstances is meant, and not a dry run."""
    return bool(call.detail.get("DryRun") != "true")


def until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """The first true value of the condition.

    Raises:
        AssertionError: there was none in time.
    """
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come within {seconds:g} s"
        time.sleep(0.02)
    return value
