"""One run from plan to result: launch, follow, end, collect; again when AWS took the machine back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from worldflux.errors import RefusedError, TemporaryError, UsageError, WorldFluxError
from worldflux.runtime.aws_ec2.cloud import Cloud
from worldflux.runtime.aws_ec2.collect import collect
from worldflux.runtime.aws_ec2.cost import attempt_cost
from worldflux.runtime.aws_ec2.journal import Journal
from worldflux.runtime.aws_ec2.launch import Launcher, find_machine, segment_bytes, signals_held
from worldflux.runtime.aws_ec2.outcome import from_stored, result_of, stored_form
from worldflux.runtime.aws_ec2.settings import Settings
from worldflux.runtime.aws_ec2.store import Store
from worldflux.runtime.aws_ec2.watch import LogCopy, Verdict, Watch
from worldflux.runtime.base import RuntimeResult


@dataclass
class Ended:
    """An attempt that is over: how, its log here, and its entry in the journal."""

    verdict: Verdict
    log: LogCopy
    entry: dict[str, Any]


class Trip:
    """The machines of one run.

    Args:
        folder: the run's folder.
        timeout: seconds that the command may run, for messages.
        stop: set by another thread to end the run.
        say: told in short lines what happens.
    """

    def __init__(
        self,
        cloud: Cloud,
        settings: Settings,
        journal: Journal,
        folder: Path,
        *,
        timeout: float | None,
        stop: Event,
        say: Callable[[str], None],
    ) -> None:
        self.cloud, self.settings, self.journal, self.folder = cloud, settings, journal, folder
        self.timeout, self.stop, self.say = timeout, stop, say
        data = journal.data
        self.store = Store(cloud, data["bucket"], data["prefix"], data["run_id"])

    def run(self, launcher: Launcher) -> RuntimeResult:
        """Launch and stay until the run is over.

        Raises:
            RefusedError: no plan fits the budget.
            WorldFluxError: no machine could be had, or AWS can not be reached.
        """
        launcher.prepare(self.journal)
        spent = 0.0
        last: Ended | None = None
        for attempt in range(1, self.settings.retries + 2):
            try:
                launcher.launch(self.journal, attempt, spent)
            except (RefusedError, TemporaryError) as error:
                if last is None:
                    raise
                last.verdict.notes.append(f"no further attempt: {error.problem}")
                break
            except KeyboardInterrupt:
                if self.journal.data["state"] != "running":
                    raise
                self.stop.set()
            last = self._follow()
            if last.verdict.ending != "spot_interruption" or attempt > self.settings.retries:
                break
            spent += last.entry["cost"]["bound_usd"]
            self.say(f"AWS took the machine back; {self.settings.retries + 1 - attempt} more attempts")
        assert last is not None
        return self._finish(last)

    def attach(self) -> RuntimeResult:
        """Find the machine of a run whose client is gone, and stay until the run is over.

        Raises:
            UsageError: no machine was ever launched.
            WorldFluxError: AWS can not be reached.
        """
        if self.journal.data["state"] == "done":
            return from_stored(self.journal.data["result"], self.folder)
        if not self.journal.data["attempts"]:
            raise never_launched(self.journal.data["run_id"])
        attempt = self.journal.attempt
        if attempt["instance_id"] is None:
            found = find_machine(
                self.cloud, self.journal.data["run_id"], attempt["attempt"], self.settings.settle_seconds
            )
            if found is None:
                raise never_launched(self.journal.data["run_id"])
            self.journal.note(
                "running", instance_id=found["InstanceId"], launched_at=found["LaunchTime"].timestamp()
            )
        self.journal.note("running")
        return self._finish(self._follow())

    def _log(self) -> LogCopy:
        path = self.folder / "logs" / f"{self.journal.data['run_id']}.log"
        attempt = self.journal.attempt
        log = LogCopy(path, self.store, attempt["attempt"], segment_bytes(self.settings.log_cap_bytes))
        if attempt.get("log_base") is None:
            self.journal.note(log_base=log.base)
        else:
            # A client that died had copied a part already: begin where the attempt began.
            log.base = min(int(attempt["log_base"]), log.base)
            log.again()
        return log

    def _follow(self) -> Ended:
        """One attempt to its confirmed end, with its cost in the journal."""
        log = self._log()
        watch = Watch(self.cloud, self.store, self.journal, self.settings, log, self.stop, self.say)
        try:
            verdict = watch.follow()
        except KeyboardInterrupt:
            verdict = Verdict("cancelled")
        with signals_held_quietly():
            if verdict.ending == "cancelled":
                self.say("ending the machine")
            watch.end(verdict)
            attempt = self.journal.attempt
            launched = float(attempt.get("launched_at") or attempt["launching_at"])
            self.journal.note(
                ending=verdict.ending,
                ended_at=verdict.ended,
                cost=attempt_cost(attempt["plan"], launched, verdict.ended),
            )
        return Ended(verdict, log, self.journal.attempt)

    def _finish(self, last: Ended) -> RuntimeResult:
        verdict = last.verdict
        complete = True
        try:
            artifacts = collect(self.store, last.entry["attempt"], verdict, self.folder, last.log)
        except WorldFluxError as error:
            artifacts, complete = [], False
            verdict.notes.append(f"not everything came home: {error.problem}")
        result = result_of(verdict, last.entry, self.journal, self.folder, artifacts, timeout=self.timeout)
        self.journal.data["result"] = stored_form(result, self.folder)
        self.journal.note("done")
        if complete and not self.settings.keep_objects and not verdict.notes:
            try:
                self.store.clear()
            except WorldFluxError as error:
                verdict.notes.append(f"objects stay in S3: {error.problem}")
        return result


def never_launched(run_id: str) -> UsageError:
    """The answer to who looks for the machine of a run that has none."""
    return UsageError(
        f"run {run_id} never launched a machine", f"worldflux runs show {run_id}", code="never_launched"
    )


class signals_held_quietly:
    """Inside, a further Ctrl-C changes nothing: the machine is being ended already."""

    def __enter__(self) -> None:
        self._inner = signals_held()
        self._inner.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            self._inner.__exit__(kind, error, None)
        except KeyboardInterrupt:
            return
