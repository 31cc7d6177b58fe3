"""What a filter or an order may name: the facts, metrics, parameters and tags of a run."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Collection
from dataclasses import dataclass, field

from worldflux.manifest.model import STATUSES

#: Longest name of a metric, a parameter or a tag that is looked for.
MAX_NAME = 255


class Type(enum.Enum):
    """What kind of value a field has, and so how it is compared."""

    TEXT = "text"
    CHOICE = "one of some words"
    NUMBER = "a number"
    SECONDS = "a length of time"
    TIME = "a time"
    FLAG = "yes or no"
    TAGS = "tags"
    METRIC = "a metric"
    PARAM = "a parameter"


@dataclass(frozen=True)
class Field:
    """One thing that runs can be compared or ordered by.

    Attributes:
        name: as it stands in a row of the list; for metrics and parameters their own name.
        choices: the words a CHOICE may be.
    """

    type: Type
    name: str
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As it is written in a filter."""
        if self.type is Type.METRIC:
            return f"metrics.{_written(self.name)}"
        return f"params.{_written(self.name)}" if self.type is Type.PARAM else self.name


def _written(name: str) -> str:
    if name and all(
        char.isprintable() and not char.isspace() and char not in "()[],\"'=!<>~\\" for char in name
    ):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


_FIELDS = [
    *(
        Field(Type.TEXT, name)
        for name in (
            "id", "project", "name", "recipe", "adapter", "runtime", "sweep_id", "notes", "commit",
            "branch", "who", "error",
        )
    ),
    Field(Type.CHOICE, "status", STATUSES),
    Field(Type.CHOICE, "task", ("generate", "rollout", "eval", "train")),
    Field(Type.CHOICE, "support", ("production", "experimental", "disabled")),
    Field(Type.CHOICE, "evidence", ("none", "unsigned", "signed", "verified", "invalid")),
    Field(Type.NUMBER, "attempt"),
    Field(Type.SECONDS, "duration"),
    Field(Type.NUMBER, "cost"),
    *(Field(Type.TIME, name) for name in ("created", "started", "finished", "received", "heartbeat")),
    *(Field(Type.FLAG, name) for name in ("starred", "baseline", "archived", "lost", "dirty")),
    Field(Type.TAGS, "tags"),
    Field(Type.PARAM, "seed"),
]  # fmt: skip

#: Name -> field, for everything that is neither a metric nor a parameter.
FIELDS = {each.name: each for each in _FIELDS}

#: Other ways to write a field, most of them the names that a row of the list has.
ALIASES = {
    "created_at": "created", "started_at": "started", "finished_at": "finished", "received_at": "received",
    "heartbeat_at": "heartbeat", "duration_seconds": "duration", "cost_usd": "cost", "tag": "tags",
    "sweep": "sweep_id", "git.commit": "commit", "git.branch": "branch", "git.dirty": "dirty", "owner": "who",
    "error.code": "error", "client_run_id": "id", "run_id": "id",
}  # fmt: skip


@dataclass(frozen=True)
class Known:
    """Names that runs of this place really have, to find the one that was meant."""

    metrics: Collection[str] = field(default=())
    params: Collection[str] = field(default=())


class UnknownField(Exception):
    """There is no such field; the argument says what to write instead."""


def find(text: str, known: Known | None = None) -> Field:
    """The field that a word names.

    Raises:
        UnknownField: it names none.
    """
    for prefix, type_ in (("metrics.", Type.METRIC), ("params.", Type.PARAM)):
        if text.startswith(prefix):
            name = text[len(prefix) :]
            if not name:
                raise UnknownField(f"write a name after the dot, such as `{prefix}loss`")
            if len(name) > MAX_NAME:
                raise UnknownField(f"a name has at most {MAX_NAME} characters")
            return Field(type_, name)
    lowered = text.lower()
    found = FIELDS.get(ALIASES.get(lowered, lowered))
    if found is None:
        raise UnknownField(_meant(text, known or Known()))
    return found


def _meant(text: str, known: Known) -> str:
    for prefix, names in (("metrics.", known.metrics), ("params.", known.params)):
        if text in names:
            return f"did you mean `{prefix}{_written(text)}`?"
    stem, dot, rest = text.partition(".")
    if dot and (close := difflib.get_close_matches(stem.lower(), ("metrics", "params"), n=1, cutoff=0.6)):
        return f"did you mean `{close[0]}.{_written(rest)}`?"
    names = {name: name for name in (*FIELDS, *ALIASES)}
    names |= {name: f"params.{_written(name)}" for name in known.params}
    names |= {name: f"metrics.{_written(name)}" for name in known.metrics}
    # Long words are cut: the search for like ones takes time that grows with their length.
    close = difflib.get_close_matches(text[:64].lower(), names, n=1, cutoff=0.6)
    if close:
        other = "" if dot else f", or the metric `metrics.{_written(text)}`"
        return f"did you mean `{names[close[0]]}`{other}?"
    shown = text if len(text) <= 40 else "NAME"
    return f"a metric is written `metrics.{shown}`, a parameter `params.{shown}`; else there are: {', '.join(FIELDS)}"
