"""Carry out one run: preflight, env, run, collect, manifest; teardown always.

The manifest is on disk from the first second and is rewritten at each stage, so a run that dies
at any moment has left its record. What the command does not need before it starts (provenance,
the schema's validator) is done while it runs.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.errors import RefusedError, WorldFluxError
from worldflux.manifest import io
from worldflux.manifest.model import FINAL_STATUSES, Manifest
from worldflux.run import store
from worldflux.run.background import Background
from worldflux.run.cancel import Cancellation
from worldflux.run.draft import CONFIG, draft_manifest
from worldflux.run.outcome import Ending, Stopped, ending_of
from worldflux.run.ready import Ready, prepare
from worldflux.runtime.base import Adapter, RuntimeContext, RuntimePlugin, RuntimeResult, furnish

if TYPE_CHECKING:
    from worldflux.config.request import RunRequest
    from worldflux.manifest.parts import Status
    from worldflux.manifest.secrets import Gate
    from worldflux.run.observer import Observer

#: Looks at a request before anything is built; returns facts for the manifest or raises RefusedError.
Guard = Callable[["RunRequest"], Mapping[str, Any]]


@dataclass(frozen=True)
class Place:
    """Where runs of a project live and what they may use.

    Attributes:
        project: name that runs are filed under.
        root: the project's folder; provenance reads its git state.
        runs_dir: folder of run folders.
        install_dir: folder of environments, shared by all projects.
        allowed_variables: provider variables the project forwards when a recipe asks.
        environ: variables of this process, from which allowed ones are taken.
        gate: refuses bytes that carry a secret.
        argv: the command line, secrets masked.
        guards: further checks of the preflight.
        sweep_id, job_id: of the sweep that the run is part of.
        run_id: an id that was given out before; a new one by default.
        parent_id: the run that this one repeats.
        attempt: how many runs the job has had, with this one.
        why_stopped: asked about a run that did not succeed; None when nobody stopped it.
        evidence: makes the evidence of a run that asks for it and has ended; returns a sentence for people.
    """

    project: str
    root: Path
    runs_dir: Path
    install_dir: Path
    allowed_variables: tuple[str, ...]
    environ: Mapping[str, str]
    gate: Gate
    argv: tuple[str, ...] = ()
    guards: tuple[Guard, ...] = ()
    sweep_id: str | None = None
    job_id: str | None = None
    run_id: str | None = None
    parent_id: str | None = None
    attempt: int = 1
    why_stopped: Callable[[], Stopped | None] | None = None
    evidence: Callable[[RunRecord], str] | None = None


@dataclass
class RunRecord:
    """How a run ended: its manifest as written, and where."""

    run_id: str
    folder: Path
    manifest: Manifest
    warnings: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """The code for the command line, not the command's own."""
        status = self.manifest.status
        return {"succeeded": 0, "refused": 4, "cancelled": 130, "interrupted": 130}.get(status, 1)


def execute(
    request: RunRequest,
    plugin: RuntimePlugin,
    place: Place,
    observer: Observer,
    cancellation: Cancellation | None = None,
    ready: Ready | None = None,
) -> RunRecord:
    """Carry out one run to its end and return its record.

    A command that fails, a timeout, Ctrl-C, a cancellation and a refusal are records, not
    exceptions.

    Args:
        ready: from `prepare`; looked up again when it is no longer fresh.

    Raises:
        UsageError: the run can not start as asked (unknown variable or adapter, broken runtime,
            an input that is not here); nothing was left behind.
        WorldFluxError: the record itself can not be written.
    """
    if ready is None or not ready.fresh:
        ready = prepare(request, plugin, place)
    run_id, folder = store.create(place.runs_dir, place.run_id)
    mark = str(uuid.uuid4())
    manifest = draft_manifest(request, plugin, place, run_id, mark, ready.texts[CONFIG])
    record = RunRecord(run_id, folder, manifest)
    run = _Run(request, plugin, place, observer, record, ready, mark, cancellation or Cancellation())
    try:
        manifest.start()
        # A run that has just begun here ends with this machine's power; elsewhere it goes on, and may cost.
        here = hasattr(plugin, "on_ended") and not getattr(plugin, "paid", False)
        io.write(folder / store.MANIFEST, manifest, gate=place.gate, validate=False, durable=not here)
    except BaseException:
        _remove_empty(folder)
        raise
    run.carry_out()
    if request.spec.evidence and place.evidence is not None:
        observer.note(place.evidence(record))
    return record


class _Run:
    """The stages of one run, sharing its record."""

    def __init__(
        self,
        request: RunRequest,
        plugin: RuntimePlugin,
        place: Place,
        observer: Observer,
        record: RunRecord,
        ready: Ready,
        mark: str,
        cancellation: Cancellation,
    ) -> None:
        self.request, self.plugin, self.place = request, plugin, place
        self.observer, self.record = observer, record
        self.manifest, self.folder = record.manifest, record.folder
        self.mark, self.cancellation = mark, cancellation
        self.forwarded, self.found, self.texts = ready.forwarded, ready.found, ready.texts
        self.background: Background | None = None
        self.python: Path | None = None

    def carry_out(self) -> None:
        """All stages; the record is final when this returns or raises."""
        try:
            try:
                spec = self.request.spec
                self.observer.started(self.record.run_id, self.folder, spec.recipe, spec.runtime.name)
                ending = self._stages()
            finally:
                self._teardown()
        except KeyboardInterrupt:
            ending = Ending("cancelled", None, "cancelled", "the run was cancelled", "run it again")
        except RefusedError as error:
            ending = Ending("refused", None, error.code, error.problem, error.hint)
        except WorldFluxError as error:
            ending = Ending("failed", None, error.code, error.problem, error.hint)
        except Exception as error:
            self._close(Ending("failed", None, "internal", f"unexpected {type(error).__name__}", ""))
            raise
        self._close(self._put_back(ending))

    def _put_back(self, ending: Ending) -> Ending:
        """A command that ended badly after its run was stopped ended because of that.

        A batch system signals every process of a job, so the command may be gone before it is
        asked to end. When the job is started again, the stop is an interruption.
        """
        if ending.status not in ("cancelled", "failed", "interrupted") or self.place.why_stopped is None:
            return ending
        stopped = self.place.why_stopped()
        return ending if stopped is None else stopped.ending(ending.exit_code)

    def _stages(self) -> Ending:
        with self._stage("preflight"):
            self._judge()
            for guard in self.place.guards:
                facts = guard(self.request)
                if facts and self.manifest.adapter is not None:
                    self.manifest.adapter.update(facts)  # type: ignore[typeddict-item]
        with self._stage("env"):
            spec = self.request.spec
            adapter = Adapter(
                spec.adapter or spec.recipe, spec.env.python, self.request.lock, spec.env.allow_unpinned
            )
            told = {
                "on_progress": self.observer.progress, "on_started": self._gather, "on_ended": self.observer.ended
            }  # fmt: skip
            for name, tell in told.items():
                if hasattr(self.plugin, name):
                    setattr(self.plugin, name, tell)
            self.python = self.plugin.build_env(adapter, self.place.install_dir)
        with self._stage("run"):
            result = self._run()
        with self._stage("collect"):
            return self._collect(result)

    def _judge(self) -> None:
        """Record what the catalog says, and stop when it refuses."""
        if self.found.adapter is not None:
            self.manifest.adapter = self.found.adapter
        if self.found.inputs:
            self.manifest.inputs = self.found.inputs
        for warning in self.found.warnings:
            self._warn(warning)
        if self.found.refused is not None:
            raise self.found.refused

    def _stage(self, name: str) -> Any:
        if self.cancellation.requested:
            raise KeyboardInterrupt
        self.observer.stage(name)
        return self.manifest.stage(name)

    def _context(self) -> RuntimeContext:
        spec, folder = self.request.spec, self.folder
        variables = {
            **spec.env.set,
            **self.forwarded,
            **self.found.variables,
            "WORLDFLUX_RUN_ID": self.record.run_id,
            "WORLDFLUX_RUN_MARK": self.mark,
            "WORLDFLUX_METRICS": str(folder / "metrics.jsonl"),
            "WORLDFLUX_OUTPUT_DIR": str(folder / "artifacts"),
        }
        if spec.seed is not None:
            variables["WORLDFLUX_SEED"] = str(spec.seed)
        return RuntimeContext(
            adapter_id=spec.adapter or spec.recipe,
            task=spec.task,
            output_dir=folder,
            install_dir=self.place.install_dir,
            source_dir=self.request.source_dir,
            venv_python=self.python,
            timeout=spec.timeout,
            env_vars=variables,
            extra_args=spec.extra_args,
            run_id=self.record.run_id,
        )

    def _run(self) -> RuntimeResult:
        furnish(self.folder)
        self.observer.log(self.folder / "logs" / f"{self.record.run_id}.log")
        if not hasattr(self.plugin, "on_started"):
            self._gather()
        context = self._context()
        cancel = getattr(self.plugin, "cancel", None)
        unwatch = self.cancellation.watch(lambda: cancel(context)) if cancel else lambda: None
        try:
            return self.plugin.run(context, self.request.spec.command)
        finally:
            unwatch()
            self._gather()

    def _gather(self) -> None:
        """Find out where the run comes from, which the command does not wait for."""
        if self.background is None:
            self.background = Background(self.request, self.place, self.folder, self.python, self.texts)

    def _collect(self, result: RuntimeResult) -> Ending:
        from worldflux.run import elsewhere
        from worldflux.run.findings import record

        metadata = dict(result.metadata)
        variables = metadata.pop("variables", {})
        reported = elsewhere.taken_out(metadata)
        found = record(self.manifest, self.folder, self.request.spec, result, metadata, self.plugin.name)
        if self.background is not None:
            self.background.into(self.manifest, variables, sorted(self.forwarded))
            self.background = None
        elsewhere.put_in(self.manifest, reported)
        for warning in found.warnings:
            self._warn(warning)
        return ending_of(result, found.faults, self.request.spec.timeout)

    def _warn(self, text: str) -> None:
        self.record.warnings.append(text)
        self.observer.note(text)

    def _teardown(self) -> None:
        try:
            self.plugin.teardown(self._context())
        except Exception as error:
            self._warn(f"teardown of runtime {self.plugin.name} failed: {type(error).__name__}: {error}")

    def _close(self, ending: Ending) -> None:
        """Write the final record. One that carries a secret is written without what was found."""
        self.observer.stage("manifest")
        if self.background is not None and self.manifest.environment is None:
            self.background.into(self.manifest, {}, sorted(self.forwarded))
        path = self.folder / store.MANIFEST
        try:
            self._finish(ending)
            io.write(path, self.manifest, gate=self.place.gate)
        except RefusedError as error:
            self._write_bare(path, "refused", error)
        except WorldFluxError as error:
            if error.code != "manifest":
                raise
            self._write_bare(path, "failed", error)

    def _write_bare(self, path: Path, status: Status, error: Exception) -> None:
        """The record without anything that the run brought, and the reason."""
        problem, hint = getattr(error, "problem", str(error)), getattr(error, "hint", "")
        bare = draft_manifest(
            self.request, self.plugin, self.place, self.record.run_id, self.mark, self.texts[CONFIG]
        )
        bare.run["started_at"] = self.manifest.run["started_at"]
        code = getattr(error, "code", "manifest")
        bare.finish(status, error={"code": code, "message": problem[:8000], "hint": hint[:8000]})
        io.write(path, bare, gate=self.place.gate)
        self.record.manifest = self.manifest = bare

    def _finish(self, ending: Ending) -> None:
        error = None
        if ending.status != "succeeded":
            error = {"code": ending.code, "message": ending.message, "hint": ending.hint}
        if self.manifest.status in FINAL_STATUSES:
            return
        self.manifest.finish(ending.status, exit_code=ending.exit_code, error=error)  # type: ignore[arg-type]


def _remove_empty(folder: Path) -> None:
    """Take back a run folder in which nothing has happened yet."""
    for leftover in folder.iterdir() if folder.is_dir() else ():
        leftover.unlink()
    os.rmdir(folder)
