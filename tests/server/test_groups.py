"""Groups of runs, and which columns there are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from reading import listed, store
from sent_runs import SentRun
from server_process import Server

from worldflux.manifest.model import new_run_id
from worldflux.server.query.groups import statistics


@pytest.fixture
def project() -> str:
    """A project's name for one test alone."""
    return f"p-{new_run_id()[-12:]}"


def trained(project: str, lr: Any, seed: int, loss: Any, **more: Any) -> SentRun:
    """A run of a setting and a seed."""
    metric = loss if isinstance(loss, dict) else {"value": loss}
    return SentRun(
        project=project, params={"params": {"lr": lr}, "seed": seed}, metrics={"loss": metric}, **more
    )


def seeded(run: SentRun) -> SentRun:
    """The same with its seed in the manifest's claim, where the engine puts it."""
    document, seed = run.document, run.params["seed"]
    run.document = lambda: {**(made := document()), "determinism": {**made["determinism"], "seed": seed}}  # type: ignore[method-assign]
    return run


def test_mean_and_interval_over_seeds(shared_server: Server, project: str) -> None:
    """Per setting: how many, in which states, and the mean of the good ones with Student's interval."""
    runs = [seeded(trained(project, 0.1, seed, loss)) for seed, loss in ((1, 1.0), (2, 2.0), (3, 3.0))]
    runs += [seeded(trained(project, 0.2, 1, 5.0)), trained(project, 0.2, 2, 99.0, status="failed")]
    runs += [seeded(trained(project, 0.1, 4, "NaN"))]
    store(shared_server, *runs)
    answer = shared_server.call(
        "GET",
        "/api/runs/groups",
        params={"project": project, "by": "params.lr", "metric": "loss,none"},
        expect=200,
    ).json()
    first, second = answer["groups"]
    assert (first["key"], first["count"], first["by_status"]) == (0.1, 4, {"succeeded": 4})
    # Student's quantile for two degrees of freedom is 4.302652729...
    assert first["metrics"]["loss"] == {
        "n": 3, "mean": 2.0, "low": pytest.approx(2 - 4.302652729749 / 3**0.5), "std": 1.0, "min": 1.0, "max": 3.0,
        "high": pytest.approx(2 + 4.302652729749 / 3**0.5), "kind": "value", "method": "t", "unit": None, "left_out": 1,
    }  # fmt: skip
    assert (second["key"], second["by_status"]) == (0.2, {"succeeded": 1, "failed": 1})
    assert (second["metrics"]["loss"]["mean"], second["metrics"]["loss"]["low"]) == (5.0, None)
    assert first["metrics"]["none"] is None
    assert (answer["runs"], answer["is_exact"]) == (6, True)
    for group in (first, second):
        assert len(listed(shared_server, project=project, filter=group["filter"])) == group["count"]


def test_a_seed_counts_once(shared_server: Server, project: str) -> None:
    """Of runs with the same settings and seed the newest counts; other settings are other draws."""
    store(shared_server, *(seeded(trained(project, 0.1, 1, loss)) for loss in (1.0, 2.0)))
    store(shared_server, seeded(trained(project, 0.2, 1, 8.0)))
    answer = shared_server.call(
        "GET", "/api/runs/groups", params={"project": project, "by": "recipe", "metric": "loss"}, expect=200
    ).json()
    (group,) = answer["groups"]
    assert (group["count"], group["repeated"], group["metrics"]["loss"]["n"]) == (3, 1, 2)
    assert group["metrics"]["loss"]["mean"] == 5.0


def test_success_rates_pool_their_trials() -> None:
    """Three of ten and nine of ten are twelve of twenty, with Wilson's interval."""
    rows = [
        SimpleNamespace(value=k / 10, kind="finite", measure="success", k=k, n=10, unit=None) for k in (3, 9)
    ]
    found = statistics(rows)
    assert found is not None
    assert (found["k"], found["trials"], found["mean"], found["method"]) == (12, 20, 0.6, "wilson")
    assert (round(found["low"], 4), round(found["high"], 4)) == (0.3866, 0.7812)


def test_several_keys_and_runs_without_them(shared_server: Server, project: str) -> None:
    """Grouped by two fields; what has none of a parameter is a group of its own, found by its filter."""
    odd = SentRun(project=project, params={"seed": 1})
    store(shared_server, trained(project, "a b", 1, 1.0), trained(project, True, 1, 1.0), odd)
    answer = shared_server.call(
        "GET", "/api/runs/groups", params={"project": project, "by": "recipe,params.lr"}, expect=200
    ).json()
    found = {str(group["key"]): group["filter"] for group in answer["groups"]}
    assert set(found) == {"['demo', 'a b']", "['demo', True]", "['demo', None]"}
    for words in found.values():
        assert len(listed(shared_server, project=project, filter=words)) == 1
    assert listed(shared_server, project=project, filter=found["['demo', None]"]) == [odd.run_id]


@pytest.mark.parametrize(
    "query",
    [{}, {"by": ""}, {"by": "created"}, {"by": "loss"}, {"by": "tags"}, {"by": "recipe,task,status,name,project"},
     {"by": "recipe", "metric": ",".join(f"m{n}" for n in range(21))}, {"by": "recipe", "filter": "x"}, {"by": ","}],
)  # fmt: skip
def test_what_runs_can_not_be_grouped_by(shared_server: Server, query: dict[str, str]) -> None:
    """422, with what can be."""
    shared_server.call("GET", "/api/runs/groups", params=query, expect=422)


def test_columns_tell_what_differs(shared_server: Server, project: str) -> None:
    """Names with the number of runs; a parameter that is the same everywhere has one value."""
    store(shared_server, *(trained(project, 0.1, seed, 1.0, tags=["t"]) for seed in (1, 2)))
    store(shared_server, SentRun(project=project, metrics={"other": {"value": 1}}, params={"seed": 1}))
    found = shared_server.call("GET", "/api/runs/columns", params={"project": project}, expect=200).json()
    assert found["metrics"] == [{"name": "loss", "runs": 2}, {"name": "other", "runs": 1}]
    assert found["params"] == [
        {"name": "seed", "runs": 3, "distinct": 2},
        {"name": "lr", "runs": 2, "distinct": 1},
    ]
    assert found["tags"] == [{"name": "t", "runs": 2}]
    assert (found["runs"], found["is_exact"]) == (3, True)
    shared_server.call("GET", "/api/runs/columns", params={"project": "nothing"}, expect=404)
