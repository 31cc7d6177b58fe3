"""What is composed without Hydra is what Hydra composes; what it is not sure of, it leaves alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from nightly import times
from plain_specs import plain_spec

from worldflux.config.compose import Composer
from worldflux.config.plain_merge import PlainMerge
from worldflux.config.project import Project, builtin_dir, load_project
from worldflux.config.recipes import all_recipes
from worldflux.config.request import RunRequest
from worldflux.errors import ConfigError

BUILTIN = (builtin_dir("conf") / "worldflux.yaml").read_text()
LOCAL = "_target_: worldflux.runtime.local_plugin.LocalPlugin\nname: local\n"


def project(root: Path, files: dict[str, str]) -> Project:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return load_project(root)


def told(request: RunRequest) -> dict[str, Any]:
    """All of a request, with type and order of every value."""
    return {**{key: repr(value) for key, value in vars(request).items()}, "spec": plain_spec(request.spec)}


def by_hydra(where: Project, words: list[str]) -> dict[str, Any] | None:
    """What Hydra makes of these words; None when there is a fault."""
    try:
        return told(Composer(where).compose(words))
    except ConfigError:
        return None


#: Lines for recipes and other files: of the plainest form, and such that mean more than they say, or are wrong.
LINES = [
    "params: {n: 1, all: '${tags}', deep: '${cost_guard}'}", "params: {n: 2, a: '${params.b}', b: {c: '${seed}'}}",
    "runtime: {guard: '${cost_guard}', tags: '${tags}'}", "env: {set: '${params.v}'}", "runtime: {all: '${params}'}",
    "params: {n: 1, deep: {a: [1, 2], b: null}}", "params: {n: '${seed}', m: 'n is ${params.n}'}", "timeout: 5m",
    "params: {n: 1.0, big: 9007199254740993, tiny: 1e-9, on_: true, defaults: [a]}", "params: {}", "seed: 3",
    "params: {ü: 'ß', n: [[1], {a: '${seed}'}]}", "params: {'1': a, 'a.b': c, n: 0}", "tags: [a, b]", "task: train",
    "tags: ['${params.n}']", "objective: [a, b]", "objective: a", "metrics: {m: {file: a.json, select: b}}",
    "env: {set: {A: '${seed}'}}", "description: '${recipe}'", "hydra: {run: {dir: x}}", "cost_guard: {max_usd: 3}",
    "runtime: {pty: true}", "sweep: {retries: 2}", "name: x", "policy: production", "source: .",
    "inputs: [{role: dataset, ref: 'a${seed}'}]", "requires: {vram_gb: 1}", "extra_args: ['${seed}', 1, true]",
]  # fmt: skip
ODD_LINES = [
    "params: {n: 'x ${tags}'}", "params: {a: '${params.b}', b: ['${params.a}']}", "params: {n: '${runtime.guard.a}'}",
    "params: null", "params: [1]", "params: {a: '${params}', n: 2}", "params: {a: '${nosuch}', n: 2}", "tags: null",
    "params: {a: '${.n}', n: 2}", "params: {n: '${oc.env:HOME}'}", "params: {n: '\\${x}'}", "params: {n: ???}",
    "params: {n: '${params.a}', a: '${params.n}'}", "params: {n: 'a${', b: $}", "params: {n: [???]}", "env: null",
    "params: {n: .nan}", "timeout: '${params.n}'", "timeout: ???", "tags: {a: 1}", "metrics: null", "hydra: null",
    "defaults: []", "defaults: [_self_]", "defaults: [{override /runtime: other}]", "cost_guard: null",
    "runtime: {name: '${name}'}", "runtime: other", "recipe: other", "nosuch: 1", "source: nowhere",
    "env: {requirements: q.lock}", "params: {m: {n: '${..b}'}, b: 1}", "hydra: {job: {name: '${recipe}'}}",
]  # fmt: skip
WORDS = [
    "seed=5", "seed=0", "params.n=7", "params.n=1.5", "params.n=abc", "params.n=null", "params.n=True", "params.n=a-b",
    "timeout=2h", "timeout=90s", "runtime=local", "runtime=other", "runtime.pty=true", "runtime.grace_seconds=3",
    "task=train", "cost_guard=tight", "cost_guard=default", "cost_guard.max_usd=2", "name=run-1", "policy=production",
    "sync=true", "description=_x", "sweep.retries=3", "project=p", "deterministic=false", "objective=m",
]  # fmt: skip
ODD_WORDS = [
    "seed=-1", "seed=1.5", "seed=true", "params.n=NaN", "params.n=1e3", "params.n=5m", "params.n=012", "sync=on",
    "params.n=1_0", "params.deep=3", "params.deep.b=x", "params.deep.a=3", "params.new=1", "+params.new=1", "~params.n",
    "++params.n=1", "params.m=2", "timeout=0m", "runtime=nosuch", "runtime=5", "runtime=true", "runtime.name=far",
    "runtime.env=x", "cost_guard=local", "tags=[a]", "tags=a", "name=nan", "name=INF", "name=null", "name='a b'",
    "description=${seed}", "recipe=s", "+recipe=r", "nosuch=1", "hydra.job.name=x", "hydra=x", "group=a", "+group=a",
    "group.k=2", "runtime@x=local", "recipe.x=1", "env.set.A=3", "params.n=", "params.n=a.b", "params.n=a/b",
    "adapter=none",
]  # fmt: skip


RECIPES = ["r", "s", "team/r"] * 4 + ["cpu-smoke", "none"]
COMMANDS = ["[x, '${seed}']", "[x, '${params.n}', 3]", "[x, 1, '-${task}-']", "[x, true]", "[x]", "x y"]
HEADERS = ["# @package _global_\n", "# @package group.k\n", "#@x\n", "# a\n# @package x\n"]
OTHER = ["", "", "pty: true\n", "defaults: [local]\n", "grace_seconds: ${params.n}\n", "env_groups: ???\n"]
TIGHT = ["max_usd: 4\n", "max_usd: 4\n", "max_usd: 5\nmax_sweep_usd: 9\n", "", "- a\n", "a: [\n"]
CHOSEN = ["", "runtime: other", "cost_guard: {max_usd: 2.5}", "policy: production", "runtime: nosuch"]


def drawn(rng: random.Random, plain: list[str], odd: list[str]) -> list[str]:
    """Some of the plain ones, and now and then an odd one."""
    return rng.sample(plain, rng.choice([0, 1, 2, 2, 3])) + rng.sample(odd, rng.choice([0, 0, 0, 0, 1]))


def tree(rng: random.Random) -> dict[str, str]:
    """Files of a project: mostly plain ones."""

    def content() -> str:
        lines = ["params: {n: 1}", "seed: 0", *drawn(rng, LINES, ODD_LINES)]
        return "".join(f"{line}\n" for line in {line.partition(":")[0]: line for line in lines}.values())

    def recipe() -> str:
        return f"command: {rng.choice(COMMANDS)}\n{content()}"

    def header() -> str:
        return rng.choice(HEADERS) if rng.random() < 0.2 else ""

    files = {
        "recipes/r.yaml": recipe(),
        "recipes/s/recipe.yaml": recipe(),
        "recipes/s/q.lock": "# none\n",
        "recipes/team/r.yml": recipe(),
        "conf/runtime/other.yaml": header() + LOCAL + rng.choice(OTHER),
        "conf/cost_guard/tight.yml": header() + rng.choice(TIGHT),
    }
    if rng.random() < 0.4:
        files["worldflux.yaml"] = f"project: p\n{rng.choice(CHOSEN)}\n"
    if rng.random() < 0.2:
        primary = rng.choice(
            ["runtime: other\n  - _self_", "_self_\n  - group: b", "_self_\n  - runtime: other"]
        )
        other = BUILTIN.replace("_self_\n  - runtime: local", primary)
        files["conf/worldflux.yaml"] = header() + other + rng.choice(["", "group: null\n", "group: {k: 0}\n"])
        files |= {"conf/group/a.yaml": f"{header()}k: 1\n", "conf/group/b.yaml": "k: {l: 2}\n"}
    if rng.random() < 0.05:
        files["conf/recipe/r.yaml"] = "name: shadow\n"
    return files


@pytest.mark.parametrize("seed", range(times(25, 150)))
def test_the_same_as_hydra_or_nothing(seed: int, tmp_path: Path) -> None:
    """Over random trees and words: values, types, order and files are Hydra's; what has a fault is never made."""
    rng = random.Random(seed)
    where = project(tmp_path, tree(rng))
    merge = PlainMerge(where)
    for _ in range(6):
        words = [f"+recipe={rng.choice(RECIPES)}", *drawn(rng, WORDS, ODD_WORDS)]
        made = merge.compose(words)
        if made is not None:
            assert told(made[0]) == by_hydra(where, words), words


@pytest.mark.parametrize("name", all_recipes(load_project(builtin_dir("recipes").parent)))
@pytest.mark.parametrize(
    "words",
    [[], ["seed=3"], ["runtime=local", "timeout=10m"], ["cost_guard.max_usd=5", "name=a-b", "sync=true"]],
)
def test_common_words_need_no_hydra(name: str, words: list[str], tmp_path: Path) -> None:
    """Every recipe that comes with WorldFlux is composed this way, with what people type every day."""
    where = project(tmp_path, {"worldflux.yaml": "project: p\nruntime: local\ncost_guard: {max_usd: 2.5}\n"})
    made = PlainMerge(where).compose([f"+recipe={name}", *words])
    assert made is not None and told(made[0]) == by_hydra(where, [f"+recipe={name}", *words])


@pytest.mark.parametrize("runtime", ["aws-ec2", "local", "modal", "replicate"])
def test_every_runtime_needs_no_hydra(runtime: str, tmp_path: Path) -> None:
    """So is every runtime that comes with WorldFlux and is whole by itself, with the parts that it refers to."""
    words = ["recipe=r", f"runtime={runtime}", "seed=1", "cost_guard.max_usd=2"]
    where = project(tmp_path, {"recipes/r.yaml": "command: [x]\nartifacts: [{path: '*.json'}]\n"})
    made = PlainMerge(where).compose(words)
    assert made is not None and told(made[0]) == by_hydra(where, words)


#: Files, besides a plain recipe, and words that mean something else than they seem to.
SEEMING = {
    "package": (
        {"conf/runtime/other.yaml": f"# @package _global_\nname: x\n{LOCAL[:62]}"},
        ["runtime=other"],
    ),
    "below": ({"conf/cost_guard/tight.yaml": "# @package cost_guard.x\nmax_usd: 4\n"}, ["cost_guard=tight"]),
    "missing": ({"recipes/r.yaml": "command: [x]\nname: ???\n"}, []),
    "missing-item": ({"recipes/r.yaml": "command: [x, ???]\n"}, []),
    "still-there": ({"recipes/r.yaml": "command: [x]\ntask: ???\n"}, []),
    "in-a-group": ({"conf/runtime/other.yaml": f"{LOCAL}pty: ???\n"}, ["runtime=other", "runtime.pty=true"]),
    "own-defaults": ({"conf/runtime/other.yaml": "defaults: [local]\npty: true\n"}, ["runtime=other"]),
    "recipe-defaults": ({"recipes/r.yaml": "command: [x]\ndefaults: [{override /runtime: modal}]\n"}, []),
    "shadow": ({"conf/recipe/r.yaml": "name: shadow\n"}, []),
    "reference-replaced": ({"recipes/r.yaml": "command: [x]\nname: '${recipe}'\n"}, ["name=y"]),
    "emptied": ({"recipes/r.yaml": "command: [x]\ncost_guard: null\n"}, []),
    "list-over-map": ({"recipes/r.yaml": "command: [x]\nenv: []\n"}, []),
    "merged": (
        {"recipes/r.yaml": "command: [x]\nenv: {set: {A: b}}\nsweep: {retries: 3}\n"},
        ["env.set.A=c"],
    ),
    "no-number": ({"recipes/r.yaml": "command: [x]\nparams: {n: 1}\n"}, ["params.n=nan"]),
    "no-key": ({"recipes/r.yaml": "command: [x]\nparams: {n: 1}\n"}, ["params.m=2"]),
    "group-of-a-value": ({"conf/seed/a.yaml": "b: 1\n"}, ["seed=3"]),
}


@pytest.mark.parametrize("name", SEEMING)
def test_what_seems_plain(name: str, tmp_path: Path) -> None:
    """Headers, missing values, lists of defaults and shadows mean here what they mean to Hydra."""
    files, words = SEEMING[name]
    where = project(tmp_path, {"recipes/r.yaml": "command: [x]\n", **files})
    made = PlainMerge(where).compose(["+recipe=r", *words])
    assert made is None or told(made[0]) == by_hydra(where, ["+recipe=r", *words])


@pytest.mark.parametrize(
    "defaults",
    ["5", "x", "null", "[]", "{_self_: x}", "[{}]", "[[a]]", "[_self_, 5]", "[_self_, {runtime: 5}]",
     "[_self_, {runtime: [a]}]",
     "[{_self_: ''}]", "[_self_, _self_]", "[_self_, {runtime: local, cost_guard: default}]", "[_self_, local]",
     "[_self_, {runtime: local}, {runtime: local}]", "[_self_, {recipe: r}]", "[{runtime: local}]"],
)  # fmt: skip
def test_a_defaults_list_of_any_form(defaults: str, tmp_path: Path) -> None:
    """Whatever stands there is what it is to Hydra, or is left to it."""
    own = f"defaults: {defaults}\n{BUILTIN[BUILTIN.index('# What is run') :]}"
    where = project(tmp_path, {"recipes/r.yaml": "command: [x]\n", "conf/worldflux.yaml": own})
    made = PlainMerge(where).compose(["+recipe=r"])
    assert made is None or told(made[0]) == by_hydra(where, ["+recipe=r"])


def test_two_runs_share_nothing_that_can_be_changed(tmp_path: Path) -> None:
    """A merge can be used again; what an earlier run was given is not in a later one."""
    merge = PlainMerge(project(tmp_path, {"recipes/r.yaml": "command: [x]\nparams: {n: 1, d: {a: 2}}\n"}))
    first, second = (merge.compose(["+recipe=r", *words]) for words in (["params.d.a=3", "seed=9"], []))
    assert first is not None and second is not None
    assert (first[0].config["params"], first[0].spec.seed) == ({"n": 1, "d": {"a": 3}}, 9)
    assert (second[0].config["params"], second[0].spec.seed) == ({"n": 1, "d": {"a": 2}}, None)
