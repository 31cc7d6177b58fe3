"""What is wrong with a filter, an order or a cursor, said with its place."""

from __future__ import annotations

from worldflux.errors import UsageError


class QueryError(UsageError):
    """A list can not be asked for like that; the server answers 422."""

    code = "query"


class FilterError(QueryError):
    """A filter can not be understood.

    Args:
        problem: what is wrong, without the place.
        column: first character that is meant, counted from 1.
        length: how many characters are meant.
        hint: nearest right name, or what to write instead.
    """

    code = "filter"

    def __init__(self, problem: str, *, column: int, length: int = 1, hint: str = "") -> None:
        super().__init__(
            f"filter, column {column}: {problem}", hint, details={"column": column, "length": max(length, 1)}
        )
        self.column = column


class OrderError(QueryError):
    """An order or a column list names something that runs do not have."""

    code = "order"


class CursorError(QueryError):
    """A cursor is damaged, or belongs to another list."""

    code = "cursor"
