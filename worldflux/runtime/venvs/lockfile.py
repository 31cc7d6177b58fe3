"""The text of a requirements lock: what it may say, and the same thing said plainly.

Only `name[extra]==version ; marker --hash=sha256:...` is accepted. Options, URLs, paths and
version control links are refused by line, because they would let a text decide where packages
come from or run code while they are installed. What uv reads is never the text itself but
`Lock.render()`, so a line that two parsers read differently can not slip through.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from worldflux.errors import ConfigError, Fault

MAX_BYTES = 8 * 1024 * 1024

_REQUIREMENT = re.compile(
    r"""(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)
        \s*(?:\[(?P<extras>[A-Za-z0-9._,\s-]*)\])?
        \s*(?P<versions>(?:\(?\s*(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+\s*\)?\s*,?\s*)*)
        (?:;\s*(?P<marker>[^;#]*?))?\s*\Z""",
    re.VERBOSE,
)
_PIN = re.compile(r"==\s*([A-Za-z0-9.+!_-]+)\Z")
_HASH = re.compile(r"--hash[= ](?P<algorithm>[A-Za-z0-9]+):(?P<digest>[0-9A-Fa-f]+)\Z")
_ELSEWHERE = re.compile(
    r"://|^[A-Za-z]+\+|^file:|^\.{0,2}/|^~| @ |^[^ ;\[=<>!~]+@|^[^;]*\.(whl|zip|tar\.gz)( |;|$)"
)
_HASH_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
_REFUSED_OPTIONS = {
    "-i": "an index", "--index-url": "an index", "--extra-index-url": "an index", "--index": "an index",
    "--default-index": "an index", "-f": "a place for packages", "--find-links": "a place for packages",
    "--no-index": "an index setting", "--trusted-host": "a connection setting", "-e": "an editable install",
    "--editable": "an editable install", "-r": "another file", "--requirement": "another file",
    "-c": "another file", "--constraint": "another file",
}  # fmt: skip


@dataclass(frozen=True)
class Requirement:
    """One line of a lock.

    Attributes:
        line: number of the line it starts on, from 1.
        name: as written; `key` is the normalised form.
        extras: sorted.
        versions: specifiers as written, such as `==1.2.3`; may be empty when not pinned.
        marker: environment marker, or empty.
        hashes: `algorithm:digest`, sorted.
    """

    line: int
    name: str
    extras: tuple[str, ...]
    versions: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def key(self) -> str:
        return normalised(self.name)

    @property
    def pin(self) -> str:
        """The one version it allows, or empty."""
        match = _PIN.match(self.versions)
        return match[1] if match and "*" not in match[1] else ""

    def render(self) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        marker = f" ; {self.marker}" if self.marker else ""
        hashes = "".join(f" --hash={value}" for value in self.hashes)
        return f"{self.name}{extras}{self.versions}{marker}{hashes}"


@dataclass(frozen=True)
class Lock:
    """A parsed lock."""

    requirements: tuple[Requirement, ...]

    @property
    def complete(self) -> bool:
        """Whether every line names one version and its hashes."""
        return all(item.pin and item.hashes for item in self.requirements)

    def render(self) -> str:
        """The same requirements, one plain line each, as a requirements file."""
        return "".join(item.render() + "\n" for item in self.requirements)


def normalised(name: str) -> str:
    """A project's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def plain_text(text: str) -> str:
    """The text with line feeds only and without a byte order mark: what digests are made of."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def digest(text: str) -> str:
    """SHA-256 of a lock's text in hex; the same for Windows and Unix line ends."""
    return hashlib.sha256(plain_text(text).encode("utf-8", "surrogatepass")).hexdigest()


def parse(text: str, *, label: str = "requirements", pinned: bool = True) -> Lock:
    """Read a lock's text.

    Args:
        label: what faults call the text, such as its file name.
        pinned: every line must name one version and at least one hash.

    Raises:
        ConfigError: lines that are not allowed; all of them are listed, by number.
    """
    faults: list[Fault] = []
    found: list[Requirement] = []
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ConfigError([Fault(label, f"larger than {MAX_BYTES // 1024 // 1024} MiB")])
    for number, line in _logical_lines(plain_text(text)):
        item, problem, hint = _requirement(number, line)
        if item is not None and pinned:
            problem, hint = _unpinned(item)
        if problem:
            faults.append(Fault(f"{label}:{number}", problem, hint))
        elif item is not None:
            found.append(item)
    if faults:
        raise ConfigError(faults)
    return Lock(tuple(found))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, with their first number; a backslash at the end joins the next one."""
    start, joined = 0, ""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw if raw.lstrip().startswith("#") else raw.rstrip(" \t")
        bare = re.split(r"(?:^|(?<=[ \t]))#", line, maxsplit=1)[0]
        continued = bare == line and line.endswith("\\")
        if not joined:
            start = number
        joined += bare[:-1] + " " if continued else bare
        if not continued:
            if joined.strip(" \t"):
                yield start, joined.strip(" \t")
            joined = ""
    if joined.strip(" \t"):
        yield start, joined.strip(" \t")


def _requirement(number: int, line: str) -> tuple[Requirement | None, str, str]:
    """The line's requirement, or why it is refused and what to write instead."""
    if any(not (" " <= c <= "~" or c == "\t") for c in line):
        return None, "holds a character that is not plain text", "write names and versions in ASCII"
    if "$" in line:
        return None, "variables are not expanded", "write the value itself"
    if line.startswith("-"):
        # Only the option itself: what follows may be an address with a password in it.
        option = (re.match(r"--[A-Za-z-]+|-[A-Za-z]?", line) or [""])[0]
        what = _REFUSED_OPTIONS.get(option, "an option")
        return None, f"{option}: {what} can not be set by a lock", _place_hint(what)
    head, *rest = re.split(r" (?=--?[A-Za-z])", " ".join(line.split()))
    if re.search(
        r"://|^[A-Za-z]+\+|^file:|^\.{0,2}/|^~|\s@\s|^[^\s;\[=<>!~]+@|\.(whl|zip|tar\.gz)(\s|$)", head
    ):
        return (
            None,
            "packages by URL, path or version control are refused",
            "name a released version: name==1.2.3",
        )
    match = _REQUIREMENT.match(head)
    if match is None:
        return None, "not a requirement", "write name==1.2.3 --hash=sha256:..."
    hashes: list[str] = []
    for option in rest:
        found = _HASH.match(option)
        if found is None:
            name = (re.match(r"-*[A-Za-z-]*", option) or [""])[0]
            return None, f"{name}: not allowed beside a package", "only --hash is"
        algorithm, value = found["algorithm"].lower(), found["digest"].lower()
        if len(value) != _HASH_LENGTH.get(algorithm, -1):
            return None, f"{algorithm}: not a usable hash", "use sha256, sha384 or sha512 in full length"
        hashes.append(f"{algorithm}:{value}")
    extras = sorted(
        {normalised(extra.strip()) for extra in (match["extras"] or "").split(",") if extra.strip()}
    )
    versions = re.sub(r"[\s()]", "", match["versions"]).strip(",")
    marker = " ".join((match["marker"] or "").split())
    problem = _marker_problem(marker)
    if problem:
        return None, problem, "see the marker's spelling, such as sys_platform == 'linux'"
    return (
        Requirement(number, match["name"], tuple(extras), versions, marker, tuple(sorted(set(hashes)))),
        "",
        "",
    )


def _marker_problem(marker: str) -> str:
    if not marker:
        return ""
    from packaging.markers import InvalidMarker, Marker

    try:
        Marker(marker)
    except (InvalidMarker, RecursionError):
        return "the marker after `;` can not be read"
    return ""


def _unpinned(item: Requirement) -> tuple[str, str]:
    hint = "lock it with `uv pip compile --generate-hashes`, or set env.allow_unpinned: true"
    if not item.pin:
        return f"{item.name}: not pinned to one version", hint
    if not item.hashes:
        return f"{item.name}: no --hash", hint
    return "", ""


def _place_hint(what: str) -> str:
    if "index" in what or "place" in what or "connection" in what:
        return "set it for this machine instead: UV_DEFAULT_INDEX, UV_INDEX or UV_FIND_LINKS"
    if what == "another file":
        return "put all requirements into one file"
    return "name released packages only: name==1.2.3"
