"""A real evaluation through worldflux-run on every runtime of this part, against the stand-ins."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modal_bench import require_isolation
from nightly import WHOLE
from vendors_lab import PLANTED, Project, wait_for

from worldflux.testing.modal_server import ModalServer
from worldflux.testing.replicate_models import runner_model
from worldflux.testing.replicate_server import TOKEN, ReplicateServer

#: All that may differ between manifests of one recipe on two runtimes, as paths with patterns.
MAY_DIFFER = {
    "the place": r"runtime\..*|environment\..*|hardware\..*|cost\..*",
    "how the place was chosen": r"config\.(resolved\.runtime\..*|overrides.*|digest|sha256)|run\.argv.*",
    "identity": r"client_run_id|run\.owner\..*|extensions\.worldflux\.run-mark|logs\.0\.path",
    "what the catalog says of adapter and place": r"adapter\.(support|facts\.support\..*)",
    "time": r"run\.(started_at|finished_at|created_at|duration_seconds|stages\..*)",
}


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
    """tiny-jepa gives equal metrics everywhere, and the manifests differ only in what the place is.

    Here on this machine and on both kinds of machines of a vendor; nightly on all five runtimes.
    """
    wrap = f"runtime.manifest={project.external()}"
    places = [
        (["runtime=local"], None), (["runtime=modal", "runtime.gpu=T4"], "v1"), (["runtime=modal-command", wrap], "v2"),
        (["runtime=modal"], "v2"), (["runtime=local-command", wrap], None),
    ][: 5 if WHOLE else 3]  # fmt: skip
    for words, _ in places:
        project.run("+recipe=tiny-jepa-eval", "params.episodes=3", *words)
    manifests = project.manifests()
    assert [m["run"]["status"] for m in manifests] == ["succeeded"] * len(places)
    assert [m["runtime"].get("backend") for m in manifests] == [backend for _, backend in places]
    assert manifests[0]["metrics"]["spatial_iq"]["value"] == pytest.approx(0.501, abs=0.001)
    for other in manifests[1:]:
        assert differences(manifests[0], other) == []
    versions = [m["environment"]["packages"]["tiny-jepa"] for m in manifests]
    assert versions == ["0.1.2"] * len(places)
    on_modal = [m for m in manifests if m["runtime"].get("backend")]
    assert all(m["cost"]["price_source"] == "modal.com/pricing" for m in on_modal)
    assert manifests[1]["cost"]["estimate_usd"] > 0 and not manifests[0]["cost"]["known"]


SAVES = """
import time
open("early", "w").write("1")
try:
    print("up", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    open("late", "w").write("2")
"""


def differences(one: Any, other: Any) -> list[str]:
    """Paths at which two manifests differ and may not."""
    allowed = re.compile("|".join(f"(?:{pattern})" for pattern in MAY_DIFFER.values()))
    here, there = dict(leaves(one)), dict(leaves(other))
    paths = sorted({path for path in here.keys() | there.keys() if here.get(path) != there.get(path)})
    return [f"{path}: {here.get(path)} / {there.get(path)}" for path in paths if not allowed.fullmatch(path)]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a document that holds no other, by its path; an empty list is one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inner or not value:
        yield path, value
    for key, each in inner:
        yield from leaves(each, f"{path}.{key}" if path else str(key))


def test_a_sweep_compares_runtimes(project: Project, modal: ModalServer) -> None:
    """`runtime=local,modal` in one sweep, and `runs compare` of it: one table with a row for each runtime
    and the same number in every column.
    """
    output = project.run("-m", "+recipe=cpu-smoke", "params.episodes=50", "runtime=local,modal")
    assert "2 succeeded" in output
    local, remote = sorted(project.manifests(), key=lambda m: str(m["runtime"]["name"]))
    assert local["metrics"] == remote["metrics"] and remote["runtime"]["name"] == "modal"
    sweep = local["run"]["sweep_id"]
    code, answer = project.cli("runs", "compare", sweep, "--group-by", "runtime")
    assert code == 0 and answer["data"]["group_by"] == ["runtime"]
    groups = {each["group"]["runtime"]: each["metrics"] for each in answer["data"]["groups"]}
    assert set(groups) == {"local", "modal"} and groups["local"] == groups["modal"]
    assert {"mean_return", "reached_goal"} <= set(groups["modal"])
    table = project.text("runs", "compare", sweep, "--group-by", "runtime").splitlines()
    rows = [line.split() for line in table if line.split()[:1] in (["local"], ["modal"])]
    assert len(rows) == 2 and rows[0][1:] == rows[1][1:], table
    # What differs is many options of the runtimes: without --group-by it is still one row for each.
    assert len(project.cli("runs", "compare", sweep)[1]["data"]["groups"]) == 2


def test_only_the_allowed_name_arrives(project: Project, modal: ModalServer, tmp_path: Path) -> None:
    """A planted AWS key and HF token: the recipe asks for one, and that one alone reaches either server."""
    recipe = project.folder / "recipes" / "asks" / "recipe.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text('command: [python, main.py]\nenv: {pass: ["HF_TOKEN"]}\n')
    (recipe.parent / "main.py").write_text("import os; print(*sorted(os.environ), sep='\\n')")
    plain = recipe.parent.with_name("plain") / "recipe.yaml"
    plain.parent.mkdir()
    plain.write_text("command: [python, main.py]\n")
    (plain.parent / "main.py").write_text("import os; print(*sorted(os.environ), sep='\\n')")
    project.run("+recipe=plain", "runtime=modal")
    assert not [value for value in PLANTED.values() if value.encode() in modal.sent()]
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
        project.run("+recipe=plain", *words)
        assert not [value for value in PLANTED.values() if value.encode() in replicate.sent()]
        project.run("+recipe=asks", *words)
        sent = (modal.sent(), replicate.sent())
    for each in sent:
        assert PLANTED["HF_TOKEN"].encode() in each
        assert PLANTED["AWS_SECRET_ACCESS_KEY"].encode() not in each
    for manifest in [each for each in project.manifests() if each["recipe"]["name"] == "asks"]:
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


def test_ctrl_c_ends_the_sandbox(project: Project, modal: ModalServer) -> None:
    """SIGINT at the terminal: exit code 130, a cancelled run, nothing alive, nothing to reap; what the
    command had written, and what it saved when it was asked to end, is here.
    """
    project.sleeper(text=SAVES)
    process = project.start("+recipe=sleeper", "runtime=modal")
    wait_for(lambda: any(b"up" in log.read_bytes() for log in project.folder.glob("runs/*/logs/0*.log")))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert modal.running() == []
    (manifest,) = project.manifests()
    assert manifest["run"]["status"] == "cancelled" and "not_brought_home" not in manifest["runtime"]
    (folder,) = project.folder.glob("runs/*/artifacts")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"early": "1", "late": "2"}
    assert project.cli("runs", "reap")[1]["data"]["machines"] == []
