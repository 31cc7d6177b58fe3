"""runtime=replicate: call a pinned model on Replicate, or a recipe's command on a runner model."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.errors import RefusedError, UsageError, WorldFluxError
from worldflux.runtime.base import Adapter, RuntimeContext, RuntimeResult

if TYPE_CHECKING:
    from worldflux.runtime.remote.money import Price
    from worldflux.runtime.remote.upload import Upload
    from worldflux.runtime.replicate.client import Api

API_URL = "https://api.replicate.com"
OUTPUT_HOSTS = ("replicate.delivery", "*.replicate.delivery")
MEGABYTE = 10**6


class ReplicatePlugin:
    """Runs a prediction and brings its results home.

    Args:
        model: `owner/name:version`, pinned.
        hardware: what the model runs on, as its page says it; without it the cost is unknown.
        price_per_prediction: US dollars, for models that are priced by the piece.
        secret_inputs: name of a model's input -> name of a forwarded variable.
        max_seconds: longest running time when the recipe sets no timeout; Replicate ends any
            prediction after 30 minutes.
        start_seconds: how long a cold start may take beyond the timeout.
        poll_seconds: time between two looks at a prediction.
        download_cap_mb: largest size of all outputs together, in millions of bytes.
        upload_cap_mb: largest size of the recipe's source.
        log_cap_mb: size at which the log is cut.
        output_hosts: hosts that outputs are fetched from.
        ignore: further files of the source that stay here. include: files that travel anyway.
        cost_guard: the limits in US dollars.
        artifacts, metrics: what the recipe names; these files come home first.
        api_url: another server that speaks the same API.
    """

    name = "replicate"

    def __init__(
        self,
        *,
        model: str | None = None,
        hardware: str | None = None,
        price_per_prediction: float | None = None,
        secret_inputs: Mapping[str, str] | None = None,
        max_seconds: float = 1800.0,
        start_seconds: float = 600.0,
        poll_seconds: float = 1.0,
        download_cap_mb: float = 2000,
        upload_cap_mb: float = 100,
        log_cap_mb: float = 256,
        output_hosts: Sequence[str] = OUTPUT_HOSTS,
        ignore: Sequence[str] = (),
        include: Sequence[str] = (),
        cost_guard: Mapping[str, Any] | None = None,
        artifacts: Sequence[Any] = (),
        metrics: Mapping[str, Any] | None = None,
        api_url: str = "",
    ) -> None:
        from worldflux.runtime.remote.money import Budget

        self.model, self.hardware = str(model or ""), hardware
        self.configured, self.api_url = bool(api_url), api_url or API_URL
        self.price_per_prediction = None if price_per_prediction is None else float(price_per_prediction)
        self.secret_inputs = dict(secret_inputs or {})
        self.max_seconds, self.start_seconds = float(max_seconds), float(start_seconds)
        self.poll_seconds = float(poll_seconds)
        self.download_cap, self.upload_cap = int(download_cap_mb * MEGABYTE), int(upload_cap_mb * MEGABYTE)
        self.log_cap = int(log_cap_mb * MEGABYTE)
        self.output_hosts = tuple(output_hosts)
        self.ignore, self.include = tuple(ignore), tuple(include)
        self.budget = Budget.of(cost_guard)
        self.wanted: list[str] = []
        if artifacts or metrics:
            from worldflux.runtime.remote.place import wanted_patterns

            self.wanted = wanted_patterns(artifacts, metrics)
        self._lock = threading.Lock()
        self._cancelled: dict[str, threading.Event] = {}
        self._adapters: dict[str, Adapter] = {}

    def doctor(self) -> list[str]:
        from worldflux.runtime.replicate.checks import lines

        level = "error: " if self.configured else ""
        no_model = [f"{level}no model is chosen; runtime.model=owner/name:version"] if not self.model else []
        return [*lines(self.api_url, level), *no_model]

    def build_env(self, adapter: Adapter, install_dir: Path) -> Path | None:
        """Nothing is built here: a runner model installs the adapter's lock when it runs."""
        with self._lock:
            self._adapters[adapter.id] = adapter
        return None

    def lock_of(self, ctx: RuntimeContext) -> str:
        """The requirements that the run's adapter was built with."""
        adapter = self._adapters.get(ctx.adapter_id)
        return adapter.lock if adapter is not None else ""

    def price(self) -> Price:
        """What a second costs; unknown when nobody named the hardware.

        Raises:
            UsageError: the named hardware is not in the rate table.
        """
        from worldflux.runtime.replicate.rates import price_of

        return self.budget.price(price_of(self.hardware))

    def seconds_allowed(self) -> float | None:
        """How long a prediction may exist within the budget; None is no limit.

        Raises:
            RefusedError: there is a budget and the price is unknown, or it pays for nothing.
        """
        if self.price_per_prediction is None:
            return self.budget.seconds(self.price(), least=5.0)
        limit = self.budget.max_usd
        if limit is not None and self.price_per_prediction > limit:
            raise RefusedError(
                f"a prediction costs {self.price_per_prediction:g} USD; the budget is {limit:g} USD",
                "raise cost_guard.max_usd",
                code="budget",
            )
        return None

    def selection(self, source_dir: Path) -> Upload:
        """The files that a runner model is sent."""
        from worldflux.runtime.remote.upload import select

        return select(source_dir, ignore=self.ignore, include=self.include)

    def plan(self, facts: Mapping[str, Any]) -> list[str]:
        """What a run would do and cost; asks nobody.

        Args:
            facts: `source_dir` (a path), `timeout` (seconds or None), `variables` (names).

        Raises:
            WorldFluxError: the model is not pinned, or the budget refuses.
        """
        from worldflux.runtime.remote.upload import describe
        from worldflux.runtime.replicate.inputs import pinned

        pinned(self._model())
        price, allowed = self.price(), self.seconds_allowed()
        lasting = min(facts.get("timeout") or self.max_seconds, self.max_seconds) + self.start_seconds
        deadline = lasting if allowed is None else min(lasting, allowed)
        return [
            f"model     {self.model}",
            f"price     {price.describe()}",
            f"deadline  {deadline:.0f} seconds after the start, kept by Replicate itself",
            "upload    a model gets its inputs and the files named with @; a runner gets:",
            *describe(self.selection(Path(facts["source_dir"]))),
        ]

    def run(self, ctx: RuntimeContext, command: Sequence[str]) -> RuntimeResult:
        from worldflux.runtime.replicate.prediction import Prediction

        self._model()
        return Prediction(self, ctx, command, self._event(ctx)).carry_out()

    def cancel(self, ctx: RuntimeContext) -> None:
        """Ask the run to end; it sees it within a poll. Any thread."""
        self._event(ctx).set()

    def teardown(self, ctx: RuntimeContext) -> None:
        from worldflux.runtime.replicate import journal

        with self._lock:
            self._cancelled.pop(ctx.run_id, None)
        entry = journal.read(ctx.run_id)
        if entry is not None:
            journal.settle(self.api(url=entry.api_url), entry)

    def reap(self, runs: Sequence[str] = (), *, end: bool = True) -> tuple[list[dict[str, Any]], list[str]]:
        """Find predictions that this machine started and that still run.

        Args:
            runs: ids of runs to end now; others are ended past their deadline only.
            end: false only looks.

        Returns:
            A row for each prediction, and a line for each problem.
        """
        from worldflux.runtime.replicate import journal

        if not journal.entries():
            return [], []
        try:
            return journal.look(lambda url: self.api(url=url), runs, end=end)
        except WorldFluxError as error:
            return [], [error.problem]

    def api(self, event: threading.Event | None = None, *, url: str = "") -> Api:
        """The account's API.

        Args:
            url: of the server that a run was started on, when it is not the configured one.

        Raises:
            AccessError: no token is set.
        """
        from worldflux.runtime.remote.patience import Patience
        from worldflux.runtime.replicate.checks import token
        from worldflux.runtime.replicate.client import Api

        return Api(url or self.api_url, token(), Patience(event or threading.Event()))

    def _model(self) -> str:
        if not self.model:
            raise UsageError("no model is chosen", "add runtime.model=owner/name:version")
        return self.model

    def _event(self, ctx: RuntimeContext) -> threading.Event:
        with self._lock:
            return self._cancelled.setdefault(ctx.run_id, threading.Event())
