"""Follow a machine to its end: the live log, its heartbeat, what EC2 says. Nothing here ends a run
but DescribeInstances saying `terminated`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from worldflux.errors import TemporaryError
from worldflux.runtime.aws_ec2.cloud import Cloud
from worldflux.runtime.aws_ec2.journal import Journal
from worldflux.runtime.aws_ec2.settings import Settings
from worldflux.runtime.aws_ec2.store import Store

#: After its deadline a machine gets this long to be gone by itself.
LATE_SECONDS = 30.0
#: The longest wait for `terminated` after it was asked for.
TERMINATION_SECONDS = 900.0
_REASONS = {
    "Server.SpotInstanceTermination": "spot_interruption",
    "Client.UserInitiatedShutdown": "terminated_by_someone",
}


@dataclass
class Verdict:
    """How an attempt ended.

    Attributes:
        ending: exited, time_limit, deadline, spot_interruption, setup_failed, source_failed,
            agent_failed, terminated, bootstrap_failed, bootstrap_timeout, died_without_report,
            lost_contact, terminated_by_someone, stopped_not_terminated, launch_failed, vanished,
            cancelled.
        status: the machine's own report; None when there is none.
        heard: whether the machine ever gave a sign of life.
        state_reason: StateReason.Code of EC2.
        ended: when the machine was gone, seconds since the epoch.
    """

    ending: str
    status: dict[str, Any] | None = None
    heard: bool = False
    state_reason: str = ""
    ended: float = 0.0
    console: str = ""
    notes: list[str] = field(default_factory=list)


class LogCopy:
    """The command's log here, as far as it has arrived."""

    def __init__(self, path: Path, store: Store, attempt: int, segment: int) -> None:
        self._path, self._store, self._attempt, self._segment = path, store, attempt, segment
        self.base = path.stat().st_size if path.exists() else 0
        self.size = 0
        path.touch()

    def catch_up(self, listing: dict[str, tuple[int, str]]) -> None:
        """Append what the machine has sent since the last time."""
        while True:
            index, offset = divmod(self.size, self._segment)
            name = f"log.{index:03d}"
            if listing.get(name, (0, ""))[0] <= offset:
                return
            data = self._store.get(self._attempt, name, offset)
            if not data:
                return
            with self._path.open("ab") as file:
                file.write(data)
            self.size += len(data)

    def digest(self) -> str:
        """SHA-256 of what was copied of this attempt."""
        total = hashlib.sha256()
        with self._path.open("rb") as file:
            file.seek(self.base)
            while chunk := file.read(2**20):
                total.update(chunk)
        return total.hexdigest()

    def again(self) -> None:
        """Forget what was copied, so that `catch_up` brings it anew."""
        with self._path.open("r+b") as file:
            file.truncate(self.base)
        self.size = 0


class Watch:
    """Follows the newest attempt in a journal.

    Args:
        stop: set by another thread to end the run.
        say: told in short lines what happens.
    """

    def __init__(
        self,
        cloud: Cloud,
        store: Store,
        journal: Journal,
        settings: Settings,
        log: LogCopy,
        stop: Event,
        say: Callable[[str], None],
    ) -> None:
        self.cloud, self.store, self.settings = cloud, store, settings
        self.log, self.stop, self.say = log, stop, say
        self.attempt: int = journal.attempt["attempt"]
        self.instance_id: str = journal.attempt["instance_id"]
        self.deadline: float = journal.attempt["deadline"]
        self.launched = float(journal.attempt.get("launched_at") or journal.attempt["launching_at"])
        self._begun = time.monotonic()
        self._beat, self._beat_seen = "", time.monotonic()
        self._known = False

    def follow(self) -> Verdict:
        """Wait for a reason to end the machine, or for its own end.

        Raises:
            TemporaryError: AWS could not be reached until after the deadline.
            AccessError: the credentials do not work any more; the machine ends itself.
        """
        while True:
            try:
                verdict = self._look()
            except TemporaryError as error:
                if time.time() > self.deadline + LATE_SECONDS:
                    raise
                self.say(error.problem)
                verdict = None
            if verdict is not None:
                return verdict
            if self.stop.wait(self.settings.poll_seconds):
                return Verdict("cancelled", self._status(), bool(self._beat))

    def _look(self) -> Verdict | None:
        listing = self.store.listing(self.attempt)
        self.log.catch_up(listing)
        beat = listing.get("heartbeat.json", (0, ""))[1]
        if beat and beat != self._beat:
            if not self._beat:
                self.say("the machine is up")
            self._beat, self._beat_seen = beat, time.monotonic()
        if "status.json" in listing:
            return self._reported(self._status())
        instance = self.cloud.instance(self.instance_id)
        if instance is None:
            return self._unknown()
        self._known = True
        state = instance["State"]["Name"]
        if state in ("terminated", "shutting-down"):
            return self._gone(instance)
        if state in ("stopping", "stopped"):
            return Verdict("stopped_not_terminated", None, bool(self._beat))
        return self._overdue()

    def _reported(self, status: dict[str, Any] | None) -> Verdict:
        ending = str((status or {}).get("ending", "agent_failed"))
        if ending == "terminated" and status is not None and status.get("ended", 0) >= self.deadline - 5:
            ending = "deadline"
        return Verdict(ending, status, True)

    def _unknown(self) -> Verdict | None:
        """EC2 does not know the machine: not yet, or, long after its end, not any more."""
        if not self._known and time.monotonic() - self._begun < self.settings.settle_seconds:
            return None
        status = self._status()
        return self._reported(status) if status else Verdict("vanished", None, bool(self._beat))

    def _gone(self, instance: dict[str, Any]) -> Verdict:
        code = str((instance.get("StateReason") or {}).get("Code", ""))
        status = self._status()
        if status is not None:
            return self._reported(status)
        heard = bool(self._beat) or "heartbeat.json" in self.store.listing(self.attempt)
        ending = _REASONS.get(code)
        if code == "Client.InstanceInitiatedShutdown":
            ending = "died_without_report" if heard else "bootstrap_failed"
            if time.time() >= self.deadline - 1:
                ending = "deadline"
        return Verdict(ending or "launch_failed", None, heard, code)

    def _overdue(self) -> Verdict | None:
        now, heard = time.time(), bool(self._beat)
        if now > self.deadline + LATE_SECONDS:
            return Verdict("deadline", None, heard)
        if not heard and now - self.launched > self.settings.boot_seconds:
            return Verdict("bootstrap_timeout")
        if heard and time.monotonic() - self._beat_seen > self.settings.silence_seconds:
            return Verdict("lost_contact", None, True)
        return None

    def _status(self) -> dict[str, Any] | None:
        data = self.store.get(self.attempt, "status.json")
        try:
            found = json.loads(data) if data else None
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def end(self, verdict: Verdict) -> None:
        """Terminate the machine and wait until EC2 says that it is gone.

        Raises:
            TemporaryError: it does not say so; the machine may still be billed.
        """
        if verdict.ending in ("bootstrap_timeout", "bootstrap_failed", "lost_contact", "launch_failed"):
            verdict.console = console(self.cloud, self.instance_id)
        self.cloud.terminate(self.instance_id)
        until, pause, unknown = time.monotonic() + TERMINATION_SECONDS, 0.05, 0
        while time.monotonic() < until:
            instance = self.cloud.instance(self.instance_id)
            unknown = unknown + 1 if instance is None else 0
            if instance is not None and instance["State"]["Name"] == "terminated":
                from worldflux.runtime.aws_ec2.cost import ended_at

                reason = (instance.get("StateReason") or {}).get("Code", "")
                verdict.state_reason = verdict.state_reason or str(reason)
                verdict.ended = ended_at(instance.get("StateTransitionReason")) or time.time()
                return
            # Terminated machines are forgotten after an hour; new ones are unknown for seconds.
            if unknown and (self._known or time.time() - self.launched > 600):
                verdict.ended = min(time.time(), self.deadline + LATE_SECONDS)
                return
            time.sleep(pause)
            pause = min(pause * 1.5, max(self.settings.poll_seconds, 0.1))
        raise TemporaryError(
            f"EC2 has not confirmed the end of {self.instance_id} within {TERMINATION_SECONDS:.0f} s",
            "worldflux runs reap",
            code="not_terminated",
        )


def console(cloud: Cloud, instance_id: str) -> str:
    """What the machine printed while it booted, as far as EC2 has it."""
    from worldflux.errors import WorldFluxError
    from worldflux.runtime.aws_ec2.cloud import explained

    try:
        with explained("ec2:GetConsoleOutput"):
            return str(cloud.ec2.get_console_output(InstanceId=instance_id).get("Output", ""))
    except WorldFluxError:
        return ""
