"""runtime=aws-ec2: run on a rented machine that switches itself off, whatever becomes of this computer."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from worldflux.runtime.aws_ec2 import settings as options
from worldflux.runtime.base import Adapter, RuntimeContext, RuntimeResult
from worldflux.runtime.command import located

if TYPE_CHECKING:
    from worldflux.runtime.aws_ec2.cloud import Cloud
    from worldflux.runtime.aws_ec2.launch import Work
    from worldflux.runtime.aws_ec2.prices import PriceCache


class AwsEc2Plugin:
    """Runs commands on EC2, one machine a run, within a budget in dollars.

    Every option is described in `conf/runtime/aws-ec2.yaml`; durations are seconds or texts such
    as `15m`. Made without `cost_guard` it can look (doctor, reap) and does not run anything.

    Raises:
        ValueError: an option has a value that can not be meant.
    """

    name = "aws-ec2"
    paid = True

    def __init__(
        self,
        *,
        region: str | None = None,
        reap_regions: Sequence[str] = (),
        instance_types: Sequence[str] | str = ("m7i.xlarge",),
        market: str = options.SPOT,
        fallback: Sequence[str] = (),
        retries: int = 0,
        zones: Sequence[str] = (),
        subnets: Sequence[str] = (),
        security_groups: Sequence[str] = (),
        ami: str | None = None,
        bucket: str | None = None,
        prefix: str = "worldflux",
        instance_profile: str | None = None,
        disk_gb: int = 60,
        setup: str = "",
        exclude: Sequence[str] = (),
        lifetime: float | str = "7d",
        boot_seconds: float | str = "10m",
        setup_seconds: float | str = "30m",
        silence_seconds: float | str = "10m",
        margin_seconds: float | str = 120,
        upload_seconds: float | str = "5m",
        minimum_seconds: float | str = 60,
        grace_seconds: float | str = 10,
        beat_seconds: float | str = 5,
        poll_seconds: float | str = 3,
        settle_seconds: float | str = 60,
        log_cap_mb: int = 256,
        artifacts_max_gb: float = 16,
        keep_objects: bool = False,
        cost_guard: Mapping[str, Any] | None = None,
        artifacts: Sequence[Mapping[str, Any]] | None = None,
        requires: Mapping[str, Any] | None = None,
    ) -> None:
        # First of all: nothing but the arguments is a local name yet.
        values = {name: value for name, value in locals().items() if name != "self"}
        self.configured = cost_guard is not None
        self.settings = options.build(values)
        self._lock = threading.Lock()
        self._adapters: dict[str, Adapter] = {}
        self._stops: dict[str, threading.Event] = {}

    def doctor(self) -> list[str]:
        from worldflux.runtime.aws_ec2 import cloud, doctor

        level = "error: " if self.configured else ""
        if not cloud.installed():
            return [f"{level}boto3 is not installed; {cloud.INSTALL}"]
        if not doctor.credentials_in_sight():
            return [f"{level}no AWS credentials on this computer; aws configure, or aws sso login"]
        return doctor.examine(self.settings)

    def build_env(self, adapter: Adapter, install_dir: Path) -> Path | None:
        """Remember the requirements: the environment is built on the machine, at each launch.

        Raises:
            RefusedError: there is no budget.
        """
        from worldflux.runtime.aws_ec2.plan import no_budget

        if self.settings.budget.max_usd is None:
            raise no_budget()
        with self._lock:
            self._adapters[adapter.id] = adapter
        return None

    def plan(self, facts: Mapping[str, Any]) -> list[str]:
        """What a run would do and cost at most, without starting or writing anything.

        Args:
            facts: `source_dir` (a path), `timeout` (seconds or None), `variables` (names).

        Raises:
            RefusedError: the run would be refused.
            WorldFluxError: AWS can not be asked.
        """
        import time

        from worldflux.runtime.aws_ec2 import bundle
        from worldflux.runtime.aws_ec2.launch import Launcher, Work
        from worldflux.runtime.aws_ec2.plan import describe, no_budget

        if self.settings.budget.max_usd is None:
            raise no_budget()
        source = Path(facts["source_dir"])
        work = Work("dry-run", (), {}, facts.get("timeout"), None, source)
        launcher = Launcher(self._cloud(), self.settings, work, self._prices(), lambda text: None)
        first = next(launcher.plans(time.time()))
        sent = bundle.find_source(source, self.settings.exclude)
        lines = describe(first, launcher.machines[first.variant.instance_type])
        lines.append(f"bucket    s3://{launcher.store.bucket}/{self.settings.prefix}/RUN_ID/")
        lines.append(f"upload    {len(sent.files)} files, {sent.bytes:,} bytes from {source}")
        lines += [f"            {name}  {size:,}" for name, size in sent.files[:20]]
        if len(sent.files) > 20:
            lines.append(f"            ... and {len(sent.files) - 20} more")
        return lines

    def run(self, ctx: RuntimeContext, command: Sequence[str]) -> RuntimeResult:
        from worldflux.runtime.aws_ec2.journal import Journal
        from worldflux.runtime.aws_ec2.launch import Launcher
        from worldflux.runtime.aws_ec2.plan import no_budget
        from worldflux.runtime.aws_ec2.reap import clear_the_way
        from worldflux.runtime.aws_ec2.trip import Trip
        from worldflux.runtime.remote import whereabouts

        if self.settings.budget.max_usd is None:
            raise no_budget()
        stop, cloud = self._stop(ctx.run_id), self._cloud()
        say = _Diary(ctx.output_dir / "logs" / "aws-ec2.log")
        clear_the_way(cloud, whereabouts.all_of(self.name, self.settings.regions), say)
        launcher = Launcher(cloud, self.settings, self._work(ctx, command), self._prices(), say)
        next(launcher.plans(_now()))
        journal = Journal.begin(
            ctx.output_dir,
            run_id=ctx.run_id,
            region=cloud.region,
            bucket=launcher.store.bucket,
            prefix=self.settings.prefix,
        )
        trip = Trip(cloud, self.settings, journal, ctx.output_dir, timeout=ctx.timeout, stop=stop, say=say)
        return trip.run(launcher)

    def attach(self, ctx: RuntimeContext) -> RuntimeResult:
        """Take up a run whose client died: follow its machine, collect, end it.

        Raises:
            UsageError: the run launched no machine.
            WorldFluxError: AWS can not be reached.
        """
        from worldflux.runtime.aws_ec2.journal import Journal
        from worldflux.runtime.aws_ec2.trip import Trip, never_launched

        journal = Journal.read(ctx.output_dir)
        if journal is None:
            raise never_launched(ctx.run_id)
        say = _Diary(ctx.output_dir / "logs" / "aws-ec2.log")
        trip = Trip(
            self._cloud(journal.data["region"]),
            self.settings,
            journal,
            ctx.output_dir,
            timeout=ctx.timeout,
            stop=self._stop(ctx.run_id),
            say=say,
        )
        return trip.attach()

    def cancel(self, ctx: RuntimeContext) -> None:
        """Ask the run to end; its machine is terminated. Returns at once; any thread."""
        self._stop(ctx.run_id).set()

    def teardown(self, ctx: RuntimeContext) -> None:
        """End the run's machine when `run` was left before it could.

        Raises:
            WorldFluxError: AWS can not be reached; the machine ends itself at its deadline.
        """
        from worldflux.runtime.aws_ec2.journal import Journal

        with self._lock:
            self._stops.pop(ctx.run_id, None)
        journal = Journal.read(ctx.output_dir)
        if journal is None or not journal.open:
            return
        cloud = self._cloud(journal.data["region"])
        for instance in cloud.tagged(ctx.run_id):
            cloud.terminate(instance["InstanceId"])
        journal.note("abandoned")

    def reap(self, runs: Sequence[str] = (), *, end: bool = True) -> tuple[list[dict[str, Any]], list[str]]:
        """Find our machines and end those past their deadline.

        Looked into are all configured regions, and those that this computer launched in lately.

        Args:
            runs: ids of runs to end now.
            end: false only looks.

        Returns:
            A row for each machine, and a line for each region that could not be asked.
        """
        from dataclasses import asdict

        from worldflux.runtime.aws_ec2 import cloud, doctor
        from worldflux.runtime.aws_ec2.reap import look
        from worldflux.runtime.remote import whereabouts

        if not cloud.installed() or not doctor.credentials_in_sight():
            return [], []
        found, problems = look(whereabouts.all_of(self.name, self.settings.regions), runs=runs, end=end)
        return [asdict(each) for each in found], problems

    def _work(self, ctx: RuntimeContext, command: Sequence[str]) -> Work:
        from worldflux.runtime.aws_ec2.launch import Work
        from worldflux.runtime.aws_ec2.user_data import WORK
        from worldflux.runtime.environment import FIXED

        work = PurePosixPath(WORK)
        adapter = self._adapters.get(ctx.adapter_id)
        own = adapter is not None and bool(adapter.lock.strip())
        python = str(work / "env" / "bin" / "python") if own else "python3"
        words = located(command, ctx.source_dir, python=python, mounted=work / "source")
        return Work(
            ctx.run_id,
            [*words, *ctx.extra_args],
            {**FIXED, "HOME": "/root", "LANG": "C.UTF-8", **ctx.env_vars},
            ctx.timeout,
            adapter,
            ctx.source_dir,
        )

    def _cloud(self, region: str | None = None) -> Cloud:
        from worldflux.runtime.aws_ec2.cloud import shared

        return shared(region or self.settings.region)

    def _prices(self) -> PriceCache:
        from worldflux.runtime.aws_ec2.prices import PriceCache

        home = os.environ.get("WORLDFLUX_HOME")
        return PriceCache((Path(home) if home else Path.home() / ".worldflux") / "aws-prices.json")

    def _stop(self, run_id: str) -> threading.Event:
        with self._lock:
            return self._stops.setdefault(run_id, threading.Event())


class _Diary:
    """What the runtime did, line by line, in a file beside the command's log."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, text: str) -> None:
        from worldflux.manifest.model import utc_now

        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{utc_now()} {text}\n")


def _now() -> float:
    import time

    return time.time()
