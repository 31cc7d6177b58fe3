"""One run in one sandbox: start it, carry the command out, bring the results home, end it."""

from __future__ import annotations

import contextlib
import math
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeVar

from worldflux.errors import RefusedError, TemporaryError, WorldFluxError
from worldflux.runtime.base import RuntimeContext, RuntimeResult
from worldflux.runtime.modal import leftovers, sdk
from worldflux.runtime.modal.streams import Pump, Tail
from worldflux.runtime.remote import place, whereabouts
from worldflux.runtime.remote.homecoming import OVERHEAD, Homecoming, unpack
from worldflux.runtime.remote.logfile import LogFile
from worldflux.runtime.remote.money import Price
from worldflux.runtime.remote.patience import Cancelled, Patience, TooLate
from worldflux.runtime.remote.upload import Upload

T = TypeVar("T")

#: Uploaded files lie below the first, and the run writes below the second.
UPLOADED = PurePosixPath("/worldflux")
THERE = place.Place(UPLOADED / "source", PurePosixPath("/tmp/worldflux-run"))
#: Modal ends every sandbox after a day.
PLATFORM_SECONDS = 86400.0
GRACE = 3.0
#: How much later than the agent's own clock we lose patience.
SLACK = 15.0
#: Seconds for bringing home what a cancelled command has written.
RESCUE_SECONDS = 60.0
#: Seconds that ending a sandbox may take.
END_SECONDS = 30.0
#: Seconds before the end of a budget at which we end the sandbox; it ends itself at the end.
ENDING = 3.0


def reserve(lasting: float) -> float:
    """Seconds of a budget that are kept for ending the command and bringing the results home."""
    return GRACE + max(2.0, min(60.0, lasting / 10))


@dataclass(frozen=True)
class Machine:
    """What a sandbox is made of. `secrets` are names of secrets that Modal keeps."""

    app: str
    gpu: str | None = None
    cpu: float = 1.0
    memory_mb: int = 2048
    secrets: tuple[str, ...] = ()
    block_network: bool = False
    allow_domains: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """Times in seconds and sizes in bytes.

    Attributes:
        timeout: running time of the command.
        lasting: how long the sandbox may exist within the budget; None is no limit.
        start: for the sandbox to come up.
        fetch: for bringing the results home.
    """

    timeout: float
    lasting: float | None
    start: float
    fetch: float
    log_cap: int
    upload_cap: int
    download_cap: int


@dataclass
class Trip:
    """Carries out one run.

    Args:
        words: the command as the sandbox runs it.
        variables: of the command.
        image: built already.
        cancelled: set when the run shall end; at_once: set when nothing shall be waited for.
        reported_lock: the lock's text, for the record.
    """

    client: Any
    image: Any
    ctx: RuntimeContext
    machine: Machine
    limits: Limits
    price: Price
    words: Sequence[str]
    variables: Mapping[str, str]
    upload: Upload
    wanted: Sequence[str]
    cancelled: threading.Event
    at_once: threading.Event
    reported_lock: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.patience = Patience(self.cancelled)
        self.log = LogFile(self.ctx.output_dir / "logs" / f"{self.ctx.run_id}.log", self.limits.log_cap)
        self.sandbox: Any = None
        self.started = False
        self.facts: dict[str, Any] = dict(self.extra)
        self.outcome = ""
        self.seconds = 0.0

    def carry_out(self) -> RuntimeResult:
        """Run and return the result; nothing of it lives on, whatever happens."""
        code, home = -15, Homecoming()
        self.began = time.monotonic()
        lasting = self.limits.lasting
        self.deadline = None if lasting is None else self.began + lasting - ENDING
        try:
            self._create()
            code = self._run()
            home = self._fetch()
            code = self._code(code, home)
        except (Cancelled, KeyboardInterrupt):
            self.outcome = "cancelled"
            home = self._rescue()
            code = self._code(code, home)
        except TooLate:
            self._too_late()
        finally:
            self._end()
            self.log.close()
        return self._result(code, home)

    def _call(self, doing: str, function: Callable[[], T], limit: float) -> T:
        """A call of the SDK within a time limit and the budget.

        Raises:
            Cancelled, TooLate: see `Patience`.
            WorldFluxError: what the SDK reports.
        """
        deadline = time.monotonic() + limit
        if self.deadline is not None:
            deadline = min(deadline, self.deadline)

        def explained() -> T:
            with sdk.explained(doing):
                return function()

        return self.patience.call(explained, deadline)

    def _create(self) -> None:
        """A sandbox that ends itself: its own timeout is armed before anything runs in it."""
        modal, machine, limits = sdk.load(), self.machine, self.limits
        lasting = limits.start + limits.timeout + limits.fetch + SLACK + GRACE
        lasting = min(lasting, limits.lasting or lasting, PLATFORM_SECONDS)
        tags = leftovers.tags_of(self.ctx.run_id, time.time() + lasting)
        whereabouts.note("modal", machine.app, time.time() + lasting)
        with place.scratch(self.ctx.output_dir) as folder:
            staged = folder / "upload"
            place.stage(self.ctx.source_dir, self.upload, staged, self._job(), cap=limits.upload_cap)
            image = self.image.add_local_dir(staged, str(UPLOADED))
            network: dict[str, Any] = {"block_network": machine.block_network}
            if machine.allow_domains:
                network["outbound_domain_allowlist"] = list(machine.allow_domains)

            def create() -> None:
                app = modal.App.lookup(machine.app, create_if_missing=True, client=self.client)
                secrets = [modal.Secret.from_name(name) for name in machine.secrets]
                # Kept at once: whoever stops waiting still finds it here.
                self.sandbox = modal.Sandbox.create(
                    app=app,
                    image=image,
                    gpu=machine.gpu,
                    cpu=(machine.cpu, machine.cpu),
                    memory=(machine.memory_mb, machine.memory_mb),
                    timeout=max(1, math.floor(lasting)),
                    tags=tags,
                    secrets=secrets,
                    client=self.client,
                    **network,
                )

            self._call("create a sandbox", create, limits.start)
        self._execute("start the sandbox", ["true"], limits.start)
        self.facts["start_seconds"] = round(time.monotonic() - self.began, 3)

    def _job(self) -> dict[str, Any]:
        return place.job(
            self.ctx,
            self.words,
            THERE,
            timeout=self.limits.timeout,
            grace=GRACE,
            wanted=self.wanted,
            cap=self.limits.download_cap,
        )

    def _execute(self, doing: str, words: Sequence[str], limit: float, **options: Any) -> Any:
        """Start a command beside the idle entrypoint; the server ends it at the limit, too."""
        timeout = math.ceil(limit)

        def start() -> Any:
            return self.sandbox.exec(*words, text=False, timeout=timeout, **options)

        return self._call(doing, start, limit)

    def _run(self) -> int:
        """Carry out the command and follow its output; the agent's exit code."""
        modal, allowed = sdk.load(), self.limits.timeout
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            allowed = min(allowed, left - reserve(self.limits.lasting or 0.0))
            if allowed <= 0:
                raise TooLate
        self.shortened = allowed < self.limits.timeout
        patience = allowed + GRACE + SLACK
        secret = modal.Secret.from_dict(dict(self.variables))
        words = ["python", str(UPLOADED / "agent.py"), "run", str(UPLOADED / "job.json"), repr(allowed)]
        began = time.monotonic()
        try:
            process = self._execute("start the command", words, patience, secrets=[secret])
            self.started = True
            pumps = [Pump(stream, self.log.write) for stream in (process.stdout, process.stderr)]
            code = int(self._call("wait for the command", process.wait, patience))
            for pump in pumps:
                self._call("read the output", pump.finished, SLACK)
        finally:
            self.seconds = time.monotonic() - began
        self.facts["run_seconds"] = round(self.seconds, 3)
        # At its deadline the SDK says -1, or 137 for the server's kill: our own clock decides.
        if code in (-1, 137) and self.seconds >= allowed:
            self.outcome = "refused" if self.shortened else "timeout"
        return code

    def _fetch(self) -> Homecoming:
        """Bring metrics and files home; also after a timeout, when there is something to save."""
        began = time.monotonic()
        words = ["python", str(UPLOADED / "agent.py"), "pack", str(UPLOADED / "job.json")]
        process = self._execute("fetch the results", words, self.limits.fetch)
        room = self.limits.download_cap + OVERHEAD
        with tempfile.TemporaryFile(prefix="worldflux-") as archive:
            taken = 0

            def take(data: bytes) -> None:
                nonlocal taken
                taken += len(data)
                if taken > room:
                    raise RefusedError(
                        f"the results are over the limit of {self.limits.download_cap / 1e6:g} MB",
                        "raise runtime.download_cap_mb, or write less",
                        code="results",
                    )
                archive.write(data)

            complaint = Tail()
            pumps = [Pump(process.stdout, take), Pump(process.stderr, complaint.take)]
            for pump in pumps:
                self._call("fetch the results", pump.finished, self.limits.fetch)
            if self._call("fetch the results", process.wait, self.limits.fetch) != 0:
                raise WorldFluxError(
                    f"the results could not be packed: {complaint.text()}", "run it again", code="results"
                )
            archive.seek(0)
            home = unpack(archive, self.ctx.output_dir, cap=self.limits.download_cap)
        self.facts["fetch_seconds"] = round(time.monotonic() - began, 3)
        return home

    def _rescue(self) -> Homecoming:
        """What a cancelled command has written: it is asked to end, and its files are brought home.

        Whoever asks again is too impatient for that.
        """
        if not self.started:
            return Homecoming()
        self.patience = Patience(self.at_once)
        until = time.monotonic() + GRACE + RESCUE_SECONDS
        self.deadline = until if self.deadline is None else min(until, self.deadline)
        try:
            words = ["python", str(UPLOADED / "agent.py"), "end", str(UPLOADED / "job.json")]
            process = self._execute("end the command", words, GRACE + SLACK)
            self._call("end the command", process.wait, GRACE + SLACK)
            return self._fetch()
        except (Cancelled, TooLate, WorldFluxError) as error:
            self.facts["not_brought_home"] = str(error) or "there was no time for it"
            return Homecoming()

    def _code(self, code: int, home: Homecoming) -> int:
        """The command's own code; the agent's record knows a signal from a number."""
        record = home.record
        if record is None:
            return code if code < 128 else -(code - 128)
        reason = record.get("reason")
        if reason == "timeout" and not self.outcome:
            self.outcome = "refused" if self.shortened else "timeout"
        seconds = record.get("seconds")
        if isinstance(seconds, int | float):
            self.seconds = float(seconds)
        return int(record["code"])

    def _too_late(self) -> None:
        """A deadline of ours has passed while something was going on."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self.outcome = "refused"
        elif self.seconds:
            self.outcome = "timeout"
        else:
            raise TemporaryError(
                f"the sandbox was not up within {self.limits.start:.0f} seconds",
                "try again, choose another runtime.gpu, or raise runtime.start_seconds",
                code="start",
            )

    def _end(self) -> None:
        """End the sandbox, and any other that carries the run's tag."""
        patience, until = Patience(threading.Event()), time.monotonic() + END_SECONDS
        sandbox, problem = self.sandbox, ""
        if sandbox is not None:
            try:
                patience.call(lambda: sandbox.terminate(wait=True), until)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            with contextlib.suppress(Exception):
                patience.call(sandbox.detach, until)
        try:
            left = patience.call(
                lambda: leftovers.sweep(self.client, self.machine.app, self.ctx.run_id), until
            )
        except (WorldFluxError, TooLate) as error:
            left = [f"not known: {problem or error}"]
        self.total = time.monotonic() - self.began
        if left:
            self.facts["left_running"] = left

    def _result(self, code: int, home: Homecoming) -> RuntimeResult:
        facts = {**self.facts, **home.metadata(), **place.reported(home.record, self.reported_lock)}
        if self.outcome:
            facts["outcome"] = self.outcome
            code = code if code < 0 else -15
        if self.outcome == "refused":
            facts["reason"] = "the budget was used up before the command ended"
        if self.sandbox is not None:
            identity = str(self.sandbox.object_id)
            facts.update(sandbox=identity, backend="v1" if len(identity) == 25 else "v2")
        # It can not have lived longer than its own timeout, even where we could not see it end.
        charged = self.total if self.limits.lasting is None else min(self.total, self.limits.lasting)
        return RuntimeResult(
            exit_code=code,
            duration_seconds=self.seconds,
            log_path=self.log.path,
            artifacts=tuple(home.files),
            cost_estimate_usd=self.price.estimate(charged),
            metadata={
                "app": self.machine.app,
                "gpu": self.machine.gpu,
                "cpu": self.machine.cpu,
                "memory_mb": self.machine.memory_mb,
                "log_truncated": self.log.truncated,
                "log_error": self.log.error,
                "cost": self.price.cost(charged),
                **facts,
            },
        )
