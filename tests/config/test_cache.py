"""Compositions are remembered, and never when anything they depend on has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from plain_specs import plain_spec

from worldflux.config import cache
from worldflux.config.cache import Memory, compose_cached
from worldflux.config.compose import Composer
from worldflux.config.project import load_project
from worldflux.config.request import RunRequest
from worldflux.config.spec import RunSpec
from worldflux.errors import ConfigError

RECIPE = "command: [python, x.py, '${seed}', '${params.n}']\nparams: {n: 0}\nseed: 0\n"


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


def composed(request: RunRequest) -> bool:
    """Whether a run was composed, rather than remembered."""
    return isinstance(request.spec, RunSpec)


def same(one: RunRequest, other: RunRequest) -> bool:
    """Whether two requests read the same for everybody."""
    first, second = ({**vars(each), "spec": plain_spec(each.spec)} for each in (one, other))
    return repr(first) == repr(second)


def test_other_numbers_need_no_composition(root: Path) -> None:
    """Seeds and parameters are written into what is remembered, also by another command, and later."""
    project = load_project(root)
    assert composed(compose_cached(project, ["+recipe=a", "seed=0", "params.n=1", "tags=[x]"]))
    memory = Memory(project)
    for seed, n in ((0, "1"), (7, "2.5"), (9, "-3")):
        words = ["+recipe=a", f"seed={seed}", f"params.n={n}", "tags=[x]"]
        request = memory.compose(words)
        assert not composed(request) and same(request, Composer(project).compose(words))
        assert request.spec.command == ("python", "x.py", str(seed), n)
    assert composed(memory.compose(["+recipe=a", "seed=0", "params.n=1", "tags=[y]"]))


@pytest.mark.parametrize(
    "other", ["params.n=abc", "params.n=null", "params.n=1e-3", "++params.n=true", "params={n: x}"]
)
def test_what_is_typed_last_wins(root: Path, other: str) -> None:
    """A number and something else for the same place: remembered or not, the result is that of Hydra."""
    project = load_project(root)
    for words in (["params.n=3", other], [other, "params.n=3"], [other, "params.n=4"], ["params.n=5", other]):
        try:
            expected = Composer(project).compose(["+recipe=a", *words])
        except ConfigError:
            continue
        assert same(compose_cached(project, ["+recipe=a", *words]), expected), words


@pytest.mark.parametrize("words", [["seed=-1"], ["seed=1.5"], ["timeout=-1"], ["params.none=1"]])
def test_a_wrong_number_is_still_wrong(root: Path, words: list[str]) -> None:
    """What is remembered of good numbers does not let bad ones pass."""
    project = load_project(root)
    for good in (["seed=1"], ["timeout=1"], ["params.n=1"]):
        compose_cached(project, ["+recipe=a", *good])
    with pytest.raises(ConfigError):
        compose_cached(project, ["+recipe=a", *words])


@pytest.mark.parametrize("change", ["recipe", "shadow", "new", "conf", "project"])
def test_any_file_that_could_matter_makes_it_void(root: Path, change: str) -> None:
    """A recipe edited, shadowed or added, a configuration file, the project's own: composed again."""
    compose_cached(load_project(root), ["+recipe=b", "seed=1"])
    path, text = {
        "recipe": ("recipes/b/recipe.yaml", RECIPE.replace("seed: 0", "seed: 9")),
        "shadow": ("recipes/b.yaml", RECIPE),
        "new": ("recipes/c.yaml", RECIPE),
        "conf": ("conf/cost_guard/mine.yaml", "max_usd: 1\n"),
        "project": ("worldflux.yaml", "policy: production\n"),
    }[change]
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    assert composed(compose_cached(load_project(root), ["+recipe=b", "seed=1"]))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"spec": 1}', b"{}", b"\xff"])
def test_garbage_is_ignored(root: Path, content: bytes) -> None:
    """What is no memory costs time, not correctness."""
    project = load_project(root)
    compose_cached(project, ["+recipe=a", "seed=1"])
    (kept,) = (root / ".worldflux" / "composed").iterdir()
    kept.write_bytes(content)
    again = compose_cached(project, ["+recipe=a", "seed=1"])
    assert again.spec.seed == 1 and composed(again)


def test_no_room_for_a_memory_is_no_error(root: Path) -> None:
    """Where the folder can not be made, every run is composed."""
    (root / ".worldflux").write_text("in the way")
    for _ in range(2):
        assert composed(compose_cached(load_project(root), ["+recipe=a", "seed=1"]))


def test_a_folder_of_memories_has_an_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many commands nor one of many different jobs fill the disk; what is in use stays."""
    monkeypatch.setattr(cache, "MAX_ENTRIES", 5)
    monkeypatch.setattr(cache, "MAX_NEW", 3)
    project, folder = load_project(root), root / ".worldflux" / "composed"
    memory = Memory(project)
    for number in range(4):
        memory.compose(["+recipe=a", f"name=n{number}"])
    assert len(list(folder.iterdir())) == 3
    for path in folder.iterdir():
        os.utime(path, (1_600_000_000, 1_600_000_000))
    assert not composed(compose_cached(project, ["+recipe=a", "name=n1"]))
    for number in range(4, 8):
        compose_cached(project, ["+recipe=a", f"name=n{number}"])
    assert len(list(folder.iterdir())) == 5
    assert not composed(compose_cached(project, ["+recipe=a", "name=n1"]))


def test_a_name_made_of_numbers_is_checked_each_time(root: Path) -> None:
    """Where a reference leads a number to a place with rules of its own, the run is composed, and
    only the first of many such jobs is kept."""
    (root / "recipes/a.yaml").write_text(RECIPE + "name: 'run ${seed}'\n")
    os.utime(root / "recipes/a.yaml", (1_600_000_000, 1_600_000_000))
    memory = Memory(load_project(root))
    assert [memory.compose(["+recipe=a", f"seed={n}"]).spec.name for n in range(3)] == [
        "run 0",
        "run 1",
        "run 2",
    ]
    assert len(list((root / ".worldflux" / "composed").iterdir())) == 1


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ("runtime: {guard: '${cost_guard}'}", 1),
        ("env: {set: {A: '${params.n}'}}", 2),
        ("tags: '${params.all}'\nparams: {n: 0, all: ['${params.n}']}", 2),
        ("name: 'a${description}'\ndescription: 'b${seed}'", 2),
        ("env: {set: '${params}'}", 2),
    ],
)
def test_a_number_that_arrives_by_a_detour(root: Path, lines: str, kept: int) -> None:
    """References to whole parts are followed: only a run whose numbers stay where they need no check is remembered
    for other numbers."""
    head = "" if "params: {n" in lines else "params: {n: 0}\n"
    (root / "recipes/a.yaml").write_text(f"command: [x]\nseed: 0\n{head}{lines}\n")
    os.utime(root / "recipes/a.yaml", (1_600_000_000, 1_600_000_000))
    project = load_project(root)
    for seed, n in ((1, 2), (3, 4), (1, 2)):
        words = ["+recipe=a", f"seed={seed}", f"params.n={n}"]
        assert same(compose_cached(project, words), Composer(project).compose(words))
    assert len(list((root / ".worldflux" / "composed").iterdir())) == kept


def test_what_json_would_change_is_not_kept(root: Path) -> None:
    """A key that is a number stays one, however often the run is repeated."""
    for _ in range(2):
        request = compose_cached(load_project(root), ["+recipe=a", "+params.deep={1: one}"])
        assert request.spec.params == {"n": 0, "deep": {1: "one"}}


def test_a_secret_that_was_typed_is_kept_nowhere(root: Path) -> None:
    """A run with it is refused, and no memory of its configuration is left behind."""
    token = "ghp_" + "q7Yt2Lm9Xc4Vb8Nn1Ks5Jd3Hf6Ga0Pz2Rw4E"
    for seed in range(2):
        compose_cached(load_project(root), ["+recipe=a", f"+env.set.UPSTREAM={token}", f"seed={seed}"])
    assert not (root / ".worldflux").exists()


@pytest.mark.parametrize(
    "words", [["seed=1,2"], ["seed=range(3,5)"], ["sweep.max_parallel=2", "sweep.seeds=2"]]
)
def test_a_plain_sweep_needs_no_hydra(root: Path, words: list[str]) -> None:
    """Plain words and files are composed without Hydra; with other seeds the next sweep needs no pydantic either."""
    script = (
        "import sys; from worldflux.run import pool; from worldflux.cli import hydra_app\n"
        "pool.Pool.run = lambda self, jobs: print(len(jobs), sorted({'hydra', 'pydantic'} & set(sys.modules)))\n"
        "sys.argv = ['worldflux-run', '-m', '+recipe=a,b', *sys.argv[1:]]; hydra_app.main()"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", script, *typed], cwd=root, capture_output=True, text=True
        ).stdout
        for typed in ([*words[:-1], "seed=8,9"], words)
    ]
    assert "4 ['pydantic']" in said[0] and "4 []" in said[1]
