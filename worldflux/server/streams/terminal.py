"""What a line of a log looks like on a screen that nobody can take over.

Of all that a terminal obeys only colours may stay. Links, titles, clipboard writes, cursor moves
and whatever else a program sends goes; characters that would be invisible or turn the text around
are shown by a stand-in.
"""

from __future__ import annotations

import re

#: Longest text of a line, in characters; the rest of a longer one is left out.
MAX_LINE = 16_384

_ESCAPE = re.compile(
    r"\x1b\[(?P<sgr>[0-9;:]{0,64})m"  # colours
    r"|\x1b\[[0-?]*[ -/]*[@-~]?"  # other commands with numbers: cursor, erase, modes
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # with text: titles, links, clipboard, graphics
    r"|\x1b[ -/]*[0-~]?"  # short ones
    r"|\x9b[0-?]*[ -/]*[@-~]?"
    r"|[\x90\x98\x9d-\x9f][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
)
#: Control characters have pictures of their own in Unicode; marks of direction have not.
_SHOWN = {code: 0x2400 + code for code in range(32) if code != 9} | {127: 0x2421}
_SHOWN |= dict.fromkeys(
    [
        *range(0x80, 0xA0),
        0x061C,
        0x200E,
        0x200F,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        0x2028,
        0x2029,
    ],
    0xFFFD,
)


def line(data: bytes, *, colours: bool = False) -> str:
    """The text of a line, without its end.

    Bytes that are no UTF-8 become U+FFFD. Of what a progress bar wrote over itself the last state
    stays.

    Args:
        colours: keep the sequences that set colours (`ESC [ numbers m`), and those only.
    """
    text = data[: 4 * MAX_LINE].decode("utf-8", "replace").rstrip("\r\n")
    text = text.rpartition("\r")[2]
    parts: list[str] = []
    at = 0
    for found in _ESCAPE.finditer(text):
        parts.append(text[at : found.start()].translate(_SHOWN))
        if colours and found["sgr"] is not None:
            parts.append(found[0])
        at = found.end()
    parts.append(text[at:].translate(_SHOWN))
    whole = "".join(parts)
    return whole if len(whole) <= MAX_LINE else whole[:MAX_LINE] + "…"
