"""Secrets that are known by what stands around them: URLs, headers, flags and assignments in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from worldflux.manifest.secret_names import FIRM, NONE, STRONG, grade, is_literal, is_reference, is_wordy
from worldflux.manifest.secret_vendors import Span, vendor_spans

#: One of these must occur, in small letters, for a name in the text to be a secret's.
_NOUNS = ("key", "token", "secret", "pass", "credential", "auth", "cookie", "pwd", "jwt", "bearer", "_pat")


def text_spans(text: str) -> Iterator[Span]:
    """Every secret in a text that its looks or its surroundings give away; may overlap one another."""
    yield from vendor_spans(text)
    yield from context_spans(text)


def context_spans(text: str) -> Iterator[Span]:
    """Every secret in a text that only its surroundings give away."""
    if "://" in text and "@" in text:
        yield from _url_spans(text)
    lowered = text.lower()
    if "bearer" in lowered or "basic" in lowered:
        yield from _scheme_spans(text)
    if "authorization" in lowered:
        yield from _header_spans(text)
    for start, end in _telling_lines(text, lowered):
        yield from _flag_spans(text, start, end)
        yield from _assignment_spans(text, start, end)


def _telling_lines(text: str, lowered: str) -> list[tuple[int, int]]:
    """Runs of lines with a secret's noun, the only ones worth a search for names."""
    if len(lowered) != len(text):
        return [(0, len(text))]
    lines = set()
    for noun in _NOUNS:
        at = lowered.find(noun)
        while at >= 0:
            end = lowered.find("\n", at)
            end = len(text) if end < 0 else end
            lines.add((lowered.rfind("\n", 0, at) + 1, end))
            if len(lines) > 2000:
                return [(0, len(text))]
            at = lowered.find(noun, end)
    runs: list[tuple[int, int]] = []
    for start, end in sorted(lines):
        low = runs.pop()[0] if runs and runs[-1][1] + 1 == start else start
        runs.append((low, end))
    return runs


@cache
def userinfo_pattern() -> re.Pattern[str]:
    """`://user:password@`: group 1 is the user, group 2 the password; both end before the last `@`."""
    return re.compile(r"""://([^\s/?#"'<>@:\\\[\]]{0,256})(?::([^\s/?#"'<>\\]{1,1024}))?@""")


def _url_spans(text: str) -> Iterator[Span]:
    for match in userinfo_pattern().finditer(text):
        user, password = match.group(1), match.group(2)
        if password is not None:
            if not is_reference(password):
                yield Span(*match.span(2), "url-userinfo")
        elif is_key_like(user) and text[max(0, match.start() - 5) : match.start()].endswith(
            ("http", "https")
        ):
            yield Span(*match.span(1), "url-userinfo")


def is_key_like(user: str) -> bool:
    """Whether the user of a URL without a password is itself a token: `https://TOKEN@host/`."""
    return len(user) >= 16 and not is_wordy(user) and not is_reference(user)


@cache
def _scheme() -> re.Pattern[str]:
    return re.compile(
        r"\b(?:([Bb]earer|BEARER)|[Bb]asic|BASIC)[ \t]{1,3}([A-Za-z0-9._~+/\-]{8,4096}={0,2})", re.ASCII
    )


def _scheme_spans(text: str) -> Iterator[Span]:
    for match in _scheme().finditer(text):
        value = match.group(2)
        if is_literal(value, FIRM) if match.group(1) else _is_basic(value):
            yield Span(*match.span(2), "auth-header")


def _is_basic(value: str) -> bool:
    import base64

    try:
        decoded = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode()
    except ValueError:
        return False
    return ":" in decoded and decoded.isprintable()


@cache
def _header() -> re.Pattern[str]:
    return re.compile(
        r"""[Aa]uthorization\\?["']?[ \t]{0,3}[:=][ \t]{0,3}\\?["']?(?:[A-Za-z]{5,9}[ \t]{1,3})?"""
        r"""([A-Za-z0-9._~+/=\-]{8,4096})""",
        re.ASCII,
    )


def _header_spans(text: str) -> Iterator[Span]:
    for match in _header().finditer(text):
        if is_literal(match.group(1), FIRM):
            yield Span(*match.span(1), "auth-header")


@cache
def _value() -> re.Pattern[str]:
    """What follows a flag or a sign: group 1 or 2 in quotes, or 3 up to what ends a word."""
    return re.compile(r"""\\?"([^"\n\\]{4,512})|\\?'([^'\n\\]{4,512})|([^\s"'`,;&<>(){}\[\]\\|]{4,512})""")


@cache
def _flag() -> re.Pattern[str]:
    return re.compile(r"-(?<![\w\-]-)-?(?=([A-Za-z][\w\-]{1,60}))\1[ \t]{1,3}(?![\s\-])")


def _flag_spans(text: str, low: int, high: int) -> Iterator[Span]:
    for match in _flag().finditer(text, low, high):
        sure = grade(match.group(1)) if match.start() >= low else NONE
        value = _value().match(text, match.end()) if sure else None
        if value is None or not value.lastindex:
            continue
        low = value.end()
        # In prose "--password must be ..." the next word is no password, so it has to look like one.
        if is_literal(
            value.group(value.lastindex), STRONG if value.lastindex < 3 and sure == STRONG else FIRM
        ):
            yield Span(*value.span(value.lastindex), "cli-flag")


@cache
def _assignment() -> re.Pattern[str]:
    # The value is not part of it: in `https://host/?token=X` the name before the colon must not eat the rest.
    # A lookahead that is matched again is never tried shorter, which keeps long words cheap.
    return re.compile(
        r"""(?<![\w.\-])-{0,2}(?=([A-Za-z_][\w.\-]{1,79}))\1\\?["']?[ \t]{0,3}(:=|=>|[:=])[ \t]{0,3}"""
    )


def _assignment_spans(text: str, low: int, high: int) -> Iterator[Span]:
    for match in _assignment().finditer(text, low, high):
        sure = grade(match.group(1)) if match.start() >= low else NONE
        value = _value().match(text, match.end()) if sure else None
        if value is None or not value.lastindex:
            continue
        start, end = value.span(value.lastindex)
        low = end
        if value.lastindex == 3:
            if _is_code(text[start:end]):
                continue
            if match.group(2) == ":" and text[max(0, match.start() - 1) : match.start()] == ":":
                continue  # a part of an ARN or URN: `arn:...:secret:NAME`
            if text[end : end + 1] in ("(", "["):
                continue
            if _is_spoken(text, match, end):
                sure = min(sure, FIRM)
        if is_literal(text[start:end], sure):
            yield Span(start, end, "assignment")


def _is_code(value: str) -> bool:
    """Whether a bare word is a variable: `password=self.password`, `token = auth_token`."""
    last = value.rpartition(".")[2]
    if not value.replace(".", "_").isidentifier() or any(c.isdigit() for c in value):
        return False
    return grade(last) > NONE or (last != value and is_wordy(value))


def _is_spoken(text: str, match: re.Match[str], end: int) -> bool:
    """Whether `name: value` stands in a sentence or `name = value` in code, where a word is just a word.

    `name=value` and a line of YAML are taken at their word.
    """
    if match.group(2) != ":":
        return match.group().endswith((" ", "\t"))
    start = match.start()
    before = text[max(0, start - 200) : start].rpartition("\n")[2]
    after = text[end : end + 200].partition("\n")[0]
    return bool(before.strip(" \t-") or after.partition("#")[0].strip())
