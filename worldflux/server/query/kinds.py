"""Whether a parameter is a number or a text, which a filter need not say and a database wants to know.

`params.version = 2` is meant for the number 2 and for the text 2. To look for both takes a database much longer
than to look for one, and nearly every parameter is always the same kind, so that is asked first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import Connection, Select, bindparam, exists, select

from worldflux.server.query.fields import Type
from worldflux.server.query.nodes import Comparison, Kind, Node, Not
from worldflux.server.tables import run_params

#: Parameters of one filter that are asked about; the others may be of either kind.
MOST_NAMES = 8


def settled(connection: Connection, workspace_id: int, node: Node) -> Node:
    """The same filter, which knows of its parameters whether all runs of a workspace have them as one kind."""
    names = list(dict.fromkeys(test.field.name for test in _tests(node)))[:MOST_NAMES]
    kinds = {name: kind for name in names if (kind := _kind(connection, workspace_id, name))}
    return _marked(node, kinds) if kinds else node


def _tests(node: Node) -> Iterator[Comparison]:
    if isinstance(node, Comparison):
        if node.field.type is Type.PARAM and node.sign != "there":
            yield node
        return
    for part in (node.part,) if isinstance(node, Not) else node.parts:
        yield from _tests(part)


def _asked() -> Select[bool, bool]:
    p = run_params.c
    own = (p.workspace_id == bindparam("workspace"), p.name == bindparam("name"))
    return select(exists().where(*own, p.number.is_not(None)), exists().where(*own, p.number.is_(None)))


_ASKED = _asked()


def _kind(connection: Connection, workspace_id: int, name: str) -> Kind | None:
    has_numbers, has_texts = connection.execute(_ASKED, {"workspace": workspace_id, "name": name}).one()
    if has_numbers == has_texts:
        return None
    return "number" if has_numbers else "text"


def _marked(node: Node, kinds: dict[str, Kind]) -> Node:
    if isinstance(node, Comparison):
        kind = kinds.get(node.field.name) if node.field.type is Type.PARAM else None
        return replace(node, kind=kind) if kind else node
    if isinstance(node, Not):
        return Not(_marked(node.part, kinds))
    return type(node)(tuple(_marked(part, kinds) for part in node.parts))
