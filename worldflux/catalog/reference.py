"""What people write to name an import: `lerobot:OWNER/NAME@REV`, `lerobot-dataset:...`, a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from worldflux.errors import UsageError

Kind = Literal["policy", "dataset"]

SCHEMES: dict[str, Kind] = {"lerobot": "policy", "lerobot-dataset": "dataset"}

#: What the Hub calls the two kinds.
HUB_KINDS: dict[Kind, str] = {"policy": "model", "dataset": "dataset"}

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(?:/[A-Za-z0-9_.-]{1,96})?\Z")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}\Z")
COMMIT = re.compile(r"[0-9a-f]{40}\Z")


@dataclass(frozen=True)
class Reference:
    """A repo of the Hub and, when one was asked for, a branch, tag or commit of it."""

    kind: Kind
    repo: str
    revision: str | None = None

    @property
    def scheme(self) -> str:
        return "lerobot" if self.kind == "policy" else "lerobot-dataset"

    @property
    def id(self) -> str:
        """The catalog id: without the revision."""
        return f"{self.scheme}:{self.repo}"

    def __str__(self) -> str:
        return self.id + (f"@{self.revision}" if self.revision else "")


def is_reference(text: str) -> bool:
    """Whether the text names a repo of the Hub rather than a folder."""
    return text.split(":", 1)[0] in SCHEMES and ":" in text


def parse(text: str) -> Reference:
    """The reference that was written.

    Raises:
        UsageError: it is not `lerobot:OWNER/NAME[@REV]` or `lerobot-dataset:OWNER/NAME[@REV]`.
    """
    scheme, colon, rest = text.partition(":")
    kind = SCHEMES.get(scheme)
    if not colon or kind is None:
        forms = "lerobot:OWNER/NAME[@REV], lerobot-dataset:OWNER/NAME[@REV], or the path of a folder"
        raise UsageError(f"`{text}` can not be imported", f"write {forms}", code="bad_reference")
    repo, at, revision = rest.partition("@")
    if not _REPO.match(repo) or ".." in repo or "--" in repo:
        raise UsageError(
            f"`{repo}` is not the name of a repo",
            f"write it as {scheme}:OWNER/NAME[@REV]",
            code="bad_reference",
        )
    if at and (not _REVISION.match(revision) or ".." in revision):
        hint = f"after the @ comes a branch, a tag or a commit, as in {scheme}:{repo}@main"
        raise UsageError(f"`{revision}` is not a revision", hint, code="bad_reference")
    return Reference(kind, repo, revision or None)
