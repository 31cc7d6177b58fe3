"""Reading a filter: `status = failed and metrics.loss < 0.1 and not archived`."""

from __future__ import annotations

import difflib
import time

from worldflux.server.query import literals
from worldflux.server.query.faults import FilterError
from worldflux.server.query.fields import MAX_NAME, Field, Known, Type, UnknownField, find
from worldflux.server.query.lexer import Kind, Token, tokens
from worldflux.server.query.nodes import EVERY, All, Any, Comparison, Node, Not, Operand, Sign

#: How deep brackets and `not` may be nested, and how many comparisons and listed values there may be.
MAX_DEPTH = 32
MAX_TESTS = 64
MAX_VALUES = 500
#: How many `*` and `?` a pattern may have: each makes the search longer.
MAX_WILDCARDS = 8

_SIGNS = ("=", "!=", "<", "<=", ">", ">=", "~", "in", "has")
_MISTAKES = {"==": "=", "&&": "and", "||": "or", "!": "not", "&": "and", "|": "or", "like": "~", "is": "="}
_ALLOWED: dict[Type, tuple[str, ...]] = {
    Type.TEXT: ("=", "!=", "~", "<", "<=", ">", ">=", "in"),
    Type.CHOICE: ("=", "!=", "~", "in"),
    Type.NUMBER: ("=", "!=", "<", "<=", ">", ">=", "in"),
    Type.SECONDS: ("=", "!=", "<", "<=", ">", ">="),
    Type.TIME: ("=", "!=", "<", "<=", ">", ">="),
    Type.FLAG: ("=", "!="),
    Type.TAGS: ("has", "~", "in"),
    Type.METRIC: ("=", "!=", "<", "<=", ">", ">=", "in"),
    Type.PARAM: ("=", "!=", "~", "<", "<=", ">", ">=", "in"),
}
_EXAMPLES: dict[Type, str] = {
    Type.NUMBER: "3", Type.SECONDS: "10m", Type.TIME: "2026-11-01", Type.METRIC: "0.1",
}  # fmt: skip


def parse(text: str, *, known: Known | None = None, now: float | None = None) -> Node:
    """Read a filter. An empty one is true for every run.

    Args:
        known: names that exist, for better hints; a name that does not exist is no fault.
        now: seconds since 1970 that `-7d` and `today` count from; the clock when None.

    Raises:
        FilterError: it can not be read; says the column and what to write instead.
    """
    reader = _Reader(tokens(text), known, time.time() if now is None else now)
    return reader.whole()


class _Reader:
    def __init__(self, words: list[Token], known: Known | None, now: float) -> None:
        self._words = words
        self._known = known
        self._now = now
        self._at = 0
        self._tests = 0
        self._values = 0

    def whole(self) -> Node:
        if self._word.kind is Kind.END:
            return EVERY
        node = self._either(0)
        word = self._word
        if word.kind is not Kind.END:
            if word.says(")"):
                raise _fault(word, "this bracket was not opened", "take it out")
            meant = _MISTAKES.get(word.raw.lower())
            hint = f"write `{meant}`" if meant in ("and", "or") else "join comparisons with `and` or `or`"
            raise _fault(word, f"expected `and` or `or`, not {_shown(word)}", hint)
        return node

    @property
    def _word(self) -> Token:
        return self._words[self._at]

    def _take(self) -> Token:
        word = self._word
        self._at += word.kind is not Kind.END
        return word

    def _either(self, depth: int) -> Node:
        parts = [self._both(depth)]
        while self._word.says("or"):
            self._take()
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _both(self, depth: int) -> Node:
        parts = [self._one(depth)]
        while self._word.says("and"):
            self._take()
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self, depth: int) -> Node:
        word = self._word
        if depth > MAX_DEPTH:
            raise _fault(word, f"nested deeper than {MAX_DEPTH} levels", "take some brackets out")
        if word.says("not"):
            self._take()
            return Not(self._one(depth + 1))
        if word.says("("):
            self._take()
            inner = self._either(depth + 1)
            if not self._word.says(")"):
                raise _fault(
                    self._word,
                    f"the bracket of column {word.column} is not closed",
                    "add `)`, `and` or `or` here",
                )
            self._take()
            return inner
        return self._test()

    def _test(self) -> Node:
        word = self._take()
        self._tests += 1
        if self._tests > MAX_TESTS:
            raise _fault(word, f"a filter has at most {MAX_TESTS} comparisons", "use `in [...]`")
        field = self._field(word)
        sign = self._word
        negated = sign.says("not") and self._words[self._at + 1].says("in")
        if negated:
            self._take()
            sign = self._word
        if not sign.says(*_SIGNS):
            return self._bare(field, word, sign)
        self._take()
        if sign.says("=", "!=") and self._word.says("null") and field.type is not Type.FLAG:
            self._take()
            present = Comparison(field, "there")
            return present if sign.text == "!=" else Not(present)
        if sign.text.lower() not in _ALLOWED[field.type]:
            raise _fault(
                sign, f"`{field}` is {field.type.value}; it can not stand before `{sign.raw}`", _use(field)
            )
        if sign.says("in"):
            test: Node = Comparison(field, "in", self._list(field))
        else:
            test = self._compared(field, sign)
        return Not(test) if negated else test

    def _field(self, word: Token) -> Field:
        if word.kind is not Kind.WORD or word.says("and", "or", "in", "has"):
            meant = (
                "`not`" if word.says("!") else "a field, such as `status`, `metrics.loss` or `params.seed`"
            )
            raise _fault(word, f"expected a field, not {_shown(word)}", f"write {meant}")
        try:
            field = find(word.text, self._known)
        except UnknownField as error:
            raise _fault(word, f"there is no field {_shown(word)}", str(error)) from None
        if "\0" in field.name:
            raise _fault(word, "no name holds the character U+0000")
        return field

    def _bare(self, field: Field, word: Token, after: Token) -> Node:
        """A field without a comparison: right for yes-or-no fields only."""
        meant = _MISTAKES.get(after.raw.lower())
        if meant is not None and meant not in ("and", "or"):
            raise _fault(after, f"there is no `{after.raw}`", f"write `{meant}`")
        if field.type is Type.FLAG:
            return Comparison(field, "=", (Operand("true"),))
        raise _fault(after, f"expected a comparison after `{word.raw}`, not {_shown(after)}", _use(field))

    def _compared(self, field: Field, sign: Token) -> Node:
        word = self._value()
        unequal = sign.text == "!="
        test: Comparison
        if field.type is Type.TAGS and sign.text.lower() == "has":
            test = Comparison(field, "has", (self._operand(field, word),))
        elif sign.text == "~":
            test = Comparison(field, "~", (_pattern(word),))
        else:
            operand = self._operand(field, word)
            kind: Sign = "=" if unequal else sign.text  # type: ignore[assignment]
            test = Comparison(field, kind, (operand,))
        return Not(test) if unequal else test

    def _value(self) -> Token:
        word = self._word
        if word.kind not in (Kind.WORD, Kind.TEXT) or word.says("and", "or", "not", "in", "has"):
            hint = "put it in quotes if it is a value" if word.kind is Kind.WORD else "write a value here"
            raise _fault(word, f"expected a value, not {_shown(word)}", hint)
        return self._take()

    def _list(self, field: Field) -> tuple[Operand, ...]:
        opening = self._word
        if not opening.says("[", "("):
            raise _fault(
                opening, f"expected a list after `in`, not {_shown(opening)}", "write `in [1, 2, 3]`"
            )
        self._take()
        closing = "]" if opening.text == "[" else ")"
        found: list[Operand] = []
        while not self._word.says(closing):
            self._values += 1
            if self._values > MAX_VALUES:
                raise _fault(self._word, f"a filter lists at most {MAX_VALUES} values")
            found.append(self._operand(field, self._value()))
            if self._word.says(","):
                self._take()
            elif not self._word.says(closing):
                raise _fault(self._word, f"expected `,` or `{closing}`, not {_shown(self._word)}")
        self._take()
        return tuple(found)

    def _operand(self, field: Field, word: Token) -> Operand:
        text, type_ = word.text, field.type
        typed = None if word.kind is Kind.TEXT else literals.number(text)
        if type_ is Type.TIME:
            span = literals.span(text, self._now)
            if span is None:
                raise _fault(
                    word, f"`{_short(text)}` is no time", "write 2026-11-01, 2026-11-01T10:30 or -7d"
                )
            return Operand(text, None, span)
        if type_ in (Type.NUMBER, Type.METRIC, Type.SECONDS):
            value = literals.seconds(text) if type_ is Type.SECONDS else literals.number(text)
            if value is None:
                hint = f"write a number: `{field} < {_EXAMPLES[type_]}`"
                raise _fault(word, f"`{_short(text)}` is no number", hint)
            return Operand(text, value)
        if type_ is Type.CHOICE and text not in field.choices:
            close = difflib.get_close_matches(text[:64].lower(), field.choices, n=1, cutoff=0.4)
            hint = f"did you mean `{close[0]}`?" if close else f"there are: {', '.join(field.choices)}"
            raise _fault(word, f"`{field.name}` is never `{_short(text)}`", hint)
        if type_ is Type.FLAG and text.lower() not in ("true", "false", "yes", "no"):
            raise _fault(word, f"`{field.name}` is true or false, not `{_short(text)}`", _use(field))
        if type_ is Type.FLAG:
            return Operand("true" if text.lower() in ("true", "yes") else "false")
        if type_ is Type.TAGS and len(text) > MAX_NAME:
            raise _fault(word, f"a tag has at most {MAX_NAME} characters")
        return Operand(text, typed)


def _pattern(word: Token) -> Operand:
    if sum(word.text.count(sign) for sign in "*?") > MAX_WILDCARDS or len(word.text) > MAX_NAME:
        raise _fault(
            word,
            f"a pattern has at most {MAX_WILDCARDS} of `*` and `?`, and {MAX_NAME} characters",
            "write a shorter pattern; without `*` and `?` it is looked for anywhere in the text",
        )
    return Operand(word.text)


def _use(field: Field) -> str:
    """How a field is used rightly, as an example."""
    if field.type is Type.FLAG:
        return f"write `{field.name}` or `not {field.name}`"
    if field.type is Type.TAGS:
        return "write `tags has nightly` or `tags ~ night*`"
    if field.type in _EXAMPLES:
        return f"write `{field} < {_EXAMPLES[field.type]}`"
    value = field.choices[0] if field.choices else "push*" if field.type is Type.TEXT else "3"
    return f"write `{field} {'~' if value == 'push*' else '='} {value}`"


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"


def _shown(word: Token) -> str:
    return "the end" if word.kind is Kind.END else f"`{_short(word.raw)}`"


def _fault(word: Token, problem: str, hint: str = "") -> FilterError:
    return FilterError(problem, column=word.column, length=len(word.raw), hint=hint)
