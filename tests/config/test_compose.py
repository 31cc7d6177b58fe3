"""Composition: the same result as Hydra's own, without leaks between runs."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nightly import times
from omegaconf import OmegaConf
from plain_specs import plain_spec

from worldflux.config.cache import Memory, compose_cached
from worldflux.config.compose import Composer
from worldflux.config.project import Project, builtin_dir, load_project
from worldflux.config.spec import RunSpec, parse_seconds
from worldflux.errors import ConfigError


def write(root: Path, files: dict[str, str]) -> Project:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return load_project(root)


RECIPE = "command: [python, x.py, '${seed}', '${params.n}']\nparams: {n: 1, deep: {a: [1, 2]}}\nseed: 0\n"


def test_two_compositions_do_not_touch_each_other(tmp_path: Path) -> None:
    """A composer can be used again; nothing of an earlier run is left in a later one."""
    composer = Composer(write(tmp_path, {"recipes/r.yaml": RECIPE}))
    first = composer.compose(["+recipe=r", "seed=5", "params.n=9", "tags=[x]"])
    second = composer.compose(["+recipe=r"])
    assert (first.spec.seed, first.spec.command[-1], first.spec.tags) == (5, "9", ("x",))
    assert (second.spec.seed, second.spec.command[-1], second.spec.tags) == (0, "1", ())


def _hydra_result(project: Project, overrides: list[str]) -> dict[str, Any]:
    """What the whole Hydra makes of the same words."""
    import hydra
    from hydra import compose, initialize_config_dir

    from worldflux.config.sources import register

    register()
    os.environ["WORLDFLUX_PROJECT"] = str(project.root)
    try:
        version = {"version_base": "1.3"} if hydra.__version__.startswith("1.3") else {}
        with initialize_config_dir(config_dir=str(builtin_dir("conf")), **version):
            config = compose("worldflux", overrides=overrides)
    finally:
        del os.environ["WORLDFLUX_PROJECT"]
    values: Any = OmegaConf.to_container(config, resolve=True)
    return dict(values)


@pytest.mark.parametrize("seed", range(times(20, 40)))
def test_equal_to_a_full_composition(seed: int, tmp_path: Path) -> None:
    """Over random trees of files and overrides, the short way and Hydra's own give the same values."""
    rng = random.Random(seed)
    files = {
        "recipes/r.yaml": RECIPE + f"timeout: {rng.choice(['5m', '90', '1h'])}\n",
        "recipes/team/s/recipe.yaml": RECIPE + "defaults: [{override /runtime: other}]\n",
        "recipes/t.yml": "defaults: [{override /cost_guard: tight}]\n" + RECIPE + "tags: ['${params.n}']\n",
        "conf/runtime/other.yaml": (
            "defaults: [local, _self_]\n"
            if rng.random() < 0.5
            else "_target_: worldflux.runtime.local_plugin.LocalPlugin\n"
        )
        + "name: local\ngrace_seconds: ${params.n}\n",
        "conf/cost_guard/tight.yaml": f"max_usd: {rng.randint(1, 9)}\n",
    }
    project = write(tmp_path, files)
    overrides = [f"+recipe={rng.choice(['r', 'team/s', 't'])}"]
    choices = [
        "seed=3", "params.n=7", "params.deep.a=[3,4]", "+params.new={x: 1}", "runtime=other", "runtime=local",
        "cost_guard=tight", "cost_guard.max_usd=8", "timeout=2h", "tags=[a,b]", "~params.deep", "name='a b'",
        "++params.n=2", "runtime.env.pass=[A]", "task=train", "description=${recipe}",
    ]  # fmt: skip
    overrides += rng.sample(choices, rng.randint(0, 6))
    try:
        expected = _hydra_result(project, overrides)
    except Exception:
        with pytest.raises(ConfigError):
            Composer(project).compose(overrides)
        return
    assert Composer(project).compose(overrides).parameters == expected


VARIED = {
    "recipes/r.yaml": RECIPE
    + "description: 'n is ${params.n}, ${name} of ${seed}'\nname: a ${params.deep.b}\n",
    "recipes/far.yaml": "command: [x, '${params.b}']\nparams: {a: '${seed}', b: '${params.a}', c: 1}\nseed: 4\n",
    "recipes/odd.yaml": "command: [x, '\\${seed}', '${.1}']\nparams: {n: 1, m: '${oc.env:NOT_THERE,x}'}\nseed: 1\n",
    "recipes/whole.yaml": "command: [x]\nparams: {n: 1, all: '${metrics}', l: '${tags.0}'}\ntags: [a]\nseed: 1\n",
    "recipes/parts.yaml": "params: {n: 1, c: 2, a: '${params.deep}', deep: {b: '${seed}', l: ['${params.n}']}}\n"
    "command: [x]\nenv: {set: '${params.a}'}\nseed: 1\ntags: '${params.deep.l}'\n",
    "conf/runtime/other.yaml": "defaults: [local, _self_]\ngrace_seconds: ${seed}\n",
    "conf/runtime/chosen.yaml": "defaults: [local, /cost_guard: '${seed}']\n",
    "worldflux.yaml": "project: p\ncost_guard: {max_usd: 4}\n",
}
VARIED["recipes/r.yaml"] = VARIED["recipes/r.yaml"].replace("deep: {a: [1, 2]}", "deep: {a: [1, 2], b: null}")


def _job(rng: random.Random) -> list[str]:
    """Overrides of a job, drawn so that many jobs differ in plain values only."""
    recipe = rng.choice(["r", "r", "far", "odd", "whole", "parts"])
    number = rng.choice(
        ["3", "-7", "0", "1.5", "1e-3", "1e3", "true", "null", "012", "9007199254740993", "1_000"]
    )
    text = rng.choice(
        ["abc", "'a b'", '"q"', "''", "a-b", "5m", "'5'", "on", "nan", "${seed}", "'a$b'", "\\,", "???"]
    )
    words = [
        f"seed={rng.choice(['0', '5', '17', number])}", f"params.n={number}", f"name={text}", f"timeout={number}",
        f"params.deep.b={text}", f"params.c={number}", f"tags=[{text}]", f"+params.new={number}", "~params.n",
        f"params={{n: {number}}}", "runtime=other", "runtime=chosen", f"cost_guard.max_usd={rng.randint(-1, 5)}",
        f"++params.n={number}", f"params.a={text}", f"description={text}", f"policy={text}", f"nosuch={number}",
        f"runtime.grace_seconds={number}", f"runtime.name={text}", f"recipe={recipe}", "params.deep=3",
        f"params.n={text}",
    ]  # fmt: skip
    return [f"+recipe={recipe}", *rng.sample(words, rng.choice([1, 1, 2, 2, 3, 4]))]


def _with_other_values(rng: random.Random, job: list[str]) -> list[str]:
    """The same job with other numbers for its seed and parameters, where they are plain ones."""
    return [
        f"{text.partition('=')[0]}={rng.choice([rng.randint(0, 99), 2.5, 'true'])}"
        if text.startswith(("seed=", "params.")) and rng.random() < 0.8
        else text
        for text in job
    ]


def _outcome(composer: Composer | Memory, overrides: list[str]) -> Any:
    """All of what comes out of a composition, with the type of every value."""
    try:
        request = composer.compose(overrides)
    except ConfigError as error:
        return [(fault.where, fault.problem, fault.hint) for fault in error.faults]
    return {**{key: repr(value) for key, value in vars(request).items()}, "spec": plain_spec(request.spec)}


@pytest.mark.parametrize("seed", range(times(1, 6)))
def test_a_job_is_the_same_whatever_was_composed_before(seed: int, tmp_path: Path) -> None:
    """Jobs of one sweep share work, and with those of earlier commands, and each comes out as if it had been
    composed alone: values, types, order, faults. Half of them differ from another one in plain values only."""
    rng = random.Random(seed)
    project = write(tmp_path, VARIED)
    _age(tmp_path)
    shared, memory = Composer(project), Memory(project)
    jobs = [_job(rng) for _ in range(10)]
    for job in list(jobs):
        jobs += [_with_other_values(rng, job) for _ in range(3)]
    alone = [_outcome(Composer(project), job) for job in jobs]
    for way in (shared, memory, Memory(project)):
        for job, expected in zip(jobs, alone, strict=True):
            assert _outcome(way, job) == expected, job


def test_jobs_that_differ_in_values_are_not_composed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep over seeds and parameters composes once; references follow the values."""
    composer = Composer(write(tmp_path, VARIED))
    first = composer.compose(["+recipe=r", "seed=0", "params.n=0", "params.deep.b=x"])
    monkeypatch.setattr(composer, "_build", None)
    for n in range(5):
        request = composer.compose(["+recipe=r", f"seed={n}", f"params.n={n}.5", f"params.deep.b='t {n}'"])
        assert request.spec.command == ("python", "x.py", str(n), f"{n}.5")
        assert request.spec.description == f"n is {n}.5, a t {n} of {n}"
        assert request.config["description"] == first.config["description"]
    assert (first.spec.seed, first.parameters["params"]["n"], first.config["seed"]) == (0, 0, 0)


def test_values_from_the_environment_stay_out_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """${oc.env:X} reaches the command, also through another key; the record keeps the reference."""
    monkeypatch.setenv("SOME_VALUE", "from outside")
    text = "command: [echo, '${params.b}']\nparams: {a: '${oc.env:SOME_VALUE}', b: 'x ${params.a}'}\n"
    request = Composer(write(tmp_path, {"recipes/r.yaml": text})).compose(["+recipe=r"])
    assert request.spec.command == ("echo", "x from outside")
    assert request.parameters["command"] == ["echo", "x ${oc.env:SOME_VALUE}"]
    assert "from outside" not in str(request.parameters) + str(request.config)
    again = Composer(write(tmp_path, {"recipes/r.yaml": text})).compose(["+recipe=r"])
    assert again.spec.command == request.spec.command


def test_other_hydra_applications_see_nothing_of_us(tmp_path: Path) -> None:
    """A Hydra application of the same environment has no search path, runtime or recipe of ours."""
    app = tmp_path / "app.py"
    app.write_text(
        "import hydra\n@hydra.main(config_path=None)\ndef main(cfg): print('cfg', dict(cfg))\nmain()\n"
    )
    for words in ([], ["--info", "searchpath"], ["--help"]):
        ended = subprocess.run(
            [sys.executable, str(app), *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        assert "worldflux" not in ended.stdout.lower() and "recipe" not in ended.stdout
    words = [sys.executable, str(app), "+runtime=local"]
    assert subprocess.run(words, cwd=tmp_path, capture_output=True).returncode == 0


def test_a_project_file_chooses_defaults(tmp_path: Path) -> None:
    """Runtime and budget of the project file hold unless the command line says otherwise."""
    project = write(
        tmp_path,
        {
            "recipes/r.yaml": RECIPE,
            "worldflux.yaml": "project: p\ncost_guard: {max_usd: 4}\npolicy: production\n",
        },
    )
    assert Composer(project).compose(["+recipe=r"]).spec.cost_guard.max_usd == 4
    changed = Composer(project).compose(["+recipe=r", "cost_guard.max_usd=2", "policy=null"])
    assert changed.spec.cost_guard.max_usd == 2 and changed.spec.policy is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1h30m", 5400), ("500ms", 0.5), ("2d", 172800), ("1.5h", 5400), (7, 7)],
)
def test_durations(text: Any, seconds: float) -> None:
    """A duration is seconds, or a text with units."""
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("bad", ["", "s", "5 parsecs", "-3s", True, float("inf"), float("nan"), 0, 1e12])
def test_durations_that_are_none(bad: Any) -> None:
    """Anything else is a fault."""
    values = {"recipe": "r", "command": ["x"], "runtime": {"_target_": "a.b", "name": "l"}, "timeout": bad}
    with pytest.raises(ValueError, match="timeout"):
        RunSpec.model_validate(values)


def _age(root: Path) -> None:
    """Make every file old enough to be trusted."""
    for path in [root, *root.rglob("*")]:
        os.utime(path, (1_600_000_000, 1_600_000_000))


def test_a_remembered_composition_is_the_same(tmp_path: Path) -> None:
    """The second time the answer comes from the cache, and is the same for everybody who reads it."""
    project = write(
        tmp_path,
        {"recipes/r/recipe.yaml": RECIPE + "env: {requirements: q.lock}\n", "recipes/r/q.lock": "# 1\n"},
    )
    _age(tmp_path)
    words = ["+recipe=r", "seed=2", "+metrics.m={file: a.json, select: b}", "runtime.env.pass=[A?]"]
    first = compose_cached(project, words)
    kept = list((tmp_path / ".worldflux" / "composed").iterdir())
    second = compose_cached(project, words)
    assert len(kept) == 1 and not isinstance(second.spec, RunSpec)
    assert (second.parameters, second.config, second.overrides) == (
        first.parameters,
        first.config,
        first.overrides,
    )
    for read in (
        lambda s: (
            s.recipe,
            s.command,
            s.seed,
            s.timeout,
            s.env.pass_,
            s.env.set,
            s.tags,
            s.params,
            s.deterministic,
        ),
        lambda s: (s.metrics["m"].file, s.metrics["m"].select, s.metrics["m"].kind, s.metrics["m"].optional),
        lambda s: (s.runtime.name, s.runtime.target, s.runtime.options, s.runtime.env.pass_),
        lambda s: (s.cost_guard.max_usd, s.sweep.max_parallel, s.requires.vram_gb, s.artifacts, s.inputs),
    ):
        assert read(first.spec) == read(second.spec)
    (tmp_path / "recipes/r/q.lock").write_text("# 2\n")
    assert compose_cached(project, words).lock == "# 2\n"


@pytest.mark.parametrize("change", ["recipe", "shadow", "group", "project"])
def test_a_changed_file_is_noticed(change: str, tmp_path: Path) -> None:
    """Any file that has or gets a part in the result makes the memory of it void."""
    files = {
        "recipes/r/recipe.yaml": RECIPE,
        "conf/cost_guard/tight.yaml": "max_usd: 3\n",
        "worldflux.yaml": "project: p\n",
    }
    project = write(tmp_path, files)
    _age(tmp_path)
    words = ["+recipe=r", "cost_guard=tight"]
    before = compose_cached(project, words)
    if change == "recipe":
        (tmp_path / "recipes/r/recipe.yaml").write_text(RECIPE.replace("seed: 0", "seed: 8"))
        assert compose_cached(project, words).spec.seed == 8
    elif change == "shadow":
        (tmp_path / "recipes/r.yaml").write_text(RECIPE.replace("seed: 0", "seed: 9"))
        assert compose_cached(project, words).spec.seed == 9
    elif change == "group":
        (tmp_path / "conf/cost_guard/tight.yaml").write_text("max_usd: 7\n")
        assert compose_cached(project, words).spec.cost_guard.max_usd == 7
    else:
        project = write(tmp_path, {"worldflux.yaml": "project: p\npolicy: production\n"})
        assert compose_cached(project, words).spec.policy == "production"
    assert before.spec.seed == 0


def test_what_reads_the_environment_is_never_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two environments give two results, and no value of the environment is on disk."""
    project = write(tmp_path, {"recipes/r.yaml": "command: [echo, '${oc.env:WHO}']\n"})
    _age(tmp_path)
    for who in ("first-value", "second-value"):
        monkeypatch.setenv("WHO", who)
        assert compose_cached(project, ["+recipe=r"]).spec.command == ("echo", who)
    assert not any("first-value" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_a_broken_memory_is_ignored(tmp_path: Path) -> None:
    """Garbage where a composition is kept costs time, not correctness."""
    project = write(tmp_path, {"recipes/r.yaml": RECIPE})
    _age(tmp_path)
    compose_cached(project, ["+recipe=r"])
    (kept,) = (tmp_path / ".worldflux" / "composed").iterdir()
    for garbage in (b"", b"{", b"[]", b'{"spec": 1}', b"\xff"):
        kept.write_bytes(garbage)
        assert compose_cached(project, ["+recipe=r"]).spec.seed == 0
