"""What a filter means, said once more in plain Python: loops over one run's values, no database."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import Any

from run_rows import Row, number, param_text

from worldflux.server.query.fields import Type
from worldflux.server.query.literals import stamp
from worldflux.server.query.nodes import All, Comparison, Node, Not, Operand
from worldflux.server.query.nodes import Any as Either

COLUMN = {
    "sweep_id": "sweep_id", "commit": "git_commit", "branch": "git_branch", "error": "error_code",
    "duration": "duration_seconds", "cost": "cost_usd", "created": "created_at", "started": "started_at",
    "finished": "finished_at", "received": "received_at", "heartbeat": "heartbeat_at", "dirty": "git_dirty",
}  # fmt: skip
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def passes(node: Node, row: Row, baselines: set[str] = frozenset()) -> bool:  # type: ignore[assignment]
    """Whether a run passes a filter."""
    if isinstance(node, Not):
        return not passes(node.part, row, baselines)
    if isinstance(node, All):
        return all(passes(part, row, baselines) for part in node.parts)
    if isinstance(node, Either):
        return any(passes(part, row, baselines) for part in node.parts)
    return _one(node, row, baselines)


def _one(test: Comparison, row: Row, baselines: set[str]) -> bool:
    kind, name, sign = test.field.type, test.field.name, test.sign
    if kind is Type.TAGS:
        if sign == "~":
            return any(like(tag, test.operand.text) for tag in row.tags)
        if sign == "there":
            return bool(row.tags)
        return any(operand.text in row.tags for operand in test.operands)
    if kind is Type.METRIC:
        return name in row.metrics and (sign == "there" or _number(row.metrics[name], test))
    if kind is Type.PARAM:
        return name in row.params and (sign == "there" or _param(row.params[name], test))
    if kind is Type.FLAG:
        return _flag(name, row, baselines) == (test.operand.text == "true")
    value = _fact(name, row)
    if value is None:
        return False
    if sign == "there":
        return value != "" if kind is Type.TEXT else True
    if kind is Type.TIME:
        return _time(value, sign, test.operand)
    if kind in (Type.NUMBER, Type.SECONDS):
        return _number(float(value), test)
    return _text(value, test)


def _fact(name: str, row: Row) -> Any:
    if name in ("id", "project"):
        return row.id if name == "id" else row.project
    defaults = {
        "name": "run", "recipe": "r", "task": "train", "runtime": "local", "status": "succeeded", "attempt": 1,
        "notes": "", "evidence": "none", "created_at": "2026-11-01T00:00:00.000+00:00",
        "received_at": "2026-11-01T00:00:01.000+00:00",
    }  # fmt: skip
    column = COLUMN.get(name, name)
    return row.facts.get(column, defaults.get(column))


def _flag(name: str, row: Row, baselines: set[str]) -> bool:
    if name == "archived":
        return row.facts.get("state") == "archived"
    if name == "baseline":
        return row.id in baselines
    return bool(row.facts.get(COLUMN.get(name, name)))


def _number(value: float, test: Comparison) -> bool:
    for operand in test.operands:
        wanted = operand.number
        assert wanted is not None
        if math.isnan(wanted) and test.sign in ("=", "in") and math.isnan(value):
            return True
        if COMPARE["=" if test.sign == "in" else test.sign](value, wanted):
            return True
    return False


def _param(value: Any, test: Comparison) -> bool:
    found, text = number(value), param_text(value)
    if test.sign == "~":
        return like(text, test.operand.text)
    for operand in test.operands:
        sign = "=" if test.sign == "in" else test.sign
        if operand.number is None:
            if COMPARE[sign](text.encode(), operand.text.encode()):
                return True
        elif found is not None:
            if COMPARE[sign](found, operand.number):
                return True
        elif sign == "=" and text == operand.text:
            return True
    return False


def _time(value: str, sign: str, operand: Operand) -> bool:
    assert operand.span is not None
    first, after = stamp(operand.span[0]), stamp(operand.span[1])
    inside = first <= value < after if after > first else value == first
    below = value < first
    return {
        "=": inside, "<": below, "<=": below or inside, ">": not below and not inside, ">=": not below,
    }[sign]  # fmt: skip


def _text(value: str, test: Comparison) -> bool:
    if test.sign == "~":
        return like(value, test.operand.text)
    sign = "=" if test.sign == "in" else test.sign
    return any(COMPARE[sign](value.encode(), operand.text.encode()) for operand in test.operands)


def like(text: str, pattern: str) -> bool:
    """A pattern with `*` and `?`; without them, anywhere in the text. A to Z in either case."""
    lower = {code: code + 32 for code in range(65, 91)}
    text, pattern = text.translate(lower), pattern.translate(lower)
    if not set(pattern) & set("*?"):
        return pattern in text
    parts = [{"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern]
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None
