"""The engine: stages in order, teardown always, the record there from the first second."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from worldflux.config.compose import Composer
from worldflux.config.project import load_project
from worldflux.config.request import RunRequest
from worldflux.errors import RefusedError, UsageError, WorldFluxError
from worldflux.manifest.secrets import Gate
from worldflux.run import store
from worldflux.run.cancel import Cancellation
from worldflux.run.engine import Place, RunRecord, execute
from worldflux.run.observer import Silent
from worldflux.run.ready import prepare
from worldflux.runtime.base import Adapter, RuntimeContext, RuntimeResult


class Recorder:
    """A plugin that does what the test says and writes down what it was asked."""

    name = "recorder"

    def __init__(self, **behaviour: Any) -> None:
        self.behaviour = behaviour
        self.calls: list[str] = []
        self.seen: dict[str, Any] = {}

    def _do(self, method: str) -> Any:
        self.calls.append(method)
        wanted = self.behaviour.get(method)
        if isinstance(wanted, BaseException):
            raise wanted
        return wanted() if callable(wanted) else wanted

    def doctor(self) -> list[str]:
        return self._do("doctor") or ["fine"]

    def build_env(self, adapter: Adapter, install_dir: Path) -> Path | None:
        self.seen["adapter"] = adapter
        return self._do("build_env")  # type: ignore[no-any-return]

    def run(self, ctx: RuntimeContext, command: Sequence[str]) -> RuntimeResult:
        self.seen.update(ctx=ctx, command=tuple(command), manifest=_manifest(ctx.output_dir))
        log = ctx.output_dir / "logs" / f"{ctx.run_id}.log"
        log.write_bytes(b"out\n")
        return self._do("run") or RuntimeResult(0, 0.1, log)

    def teardown(self, ctx: RuntimeContext) -> None:
        self._do("teardown")


def _manifest(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return document


def asked(root: Path, *words: str, **changes: Any) -> tuple[RunRequest, Place]:
    recipe = root / "recipes" / "r.yaml"
    if not recipe.exists():
        recipe.parent.mkdir(parents=True)
        recipe.write_text("command: [python, x.py]\nseed: 3\n")
    request = Composer(load_project(root)).compose(["+recipe=r", *words])
    values: dict[str, Any] = {
        "project": "p", "root": root, "runs_dir": root / "runs", "install_dir": root / "envs",
        "allowed_variables": (), "environ": dict(os.environ), "gate": Gate(),
    }  # fmt: skip
    return request, Place(**{**values, **changes})


def carry_out(
    root: Path, plugin: Recorder, *words: str, cancellation: Cancellation | None = None, **changes: Any
) -> RunRecord:
    request, place = asked(root, *words, **changes)
    return execute(request, plugin, place, Silent(), cancellation)


@pytest.mark.parametrize(
    ("facts", "durable"),
    [({"on_ended": None}, False), ({}, True), ({"on_ended": None, "paid": True}, True)],
)
def test_what_goes_on_without_this_machine_is_on_the_disk_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], durable: bool
) -> None:
    """Before anything starts elsewhere, or costs money, its record survives a loss of power."""
    plugin = Recorder()
    vars(plugin).update(facts)
    synced: list[Path] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (synced.append(Path(os.readlink(f"/proc/self/fd/{fd}"))), real(fd))[1]
    )
    plugin.behaviour["doctor"] = synced.clear
    plugin.behaviour["build_env"] = lambda: plugin.seen.update(synced=list(synced))
    record = carry_out(tmp_path, plugin)
    assert (record.folder in plugin.seen["synced"]) is durable
    assert record.folder in synced


@pytest.mark.parametrize(("seconds", "again"), [(0, False), (60, True)])
def test_what_was_looked_up_long_ago_is_looked_up_again(tmp_path: Path, seconds: float, again: bool) -> None:
    """A job may wait for hours: what was found out for it is used at once, or found out again."""
    plugin = Recorder()
    request, place = asked(tmp_path)
    ready = prepare(request, plugin, place)
    assert plugin.calls == ["doctor"] and not place.runs_dir.exists()
    record = execute(request, plugin, place, Silent(), ready=replace(ready, at=ready.at - seconds))
    assert plugin.calls == ["doctor"] * (1 + again) + ["build_env", "run", "teardown"]
    assert record.manifest.status == "succeeded"


@pytest.mark.parametrize("told", [True, False])
def test_provenance_is_gathered_when_the_command_runs(tmp_path: Path, told: bool) -> None:
    """A command does not wait for it where the runtime tells of its start; it is there even if that is never told."""
    seen: list[bool] = []

    class Telling(Recorder):
        on_started: Callable[[], None] | None = None

        def run(self, ctx: RuntimeContext, command: Sequence[str]) -> RuntimeResult:
            seen.append((ctx.output_dir / "config.yaml").exists())
            assert self.on_started is not None
            if told:
                self.on_started()
                self.on_started()
                seen.append((ctx.output_dir / "config.yaml").exists())
            return super().run(ctx, command)

    record = carry_out(tmp_path, Telling())
    assert seen == ([False, True] if told else [False])
    assert (record.folder / "config.yaml").exists() and record.manifest.environment is not None


def test_the_order_of_calls(tmp_path: Path) -> None:
    """doctor, build_env, run, teardown; and the manifest says running before the command starts."""
    plugin = Recorder()
    record = carry_out(tmp_path, plugin)
    assert plugin.calls == ["doctor", "build_env", "run", "teardown"]
    assert plugin.seen["manifest"]["run"]["status"] == "running"
    assert record.manifest.status == "succeeded" and record.exit_code == 0
    context = plugin.seen["ctx"]
    assert context.env_vars["WORLDFLUX_SEED"] == "3" and context.run_id == record.run_id


@pytest.mark.parametrize("method", ["build_env", "run"])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (WorldFluxError("broke", "mend it"), "failed", 1),
        (RefusedError("too dear"), "refused", 4),
        (KeyboardInterrupt(), "cancelled", 130),
    ],
)
def test_teardown_always_runs(
    tmp_path: Path, method: str, error: BaseException, status: str, code: int
) -> None:
    """Whatever ends a stage, the run is torn down and its record is final."""
    plugin = Recorder(**{method: error})
    record = carry_out(tmp_path, plugin)
    assert plugin.calls[-1] == "teardown"
    assert (record.manifest.status, record.exit_code) == (status, code)
    assert _manifest(record.folder)["run"]["status"] == status


def test_a_bug_of_a_plugin_is_not_hidden(tmp_path: Path) -> None:
    """An exception that is not ours is raised as it is, after teardown and with a final record."""
    plugin = Recorder(run=ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        carry_out(tmp_path, plugin)
    assert plugin.calls[-1] == "teardown"
    (stored,) = store.newest(tmp_path / "runs")
    assert stored.manifest is not None and stored.manifest.status == "failed"


def test_a_teardown_that_fails_is_a_warning(tmp_path: Path) -> None:
    """The run keeps its result; the failure is told."""
    record = carry_out(tmp_path, Recorder(teardown=OSError("stuck")))
    assert record.manifest.status == "succeeded" and "stuck" in record.warnings[0]


def test_an_error_line_of_the_doctor_blocks(tmp_path: Path) -> None:
    """A line that starts with error: stops the run before anything is made."""
    with pytest.raises(UsageError, match="no electricity"):
        carry_out(tmp_path, Recorder(doctor=lambda: ["fine", "error: no electricity"]))
    assert not (tmp_path / "runs").exists()


def test_a_guard_that_refuses_is_recorded(tmp_path: Path) -> None:
    """A refusal leaves a record that says why; nothing is built."""

    def guard(request: Any) -> dict[str, Any]:
        raise RefusedError("over the budget", "raise it", code="budget")

    plugin = Recorder()
    record = carry_out(tmp_path, plugin, guards=(guard,))
    assert "build_env" not in plugin.calls
    assert record.exit_code == 4 and record.manifest.run["error"]["code"] == "budget"  # type: ignore[index]


def test_metadata_becomes_leaves_of_runtime(tmp_path: Path) -> None:
    """Every entry of metadata stands under manifest.runtime; variables go to the environment."""
    log = tmp_path / "x.log"
    log.write_text("")
    plugin = Recorder()
    plugin.behaviour["run"] = lambda: RuntimeResult(
        0, 1.0, plugin.seen["ctx"].output_dir / "logs" / f"{plugin.seen['ctx'].run_id}.log",
        cost_estimate_usd=0.5, metadata={"region": "x", "deep": {"n": 2**60}, "variables": {"A": "1"}},
    )  # fmt: skip
    record = carry_out(tmp_path, plugin)
    document = _manifest(record.folder)
    assert document["runtime"]["region"] == "x" and document["runtime"]["deep"] == {"n": str(2**60)}
    assert document["environment"]["variables"] == {"A": "1"} and document["cost"]["estimate_usd"] == 0.5


def test_metadata_that_breaks_the_schema_keeps_the_run(tmp_path: Path) -> None:
    """A plugin's reserved or impossible metadata makes a failed record, not a lost one."""
    for metadata in ({"plugin": "mine"}, {"x": object()}):
        plugin = Recorder()
        plugin.behaviour["run"] = lambda m=metadata, p=plugin: RuntimeResult(
            0, 1.0, p.seen["ctx"].output_dir / "logs" / f"{p.seen['ctx'].run_id}.log", metadata=m
        )
        record = carry_out(tmp_path, plugin)
        assert record.manifest.status == "failed"
        assert _manifest(record.folder)["run"]["error"]["code"] == "metadata"


def test_a_cancelled_run_does_not_start(tmp_path: Path) -> None:
    """A stop that was asked for before the run leaves a cancelled record."""
    cancellation = Cancellation()
    cancellation.request()
    plugin = Recorder()
    record = carry_out(tmp_path, plugin, cancellation=cancellation)
    assert record.manifest.status == "cancelled" and "run" not in plugin.calls


def test_outcomes(tmp_path: Path) -> None:
    """Exit code and outcome of a runtime become the status of the record."""
    expected = {
        (3, None): "failed", (-9, None): "failed", (-15, "timeout"): "timeout", (0, "cancelled"): "cancelled",
        (1, "interrupted"): "interrupted", (1, "refused"): "refused", (0, "exited"): "succeeded",
    }  # fmt: skip
    for (code, outcome), status in expected.items():
        plugin = Recorder()
        metadata = {"outcome": outcome} if outcome else {}
        plugin.behaviour["run"] = lambda p=plugin, c=code, m=metadata: RuntimeResult(
            c, 1.0, p.seen["ctx"].output_dir / "logs" / f"{p.seen['ctx'].run_id}.log", metadata=m
        )
        assert carry_out(tmp_path, plugin, "timeout=5").manifest.status == status, (code, outcome)
