"""What runs of one plugin share: a connection, built images, requests to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldflux.errors import TemporaryError, WorldFluxError
from worldflux.runtime.base import Adapter, RuntimeContext, RuntimeResult
from worldflux.runtime.modal import image, leftovers, sdk
from worldflux.runtime.modal.sandbox import Trip
from worldflux.runtime.modal.settings import Settings
from worldflux.runtime.remote import whereabouts
from worldflux.runtime.remote.patience import Patience, TooLate

#: Folder for locks below the folder of environments.
LOCKS = "modal-locks"


@dataclass(frozen=True)
class Stop:
    """Set when a run shall end, and when it shall end without waiting for anything."""

    asked: threading.Event = field(default_factory=threading.Event)
    at_once: threading.Event = field(default_factory=threading.Event)


class Account:
    """Opens a client when it is first needed and closes it after the last run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Any = None
        self._users = 0
        self._images: dict[Any, Any] = {}
        self._adapters: dict[str, Adapter] = {}
        self._events: dict[str, Stop] = {}

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """The open client, kept open inside.

        Raises:
            UsageError: the SDK is missing. AccessError: there is no token.
        """
        with self._lock:
            if self._client is None:
                self._client = sdk.open_client()
            self._users += 1
            client = self._client
        try:
            yield client
        finally:
            with self._lock:
                self._users -= 1

    def cancel(self, run_id: str) -> None:
        """Let the run end; asked again, at once."""
        stop = self._stop(run_id)
        if stop.asked.is_set():
            stop.at_once.set()
        stop.asked.set()

    def _stop(self, run_id: str) -> Stop:
        with self._lock:
            return self._events.setdefault(run_id, Stop())

    def image(self, settings: Settings, adapter: Adapter, install_dir: Path) -> Any:
        """The image of an adapter; built once.

        Args:
            install_dir: keeps the lock, which the SDK reads again whenever it builds upon the image.

        Raises:
            WorldFluxError: it can not be built, or not in time.
        """
        key = (adapter, settings.registry, settings.apt, settings.machine.app)
        with self._lock:
            self._adapters[adapter.id] = adapter
            if key in self._images:
                return self._images[key]
        patience = Patience(threading.Event())
        try:
            with self.connected() as client:
                found = patience.call(
                    lambda: image.built(
                        client,
                        settings.machine.app,
                        adapter,
                        install_dir / LOCKS,
                        registry=settings.registry,
                        apt=settings.apt,
                    ),
                    time.monotonic() + settings.build_seconds,
                )
        except TooLate:
            raise TemporaryError(
                f"the image was not built within {settings.build_seconds:.0f} seconds",
                "try again, or raise runtime.build_seconds",
                code="env",
            ) from None
        with self._lock:
            self._images[key] = found
        return found

    def run(
        self,
        settings: Settings,
        ctx: RuntimeContext,
        words: Sequence[str],
        variables: Mapping[str, str],
        extra: Mapping[str, Any] | None = None,
    ) -> RuntimeResult:
        """Carry out one run in a sandbox of its own.

        Args:
            words: the command as the sandbox runs it.
            extra: further facts for the record.
        """
        stop = self._stop(ctx.run_id)
        adapter = self._adapters.get(ctx.adapter_id) or Adapter(ctx.adapter_id)
        price, limits = settings.price(), settings.limits(ctx.timeout)
        with self.connected() as client:
            return Trip(
                client=client,
                image=self.image(settings, adapter, ctx.install_dir),
                ctx=ctx,
                machine=settings.machine,
                limits=limits,
                price=price,
                words=words,
                variables=variables,
                upload=settings.selection(ctx.source_dir),
                wanted=settings.wanted,
                cancelled=stop.asked,
                at_once=stop.at_once,
                reported_lock=adapter.lock,
                extra=extra or {},
            ).carry_out()

    def release(self, app: str, run_id: str) -> None:
        """End what carries the run's tag, and the connection when no other run needs it.

        Raises:
            WorldFluxError: Modal can not be asked; a sandbox that lives ends at its own timeout.
        """
        with self._lock:
            client, ran = self._client, run_id in self._events
        try:
            if client is not None and ran:
                leftovers.sweep(client, app, run_id)
        finally:
            self._forget(run_id)

    def _forget(self, run_id: str) -> None:
        """The run is over; the last one closes the connection."""
        with self._lock:
            self._events.pop(run_id, None)
            if self._events or self._users or self._client is None:
                return
            client, self._client = self._client, None
            self._images.clear()
        sdk.close(client)

    def reap(self, app: str, runs: Sequence[str], *, end: bool) -> tuple[list[dict[str, Any]], list[str]]:
        """Living sandboxes of ours, and problems; silent where Modal was never set up."""
        try:
            client = sdk.open_client()
        except WorldFluxError:
            return [], []
        rows: list[dict[str, Any]] = []
        problems = []
        try:
            for each in whereabouts.all_of("modal", [app]):
                try:
                    rows += leftovers.look(client, each, runs, end=end)
                except WorldFluxError as error:
                    problems.append(f"app {each}: {error.problem}")
        finally:
            sdk.close(client)
        return rows, problems
