"""Reading filters: what is a filter, and what is said about what is none."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worldflux.server.query import literals
from worldflux.server.query.faults import FilterError
from worldflux.server.query.fields import FIELDS, Field, Known, Type
from worldflux.server.query.lexer import MAX_LENGTH
from worldflux.server.query.nodes import EVERY, All, Any, Comparison, Not, Operand
from worldflux.server.query.parser import MAX_DEPTH, MAX_TESTS, MAX_VALUES, parse

NOW = 1_796_000_000.0  # 2026-11-30T00:53:20Z


def number(text: str) -> Operand:
    return Operand(text, float(text))


def test_the_whole_language_in_one_line() -> None:
    """The example that people are shown reads as it looks."""
    node = parse(
        'status = failed and metrics.loss < 0.1 and (recipe ~ "push*" or tags has nightly) '
        "and created > 2026-11-01 and params.seed in [1,2,3] and not archived"
    )
    assert node == All(
        (
            Comparison(FIELDS["status"], "=", (Operand("failed"),)),
            Comparison(Field(Type.METRIC, "loss"), "<", (number("0.1"),)),
            Any(
                (
                    Comparison(FIELDS["recipe"], "~", (Operand("push*"),)),
                    Comparison(FIELDS["tags"], "has", (Operand("nightly"),)),
                )
            ),
            Comparison(
                FIELDS["created"], ">", (Operand("2026-11-01", None, (1793491200000, 1793577600000)),)
            ),
            Comparison(Field(Type.PARAM, "seed"), "in", (number("1"), number("2"), number("3"))),
            Not(Comparison(FIELDS["archived"], "=", (Operand("true"),))),
        )
    )


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_an_empty_filter_lets_everything_through(text: str) -> None:
    """No words, no condition."""
    assert parse(text) == EVERY


def test_and_binds_tighter_than_or() -> None:
    """`a or b and c` is `a or (b and c)`, and brackets change that."""
    a, b, c = (Comparison(FIELDS[name], "=", (Operand("true"),)) for name in ("starred", "lost", "baseline"))
    assert parse("starred or lost and baseline") == Any((a, All((b, c))))
    assert parse("(starred OR lost) AND baseline") == All((Any((a, b)), c))
    assert parse("not starred and lost") == All((Not(a), b))


def test_unequal_is_the_opposite_of_equal() -> None:
    """`!=` also means runs that lack the field, and `not in` likewise."""
    equal = Comparison(Field(Type.PARAM, "x"), "=", (number("3"),))
    assert parse("params.x != 3") == Not(equal)
    listed = Comparison(Field(Type.PARAM, "x"), "in", (number("3"),))
    assert parse("params.x not in [3]") == Not(listed)
    assert parse("metrics.m = null") == Not(Comparison(Field(Type.METRIC, "m"), "there"))
    assert parse("metrics.m != null") == Comparison(Field(Type.METRIC, "m"), "there")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("metrics.eval/success-rate@5 < 1", "eval/success-rate@5"),
        ('metrics."success rate" < 1', "success rate"),
        ("metrics.'it\\'s' < 1", "it's"),
        ('metrics."a.b".c < 1', "a.b.c"),
        ("metrics.日本 < 1", "日本"),
        ('metrics."a\\nb\\\\" < 1', "a\nb\\"),
    ],
)
def test_names_of_metrics(text: str, name: str) -> None:
    """A name may hold anything when it is quoted, and prints as it can be typed again."""
    node = parse(text)
    assert isinstance(node, Comparison)
    assert node.field == Field(Type.METRIC, name)
    assert parse(f"{node.field} < 1") == node


@pytest.mark.parametrize(
    ("text", "column", "problem", "hint"),
    [
        ("metric.loss < 1", 1, "no field `metric.loss`", "did you mean `metrics.loss`?"),
        ("starred and statis = failed", 13, "no field `statis`", "did you mean `status`, or"),
        ("status = fail", 10, "never `fail`", "did you mean `failed`?"),
        ("status = purple", 10, "never `purple`", "there are: queued"),
        ("loss < 1", 1, "no field `loss`", "the metric `metrics.loss`"),
        ("acc < 1", 1, "no field `acc`", "did you mean `metrics.acc`?"),
        ("xyzzy = 1", 1, "no field `xyzzy`", "`params.xyzzy`"),
        ("status == failed", 8, "no `==`", "write `=`"),
        ("name like x", 6, "no `like`", "write `~`"),
        ("status = failed && lost", 17, "expected `and` or `or`", "write `and`"),
        ("status = failed lost", 17, "expected `and` or `or`, not `lost`", "join"),
        ("!lost", 1, "expected a field, not `!`", "write `not`"),
        ("(starred", 9, "bracket of column 1 is not closed", "add `)`"),
        ("starred)", 8, "was not opened", "take it out"),
        ("tags = x", 6, "can not stand before `=`", "tags has nightly"),
        ("created > yesterdays", 11, "is no time", "2026-11-01"),
        ("created > 2026-02-30", 11, "is no time", "2026-11-01"),
        ("metrics.loss < abc", 16, "is no number", "metrics.loss < 0.1"),
        ("metrics. < 1", 1, "no field `metrics.`", "name after the dot"),
        ("metrics.loss ~ x", 14, "can not stand before `~`", "metrics.loss < 0.1"),
        ('name = "abc', 8, "not closed", 'add " at the end'),
        ('name = "a\\q"', 10, "a backslash", "two backslashes"),
        ("params.x in 3", 13, "expected a list", "in [1, 2, 3]"),
        ("params.x in [1 2]", 16, "expected `,` or `]`", ""),
        ("params.x in [1", 15, "expected `,` or `]`", ""),
        ("status", 7, "expected a comparison", "status = queued"),
        ("status =", 9, "expected a value, not the end", "write a value"),
        ("name = and", 8, "expected a value, not `and`", "quotes"),
        ("lost = maybe", 8, "true or false", "`lost` or `not lost`"),
        ("name = a\x01", 9, "U+0001", "quotes"),
        ('name = "a\0"', 10, "U+0000", ""),
        ("not", 4, "expected a field, not the end", "write a field"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_cure(
    text: str, column: int, problem: str, hint: str
) -> None:
    """Each error has the column, what is wrong, and what to write instead."""
    with pytest.raises(FilterError) as caught:
        parse(text, known=Known(metrics=["acc"], params=["lr"]))
    assert caught.value.details["column"] == column
    assert problem in caught.value.problem
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "lost " * MAX_LENGTH,
        "(" * (MAX_DEPTH + 2) + "lost" + ")" * (MAX_DEPTH + 2),
        "not " * (MAX_DEPTH + 2) + "lost",
        " or ".join(["lost"] * (MAX_TESTS + 1)),
        f"params.x in [{','.join('1' * (MAX_VALUES + 1))}]",
        "name ~ *a*a*a*a*a*a*a*a*a*",
        "name = " + "x" * 1001,
        'name = "' + "x" * 1001 + '"',
        "metrics." + "x" * 300 + " < 1",
    ],
)
def test_what_is_too_much_is_refused(text: str) -> None:
    """Length, depth, comparisons, values, wildcards and names have limits, and no stack is exhausted."""
    with pytest.raises(FilterError):
        parse(text)


def test_the_limits_themselves_are_allowed() -> None:
    """The largest filters that are promised can be read."""
    depth = MAX_DEPTH
    assert parse("(" * depth + "lost" + ")" * depth)
    assert parse(" or ".join(["lost"] * MAX_TESTS))
    assert parse(f"params.x in [{','.join('1' * MAX_VALUES)}]")


words = st.sampled_from(
    [*FIELDS, "metrics.a", 'metrics."b c"', "params.x", "and", "or", "not", "in", "has", "null", "(", ")", "[", "]",
     ",", "=", "!=", "<", "~", "3", "-7d", "2026-11", "true", '"', "'", "\\", "\0", "\ud800", "é", "*", "=="]
)  # fmt: skip


@given(st.lists(words | st.text(max_size=3), max_size=14).map(" ".join) | st.text(max_size=60))
@example("name = \ud800")
@example("'" + "\\" * 7)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing that can be typed brings the parser to an error of another kind."""
    try:
        parse(text, now=NOW)
    except FilterError as error:
        assert 1 <= error.column <= len(text) + 1
        assert error.problem.startswith(f"filter, column {error.column}: ")


@pytest.mark.parametrize(
    ("text", "first", "after"),
    [
        ("2026-11-01", "2026-11-01T00:00:00.000+00:00", "2026-11-02T00:00:00.000+00:00"),
        ("2026-12", "2026-12-01T00:00:00.000+00:00", "2027-01-01T00:00:00.000+00:00"),
        ("2024-02", "2024-02-01T00:00:00.000+00:00", "2024-03-01T00:00:00.000+00:00"),
        ("2026-11-01T10:30", "2026-11-01T10:30:00.000+00:00", "2026-11-01T10:31:00.000+00:00"),
        ("2026-11-01T10:30:05Z", "2026-11-01T10:30:05.000+00:00", "2026-11-01T10:30:06.000+00:00"),
        ("2026-11-01T10:30:05.5", "2026-11-01T10:30:05.500+00:00", "2026-11-01T10:30:05.600+00:00"),
        ("2026-11-01T10:30:05.123", "2026-11-01T10:30:05.123+00:00", "2026-11-01T10:30:05.124+00:00"),
        ("2026-11-01T00:30+02:00", "2026-10-31T22:30:00.000+00:00", "2026-10-31T22:31:00.000+00:00"),
        ("2026-11-01T23:30-01:30", "2026-11-02T01:00:00.000+00:00", "2026-11-02T01:01:00.000+00:00"),
        ("-1d", "2026-11-29T00:53:20.000+00:00", "2026-11-29T00:53:20.000+00:00"),
        ("-90m", "2026-11-29T23:23:20.000+00:00", "2026-11-29T23:23:20.000+00:00"),
        ("today", "2026-11-30T00:00:00.000+00:00", "2026-12-01T00:00:00.000+00:00"),
        ("yesterday", "2026-11-29T00:00:00.000+00:00", "2026-11-30T00:00:00.000+00:00"),
    ],
)
def test_times_cover_what_they_name(text: str, first: str, after: str) -> None:
    """A day is 24 hours, a minute 60 seconds, a moment nothing."""
    found = literals.span(text, NOW)
    assert found is not None
    assert (literals.stamp(found[0]), literals.stamp(found[1])) == (first, after)


@pytest.mark.parametrize(
    "text",
    ["2026", "2026-13", "2026-02-29", "0000-01-01", "2026-11-01T24:00", "9999-12", "2026-11-01 10:30", "7d", "now",
     "2026-11-01T10:30+25:00", "-99999999w", "0001-01-01T00:00+01:00", "２０２６-11-01"],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    """A date that does not exist is not moved to another one."""
    assert literals.span(text, NOW) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1.0), ("-1.5e3", -1500.0), (".5", 0.5), ("5.", 5.0), ("1e999", math.inf), ("-Infinity", -math.inf),
     ("inf", math.inf), ("1_000", None), ("0x10", None), ("1e", None), ("", None), ("--1", None), ("١", None)],
)  # fmt: skip
def test_numbers(text: str, expected: float | None) -> None:
    """A number is what JSON and people write, nothing else."""
    assert literals.number(text) == expected


def test_lengths_of_time() -> None:
    """`10m` is six hundred seconds, and a bare number is seconds."""
    assert literals.seconds("10m") == 600
    assert literals.seconds("1.5h") == 5400
    assert literals.seconds("90") == 90
    assert literals.seconds("10 m") is None
    node = parse("duration > 2d")
    assert isinstance(node, Comparison)
    assert node.operand.number == 172_800
