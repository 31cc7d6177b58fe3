"""The forms in which a known secret may stand in a document, and a fast search for all of them.

Looks can not tell a 40-digit key from a commit id; knowing the value can. Not found: a secret that was cut
in two, compressed, hashed, or wrapped over lines inside an encoding.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

#: Shorter values would be found in any text; they are not searched for.
SHORTEST = 8

_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=")


def to_bytes(text: str) -> bytes:
    """UTF-8, also for what the system or a JSON escape smuggled in as lone surrogates."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def to_text(data: bytes) -> str:
    """The inverse of `to_bytes` for any bytes."""
    return data.decode("utf-8", "surrogateescape")


def plain_forms(value: str) -> Iterator[str]:
    """The value as it is and as text formats escape it: JSON, URLs, Python literals, numbers."""
    import json
    from urllib.parse import quote, quote_plus

    yield value
    for ascii_only in (True, False):
        escaped = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        yield escaped
        yield escaped.replace("/", "\\/")
    raw = to_bytes(value)
    for safe in ("", "/", "!'()*~", ";,/?:@&=+$-_.!~*'()#", "!#$%&'()*+,/:;=?@[]~"):
        quoted = quote(raw, safe=safe)
        first, *escapes = quoted.split("%")
        yield quoted
        yield "%".join([first, *(escape[:2].lower() + escape[2:] for escape in escapes)])
    yield quote_plus(raw)
    for literal in (repr(value)[1:-1], ascii(value)[1:-1], repr(raw)[2:-1]):
        bare = literal.replace("\\'", "'")
        yield bare
        yield bare.replace("'", "\\'")
    yield from _numbers(value)


def _numbers(value: str) -> Iterator[str]:
    """What JSON leaves of a value that was taken for a number: no leading zeros, shortest digits."""
    digits = value[1:] if value[0] in "+-" else value
    if len(value) > 400 or not value.isascii() or not digits.replace(".", "", 1).isdigit():
        return
    number = float(value)
    if abs(number) < 1e308:
        yield repr(number)
    whole = digits.lstrip("0")
    if whole.isdigit():
        yield whole


def encoded_forms(value: str) -> Iterator[bytes]:
    """The value inside base64 (both alphabets, at each of the three alignments) and in hexadecimal digits.

    Only the characters that depend on nothing but the value are kept, so it is found inside longer text.
    """
    import base64

    raw = to_bytes(value)
    for shift in range(3):
        bits = 8 * (shift + len(raw))
        inner = base64.b64encode(b"\0" * shift + raw)[-(-8 * shift // 6) : bits // 6]
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")
    yield raw.hex().encode()
    yield raw.hex().upper().encode()


def _lines(value: str) -> Iterator[str]:
    """Each line of a PEM block is as telling as the whole."""
    if "-----BEGIN " in value:
        for line in value.replace("\\n", "\n").splitlines():
            if len(line.strip()) >= 16 and "-----" not in line:
                yield line.strip()


class Needles:
    """All forms of all known values, searched in one pass over the bytes.

    The bytes are cut into aligned words of 8 (or 4) bytes. Wherever a needle stands, one such word lies whole
    within its first 15 (or 7) bytes; a document without any of these words holds none of the needles.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        """`values`: what to call a secret -> its value; shorter than eight characters is left out."""
        self._names: dict[bytes, str] = {}
        self._encoded: set[bytes] = set()
        for name, value in values.items():
            stripped = value.strip()
            if len(stripped) < SHORTEST:
                continue
            for form in (*plain_forms(stripped), *_lines(stripped)):
                self._add(to_bytes(form), name)
            for coded in encoded_forms(stripped):
                if self._add(coded, name):
                    self._encoded.add(coded)
        long = _words([needle for needle in self._names if len(needle) >= 15], 8)
        short = _words([needle for needle in self._names if len(needle) < 15], 4)
        self._tables = [(8, "Q", frozenset(long), long), (4, "I", frozenset(short), short)]

    def _add(self, needle: bytes, name: str) -> bool:
        if len(needle) < SHORTEST or needle in self._names:
            return False
        self._names[needle] = name
        return True

    def inside(self, data: bytes) -> list[bytes]:
        """The needles that occur in the bytes, longest first."""
        if not self._names:
            return []
        found: set[bytes] = set()
        for width, code, words, needles in self._tables:
            view = memoryview(data)[: len(data) // width * width].cast(code)  # type: ignore[call-overload]
            if words and not words.isdisjoint(view):
                suspects = {needle for word in words.intersection(view) for needle in needles[word]}
                found.update(needle for needle in suspects if needle in data)
        return sorted(found, key=lambda needle: (-len(needle), needle))

    def name(self, needle: bytes) -> str:
        """What the secret of a needle is called."""
        return self._names[needle]

    def spans(self, data: bytes, needles: list[bytes]) -> Iterator[tuple[int, int, str]]:
        """(start, end, name) of each occurrence; an encoded one takes the whole encoded run with it."""
        for needle in needles:
            start = data.find(needle)
            while start >= 0:
                end = start + len(needle)
                low = start
                if needle in self._encoded:
                    while low and data[low - 1] in _BASE64:
                        low -= 1
                    while end < len(data) and data[end] in _BASE64:
                        end += 1
                yield low, end, self._names[needle]
                start = data.find(needle, end)


def _words(needles: list[bytes], width: int) -> dict[int, list[bytes]]:
    """The words that begin within the first `width` bytes of a needle -> the needles they begin."""
    words: dict[int, list[bytes]] = {}
    for needle in needles:
        for offset in range(width):
            word = int.from_bytes(needle[offset : offset + width], sys.byteorder)
            words.setdefault(word, []).append(needle)
    return words
