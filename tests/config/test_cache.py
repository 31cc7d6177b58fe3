"""Compositions of sweeps are remembered, and never when anything they depend on has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worldflux.config import cache
from worldflux.config.cache import compose_all_cached, compose_cached
from worldflux.config.compose import Composer
from worldflux.config.project import Project, load_project
from worldflux.config.request import RunRequest
from worldflux.config.spec import RunSpec

RECIPE = "command: [python, x.py, '${seed}']\nseed: 0\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with two recipes, old enough to be trusted."""
    for name, text in (("recipes/a.yaml", RECIPE), ("recipes/b/recipe.yaml", RECIPE), ("worldflux.yaml", "")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in tmp_path.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    return tmp_path


class Sweep:
    """Composes the same jobs every time, and counts how often."""

    def __init__(self, *jobs: list[str]) -> None:
        self.jobs, self.times = jobs, 0

    def ask(self, project: Project, *words: str) -> list[RunRequest]:
        def compose() -> list[RunRequest]:
            self.times += 1
            composer = Composer(project)
            return [composer.compose(job) for job in self.jobs]

        return compose_all_cached(project, words, compose)


def test_a_remembered_sweep_is_the_same(root: Path) -> None:
    """The second time nothing is composed, and every job reads the same for everybody."""
    project = load_project(root)
    sweep = Sweep(*(["+recipe=a", f"seed={seed}", "tags=[x]"] for seed in range(5)))
    first, second = sweep.ask(project, "w"), sweep.ask(project, "w")
    assert sweep.times == 1 and not any(isinstance(each.spec, RunSpec) for each in second)
    for one, other in zip(first, second, strict=True):
        assert (one.overrides, one.config, one.parameters, one.choices, one.lock) == (
            other.overrides, other.config, other.parameters, other.choices, other.lock
        )  # fmt: skip
        assert (one.spec.command, one.spec.seed, one.spec.tags) == (
            other.spec.command, other.spec.seed, other.spec.tags
        )  # fmt: skip
    assert sweep.ask(project, "other words") and sweep.times == 2


@pytest.mark.parametrize("change", ["recipe", "shadow", "new", "conf", "project"])
def test_any_file_that_could_matter_makes_it_void(root: Path, change: str) -> None:
    """A recipe edited, shadowed or added, a configuration file, the project's own: composed again."""
    project, sweep = load_project(root), Sweep(["+recipe=b", "seed=1"])
    sweep.ask(project, "w")
    path, text = {
        "recipe": ("recipes/b/recipe.yaml", RECIPE.replace("seed: 0", "seed: 9")),
        "shadow": ("recipes/b.yaml", RECIPE),
        "new": ("recipes/c.yaml", RECIPE),
        "conf": ("conf/cost_guard/mine.yaml", "max_usd: 1\n"),
        "project": ("worldflux.yaml", "policy: production\n"),
    }[change]
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    sweep.ask(load_project(root), "w")
    assert sweep.times == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"runs": 1}', b'{"runs": [{}]}', b"\xff"])
def test_garbage_is_ignored(root: Path, content: bytes) -> None:
    """What is no memory costs time, not correctness."""
    project, sweep = load_project(root), Sweep(["+recipe=a", "seed=1"])
    sweep.ask(project, "w")
    (kept,) = (root / ".worldflux" / "composed-sweeps").iterdir()
    kept.write_bytes(content)
    assert sweep.ask(project, "w")[0].spec.seed == 1 and sweep.times == 2


def test_a_folder_of_memories_has_an_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many sweeps nor one of many jobs fill the disk."""
    project, sweep = load_project(root), Sweep(["+recipe=a", "seed=1"], ["+recipe=a", "seed=2"])
    for number in range(14):
        sweep.ask(project, f"w{number}")
    folder = root / ".worldflux" / "composed-sweeps"
    assert len(list(folder.iterdir())) == 11
    monkeypatch.setattr(cache, "MAX_RUNS", 1)
    sweep.ask(project, "many")
    sweep.ask(project, "many")
    assert sweep.times == 16 and len(list(folder.iterdir())) == 11


def test_a_secret_that_was_typed_is_kept_nowhere(root: Path) -> None:
    """A run with it is refused, and no memory of its configuration is left behind."""
    token = "ghp_" + "q7Yt2Lm9Xc4Vb8Nn1Ks5Jd3Hf6Ga0Pz2Rw4E"
    words = ["+recipe=a", f"+env.set.UPSTREAM={token}"]
    compose_cached(load_project(root), words)
    Sweep(words).ask(load_project(root), *words)
    assert not (root / ".worldflux").exists()


def test_the_second_sweep_needs_no_hydra(root: Path) -> None:
    """The same command line starts without the libraries that took most of the time of the first."""
    script = (
        "import sys; from worldflux.run import pool; from worldflux.cli import hydra_app\n"
        "pool.Pool.run = lambda self, jobs: print(len(jobs), sorted({'hydra', 'pydantic'} & set(sys.modules)))\n"
        "sys.argv = ['worldflux-run', '-m', '+recipe=a,b', 'seed=1,2']; hydra_app.main()"
    )
    said = [
        subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert "4 ['hydra', 'pydantic']" in said[0] and "4 []" in said[1]
