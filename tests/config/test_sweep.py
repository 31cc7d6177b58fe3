"""The jobs that a command line describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from nightly import times

from worldflux.config.compose import Composer
from worldflux.config.grammar import as_override
from worldflux.config.job import job_id_of
from worldflux.config.jobs import compose_jobs
from worldflux.config.plan import plain_plan
from worldflux.config.project import Project, load_project
from worldflux.config.sweep import plan_jobs
from worldflux.errors import ConfigError

RECIPE = "command: [python, x.py, '${seed}']\nparams: {a: 0, b: x}\nseed: 0\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "recipes").mkdir()
    for name in ("r", "s"):
        (tmp_path / "recipes" / f"{name}.yaml").write_text(RECIPE)
    return load_project(tmp_path)


def jobs(project: Project, *words: str) -> list[tuple[Any, ...]]:
    """(recipe, seed, a, b) of every job."""
    plan = plan_jobs(list(words), {}, project)
    specs = [job.request.spec for job in compose_jobs(plan.jobs, Composer(project).compose, plan.settings)]
    return [(spec.recipe, spec.seed, spec.params["a"], spec.params["b"]) for spec in specs]


def test_axes_multiply(project: Project) -> None:
    """The last axis varies fastest; a range and a list are axes alike."""
    found = jobs(project, "+recipe=r,s", "seed=range(2)")
    assert found == [("r", 0, 0, "x"), ("r", 1, 0, "x"), ("s", 0, 0, "x"), ("s", 1, 0, "x")]


def test_seeds_shorthand(project: Project) -> None:
    """sweep.seeds=3 is an axis of three seeds."""
    assert [seed for _, seed, _, _ in jobs(project, "+recipe=r", "sweep.seeds=3")] == [0, 1, 2]


def test_zip(project: Project) -> None:
    """Axes of sweep.zip go together and multiply with the others."""
    found = jobs(
        project, "+recipe=r", "params.a=1,2", "params.b=p,q", "seed=0,1", "sweep.zip=[params.a,params.b]"
    )
    assert [(a, b, seed) for _, seed, a, b in found] == [(1, "p", 0), (1, "p", 1), (2, "q", 0), (2, "q", 1)]


def test_jobs_from_a_csv(project: Project) -> None:
    """Each row is a job; cells may hold commas and quotes."""
    (project.root / "jobs.csv").write_text('params.a,params.b\n1,"x, y"\n2,it\'s\n')
    assert [(a, b) for _, _, a, b in jobs(project, "+recipe=r", "sweep.file=jobs.csv")] == [
        (1, "x, y"),
        (2, "it's"),
    ]


def test_jobs_from_yaml(project: Project) -> None:
    """A list of mappings, which may also choose recipes."""
    (project.root / "jobs.yaml").write_text("- {+recipe: r, params.a: 5}\n- {+recipe: s, params.b: '{z}'}\n")
    assert jobs(project, "sweep.file=jobs.yaml") == [("r", 0, 5, "x"), ("s", 0, 0, "{z}")]


def test_include_and_exclude(project: Project) -> None:
    """Conditions see the resolved configuration."""
    words = ("+recipe=r,s", "seed=range(4)")
    kept = jobs(
        project, *words, "sweep.include='seed > `1`'", "sweep.exclude=['recipe == `\"s\"` && seed == `3`']"
    )
    assert [(name, seed) for name, seed, _, _ in kept] == [("r", 2), ("r", 3), ("s", 2)]


def test_equal_jobs_are_one(project: Project) -> None:
    """The same configuration written twice is one job; filing does not make another."""
    assert len(jobs(project, "+recipe=r", "seed=0,1,0")) == 2
    assert len(jobs(project, "+recipe=r", "tags=[a],[b]")) == 1


def test_a_job_is_its_configuration(project: Project) -> None:
    """The id stays when the order of words or the way of the sweep changes, and changes with a value."""

    def one(*words: str) -> str:
        return job_id_of(compose_jobs([list(words)], Composer(project).compose, {})[0].request)

    same = {
        one("+recipe=r", "seed=1", "params.a=2"),
        one("params.a=2", "seed=1", "+recipe=r", "sweep.retries=3"),
    }
    assert len(same) == 1 and one("+recipe=r", "seed=2", "params.a=2")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["+recipe=r", "sweep.seeds=0"], "must be a number from 1"),
        (["+recipe=r", "sweep.seeds=x"], "must be a number from 1"),
        (["+recipe=r", "sweep.zip=[seed]"], "there is no axis seed"),
        (["+recipe=r", "seed=1,2", "params.a=1,2,3", "sweep.zip=[seed,params.a]"], "differ in length"),
        (["+recipe=r", "seed=range(1000000000)"], "limit is 10,000"),
        (["+recipe=r", "seed=range(200)", "params.a=range(200)"], "limit is 10,000"),
        (["+recipe=r", "sweep.file=none.csv"], "can not be read"),
        (["+recipe=r", "seed=1,2", "sweep.include='a ['"], "is not a JMESPath expression"),
        (["+recipe=r", "seed=1,2", "sweep.include='seed > `9`'"], "no job is left"),
    ],
)
def test_wrong_sweeps(project: Project, words: list[str], problem: str) -> None:
    """Each is one fault, found before any job is composed or run."""
    with pytest.raises(ConfigError, match=problem):
        jobs(project, *words)


@pytest.mark.parametrize("text", ["params.a,params.b\n1\n", "params.a\n", "params.a\n1,2\n"])
def test_wrong_files(project: Project, text: str) -> None:
    """Rows that do not fit the header, and a file without jobs, are faults."""
    (project.root / "jobs.csv").write_text(text)
    with pytest.raises(ConfigError, match=r"jobs\.csv"):
        jobs(project, "+recipe=r", "sweep.file=jobs.csv")


_texts = st.text(st.characters(exclude_categories=("Cc", "Cs")))
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.text(st.characters(exclude_categories=("Cc", "Cs"))),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=times(60, 200), deadline=None)
@given(_values)
def test_any_value_of_a_file_survives_the_grammar(value: Any) -> None:
    """What a file holds is what the job gets."""
    assert OverridesParser.create().parse_override(as_override("key", value)).value() == value


_words = st.builds(
    "{}{}={}".format,
    st.sampled_from(["", "+", "~"]),
    st.sampled_from(["recipe", "seed", "params.a", "params.b_1", "sweep.seeds", "sweep.order", "sweep.file"]),
    st.sampled_from(
        ["r", "a-b", "0.5", "1e-3", "a/b", "01", "1_0", "true", "''", "[1,2]", "range(2,9,3)", "range(3)"]
    )
    | st.lists(
        st.sampled_from(
            ["1", "-2", "0", "00", "x", "y_1", "a-b", "null", "True", "nan", "0.50", "1e3", "", "a b"]
        ),
        min_size=1,
        max_size=4,
    ).map(",".join)
    | st.builds("range({},{})".format, st.integers(-3, 3), st.integers(-3, 3)),
)


@settings(max_examples=times(150, 600), deadline=None)
@given(words=st.lists(_words, min_size=1, max_size=4))
def test_plain_words_mean_what_they_mean_to_hydra(words: list[str], tmp_path_factory: Any) -> None:
    """What is understood without Hydra is understood in the same way."""
    found = plain_plan(words)
    if found is not None:
        project = load_project(tmp_path_factory.getbasetemp())
        assert found == plan_jobs(words, {}, project), words


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["+recipe=r,s", "seed=range(4)"], 8),
        (["recipe=team/r", "sweep.seeds=3", "sweep.max_parallel=2", "runtime=local"], 3),
        (["+recipe=r", "params.a=range(0,10,3)", "params.b=x,y-z"], 8),
        (["+recipe=r", "params.lr=0.5", "seed=3,1,2"], 3),
    ],
)
def test_most_sweeps_are_plain(words: list[str], count: int) -> None:
    """The usual words do not need Hydra to be told apart."""
    plan = plain_plan(words)
    assert plan is not None and len(plan.jobs) == count


@pytest.mark.parametrize(
    "word",
    ["sweep.file=jobs.csv", "sweep.zip=[a,b]", "sweep.seeds=0", "seed=range(20000)", "seed=range(3,1)", "a='b'",
     "a=1e-3,1e-4", "a=true,false", "~a", "a=${b}", "a=choice(1,2)", "sweep.include=x"],
)  # fmt: skip
def test_all_others_are_left_to_hydra(word: str) -> None:
    """Whatever has a meaning that is not plain."""
    assert plain_plan(["+recipe=r", word]) is None
