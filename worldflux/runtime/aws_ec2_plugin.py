"""runtime=aws-ec2: run on a rented machine that switches itself off, whatever becomes of this computer."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from worldflux.runtime.aws_ec2 import settings as options
from worldflux.runtime.aws_ec2.settings import Settings
from worldflux.runtime.base import Adapter, RuntimeContext, RuntimeResult
from worldflux.runtime.command import located

if TYPE_CHECKING:
    from worldflux.runtime.aws_ec2.cloud import Cloud
    from worldflux.runtime.aws_ec2.launch import Work
    from worldflux.runtime.aws_ec2.prices import PriceCache

MEGABYTE, GIGABYTE = 2**20, 2**30


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
        seconds, texts = options.seconds, options.texts
        self.configured = cost_guard is not None
        self.settings = Settings(
            region=region
            or os.environ.get("AWS_REGION")
            or os.environ.get("AWS_DEFAULT_REGION")
            or "us-east-1",
            reap_regions=texts("reap_regions", reap_regions),
            instance_types=texts("instance_types", instance_types) or ("m7i.xlarge",),
            market=options.choice("market", market, options.MARKETS),
            fallback=frozenset(
                options.choice("fallback", each, options.FALLBACKS) for each in texts("fallback", fallback)
            ),
            retries=options.whole("retries", retries, 0, 20),
            zones=texts("zones", zones),
            subnets=texts("subnets", subnets),
            security_groups=texts("security_groups", security_groups),
            ami=options.matching("ami", ami, r"ami-[0-9a-f]{8,17}", "ami-0123456789abcdef0"),
            bucket=options.matching("bucket", bucket, r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "my-bucket"),
            prefix=str(options.matching("prefix", prefix, r"[A-Za-z0-9._/-]{1,100}", "worldflux")).strip("/"),
            instance_profile=instance_profile,
            disk_gb=options.whole("disk_gb", disk_gb, 8, 16384),
            setup=str(setup or ""),
            exclude=texts("exclude", exclude),
            lifetime=seconds("lifetime", lifetime),
            boot_seconds=seconds("boot_seconds", boot_seconds),
            setup_seconds=seconds("setup_seconds", setup_seconds),
            silence_seconds=seconds("silence_seconds", silence_seconds),
            margin_seconds=seconds("margin_seconds", margin_seconds, zero=True),
            upload_seconds=seconds("upload_seconds", upload_seconds, zero=True),
            minimum_seconds=seconds("minimum_seconds", minimum_seconds, zero=True),
            grace_seconds=seconds("grace_seconds", grace_seconds),
            beat_seconds=seconds("beat_seconds", beat_seconds),
            poll_seconds=seconds("poll_seconds", poll_seconds),
            settle_seconds=seconds("settle_seconds", settle_seconds),
            log_cap_bytes=options.whole("log_cap_mb", log_cap_mb, 1, 4096) * MEGABYTE,
            artifacts_max_bytes=int(artifacts_max_gb * GIGABYTE),
            keep_objects=bool(keep_objects),
            vram_gb=(requires or {}).get("vram_gb"),
            artifacts=options.patterns(artifacts),
            budget=options.budget(cost_guard),
        )
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
        from worldflux.runtime.aws_ec2.reap import look
        from worldflux.runtime.aws_ec2.trip import Trip

        if self.settings.budget.max_usd is None:
            raise no_budget()
        stop, cloud = self._stop(ctx.run_id), self._cloud()
        say = _Diary(ctx.output_dir / "logs" / "aws-ec2.log")
        for ended in look(self.settings.regions)[0]:
            if ended.ended:
                say(f"ended {ended.instance_id} of run {ended.run_id}: {ended.why}")
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
        """Find our machines in all configured regions and end those past their deadline.

        Args:
            runs: ids of runs to end now.
            end: false only looks.

        Returns:
            A row for each machine, and a line for each region that could not be asked.
        """
        from dataclasses import asdict

        from worldflux.runtime.aws_ec2 import cloud, doctor
        from worldflux.runtime.aws_ec2.reap import look

        if not cloud.installed() or not doctor.credentials_in_sight():
            return [], []
        found, problems = look(self.settings.regions, runs=runs, end=end)
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
        from worldflux.runtime.aws_ec2.cloud import Cloud

        return Cloud(region or self.settings.region)

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
        path.parent.mkdir(exist_ok=True)
        self._path = path

    def __call__(self, text: str) -> None:
        from worldflux.manifest.model import utc_now

        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{utc_now()} {text}\n")


def _region() -> str:
    """The region of this shell, as AWS's own tools read it."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def _now() -> float:
    import time

    return time.time()
