"""The tag files of a BagIt 1.0 bag (RFC 8493). Its lists of digests are input of `sha256sum -c`, too."""

from __future__ import annotations

import re
from collections.abc import Mapping

from worldflux.evidence import layout

BAGIT_TEXT = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)\Z")


class BagError(ValueError):
    """A tag file is not of the form that is written here; the message says what is wrong."""


def info(run_id: str, version: str, date: str, sizes: Mapping[str, int], left_out: int) -> str:
    """`bag-info.txt`.

    Args:
        date: the day the run ended, so that the bag of a run is the same on any day.
        sizes: path -> bytes of the files below `data/`.
        left_out: how many files stay outside by digest.
    """
    lines = [
        ("Bag-Software-Agent", f"worldflux {version}"),
        ("Bagging-Date", date),
        ("External-Identifier", f"urn:uuid:{run_id}"),
        ("Payload-Oxum", f"{sum(sizes.values())}.{len(sizes)}"),
    ]
    if left_out:
        lines.append(("Internal-Sender-Description", f"{left_out} files stay outside, by digest"))
    return "".join(f"{name}: {value}\n" for name, value in lines)


def listing(digests: Mapping[str, str]) -> str:
    """A list of digests: path in the bag -> sha256."""
    return "".join(f"{digests[path]}  {path}\n" for path in sorted(digests))


def read_listing(text: str) -> dict[str, str]:
    """Path -> sha256 of a list of digests.

    Raises:
        BagError: a line has another form, or a path stands twice.
    """
    found: dict[str, str] = {}
    if text and not text.endswith("\n"):
        raise BagError("its last line is cut off")
    for number, line in enumerate(text.split("\n")[:-1], 1):
        match = _LINE.match(line)
        if match is None:
            raise BagError(f"line {number} is no digest and path")
        if match[2] in found:
            raise BagError(f"line {number} lists a path again")
        found[match[2]] = match[1]
    return found


def oxum(text: str) -> tuple[int, int] | None:
    """Bytes and number of the payload's files as `bag-info.txt` states them; None when it does not."""
    match = re.search(r"^Payload-Oxum: ([0-9]{1,19})\.([0-9]{1,9})$", text, re.M)
    return (int(match[1]), int(match[2])) if match else None


def tag_files(names: Mapping[str, object]) -> set[str]:
    """Which of a bag's files the list of tag files has to name: all outside of `data/` but itself."""
    return {name for name in names if not name.startswith(layout.DATA) and name != layout.TAG_LIST}
