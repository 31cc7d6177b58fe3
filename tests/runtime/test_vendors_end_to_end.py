"""A real evaluation through worldflux-run on every runtime of this part, against the stand-ins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from modal_bench import require_isolation

from worldflux.runtime.external import SCHEMA_ID
from worldflux.runtime.modal_plugin import ModalPlugin
from worldflux.runtime.replicate_plugin import ReplicatePlugin
from worldflux.testing.modal_server import ModalServer
from worldflux.testing.replicate_models import python_model, runner_model
from worldflux.testing.replicate_server import TOKEN, ReplicateServer

ROOT = Path(__file__).parents[2]
PLANTED = {"AWS_SECRET_ACCESS_KEY": "planted-aws-value-0123456789", "HF_TOKEN": "planted-hf-value-0123456789"}
#: Parts that may differ between two runtimes; the rest of two manifests of one recipe is equal.
PLACE = {"runtime", "environment", "hardware", "cost", "logs"}


class Project:
    """A project folder and the command line in it, in a process with little in its environment."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "worldflux.yaml").write_text("project: vendors\npass: [HF_TOKEN]\n")
        kept = {name: os.environ[name] for name in os.environ if not name.startswith(("COV_", "PYTEST_"))}
        self.variables = {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **variables}

    def external(self, **changes: Any) -> str:
        document = {
            "schema": SCHEMA_ID,
            "name": "env",
            "command": ["env", "WRAPPED=1", "{command}"],
            **changes,
        }
        (self.folder / "wrap.json").write_text(json.dumps(document))
        return "wrap.json"

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "worldflux.cli.hydra_app", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=self.variables, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *words: str, code: int = 0) -> str:
        process = self.start(*words)
        output, _ = process.communicate(timeout=170)
        assert process.returncode == code, output
        return output

    def manifests(self) -> list[dict[str, Any]]:
        """All of them, oldest first."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("runs/*/manifest.json"))]


@pytest.fixture
def modal(tmp_path: Path) -> Iterator[ModalServer]:
    require_isolation()
    with ModalServer(tmp_path / "home" / ".worldflux" / "envs") as server:
        yield server
        assert server.problems == [] and server.unknown == []


@pytest.fixture
def project(tmp_path: Path, modal: ModalServer) -> Project:
    home = {"HOME": str(tmp_path / "home"), "WORLDFLUX_HOME": str(tmp_path / "home" / ".worldflux")}
    config = {"MODAL_CONFIG_PATH": str(tmp_path / "no-modal.toml")}
    return Project(tmp_path / "project", {**home, **config, **modal.variables(), **PLANTED})


@pytest.mark.slow
def test_one_evaluation_on_five_runtimes(project: Project, modal: ModalServer) -> None:
    """tiny-jepa gives equal metrics everywhere, and the manifests differ only in what the place is."""
    wrap = f"runtime.manifest={project.external()}"
    shorter = ["+recipe=tiny-jepa-eval", "params.episodes=3"]
    project.run(*shorter, "runtime=local")
    project.run(*shorter, "runtime=modal")
    project.run(*shorter, "runtime=modal", "runtime.gpu=T4")
    project.run(*shorter, "runtime=local-command", wrap)
    project.run(*shorter, "runtime=modal-command", wrap)
    manifests = project.manifests()
    assert [m["run"]["status"] for m in manifests] == ["succeeded"] * 5
    assert [m["runtime"].get("backend") for m in manifests] == [None, "v2", "v1", None, "v2"]
    assert manifests[0]["metrics"]["spatial_iq"]["value"] == pytest.approx(0.501, abs=0.001)
    first = comparable(manifests[0])
    for other in manifests[1:]:
        assert comparable(other) == first
    versions = [m["environment"]["packages"]["tiny-jepa"] for m in manifests]
    assert versions == ["0.1.2"] * 5
    assert all(
        m["cost"]["price_source"] == "modal.com/pricing" for m in (manifests[1], manifests[2], manifests[4])
    )
    assert manifests[2]["cost"]["estimate_usd"] > 0 and not manifests[0]["cost"]["known"]


def comparable(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest without its place, its time and its identity."""
    left = {key: value for key, value in manifest.items() if key not in PLACE}
    left["run"] = {
        k: v for k, v in left["run"].items() if k in ("project", "name", "tags", "status", "exit_code")
    }
    resolved = {k: v for k, v in left["config"]["resolved"].items() if k != "runtime"}
    left["config"] = {"resolved": resolved}
    if left["adapter"] is not None:
        # How far an adapter is supported, and whether it fits, is said of it and the place together.
        left["adapter"] = {"id": left["adapter"]["id"]}
    for part in ("client_run_id", "extensions", "git"):
        left.pop(part)
    return left


def test_a_sweep_compares_runtimes(project: Project, modal: ModalServer) -> None:
    """`runtime=local,modal` in one sweep: both succeed with equal metrics."""
    output = project.run("-m", "+recipe=cpu-smoke", "params.episodes=50", "runtime=local,modal")
    assert "2 succeeded" in output
    local, remote = sorted(project.manifests(), key=lambda m: str(m["runtime"]["name"]))
    assert local["metrics"] == remote["metrics"] and remote["runtime"]["name"] == "modal"


def test_only_the_allowed_name_arrives(project: Project, modal: ModalServer, tmp_path: Path) -> None:
    """A planted AWS key and HF token: the recipe asks for one, and that one alone reaches either server."""
    recipe = project.folder / "recipes" / "asks" / "recipe.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text('command: [python, main.py]\nenv: {pass: ["HF_TOKEN"]}\n')
    (recipe.parent / "main.py").write_text("import os; print(*sorted(os.environ), sep='\\n')")
    project.run("+recipe=asks", "runtime=modal")
    with ReplicateServer([runner_model(tmp_path / "runner")]) as replicate:
        project.variables["REPLICATE_API_TOKEN"] = TOKEN
        hosts = f"runtime.output_hosts=['{replicate.delivery_host}']"
        model = f"runtime.model='{replicate.models[0].pinned}'"
        words = [
            "runtime=replicate",
            f"runtime.api_url={replicate.url}",
            hosts,
            model,
            "runtime.poll_seconds=0.1",
        ]
        project.run("+recipe=asks", *words)
        sent = (modal.sent(), replicate.sent())
    for each in sent:
        assert PLANTED["HF_TOKEN"].encode() in each
        assert PLANTED["AWS_SECRET_ACCESS_KEY"].encode() not in each
    for manifest in project.manifests():
        assert manifest["run"]["status"] == "succeeded" and manifest["secrets"] == [{"name": "HF_TOKEN"}]
        log = project.folder / "runs" / manifest["client_run_id"] / manifest["logs"][0]["path"]
        names = log.read_text().splitlines()
        assert "HF_TOKEN" in names and not [
            n for n in names if n.startswith(("AWS_", "MODAL_TOKEN", "REPLICATE_"))
        ]
        assert "planted" not in json.dumps(manifest)
    wrap = f"runtime.manifest={project.external()}"
    for runtime in ("local-command", "modal-command"):
        output = project.run("+recipe=asks", f"runtime={runtime}", wrap, code=4)
        assert "HF_TOKEN: the external manifest `env` does not allow it" in output


STAGES = ["ImageGetOrCreate", "SandboxCreateV2", "TaskExecStart", "TaskExecWait"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_client_leaves_nothing(
    project: Project, modal: ModalServer, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL at each stage: the next reap ends the sandbox, and the run is reported interrupted."""
    modal.late_create = 1.0 if stage == "SandboxCreateV2" else 0.0
    sleeper(project)
    process = project.start("+recipe=sleeper", "runtime=modal")
    wait_for(lambda: stage in modal.names())
    process.kill()
    process.communicate()
    wait_for(lambda: stage == "ImageGetOrCreate" or bool(modal.boxes))
    for name, value in modal.variables().items():
        monkeypatch.setenv(name, value)
    rows, problems = ModalPlugin().reap()
    assert problems == [] and modal.running() == []
    assert [row["why"] for row in rows] == ["its client is dead"] * len(modal.boxes)
    assert ModalPlugin().reap() == ([], [])
    assert reported(project) == ["interrupted"]


def test_a_killed_client_leaves_no_prediction(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same on Replicate, while the model runs."""
    model = python_model("me/sleep", "import time; print('up', flush=True); time.sleep(600)")
    with ReplicateServer([model]) as replicate:
        sleeper(project, "[predict]")
        project.variables["REPLICATE_API_TOKEN"] = TOKEN
        words = [f"runtime.api_url={replicate.url}", f"runtime.model='{model.pinned}'"]
        process = project.start("+recipe=sleeper", "runtime=replicate", *words)
        wait_for(lambda: any("up" in each.document()["logs"] for each in replicate.predictions.values()))
        process.kill()
        process.communicate()
        monkeypatch.setenv("REPLICATE_API_TOKEN", TOKEN)
        monkeypatch.setenv("WORLDFLUX_HOME", project.variables["WORLDFLUX_HOME"])
        rows, _ = ReplicatePlugin(api_url=replicate.url).reap()
        assert [row["why"] for row in rows] == ["its client is dead"]
        (prediction,) = replicate.predictions.values()
        assert prediction.done.wait(5)
    assert reported(project) == ["interrupted"]


def test_ctrl_c_ends_the_sandbox(project: Project, modal: ModalServer) -> None:
    """SIGINT at the terminal: exit code 130, a cancelled run, nothing alive, nothing to reap."""
    sleeper(project)
    process = project.start("+recipe=sleeper", "runtime=modal")
    wait_for(lambda: "TaskExecWait" in modal.names())
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert modal.running() == []
    assert [m["run"]["status"] for m in project.manifests()] == ["cancelled"]


def sleeper(project: Project, command: str = "[python, main.py]") -> None:
    recipe = project.folder / "recipes" / "sleeper" / "recipe.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(f"command: {command}\n")
    (recipe.parent / "main.py").write_text("import time; print('up', flush=True); time.sleep(600)")


def reported(project: Project) -> list[str]:
    """Statuses as the command line reports them."""
    command = [sys.executable, "-m", "worldflux.cli.main", "--json", "runs", "list"]
    ended = subprocess.run(command, cwd=project.folder, env=project.variables, capture_output=True, text=True)
    return [row["status"] for row in json.loads(ended.stdout)["data"]["runs"]]


def wait_for(condition: Any, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
