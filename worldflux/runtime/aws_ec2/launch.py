"""From a plan to a running machine: everything sent, the journal written, then one RunInstances."""

from __future__ import annotations

import datetime
import hashlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from worldflux.errors import RefusedError, TemporaryError, WorldFluxError
from worldflux.runtime.aws_ec2 import bundle, prices, user_data
from worldflux.runtime.aws_ec2.cloud import NO_CAPACITY, Cloud, explained, run_tags, tags
from worldflux.runtime.aws_ec2.journal import Journal
from worldflux.runtime.aws_ec2.plan import (
    URL_SLACK_SECONDS,
    Machine,
    Plan,
    Variant,
    check_machine,
    make_plan,
    utc,
    variants,
)
from worldflux.runtime.aws_ec2.settings import MAX_PART_BYTES, SPOT, Settings
from worldflux.runtime.aws_ec2.store import WRITTEN, Store, check_bucket
from worldflux.runtime.base import Adapter
from worldflux.runtime.remote import whereabouts

LOG_SEGMENTS = 64
LEAST_SEGMENT_BYTES = 2**20
#: AWS advises to ask for the interruption notice this often.
SPOT_POLL_SECONDS = 5.0


@dataclass(frozen=True)
class Work:
    """What the machine shall do, as far as it does not depend on the plan.

    Attributes:
        words: the command with paths of the machine.
        variables: of the command; hold secret values, so they go into the bundle and nowhere else.
        timeout: seconds it may run; None is as long as the money lasts.
    """

    run_id: str
    words: Sequence[str]
    variables: Mapping[str, str]
    timeout: float | None
    adapter: Adapter | None
    source_dir: Path


class Launcher:
    """Launches the attempts of one run.

    Args:
        cache: prices looked up before.
        say: told in short lines what happens.
    """

    def __init__(
        self,
        cloud: Cloud,
        settings: Settings,
        work: Work,
        cache: prices.PriceCache,
        say: Callable[[str], None],
    ) -> None:
        self.cloud, self.settings, self.work, self.cache, self.say = cloud, settings, work, cache, say
        self.machines: dict[str, Machine] = {}
        self._uv: dict[str, str] | None = None
        self._source_sha256 = ""
        self.store = Store(cloud, bucket_name(cloud, settings), settings.prefix, work.run_id)

    def plans(self, now: float, spent_usd: float = 0.0) -> Iterator[Plan]:
        """A plan for each variant that is allowed, in order; those after the first may be skipped.

        Raises:
            RefusedError: the first variant can not be planned.
        """
        if not self.machines:
            self.machines = self.cloud.machines(self.settings.instance_types)
        zones = self.machines[self.settings.instance_types[0]].zones
        until = self.cloud.credentials_until()
        for index, variant in enumerate(variants(self.settings, zones)):
            try:
                check_machine(self.machines[variant.instance_type], self.settings)
                yield make_plan(
                    variant,
                    self.quote(variant),
                    self.settings,
                    now=now if index == 0 else time.time(),
                    timeout=self.work.timeout,
                    spent_usd=spent_usd,
                    credentials_until=until,
                )
            except RefusedError as error:
                if index == 0:
                    raise
                self.say(f"not {variant}: {error.problem}")

    def quote(self, variant: Variant) -> prices.Quote:
        """The price of a variant.

        Raises:
            RefusedError: it is not known.
        """
        given = self.settings.budget.price_per_hour
        listed = self.cloud.listed(variant.instance_type, self.cache) if given is None else None
        spot = self.cloud.spot(variant.instance_type, variant.zone) if variant.market == SPOT else None
        today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        return prices.quote(
            variant.market, variant.instance_type, given=given, listed=listed, spot=spot, today=today
        )

    def prepare(self, journal: Journal) -> None:
        """Check the bucket and send what all attempts share.

        Raises:
            RefusedError: no bucket, or too much to send.
        """
        check_bucket(self.cloud, self.store.bucket)
        packed = bundle.pack_source(bundle.find_source(self.work.source_dir, self.settings.exclude))
        self.store.put(f"{self.store.base}/source", packed)
        self._source_sha256 = bundle.sha256(packed)
        journal.data["source"] = {"sha256": self._source_sha256, "bytes": len(packed)}
        if self.work.adapter is not None and self.work.adapter.lock.strip():
            self._uv = self._send_uv()

    def launch(self, journal: Journal, attempt: int, spent_usd: float) -> None:
        """Start one machine; the journal knows it when this returns.

        Raises:
            RefusedError: no plan fits the budget.
            WorldFluxError: AWS refuses, and there is no variant left to try.
        """
        last: WorldFluxError | None = None
        for index, plan in enumerate(self.plans(time.time(), spent_usd)):
            if last is not None:
                self.say(f"trying {plan.variant}, deadline in {plan.deadline - time.time():.0f} s")
            try:
                return self._start(journal, attempt, index, plan)
            except WorldFluxError as error:
                if error.details.get("aws_code") not in NO_CAPACITY:
                    raise
                self.say(f"{plan.variant}: {error.details['aws_code']}")
                journal.note("planned", error=error.details["aws_code"])
                last = error
        assert last is not None
        raise TemporaryError(
            f"no machine to be had: {last.problem}",
            "try later, or allow others: runtime.fallback=[zone,type,on-demand] runtime.instance_types=[A,B]",
            code="no_capacity",
            details=last.details,
        )

    def _start(self, journal: Journal, attempt: int, index: int, plan: Plan) -> None:
        parameters = self._parameters(plan, attempt)
        token = f"wf-{self.work.run_id}-{attempt}-{index}"
        whereabouts.note("aws-ec2", self.cloud.region, plan.deadline)
        with signals_held():
            journal.launching(
                attempt=attempt,
                token=token,
                variant=asdict(plan.variant),
                deadline=plan.deadline,
                launching_at=time.time(),
                plan=rates(plan),
            )
            instance = self._run_instances({**parameters, "ClientToken": token}, attempt)
            journal.note(
                "running",
                instance_id=instance["InstanceId"],
                launched_at=instance["LaunchTime"].timestamp(),
            )
        self.say(f"{plan.variant} is {instance['InstanceId']}, gone by {utc(plan.deadline)}")

    def _run_instances(self, parameters: Mapping[str, Any], attempt: int) -> dict[str, Any]:
        try:
            with explained("ec2:RunInstances"):
                answer = self.cloud.ec2.run_instances(**parameters)
            started: dict[str, Any] = answer["Instances"][0]
            return started
        except TemporaryError as error:
            # The answer is lost; the machine may be there. Its tag tells, a little later.
            found = find_machine(self.cloud, self.work.run_id, attempt, self.settings.settle_seconds)
            if found is None:
                raise error
            return found

    def _parameters(self, plan: Plan, attempt: int) -> dict[str, Any]:
        settings, variant = self.settings, plan.variant
        image = self.cloud.image(settings.ami, self.machines[variant.instance_type].architecture)
        packed = bundle.pack_agent(self._job(plan, attempt))
        key = self.store.key(attempt, "bundle")
        self.store.put(key, packed)
        boot = min(settings.boot_seconds, plan.deadline - time.time())
        script = user_data.render(
            run_id=self.work.run_id,
            attempt=attempt,
            deadline=plan.deadline,
            now=time.time(),
            url=self.store.presigned("GET", key, boot),
            sha256=bundle.sha256(packed),
        )
        labels = run_tags(self.work.run_id, attempt, plan.deadline, plan.budget_usd)
        disk = {
            "VolumeSize": settings.disk_gb,
            "VolumeType": "gp3",
            "DeleteOnTermination": True,
            "Encrypted": True,
        }
        return {
            "ImageId": image["id"],
            "InstanceType": variant.instance_type,
            "MinCount": 1,
            "MaxCount": 1,
            "UserData": script,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {
                "HttpTokens": "required",
                "HttpPutResponseHopLimit": 1,
                "HttpEndpoint": "enabled",
            },
            "BlockDeviceMappings": [{"DeviceName": image["root"], "Ebs": disk}],
            "TagSpecifications": [{"ResourceType": each, "Tags": labels} for each in ("instance", "volume")],
            **self._placement(plan),
        }

    def _placement(self, plan: Plan) -> dict[str, Any]:
        settings, variant = self.settings, plan.variant
        extra: dict[str, Any] = {}
        if variant.market == SPOT:
            options = {
                "SpotInstanceType": "one-time",
                "InstanceInterruptionBehavior": "terminate",
                "MaxPrice": f"{plan.quote.ceiling:.4f}",
            }
            extra["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
        if variant.zone:
            extra["Placement"] = {"AvailabilityZone": variant.zone}
        if variant.subnet:
            extra["SubnetId"] = variant.subnet
        if settings.security_groups:
            extra["SecurityGroupIds"] = list(settings.security_groups)
        if settings.instance_profile:
            extra["IamInstanceProfile"] = {"Name": settings.instance_profile}
        return extra

    def _job(self, plan: Plan, attempt: int) -> dict[str, Any]:
        settings, adapter = self.settings, self.work.adapter
        parts = max(1, -(-settings.artifacts_max_bytes // MAX_PART_BYTES) + 1)
        written = [
            *WRITTEN,
            *(f"log.{index:03d}" for index in range(LOG_SEGMENTS)),
            *(f"artifacts.{index:03d}" for index in range(parts)),
        ]
        read = {"source": f"{self.store.base}/source"}
        if self._uv:
            read["uv"] = self._uv["key"]
        environment = None
        if adapter is not None and adapter.lock.strip():
            environment = {
                "lock": adapter.lock,
                "python": adapter.python,
                "unpinned": adapter.allow_unpinned,
            }
        return {
            "run_id": self.work.run_id,
            "attempt": attempt,
            "deadline": plan.deadline,
            "command_until": plan.command_until,
            "timeout": self.work.timeout,
            "grace": settings.grace_seconds,
            "setup": settings.setup,
            "setup_seconds": settings.setup_seconds,
            "environment": environment,
            "tool": self._uv,
            "command": list(self.work.words),
            "variables": dict(self.work.variables),
            "source_sha256": self._source_sha256,
            "spot": plan.variant.market == SPOT,
            "spot_poll_seconds": min(SPOT_POLL_SECONDS, settings.beat_seconds),
            "beat_seconds": settings.beat_seconds,
            "log_cap": settings.log_cap_bytes,
            "segment_bytes": segment_bytes(settings.log_cap_bytes),
            "part_bytes": MAX_PART_BYTES,
            "artifacts": [pattern for pattern, _ in settings.artifacts],
            "artifacts_max_bytes": settings.artifacts_max_bytes,
            "store": self.store.access(
                attempt,
                read=read,
                written=written,
                seconds=plan.deadline + URL_SLACK_SECONDS - time.time(),
                role=settings.instance_profile is not None,
            ),
        }

    def _send_uv(self) -> dict[str, str] | None:
        """This computer's uv for the machine, when both are Linux with the same processor."""
        import platform

        machine = self.machines.get(self.settings.instance_types[0])
        here = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine())
        if sys.platform != "linux" or machine is None or here != machine.architecture:
            return None
        import uv

        data = Path(uv.find_uv_bin()).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        key = f"{self.settings.prefix}/tools/uv-{digest}"
        with explained("s3:ListBucket"):
            known = self.cloud.s3.list_objects_v2(Bucket=self.store.bucket, Prefix=key).get("KeyCount", 0)
        if not known:
            self.store.put(key, data)
        return {"key": key, "sha256": digest}


def bucket_name(cloud: Cloud, settings: Settings) -> str:
    """The chosen bucket, or the one that goes by the account's number."""
    return settings.bucket or f"worldflux-{cloud.account()}-{cloud.region}"


def segment_bytes(cap: int) -> int:
    """Size of the pieces in which a log is streamed, so that `LOG_SEGMENTS` of them hold it."""
    return max(LEAST_SEGMENT_BYTES, -(-cap // LOG_SEGMENTS))


def rates(plan: Plan) -> dict[str, Any]:
    """What the journal keeps of a plan; enough for the cost."""
    return {
        "machine_usd_h": plan.quote.expected,
        "bound_usd_h": plan.quote.bound,
        "disk_usd_h": round(plan.disk_rate, 8),
        "address_usd_h": plan.address_rate,
        "price_source": plan.quote.source,
        "price_date": plan.quote.date,
        "worst_usd": round(plan.worst_usd, 6),
        "budget_usd": plan.budget_usd,
    }


def find_machine(cloud: Cloud, run_id: str, attempt: int, seconds: float) -> dict[str, Any] | None:
    """The machine of an attempt by its tags, looked for that long: AWS knows new ones a little late."""
    until = time.monotonic() + seconds
    pause = 0.2
    while True:
        everywhere = ("pending", "running", "stopping", "stopped", "shutting-down", "terminated")
        found = [each for each in cloud.tagged(run_id, everywhere) if tags(each)["attempt"] == str(attempt)]
        if found:
            return max(found, key=lambda each: each["LaunchTime"])
        if time.monotonic() >= until:
            return None
        time.sleep(pause)
        pause = min(pause * 2, 5)


@contextmanager
def signals_held() -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM are only noted; after it they count, as KeyboardInterrupt.

    Between the journal's line and the machine's id nothing may break in. Signals reach Python in
    the main thread only; in other threads there is nothing to hold.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)

    which = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.signal(each, note) for each in which}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    if noted:
        raise KeyboardInterrupt
