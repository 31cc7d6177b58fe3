"""One run as a prediction: inputs, start, watch, end, results."""

from __future__ import annotations

import json
import tarfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from worldflux.errors import RefusedError, TemporaryError, UsageError, WorldFluxError
from worldflux.runtime.base import RuntimeContext, RuntimeResult
from worldflux.runtime.remote import place, upload
from worldflux.runtime.remote.homecoming import OVERHEAD, Homecoming, unpack
from worldflux.runtime.remote.logfile import LogFile
from worldflux.runtime.remote.patience import Cancelled
from worldflux.runtime.replicate import inputs, journal
from worldflux.runtime.replicate.client import TERMINAL
from worldflux.runtime.replicate.outputs import Downloads

if TYPE_CHECKING:
    from worldflux.runtime.replicate_plugin import ReplicatePlugin

#: Replicate ends every prediction after this long.
PLATFORM_SECONDS = 1800.0
GRACE = 2.0
#: Replicate keeps the deadline it was sent, and does not charge what never started; we only step
#: in when it has not, so many seconds later.
LATER = 2.0
#: How long to look at a prediction that was asked to end.
END_SECONDS = 20.0


class Prediction:
    """Carries out one run.

    Args:
        plugin: its options.
        cancelled: set when somebody wants the run to end.
    """

    def __init__(
        self, plugin: ReplicatePlugin, ctx: RuntimeContext, command: Sequence[str], cancelled: threading.Event
    ) -> None:
        self.plugin, self.ctx, self.command = plugin, ctx, command
        self.api = plugin.api(cancelled)
        self.patience = self.api.patience
        self.log = LogFile(ctx.output_dir / "logs" / f"{ctx.run_id}.log", plugin.log_cap)
        self.work = ctx.output_dir / "artifacts"
        self.limit = min(ctx.timeout or plugin.max_seconds, PLATFORM_SECONDS)
        self.why_ended = ""
        self._log_seen = 0

    def carry_out(self) -> RuntimeResult:
        owner, name, version = inputs.pinned(self.plugin.model)
        allowed = self.plugin.seconds_allowed()
        try:
            schema = inputs.ModelSchema(self.api.version(owner, name, version), self.plugin.model)
            given = self._inputs(schema)
            schema.check(given)
            return self._run(schema, version, given, allowed)
        except Cancelled:
            return self._result({}, {}, -15)
        finally:
            self.log.close()

    def _inputs(self, schema: inputs.ModelSchema) -> dict[str, Any]:
        """What is sent: the words of `predict`, or a whole job for a runner model."""
        words = [*self.command, *self.ctx.extra_args]
        if words[0] == inputs.PREDICT:
            secrets = {}
            for target, variable in self.plugin.secret_inputs.items():
                if variable not in self.ctx.env_vars:
                    raise UsageError(
                        f"runtime.secret_inputs.{target}: the variable {variable} was not given to the run",
                        f"add {variable} to the recipe's env.pass",
                    )
                secrets[target] = self.ctx.env_vars[variable]
            return inputs.from_words(words[1:], schema, self.ctx.source_dir, secrets, self.api.upload)
        if not schema.takes_commands:
            raise UsageError(
                f"{schema.model} is a model, it carries out no command such as `{words[0]}`",
                "write `command: [predict, name=value, ...]`, or use a runner model of your own",
            )
        return self._job(schema)

    def _job(self, schema: inputs.ModelSchema) -> dict[str, Any]:
        if not schema.is_secret("worldflux_environment"):
            raise RefusedError(
                f"{schema.model} does not declare worldflux_environment as secret",
                "push the runner again from worldflux/runtime/replicate/runner",
                code="secret-input",
            )
        home = PurePosixPath("/tmp/worldflux") / self.ctx.run_id
        there = place.Place(home / "source", home / "run")
        job = place.job(
            self.ctx,
            place.words(self.ctx, self.command, there),
            there,
            timeout=self.limit,
            grace=GRACE,
            wanted=self.plugin.wanted,
            cap=self.plugin.download_cap,
            log=True,
        )
        return {
            "worldflux_job": json.dumps(job),
            "worldflux_source": self._source(),
            "worldflux_environment": json.dumps(place.variables(self.ctx, there)),
            "worldflux_requirements": self.plugin.lock_of(self.ctx),
        }

    def _source(self) -> str:
        """The recipe's files as one stored tar; its address."""
        chosen = self.plugin.selection(self.ctx.source_dir)
        with place.scratch(self.ctx.output_dir) as folder:
            staged, packed = folder / "source", folder / "source.tar.gz"
            upload.stage(self.ctx.source_dir, chosen, staged, cap=self.plugin.upload_cap)
            with tarfile.open(packed, "w:gz") as tar:
                for name, _ in chosen.files:
                    tar.add(staged / name, name, filter=_anonymous)
            if packed.stat().st_size <= inputs.INLINE_BYTES:
                return inputs.data_url(packed.read_bytes(), "application/gzip")
            return self.api.upload(packed)

    def _run(
        self, schema: inputs.ModelSchema, version: str, given: dict[str, Any], allowed: float | None
    ) -> RuntimeResult:
        hidden = tuple(name for name in given if schema.is_secret(name))
        lasting = self.limit + self.plugin.start_seconds
        deadline = lasting if allowed is None else min(lasting, allowed)
        entry = journal.intend(self.ctx.run_id, version, given, hidden, deadline, self.plugin.api_url)
        began = time.monotonic()
        started = self.api.create(version, given, deadline)
        identity = str(started["id"])
        journal.write(replace(entry, prediction=identity))
        last = self._watch(started, identity, began + deadline + LATER, budget=deadline < lasting)
        journal.close(self.ctx.run_id)
        return self._bring_home(schema, last)

    def _watch(self, seen: dict[str, Any], identity: str, deadline: float, *, budget: bool) -> dict[str, Any]:
        """Follow a prediction to its end, and end it when it is time; returns how it was last seen."""
        running_since: float | None = None
        while True:
            self._tail(seen)
            now = time.monotonic()
            if seen.get("status") in TERMINAL:
                return self._explained(seen, deadline, budget)
            if seen.get("status") == "processing" and running_since is None:
                running_since = now
            if running_since is not None and now - running_since >= self.limit:
                return self._end(identity, "timeout")
            if now >= deadline:
                return self._end(identity, "budget" if budget else "timeout")
            try:
                self.patience.sleep(self.plugin.poll_seconds)
                seen = self.api.get(identity)
            except Cancelled:
                return self._end(identity, "cancelled")

    def _explained(self, seen: dict[str, Any], deadline: float, budget: bool) -> dict[str, Any]:
        """Why a prediction that we did not end is over; Replicate's deadline is the one we sent."""
        if seen["status"] == "aborted" or (
            seen["status"] == "canceled" and time.monotonic() >= deadline - LATER - 1
        ):
            self.why_ended = "budget" if budget else "timeout"
        elif seen["status"] == "canceled":
            self.why_ended = "cancelled"
        return seen

    def _end(self, identity: str, why: str) -> dict[str, Any]:
        """Ask for the end and wait until it is there, whoever is impatient."""
        self.why_ended = why
        api = self.plugin.api()
        seen = api.cancel(identity)
        until = time.monotonic() + END_SECONDS
        while seen.get("status") not in TERMINAL:
            if time.monotonic() >= until:
                raise TemporaryError(
                    f"prediction {identity} was asked to end and still runs",
                    "worldflux runs reap",
                    code="leftover",
                )
            time.sleep(min(0.5, self.plugin.poll_seconds))
            seen = api.get(identity)
        self._tail(seen)
        return seen

    def _tail(self, seen: dict[str, Any]) -> None:
        """Append what the log has gained; it is sent whole every time."""
        text = seen.get("logs")
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else b""
        if len(data) < self._log_seen:
            self._log_seen = 0
        self.log.write(data[self._log_seen :])
        self._log_seen = len(data)

    def _bring_home(self, schema: inputs.ModelSchema, last: dict[str, Any]) -> RuntimeResult:
        downloads = Downloads(self.work, self.plugin.output_hosts, self.plugin.download_cap + OVERHEAD)
        facts: dict[str, Any] = {}
        code = 0 if last["status"] == "succeeded" else 1
        if last["status"] == "succeeded" and self.command[0] != inputs.PREDICT:
            home = self._results(last, downloads)
            record = home.record or {}
            code = record.get("code", 1)
            self.why_ended = "timeout" if record.get("reason") == "timeout" else self.why_ended
            facts = {**home.metadata(), **place.reported(record, self.plugin.lock_of(self.ctx))}
        elif last["status"] == "succeeded":
            output = downloads.localize(last.get("output"))
            (self.work / "output.json").write_text(json.dumps(output, indent=2), encoding="utf-8")
        elif last.get("error"):
            facts["error"] = str(last["error"])[:2000]
            if not self.log.seen:
                self.log.write(f"{facts['error']}\n".encode())
        if downloads.refused:
            facts["outputs_refused"] = downloads.refused[:50]
            self.log.write(
                "".join(f"worldflux: not fetched: {line}\n" for line in downloads.refused).encode()
            )
        return self._result(last, facts, code if not self.why_ended else -15, tuple(downloads.files))

    def _results(self, last: dict[str, Any], downloads: Downloads) -> Homecoming:
        """The tar of a runner, with the exact log in place of the one that was followed as text.

        Raises:
            WorldFluxError: it can not be fetched or read.
        """
        with place.scratch(self.ctx.output_dir) as folder:
            downloads.folder = folder
            address = last.get("output")
            path = downloads.take(address, "results.tar") if isinstance(address, str) else None
            downloads.files.clear()
            if path is None:
                reason = downloads.refused[0] if downloads.refused else "the runner returned none"
                raise WorldFluxError(f"the results can not be fetched: {reason}", "worldflux runs show last")
            with path.open("rb") as archive:
                home = unpack(archive, self.ctx.output_dir, cap=self.plugin.download_cap)
        downloads.files.extend(home.files)
        if home.log is not None:
            self.log.close()
            self.log.path.unlink()
            self.log = LogFile(self.log.path, self.plugin.log_cap)
            with home.log.open("rb") as exact:
                while chunk := exact.read(2**20):
                    self.log.write(chunk)
            home.log.unlink()
        return home

    def _result(
        self, last: dict[str, Any], facts: dict[str, Any], code: int, files: tuple[Path, ...] = ()
    ) -> RuntimeResult:
        measured = last.get("metrics")
        measured = measured if isinstance(measured, dict) else {}
        seconds = measured.get("predict_time")
        running: float | None = None
        if isinstance(seconds, int | float) and not isinstance(seconds, bool):
            running = float(seconds)
        elif last.get("status") in (None, "aborted"):
            running = 0.0  # what never started is not charged
        price = self.plugin.price()
        cost = None if running is None else price.estimate(running)
        if self.plugin.price_per_prediction is not None:
            cost = self.plugin.price_per_prediction if last.get("status") == "succeeded" else None
        outcome = {"budget": "refused", "timeout": "timeout", "cancelled": "cancelled"}.get(self.why_ended)
        if not last and outcome is None:
            outcome = "cancelled"
        reason = (
            {"reason": "the budget was used up before the prediction ended"} if outcome == "refused" else {}
        )
        return RuntimeResult(
            exit_code=code,
            duration_seconds=running or 0.0,
            log_path=self.log.path,
            artifacts=files,
            cost_estimate_usd=cost,
            metadata={
                **({"outcome": outcome} if outcome else {}),
                **reason,
                "model": self.plugin.model,
                "prediction": last.get("id"),
                "prediction_status": last.get("status"),
                "prediction_seconds": {
                    key: value for key, value in measured.items() if isinstance(value, int | float)
                },
                "hardware_named": self.plugin.hardware,
                "log_truncated": self.log.truncated,
                "cost": price.cost(running or 0.0, charged=cost is not None and bool(running)),
                **facts,
            },
        )


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
