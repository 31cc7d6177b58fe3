"""The words of a filter, each with the column it stands at."""

from __future__ import annotations

import enum
from typing import NamedTuple

from worldflux.server.query.faults import FilterError

#: Longest filter that is read, in characters.
MAX_LENGTH = 4000
#: Longest single word or quoted text.
MAX_WORD = 1000

_OPERATORS = ("<=", ">=", "!=", "==", "=", "<", ">", "~", "(", ")", "[", "]", ",", "!")
_ENDS_WORD = frozenset("()[],\"'=!<>~")
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'"}


class Kind(enum.Enum):
    WORD = "word"
    TEXT = "quoted text"
    SIGN = "sign"
    END = "end"


class Token(NamedTuple):
    """One word.

    Attributes:
        text: what is meant: without quotes, escapes resolved.
        raw: as it was typed.
        column: of its first character, counted from 1.
    """

    kind: Kind
    text: str
    raw: str
    column: int

    def says(self, *words: str) -> bool:
        """Whether this is one of some keywords or signs; keywords in either case, never quoted."""
        if self.kind is Kind.SIGN:
            return self.text in words
        return self.kind is Kind.WORD and self.raw.lower() in words


def tokens(text: str) -> list[Token]:
    """Split a filter; the last token is always the end.

    A word goes on to the next blank, quote or sign. After a dot it may go on with a quoted
    part: `metrics."success rate"` is one word.

    Raises:
        FilterError: it is too long, a quote is not closed, or a character can not be there.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(
            f"a filter has at most {MAX_LENGTH} characters, this one {len(text)}",
            column=MAX_LENGTH + 1,
            hint="use `in [...]`, or split the list of runs in several requests",
        )
    found: list[Token] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char.isspace():
            at += 1
            continue
        token, at = _next(text, at)
        found.append(token)
    found.append(Token(Kind.END, "", "", len(text) + 1))
    return found


def _next(text: str, at: int) -> tuple[Token, int]:
    char = text[at]
    if char in "\"'":
        value, end = _quoted(text, at)
        return Token(Kind.TEXT, value, text[at:end], at + 1), end
    for sign in _OPERATORS:
        if text.startswith(sign, at):
            return Token(Kind.SIGN, sign, sign, at + 1), at + len(sign)
    return _word(text, at)


def _word(text: str, start: int) -> tuple[Token, int]:
    value: list[str] = []
    at = start
    while at < len(text) and not text[at].isspace():
        char = text[at]
        if char in "\"'" and value and value[-1].endswith("."):
            part, at = _quoted(text, at)
            value.append(part)
            continue
        if char in _ENDS_WORD:
            break
        if not char.isprintable():
            raise FilterError(
                f"the character U+{ord(char):04X} can not stand outside of quotes",
                column=at + 1,
                hint="take it out, or put the text in quotes",
            )
        value.append(char)
        at += 1
    if at - start > MAX_WORD:
        raise FilterError(f"a word has at most {MAX_WORD} characters", column=start + 1, length=at - start)
    return Token(Kind.WORD, "".join(value), text[start:at], start + 1), at


def _quoted(text: str, start: int) -> tuple[str, int]:
    quote = text[start]
    value: list[str] = []
    at = start + 1
    while at < len(text) and text[at] != quote:
        char = text[at]
        if char == "\\":
            at += 1
            escaped = _ESCAPES.get(text[at : at + 1])
            if escaped is None:
                raise FilterError(
                    "a backslash may stand only before a quote, a backslash, `n` or `t`",
                    column=at,
                    length=2,
                    hint="write two backslashes for one",
                )
            char = escaped
        elif char == "\0" or 0xD800 <= ord(char) <= 0xDFFF:
            raise FilterError(f"no run holds the character U+{ord(char):04X}", column=at + 1)
        value.append(char)
        at += 1
    if at >= len(text):
        raise FilterError(
            "the quote that opens here is not closed", column=start + 1, hint=f"add {quote} at the end"
        )
    if len(value) > MAX_WORD:
        raise FilterError(f"a text has at most {MAX_WORD} characters", column=start + 1, length=at - start)
    return "".join(value), at + 1
