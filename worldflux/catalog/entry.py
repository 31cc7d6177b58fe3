"""One entry of the catalog, every figure with the place it was read at.

The built-in entries are JSON files under `data/`; their published form is
`data/schema/adapter.v1.schema.json`. What upstream does not say is None here and is shown as
unknown: no figure is ever guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TASKS = ("generate", "rollout", "eval", "train")

#: Support of a task on a runtime. `production` is given on evidence only.
LEVELS = ("production", "experimental", "disabled")

#: Who says so. Only `stated` (upstream itself) may refuse a run; the others warn.
KINDS = ("stated", "stated-third-party", "measured-third-party", "reported-by-user", "measured", "derived")

Level = Literal["production", "experimental", "disabled"]


@dataclass(frozen=True)
class Source:
    """Where a statement was read: a name for people and, when it has one, its address."""

    name: str
    url: str | None = None
    read_at: str | None = None


@dataclass(frozen=True)
class Claim:
    """A statement about the GPU memory that a task takes.

    Attributes:
        task: generate, rollout, eval or train.
        gb: the memory stated, or the lower end of a stated range.
        up_to_gb: the upper end of the range, None when one figure was stated.
        over: the source says "more than".
        binary: compare in 2^30 bytes. So for measured peaks, which tools count that way though
            they print GB, and for "more than": a card sold with 8 GB is not more than 8. Round
            figures and sizes of cards are compared in 10^9 bytes, which is the lenient way.
        variant: lora, int4 and the like; None for the default way to do the task.
        batch: batch size the figure holds for; None when the source does not say.
        precision: bf16, int4 and the like; None when the source does not say.
        kind: one of `KINDS`.
    """

    task: str
    gb: float
    kind: str
    source: Source
    up_to_gb: float | None = None
    over: bool = False
    binary: bool = False
    variant: str | None = None
    batch: int | None = None
    precision: str | None = None
    note: str | None = None

    @property
    def first_party(self) -> bool:
        """Whether upstream itself states it, so that it may refuse a run."""
        return self.kind == "stated"

    def met_by(self, card_bytes: int) -> bool:
        """Whether one card of that many bytes reaches the (lower) figure."""
        floor = self._bytes(self.gb)
        return card_bytes > floor if self.over else card_bytes >= floor

    def comfortable_on(self, card_bytes: int) -> bool:
        """Whether one card of that many bytes reaches the upper figure too."""
        if not self.met_by(card_bytes):
            return False
        return self.up_to_gb is None or card_bytes >= self._bytes(self.up_to_gb)

    def _bytes(self, gigabytes: float) -> float:
        return gigabytes * (2**30 if self.binary else 10**9)

    @property
    def text(self) -> str:
        """The figure as people write it: `24-40 GB`, `> 8 GB`, `2 MB`."""
        if self.up_to_gb is not None:
            return f"{self.gb:g}-{self.up_to_gb:g} GB"
        size, sign = (1, "GB") if self.gb >= 0.1 else (1e3, "MB") if self.gb >= 1e-4 else (1e6, "kB")
        figure = f"{self.gb * size:.6g} {sign}"
        return f"{'> ' if self.over else ''}{figure}"

    def json(self) -> dict[str, Any]:
        """As plain JSON, with its text, without what the source does not say."""
        raw: dict[str, Any] = {
            "task": self.task,
            "text": self.text,
            "gb": self.gb,
            "up_to_gb": self.up_to_gb,
            "over": self.over or None,
            "binary": self.binary or None,
            "variant": self.variant,
            "batch": self.batch,
            "precision": self.precision,
            "kind": self.kind,
            "note": self.note,
            "source": {"name": self.source.name, "url": self.source.url},
        }
        return {key: value for key, value in raw.items() if value is not None}


@dataclass(frozen=True)
class Issue:
    """Something known to break.

    Attributes:
        open: whether the upstream report is still open; None when it is no report or unknown.
        reproduced: seen by the makers of this catalog too.
        stops: tasks that can not run because of it.
        checkpoint: it concerns some checkpoints only; an import's own files tell whether it does.
    """

    text: str
    sources: tuple[Source, ...]
    open: bool | None
    checked_at: str
    reproduced: bool = False
    stops: tuple[str, ...] = ()
    affects: str | None = None
    checkpoint: bool = False


@dataclass(frozen=True)
class Support:
    """How far a runtime is supported; `tasks` empty means all of them."""

    runtime: str
    level: Level
    tasks: tuple[str, ...] = ()
    reason: str | None = None
    evidence: tuple[tuple[str, Source], ...] = ()


@dataclass(frozen=True)
class License:
    """A license by name; None is unknown, and `note` says where to look."""

    name: str | None
    note: str | None = None


@dataclass(frozen=True)
class OnCpu:
    """Whether a task is known to work, or known not to work, without a GPU."""

    task: str
    works: bool
    source: Source


@dataclass(frozen=True)
class Entry:
    """A model or policy of the catalog, built in or imported.

    Attributes:
        maturity: `verified` ran end to end for this catalog, `documented` states a floor and a
            license upstream, `listed` is known without a published floor, `imported` came from
            `worldflux import`.
        revision: the 40-digit commit an imported entry is pinned to; None for built-in ones.
        extra: what only some entries have: disk, ram, needs, sizes, and the facts of an import.
    """

    id: str
    title: str
    family: str
    maturity: str
    tasks: tuple[str, ...]
    upstream: Mapping[str, str]
    license_code: License
    license_weights: License
    params: str | None = None
    vram: tuple[Claim, ...] = ()
    cpu: tuple[OnCpu, ...] = ()
    measured: tuple[tuple[str, Source], ...] = ()
    issues: tuple[Issue, ...] = ()
    support: tuple[Support, ...] = ()
    recipe: str | None = None
    steps: tuple[str, ...] = ()
    origin: str = "curated"
    revision: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def support_on(self, runtime: str, task: str) -> Support:
        """The statement that holds for this runtime and task; experimental where none was made."""
        for statement in self.support:
            if statement.runtime == runtime and (not statement.tasks or task in statement.tasks):
                return statement
        return Support(runtime, "experimental", reason="no run of it there is on record")

    def best_support(self, runtime: str) -> Level:
        """The highest level any of its tasks has on that runtime."""
        held = {self.support_on(runtime, task).level for task in self.tasks}
        return next(level for level in ("production", "experimental", "disabled") if level in held)

    def works_on_cpu(self, task: str) -> OnCpu | None:
        """What is known of the task without a GPU; None when nothing is."""
        return next((fact for fact in self.cpu if fact.task == task), None)
