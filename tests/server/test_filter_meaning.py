"""What a filter means to a database, against the same said in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
from filter_oracle import passes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nightly import times
from run_rows import Row, add, workspace
from sqlalchemy import delete, update

from worldflux.server import migrations
from worldflux.server.db import Database, connect
from worldflux.server.query.faults import FilterError
from worldflux.server.query.fields import FIELDS, Field, Type
from worldflux.server.query.kinds import settled
from worldflux.server.query.nodes import All, Any, Comparison, Node, Not, Operand
from worldflux.server.query.page import Listing, count, keys, page
from worldflux.server.query.parser import parse
from worldflux.server.query.place import Place
from worldflux.server.tables import projects, runs


@pytest.fixture(scope="module")
def database(
    tmp_path_factory: pytest.TempPathFactory, database_url: Callable[[], str | None]
) -> Iterator[Database]:
    """A database with its tables, of each kind."""
    db = connect(tmp_path_factory.mktemp("db"), database_url())
    migrations.upgrade(db)
    yield db
    db.close()


NASTY = [
    "", "a", "A", "b", "é", "É", "İ", "ß", "%", "_", "a%b", "a_b", "a\\b", "\\", "*", "?", "a*b", "[x]", "10", "1e1",
    "true", "null", "NaN", "-", "'", '"', "; drop table runs", "😀", "日本", "a\nb", "\u202e", "push-t", "PUSH",
    "z" * 64,
]  # fmt: skip
NUMBERS = [0.0, -0.0, 1.0, 1.5, -1.0, 10.0, 1e300, -1e300, 5e-324, math.inf, -math.inf, math.nan, 2.0**53]
TIMES = [
    "2026-10-31T23:59:59.999+00:00", "2026-11-01T00:00:00.000+00:00", "2026-11-01T10:30:00.000+00:00",
    "2026-11-01T10:30:59.999+00:00", "2026-11-02T00:00:00.000+00:00", "2026-12-01T00:00:00.000+00:00",
]  # fmt: skip
TYPED_TIMES = [
    "2026-11", "2026-11-01", "2026-11-02", "2026-11-01T10:30", "2026-11-01T10:30:00", "2026-11-01T10:30:59.999",
    "2026-11-01T12:30+02:00", "2026-10-31", "9999-12-31",
]  # fmt: skip
NAMES = ["loss", "a b", "eval/acc", "x.y", 'q"q', "日本"]
text = st.sampled_from(NASTY)
real = st.sampled_from(NUMBERS)
maybe = st.none() | text


def facts() -> st.SearchStrategy[dict[str, object]]:
    whole = {
        "name": text, "recipe": text, "adapter": maybe, "sweep_id": maybe, "notes": text, "git_commit": maybe,
        "who": maybe, "error_code": maybe, "status": st.sampled_from(["failed", "running", "succeeded"]),
        "state": st.sampled_from(["active", "archived"]), "support": st.sampled_from([None, "production"]),
        "attempt": st.integers(1, 3), "duration_seconds": st.none() | st.sampled_from([0.0, 1.0, 600.0]),
        "created_at": st.sampled_from(TIMES), "finished_at": st.none() | st.sampled_from(TIMES),
        "starred": st.booleans(), "lost": st.booleans(), "git_dirty": st.none() | st.booleans(),
    }  # fmt: skip
    return st.fixed_dictionaries(whole)  # type: ignore[arg-type]


row = st.builds(
    Row,
    facts=facts(),
    project=st.sampled_from(["p", "q"]),
    metrics=st.dictionaries(st.sampled_from(NAMES), real, max_size=3),
    params=st.dictionaries(
        st.sampled_from([*NAMES, "seed"]),
        text | st.booleans() | st.none() | st.integers(-2, 12) | st.sampled_from([0.5, 1e10]),
        max_size=3,
    ),
    tags=st.lists(st.sampled_from([tag for tag in NASTY if tag]), max_size=3),
)


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    """One comparison as somebody would type it."""
    kind = draw(st.sampled_from(list(Type)))
    if kind in (Type.METRIC, Type.PARAM):
        field = Field(kind, draw(st.sampled_from([*NAMES, "seed"])))
    else:
        field = draw(st.sampled_from([each for each in FIELDS.values() if each.type is kind]))
    ordered = ["=", "!=", "<", "<=", ">", ">="]
    if kind is Type.FLAG:
        return draw(st.sampled_from([str(field), f"{field} = false", f"{field} != yes"]))
    if draw(st.integers(0, 9)) == 0:
        return f"{field} {draw(st.sampled_from(['=', '!=']))} null"
    if kind is Type.TAGS:
        return draw(st.sampled_from([f"tags {sign} " for sign in ("has", "~")])) + quoted(draw(text))
    if kind is Type.TIME:
        return f"{field} {draw(st.sampled_from(ordered))} {draw(st.sampled_from(TYPED_TIMES))}"
    if kind is Type.CHOICE:
        value = draw(st.sampled_from(field.choices))
        return draw(
            st.sampled_from([f"{field} = {value}", f"{field} != {value}", f"{field} not in [{value}]"])
        )
    if kind in (Type.NUMBER, Type.SECONDS, Type.METRIC):
        sign = draw(st.sampled_from(ordered if kind is Type.SECONDS else [*ordered, "in"]))
        values = draw(st.lists(real, min_size=1, max_size=3))
        return f"{field} in {[*values]}" if sign == "in" else f"{field} {sign} {values[0]!r}"
    sign = draw(st.sampled_from([*ordered, "~", "in", "not in"]))
    value = draw(text.map(quoted) | real.map(repr) | st.sampled_from(["10", "1e1", "true"]))
    return f"{field} {sign} [{value}, 1]" if "in" in sign else f"{field} {sign} {value}"


def quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


filters = st.recursive(
    comparisons(),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("not ({})".format, inner)
    ),
    max_leaves=6,
)


@settings(max_examples=times(20, 60), suppress_health_check=list(HealthCheck))
@given(st.lists(row, min_size=1, max_size=8), st.lists(filters, min_size=4, max_size=4), st.integers(0, 7))
def test_a_database_finds_the_runs_that_the_words_mean(
    database: Database, rows: list[Row], asked: list[str], pinned: int
) -> None:
    """Whatever is asked about whatever runs, the same come out as by looking at each of them."""
    with database.write() as connection:
        place = workspace(connection, "meaning")
        connection.execute(delete(runs).where(runs.c.workspace_id == place))
        found = add(connection, place, rows)
        connection.execute(update(projects).where(projects.c.workspace_id == place).values(baseline_run=None))
        baseline = rows[pinned % len(rows)]
        connection.execute(
            update(projects)
            .where(projects.c.workspace_id == place, projects.c.slug == baseline.project)
            .values(baseline_run=baseline.id)
        )
    with database.read() as connection:
        for words in asked:
            node = parse(words)
            listing = Listing(Place(place), node, states=("active", "archived"))
            expected = {
                key for key, each in zip(found, rows, strict=True) if passes(node, each, {baseline.id})
            }
            assert set(keys(connection, listing, 100)) == expected, words
            assert count(connection, listing) == (len(expected), True)
            known = Listing(Place(place), settled(connection, place, node), states=("active", "archived"))
            assert set(keys(connection, known, 100)) == set(page(connection, known, 100).keys) == expected, (
                words
            )
            both = Listing(Place(place), All((node, node)), states=("active", "archived"))
            assert set(page(connection, both, 100).keys) == expected
            nothing = Listing(Place(place), All((node, Not(node))), states=("active", "archived"))
            assert page(connection, nothing, 100).keys == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("adapter != Act", "bare nan inf"), ("not adapter < Z", "bare nan inf"), ("adapter = act", ""),
        ("duration < 5", "full"), ("not duration < 5", "bare nan inf"), ("duration = null", "bare nan inf"),
        ("name ~ é", ""), ("name ~ É", "bare"), ("name ~ PUSH", "full nan"), ('name ~ "push?100%"', "full"),
        ('name ~ "%"', "full"), ('name ~ "_"', "full"), ("name ~ h*0", ""), ("name ~ *h*", "full nan"),
        ("metrics.m > 0", "full inf"), ("metrics.m < NaN", ""), ("not metrics.m >= NaN", "full bare nan inf"),
        ("metrics.m = NaN", "nan"), ("metrics.m != NaN", "full bare inf"), ("metrics.m = Infinity", "inf"),
        ("not metrics.m = 1", "bare nan inf"), ("metrics.m in [NaN, 1]", "full nan"),
        ("params.x = 3", "full nan"), ('params.x = "3"', "full nan"), ("params.x > 2", "full"),
        ("params.x = 3.0", "full"), ("params.x != 3", "bare inf"), ("params.flag", None), ("params.flag = true", "inf"),
    ],
)  # fmt: skip
def test_the_rules_one_by_one(database: Database, words: str, expected: str | None) -> None:
    """What is missing passes no comparison and each `not`; NaN is near nothing; A to Z alone lose their case."""
    if expected is None:
        with pytest.raises(FilterError):
            parse(words)
        return
    named = {
        "full": Row(
            {"name": "Push_100%", "adapter": "Act", "duration_seconds": 1.0}, metrics={"m": 1.0}, params={"x": 3}
        ),
        "bare": Row({"name": "É"}),
        "nan": Row({"name": "push"}, metrics={"m": math.nan}, params={"x": "3"}),
        "inf": Row(metrics={"m": math.inf}, params={"flag": True}),
    }  # fmt: skip
    with database.write() as connection:
        place = workspace(connection, "rules")
        connection.execute(delete(runs).where(runs.c.workspace_id == place))
        made = dict(zip(add(connection, place, named.values()), named, strict=True))
    with database.read() as connection:
        found = {made[key] for key in keys(connection, Listing(Place(place), parse(words)), 10)}
    assert found == set(expected.split())


def test_each_workspace_sees_its_own(database: Database) -> None:
    """No filter reaches a run, a metric, a tag or a project of another workspace."""
    with database.write() as connection:
        mine, theirs = workspace(connection, "mine"), workspace(connection, "theirs")
        same = Row(metrics={"m": 1.0}, params={"seed": 1}, tags=["t"])
        add(connection, theirs, [same, Row(project="secret")])
        (own,) = add(connection, mine, [Row(id=same.id)])
    with database.read() as connection:
        for words, expected in (
            ("", [own]), ("not archived", [own]), (f"id = {same.id}", [own]), ("metrics.m = 1", []),
            ("params.seed = 1", []), ("tags has t", []), ("project = secret", []), ("not project = secret", [own]),
            ("metrics.m = null", [own]), ("metrics.m != 1 or tags has t", [own]),
        ):  # fmt: skip
            assert keys(connection, Listing(Place(mine), parse(words)), 100) == expected, words


@pytest.mark.parametrize(
    ("values", "kind"),
    [([1, 2.5, 2], "number"), (["2", "b"], "text"), ([True, None], "text"), ([2, "2"], None), ([], None)],
)
def test_the_kind_of_a_parameter_is_known(database: Database, values: list[object], kind: str | None) -> None:
    """A parameter that all runs of a workspace have as one kind is looked for as that one alone."""
    with database.write() as connection:
        place = workspace(connection, f"kinds {values}")
        add(connection, workspace(connection, "other kinds"), [Row(params={"x": 2}), Row(params={"x": "z"})])
        made = add(connection, place, [Row(params={"x": value, "y": "2"}) for value in values])
    for words in ("params.x = 2", 'params.x = "2"', "params.x in [2, b]", "params.x >= 2", "params.x ~ 2"):
        plain = parse(f"not {words} or ({words} and params.y = 2)")
        with database.read() as connection:
            known = settled(connection, place, plain)
            every = {test.kind for test in _comparisons(known) if test.field.name == "x"}
            assert every == {kind}
            assert set(keys(connection, Listing(Place(place), known), 10)) == set(made)
            found, looked = (
                keys(connection, Listing(Place(place), node), 10)
                for node in (parse(words), settled(connection, place, parse(words)))
            )
            assert found == looked, words


def _comparisons(node: Node) -> list[Comparison]:
    if isinstance(node, Comparison):
        return [node]
    parts = (node.part,) if isinstance(node, Not) else node.parts
    return [test for part in parts for test in _comparisons(part)]


@pytest.mark.parametrize("count_of", [2, 12])
def test_many_metrics_of_one_filter(database: Database, count_of: int) -> None:
    """More metrics than are joined are looked up one by one, with the same meaning."""
    with database.write() as connection:
        place = workspace(connection, f"many{count_of}")
        metrics = {f"m{index}": float(index) for index in range(count_of)}
        good, _ = add(connection, place, [Row(metrics=metrics), Row(metrics={**metrics, "m1": 7.0})])
    with database.read() as connection:
        words = " and ".join(f"metrics.m{index} = {index}" for index in range(count_of))
        assert keys(connection, Listing(Place(place), parse(words)), 10) == [good]


def test_every_node_has_a_meaning() -> None:
    """A part of a filter that nobody gave a meaning would fail here, not on a user's screen."""
    operand = Operand("1", 1.0, (0, 1))
    samples: list[Node] = [
        Comparison(field, "there") for field in FIELDS.values() if field.type is not Type.FLAG
    ]
    samples += [
        Comparison(field, "=", (Operand("true"),)) for field in FIELDS.values() if field.type is Type.FLAG
    ]
    samples += [Not(Any((Comparison(Field(Type.METRIC, "m"), "<", (operand,)),)))]
    from worldflux.server.query.sql import condition

    for node in samples:
        assert condition(node, 1).where
