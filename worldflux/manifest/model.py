"""What happened in one run: the manifest, filled in while the run goes on.

A `Manifest` holds the parts as they stand in the file (`worldflux.manifest.parts`), so writing
needs no conversion and reading needs no second model. It checks nothing: `io.write` does.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from worldflux import __version__
from worldflux.manifest.numbers import json_number, portable, wilson

if TYPE_CHECKING:  # annotations only: creating these classes takes as long as all the rest here
    from worldflux.manifest.parts import (
        Adapter,
        Artifact,
        Config,
        Cost,
        Determinism,
        Environment,
        Error,
        Git,
        Hardware,
        Input,
        Log,
        Metric,
        Owner,
        Producer,
        Recipe,
        Run,
        Secret,
        Series,
        Stage,
        StageStatus,
        Status,
    )

__all__ = [
    "FINAL_STATUSES",
    "SCHEMA",
    "SCHEMA_VERSION",
    "STATUSES",
    "Manifest",
    "is_run_id",
    "json_number",
    "new_run_id",
    "portable",
    "success_metric",
    "utc_now",
    "wilson",
]

#: Name of the format; changes with the major version only.
SCHEMA = "https://worldflux.dev/schemas/run-manifest/v1"

#: Version that this code writes.
SCHEMA_VERSION = "1.0"

STATUSES: tuple[Status, ...] = (
    "queued", "running", "succeeded", "failed", "timeout", "cancelled", "refused", "interrupted",
)  # fmt: skip

#: Statuses that never change again.
FINAL_STATUSES: frozenset[Status] = frozenset(STATUSES) - {"queued", "running"}

#: What a run that did not succeed says when nobody gave it an error.
_DEFAULT_ERRORS: dict[str, tuple[str, str]] = {
    "failed": ("the run failed", "read its log"),
    "timeout": ("the run was ended at its time limit", "raise `timeout` in the recipe"),
    "cancelled": ("the run was cancelled", ""),
    "refused": ("a guard refused the run", ""),
    "interrupted": ("the process that owned the run ended before the run did", "run it again"),
}


def _producer() -> Producer:
    return {"name": "worldflux", "version": __version__}


def _unknown_cost() -> Cost:
    return {
        "currency": "USD",
        "estimate_usd": None,
        "known": False,
        "price_per_hour": None,
        "price_source": None,
        "price_date": None,
        "excludes": [],
        "budget_usd": None,
        "parts": [],
    }


def _no_claim() -> Determinism:
    return {"seed": None, "claim": False, "flags": {}}


@dataclass
class Manifest:
    """One run's record. Every field is a top-level field of the file; None is not collected.

    Paths inside are relative to the run folder, with `/`. Values that come from outside
    (metadata, resolved parameters, facts) go through `portable` first.
    """

    client_run_id: str
    run: Run
    recipe: Recipe
    config: Config
    runtime: dict[str, Any]
    adapter: Adapter | None = None
    producer: Producer = field(default_factory=_producer)
    metrics: dict[str, Metric] = field(default_factory=dict)
    series: Series | None = None
    logs: list[Log] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    git: Git | None = None
    environment: Environment | None = None
    hardware: Hardware | None = None
    cost: Cost = field(default_factory=_unknown_cost)
    determinism: Determinism = field(default_factory=_no_claim)
    secrets: list[Secret] = field(default_factory=list)
    extensions: dict[str, Any] = field(default_factory=dict)
    schema: str = SCHEMA
    schema_version: str = SCHEMA_VERSION

    @classmethod
    def new(
        cls,
        *,
        project: str,
        recipe: Recipe,
        config: Config,
        runtime: Mapping[str, Any],
        run_id: str | None = None,
        name: str = "",
        tags: Sequence[str] = (),
        argv: Sequence[str] = (),
        owner: Owner | None = None,
        parent_id: str | None = None,
        sweep_id: str | None = None,
        attempt: int = 1,
    ) -> Manifest:
        """A manifest of a run that is queued now.

        Args:
            runtime: at least `name`, `plugin` (`module:Class`), `plugin_version`; `options`
                defaults to none.
            run_id: from `new_run_id`, which is called when it is missing.
            name: for people; the recipe's name when empty.
            argv: the command line with secrets masked already.
            owner: from `worldflux.run.provenance.owner`.
        """
        run: Run = {
            "project": project,
            "name": name or recipe["name"],
            "tags": list(tags),
            "attempt": attempt,
            "status": "queued",
            "exit_code": None,
            "signal": None,
            "stages": [],
            "created_at": utc_now(),
            "started_at": None,
            "finished_at": None,
            "duration_seconds": None,
            "owner": owner,
            "argv": list(argv),
            "error": None,
        }
        if parent_id is not None:
            run["parent_id"] = parent_id
        if sweep_id is not None:
            run["sweep_id"] = sweep_id
        return cls(run_id or new_run_id(), run, recipe, config, {"options": {}, **runtime})

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Manifest:
        """The manifest in a decoded document. Fields that this version does not know are left out.

        Raises:
            KeyError: a field that every version 1 has is missing; its name is the argument.
        """
        return cls(**{each.name: document[each.name] for each in fields(cls)})

    def to_json(self) -> dict[str, Any]:
        """The document to write. It shares its parts with this object: do not change it."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def status(self) -> Status:
        return self.run["status"]

    @property
    def final(self) -> bool:
        """The run has ended; nothing changes any more."""
        return self.run["status"] in FINAL_STATUSES

    def start(self) -> None:
        """The run begins now: status `running`."""
        self.run["status"] = "running"
        self.run["started_at"] = utc_now()
        self._started = time.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Record one stage with its times: `with manifest.stage("run"): ...`

        It is listed as `running` at once and closed when the block ends: `succeeded`, or
        `interrupted` after KeyboardInterrupt, or `failed` after any other exception, which goes
        on. The block may set another `status` itself.
        """
        entry: Stage = {"name": name, "started_at": utc_now(), "finished_at": None, "status": "running"}
        self.run["stages"].append(entry)
        try:
            yield entry
        except BaseException as error:
            _close(entry, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        _close(entry, "succeeded")

    def finish(self, status: Status, *, exit_code: int | None = None, error: Error | None = None) -> None:
        """The run has ended: set status, times, exit code, signal and error together.

        Args:
            status: one of `FINAL_STATUSES`.
            exit_code: as `RuntimeResult` has it; minus the signal number for a signal.
            error: why, for every status but `succeeded`; a plain sentence stands in for it.

        Stages that are still open are closed with the same status.

        Raises:
            ValueError: the status is not final, or says `succeeded` with an error or an exit
                code other than 0.
        """
        if status not in FINAL_STATUSES:
            raise ValueError(f"a run can not end as {status}")
        if status == "succeeded" and (error is not None or exit_code != 0):
            raise ValueError(f"a run with exit code {exit_code} and error {error} has not succeeded")
        if status != "succeeded" and error is None:
            message, hint = _DEFAULT_ERRORS[status]
            error = {"code": status, "message": message, "hint": hint}
        for entry in self.run["stages"]:
            _close(entry, status)
        started: float | None = getattr(self, "_started", None)
        run = self.run
        run["status"], run["error"] = status, error
        run["exit_code"], run["signal"] = exit_code, _signal_name(exit_code)
        run["finished_at"] = utc_now()
        run["duration_seconds"] = None if started is None else round(time.monotonic() - started, 3)

    def record_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Make every entry of `RuntimeResult.metadata` a leaf of `runtime`.

        Raises:
            ValueError: an entry has the name of one of WorldFlux's own fields.
            TypeError: a value has no JSON form.
        """
        taken = sorted({"name", "plugin", "plugin_version", "support", "options"} & metadata.keys())
        if taken:
            raise ValueError(f"runtime metadata must not use the reserved name {', '.join(taken)}")
        self.runtime.update(portable(metadata))


def _close(entry: Stage, status: StageStatus | Status) -> None:
    if entry["status"] == "running" and status != "queued":
        entry["status"] = status
    if entry["finished_at"] is None:
        entry["finished_at"] = utc_now()


def _signal_name(exit_code: int | None) -> str | None:
    if exit_code is None or exit_code >= 0:
        return None
    import signal

    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"SIG{-exit_code}"


def success_metric(k: int, n: int, level: float = 0.95) -> Metric:
    """A success rate with its counts and its Wilson interval.

    Raises:
        ValueError: not 0 <= k <= n with n at least 1.
    """
    low, high = wilson(k, n, level)
    return {
        "value": k / n,
        "kind": "success",
        "k": k,
        "n": n,
        "interval": {"method": "wilson", "level": level, "low": low, "high": high},
    }


def utc_now() -> str:
    """Now as `YYYY-MM-DDTHH:MM:SS.mmm+00:00`, which every date parser and schema here takes."""
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}+00:00"


#: The form of an id of a run, a UUID of version 7 (RFC 9562).
RUN_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def is_run_id(value: object) -> bool:
    """Whether a value has the form of `new_run_id`, and so is safe as a folder's name."""
    return isinstance(value, str) and re.fullmatch(RUN_ID, value) is not None


_last_id = 0
_id_lock = threading.Lock()


def new_run_id() -> str:
    """A UUID version 7 (RFC 9562), lower case; each one sorts after the one before it.

    The order holds within a process, also over threads and when the clock steps back, and
    between machines as far as their clocks agree. After 48 bits of milliseconds come 74 random
    bits; within one millisecond they count upwards in steps that can not be guessed.
    """
    global _last_id
    with _id_lock:
        fresh = (time.time_ns() // 1_000_000) << 74 | int.from_bytes(os.urandom(10), "big") >> 7
        if fresh <= _last_id:
            fresh = _last_id + 1 + int.from_bytes(os.urandom(4), "big")
        _last_id = fresh
    clock, high, low = fresh >> 74, fresh >> 62 & 0xFFF, fresh & (1 << 62) - 1
    text = f"{clock << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
