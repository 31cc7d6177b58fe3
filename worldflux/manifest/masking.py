"""Texts that are shown or stored with their secrets replaced by `***`, by their looks alone.

For values that are known, use `Gate.mask`, which does this too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from worldflux.manifest.secret_names import FIRM, NONE, grade, is_literal, is_reference
from worldflux.manifest.secret_rules import is_key_like, text_spans, userinfo_pattern

MASK = "***"


def cover(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text with every span, overlapping or not, replaced by `***`."""
    pieces, done = [], 0
    for start, end in sorted(spans):
        if start >= done:
            pieces += [text[done:start], MASK]
        done = max(done, end)
    return "".join([*pieces, text[done:]])


def mask_text(text: str) -> str:
    """The text without the secrets that their form or their surroundings give away."""
    return cover(text, [(span.start, span.end) for span in text_spans(text)])


def mask_url(url: str) -> str:
    """A URL or git remote without password, token and signature: `https://***@host/path`.

    A plain user name stays (`ssh://git@host/a.git`); `git@host:path` has no password and stays as it is.
    """
    return mask_text(userinfo_pattern().sub(_userinfo, url))


def _userinfo(match: re.Match[str]) -> str:
    secret = match.group(2) is not None or is_key_like(match.group(1)) or grade(match.group(1)) != NONE
    return f"://{MASK}@" if secret else match.group()


def mask_argv(argv: Sequence[str]) -> list[str]:
    """The arguments with the values of secret-named options replaced by `***`.

    Covers `--api-key X`, `--token=X`, `hub.token=X`, `HF_TOKEN=X`, `-u user:X`, headers, URLs and tokens of a
    known form. Hides more than the gate refuses: anything behind such an option that is not a reference
    (`$NAME`, `${...}`, a path). Names of options, and what no rule knows, stay readable.
    """
    masked: list[str] = []
    secret = login = False
    for arg in argv:
        is_option = arg.startswith("-") and len(arg) > 1
        if secret and not is_option:
            masked.append(arg if is_reference(arg) else MASK)
        elif login and ":" in arg and is_literal(arg.partition(":")[2], FIRM):
            masked.append(f"{arg.partition(':')[0]}:{MASK}")
        else:
            masked.append(_mask_argument(arg))
        secret = is_option and "=" not in arg and grade(arg.lstrip("-")) != NONE
        login = arg in ("-u", "--user")
    return masked


def _mask_argument(arg: str) -> str:
    name, sign, value = arg.partition("=")
    bare = name.lstrip("-+~")
    if (
        sign
        and value
        and re.fullmatch(r"[\w.\-/@]{1,128}", bare)
        and grade(bare) != NONE
        and not is_reference(value)
    ):
        return f"{name}={MASK}"
    return mask_url(arg)
