"""doctor names what would stop a run; gc gives back space and nothing else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import warm_python
from conftest_cli import BIN, Run


def lines(wf: Run, **env: str) -> list[str]:
    ended = wf("--json", "doctor", **env)
    checks = ended.envelope["data"]["checks"]
    return [line for section in checks.values() for line in section]


def test_a_healthy_machine(wf: Run) -> None:
    """Every check has a line, none is an error, and the exit code is 0."""
    found = lines(wf)
    for part in (
        "worldflux ",
        "python ",
        "clock ",
        "project demo",
        "runs folder",
        "uv ",
        "environments in",
        "git",
    ):
        assert any(line.startswith(part) for line in found), part
    assert wf("doctor").code == 0


def test_missing_git_is_a_warning(wf: Run, tmp_path: Path) -> None:
    """Without git runs still work, and doctor says what they lack."""
    assert any(line.startswith("warning: git is not installed") for line in lines(wf, PATH=str(tmp_path)))


def test_a_broken_project_is_an_error_and_the_rest_is_still_checked(wf: Run, project: Path) -> None:
    """One broken part does not hide the others; the exit code says that runs are blocked."""
    (project / "worldflux.yaml").write_text("nonsense: 1\n")
    ended = wf("doctor")
    assert ended.code == 1 and "error:" in ended.out and "nonsense" in ended.out and "uv " in ended.out


def test_interrupted_runs_are_named(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A run whose process died is found by doctor."""
    recipe("command: [python, main.py]\n", "import time; print('up', flush=True); time.sleep(600)")
    process = warm_python.WarmPopen(
        [str(BIN / "worldflux"), "run", "mine"], cwd=project, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "up" in line:
            break
    process.kill()
    process.communicate()
    assert any("interrupted" in line for line in lines(wf))


def test_gc_removes_what_is_old_and_only_that(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """Compositions go, a dry run removes nothing, runs stay, a wrong age is an error."""
    recipe("command: [python, -c, pass]\n")
    for path in project.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    assert wf("run", "mine").code == 0
    kept = list((project / ".worldflux/composed").iterdir())
    assert len(kept) == 1
    assert "would remove 1 entries" in wf("runs", "gc", "--dry-run").out and kept[0].exists()
    assert wf("runs", "gc", "--envs").code == 0 and kept[0].exists()
    assert wf("runs", "gc").code == 0 and not kept[0].exists()
    assert len(list((project / "runs").glob("*/manifest.json"))) == 1
    assert wf("runs", "gc", "--older-than", "soon").code == 2


def test_gc_removes_what_earlier_versions_and_killed_commands_left(wf: Run, project: Path) -> None:
    """Remembered sweeps, which nothing reads any more, and half-written compositions go with their folders."""
    left = [project / ".worldflux" / name for name in ("composed-sweeps/0f.json", "composed/0f.77.tmp")]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_text("[0123]")
    told = wf("--json", "runs", "gc", "--dry-run").envelope["data"]
    assert {each["path"] for each in told["removed"]} == {str(path) for path in left} and told["bytes"] == 12
    assert wf("runs", "gc", "--envs").code == 0 and all(path.exists() for path in left)
    assert wf("--json", "runs", "gc").envelope["data"] == {**told, "dry_run": False}
    assert not any(path.parent.exists() for path in left)


def test_the_command_line_works_from_an_empty_environment(project: Path, recipe: Callable[..., Path]) -> None:
    """Started by `env -i`, without HOME, PATH or a locale, a run works and its log is complete."""
    recipe("command: [python, main.py]\n", "for i in range(100): print('é', i)\n")
    words = ["env", "-i", f"WORLDFLUX_HOME={project / 'home'}", str(BIN / "worldflux"), "run", "mine"]
    ended = subprocess.run(words, cwd=project, capture_output=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    (log,) = (project / "runs").glob("*/logs/*.log")
    assert len(log.read_text(encoding="utf-8").splitlines()) == 100
