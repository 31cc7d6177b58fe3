"""Options of the runtimes on Modal, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldflux.runtime.modal.rates import price_of
from worldflux.runtime.modal.sandbox import ENDING, PLATFORM_SECONDS, Limits, Machine, reserve
from worldflux.runtime.remote import upload
from worldflux.runtime.remote.money import Budget, Price
from worldflux.runtime.remote.place import wanted_patterns

MEGABYTE = 10**6
#: Seconds that a sandbox needs even for an empty command.
LEAST_SECONDS = 10.0


@dataclass(frozen=True)
class Settings:
    """What the person chose.

    Attributes:
        machine: app, GPU, cores, memory, network.
        registry: image with a Python of its own; None is Debian with the recipe's Python.
        apt: Debian packages.
        max_seconds: running time when the recipe sets no timeout.
        start_seconds, fetch_seconds, build_seconds: longest times for the sandbox to come up, for
            bringing results home, and for building the image.
        log_cap, upload_cap, download_cap: bytes.
        ignore, include: further files that stay here, and files that travel anyway.
        wanted: files that the recipe names; they come home first.
    """

    machine: Machine
    registry: str | None
    apt: tuple[str, ...]
    max_seconds: float
    start_seconds: float
    fetch_seconds: float
    build_seconds: float
    log_cap: int
    upload_cap: int
    download_cap: int
    ignore: tuple[str, ...]
    include: tuple[str, ...]
    budget: Budget
    wanted: tuple[str, ...]

    @classmethod
    def of(
        cls,
        *,
        app: str,
        gpu: str | None,
        cpu: float,
        memory_mb: int,
        registry: str | None,
        apt: Sequence[str],
        secrets: Sequence[str],
        block_network: bool,
        allow_domains: Sequence[str],
        seconds: tuple[float, float, float, float],
        megabytes: tuple[float, float, float],
        ignore: Sequence[str],
        include: Sequence[str],
        cost_guard: Mapping[str, Any] | None,
        artifacts: Sequence[Any],
        metrics: Mapping[str, Any] | None,
    ) -> Settings:
        """From options as they are written.

        Raises:
            ValueError: a number is not positive.
        """
        _positive(cpu=cpu, memory_mb=memory_mb, seconds=min(seconds), megabytes=min(megabytes))
        machine = Machine(
            app,
            gpu or None,
            float(cpu),
            int(memory_mb),
            tuple(secrets),
            bool(block_network),
            tuple(allow_domains),
        )
        running, start, fetch, build = (float(each) for each in seconds)
        log, sent, fetched = (int(each * MEGABYTE) for each in megabytes)
        return cls(
            machine=machine,
            registry=registry,
            apt=tuple(apt),
            max_seconds=running,
            start_seconds=start,
            fetch_seconds=fetch,
            build_seconds=build,
            log_cap=log,
            upload_cap=sent,
            download_cap=fetched,
            ignore=tuple(ignore),
            include=tuple(include),
            budget=Budget.of(cost_guard),
            wanted=tuple(wanted_patterns(artifacts, metrics)),
        )

    def price(self) -> Price:
        """What a second costs.

        Raises:
            UsageError: the GPU is not in the rate table.
        """
        if self.budget.price_per_hour is not None:
            return self.budget.price(Price(None, ""))
        return price_of(self.machine.gpu, self.machine.cpu, self.machine.memory_mb)

    def lasting(self) -> float | None:
        """Seconds that a sandbox may exist within the budget.

        Raises:
            RefusedError: it would not even come up.
        """
        return self.budget.seconds(self.price(), least=LEAST_SECONDS)

    def limits(self, timeout: float | None) -> Limits:
        """The limits of one run.

        Raises:
            RefusedError: see `lasting`.
        """
        running = min(timeout or self.max_seconds, PLATFORM_SECONDS)
        return Limits(
            running,
            self.lasting(),
            self.start_seconds,
            self.fetch_seconds,
            self.log_cap,
            self.upload_cap,
            self.download_cap,
        )

    def selection(self, source_dir: Path) -> upload.Upload:
        """The files of a recipe that travel."""
        return upload.select(source_dir, ignore=self.ignore, include=self.include)

    def plan(self, source_dir: Path, timeout: float | None) -> list[str]:
        """Lines for a dry run.

        Raises:
            WorldFluxError: the budget refuses, or the GPU has no price.
        """
        price, limits, machine = self.price(), self.limits(timeout), self.machine
        longest = limits.start + limits.timeout + limits.fetch
        lasting = min(longest, limits.lasting or longest)
        most = price.estimate(lasting)
        command = limits.timeout
        if limits.lasting is not None:
            command = min(command, limits.lasting - ENDING - reserve(limits.lasting))
        return [
            f"machine   {machine.gpu or 'no GPU'}, {machine.cpu:g} cores, {machine.memory_mb} MiB; "
            f"app {machine.app}",
            f"price     {price.describe()}",
            f"deadline  {lasting:.0f} seconds after the start, kept by Modal itself; at most {most} USD",
            f"command   at most {command:.0f} seconds of it",
            "upload",
            *upload.describe(self.selection(source_dir)),
        ]


def _positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if isinstance(number, bool) or not number > 0:
            raise ValueError(f"{name} must be a positive number")
