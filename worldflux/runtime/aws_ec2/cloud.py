"""AWS as this runtime uses it: a few calls by name, their errors in our words."""

from __future__ import annotations

import datetime
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from worldflux.errors import AccessError, RefusedError, TemporaryError, UsageError, WorldFluxError
from worldflux.runtime.aws_ec2 import prices
from worldflux.runtime.aws_ec2.memory import LONG, SHORT, Memory
from worldflux.runtime.aws_ec2.plan import Machine, utc

INSTALL = "pip install 'worldflux[aws]'"
#: The Price List API is served from three regions only.
PRICING_REGION = "us-east-1"
AMAZON_LINUX = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}"
TAG = "worldflux:"
ALIVE = ("pending", "running", "stopping", "stopped", "shutting-down")

_DENIED = (
    "UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "AuthFailure", "InvalidClientTokenId",
    "UnrecognizedClientException", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException",
    "RequestExpired", "OptInRequired",
)  # fmt: skip
_LATER = (
    "RequestLimitExceeded", "Throttling", "ThrottlingException", "ServiceUnavailable", "Unavailable",
    "InternalError", "InternalFailure", "SlowDown", "503",
)  # fmt: skip
#: Another zone, type or market may have what this one has not.
NO_CAPACITY = (
    "InsufficientInstanceCapacity", "InsufficientHostCapacity", "MaxSpotInstanceCountExceeded",
    "VcpuLimitExceeded", "InstanceLimitExceeded", "SpotMaxPriceTooLow", "Unsupported",
    "InsufficientCapacityOnOutpost", "InsufficientFreeAddressesInSubnet",
)  # fmt: skip

T = TypeVar("T")


def installed() -> bool:
    """Whether boto3 can be imported."""
    import importlib.util

    return importlib.util.find_spec("boto3") is not None


def error_code(error: Exception) -> str:
    """AWS's own code of an error, or the name of its class."""
    response = getattr(error, "response", None)
    return str(response["Error"]["Code"]) if response else type(error).__name__


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Inside, an error of AWS or of the way there becomes one of ours.

    Raises:
        AccessError: no credentials, expired ones, or not allowed.
        TemporaryError: not reachable, throttled.
        WorldFluxError: anything else that AWS refuses.
    """
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    try:
        yield
    except (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.ProfileNotFound,
    ) as error:
        raise AccessError(f"{what}: {error}", "aws configure, or aws sso login") from error
    except exceptions.ClientError as error:
        code = error_code(error)
        problem = f"{what}: {code}: {error.response['Error'].get('Message', '')}"[:600]
        details = {"aws_code": code}
        if code in _DENIED:
            hint = "sign in again (aws sso login), or see the policy in worldflux/runtime/aws_ec2/README.md"
            raise AccessError(problem, hint, details=details) from error
        if code in _LATER:
            raise TemporaryError(problem, "try again in a minute", details=details) from error
        raise WorldFluxError(
            problem, "worldflux runtime doctor aws-ec2", code="aws", details=details
        ) from error
    except (exceptions.BotoCoreError, ResponseParserError) as error:
        hint = "check the network and the region; worldflux runtime doctor aws-ec2"
        raise TemporaryError(f"{what}: {error}", hint) from error


_shared: dict[tuple[str, ...], Cloud] = {}
_sharing = threading.Lock()
_IDENTITY = (
    "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
)  # fmt: skip


def shared(region: str) -> Cloud:
    """The one connection of this process to a region, for as long as the credentials are the same.

    Raises:
        UsageError, AccessError: as `Cloud`.
    """
    key = (region, *(os.environ.get(name, "") for name in _IDENTITY))
    with _sharing:
        if key not in _shared:
            _shared[key] = Cloud(region)
        return _shared[key]


class Cloud:
    """Clients of one region, made when they are needed, and what AWS has answered lately.

    Any thread may use it.

    Raises:
        UsageError: boto3 is not installed.
        AccessError: the chosen profile does not exist.
    """

    def __init__(self, region: str) -> None:
        if not installed():
            raise UsageError(
                "runtime aws-ec2 needs boto3, which is not installed", INSTALL, code="not_installed"
            )
        import boto3

        self.region = region
        with explained("AWS credentials"):
            self.session = boto3.session.Session(region_name=region)
        self._clients: dict[tuple[str, str], Any] = {}
        self._making = threading.RLock()
        self.memory = Memory()

    def client(self, service: str, region: str | None = None, *, quick: bool = False) -> Any:
        """A client; `quick` gives up early, for checks."""
        from botocore.config import Config

        key = (service, region or self.region)
        with self._making:  # a session is not for several threads, its clients are
            if key not in self._clients:
                config = Config(
                    retries={"mode": "standard", "max_attempts": 2 if quick else 5},
                    connect_timeout=3 if quick else 5,
                    read_timeout=6 if quick else 20,
                    signature_version="s3v4" if service == "s3" else None,
                )
                with explained(f"AWS {service}"):
                    self._clients[key] = self.session.client(service, region_name=key[1], config=config)
            return self._clients[key]

    @property
    def ec2(self) -> Any:
        return self.client("ec2")

    @property
    def s3(self) -> Any:
        return self.client("s3")

    def credentials_until(self) -> float | None:
        """When the credentials expire; None when they do not, or do not say."""
        with self._making, explained("AWS credentials"):
            found = self.session.get_credentials()
        if found is None:
            raise AccessError("there are no AWS credentials", "aws configure, or aws sso login")
        moment = getattr(found, "_expiry_time", None)
        if moment is None and found.token and os.environ.get("AWS_CREDENTIAL_EXPIRATION"):
            text = os.environ["AWS_CREDENTIAL_EXPIRATION"].replace("Z", "+00:00")
            try:
                moment = datetime.datetime.fromisoformat(text)
            except ValueError:
                moment = None
        return moment.timestamp() if moment is not None else None

    def account(self) -> str:
        """Number of the account."""

        def ask() -> str:
            with explained("sts:GetCallerIdentity"):
                return str(self.client("sts").get_caller_identity()["Account"])

        return self.memory.recall("account", LONG, ask)

    def machines(self, names: tuple[str, ...]) -> dict[str, Machine]:
        """What each instance type is and in which zones of the region it is offered.

        Raises:
            RefusedError: the region does not have one of them.
        """
        return {
            name: self.memory.recall(("type", name), LONG, partial(self._machine, name)) for name in names
        }

    def _machine(self, name: str) -> Machine:
        try:
            with explained("ec2:DescribeInstanceTypes"):
                entry = self.ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0]
        except (WorldFluxError, IndexError) as error:
            if not isinstance(error, IndexError) and error.details.get("aws_code") != "InvalidInstanceType":
                raise
            hint = "runtime.instance_types=[g5.xlarge]; all names: aws ec2 describe-instance-types"
            raise RefusedError(
                f"region {self.region} has no instance type {name}", hint, code="instance_type"
            ) from None
        filters = [{"Name": "instance-type", "Values": [name]}]
        with explained("ec2:DescribeInstanceTypeOfferings"):
            offers = self.ec2.describe_instance_type_offerings(
                LocationType="availability-zone", Filters=filters
            )["InstanceTypeOfferings"]
        return machine_of(entry, tuple(sorted(offer["Location"] for offer in offers)))

    def image(self, wanted: str | None, architecture: str) -> dict[str, str]:
        """Id and root device of the image, the newest Amazon Linux 2023 by default.

        Raises:
            RefusedError: there is no such image, or it is for another processor.
        """
        key = ("image", wanted, architecture)
        return self.memory.recall(key, LONG, lambda: self._image(wanted, architecture))

    def _image(self, wanted: str | None, architecture: str) -> dict[str, str]:
        image_id = wanted or self._amazon_linux(architecture)
        try:
            with explained("ec2:DescribeImages"):
                images = self.ec2.describe_images(ImageIds=[image_id])["Images"]
        except WorldFluxError as error:
            if not str(error.details.get("aws_code", "")).startswith("InvalidAMIID"):
                raise
            images = []
        if not images:
            raise RefusedError(
                f"region {self.region} has no image {image_id}, or it is not shared with this account",
                "runtime.ami=ami-..., or leave it out for Amazon Linux 2023",
                code="image",
            )
        image = images[0]
        if image.get("Architecture", architecture) != architecture:
            raise RefusedError(
                f"image {image_id} is for {image['Architecture']}, the instance type for {architecture}",
                "choose an image for the same processor",
                code="image",
            )
        return {"id": image_id, "root": image.get("RootDeviceName") or "/dev/xvda"}

    def _amazon_linux(self, architecture: str) -> str:
        name = AMAZON_LINUX.format(architecture=architecture)
        with explained("ssm:GetParameter"):
            return str(self.client("ssm").get_parameter(Name=name)["Parameter"]["Value"])

    def listed(self, instance_type: str, cache: prices.PriceCache) -> prices.Quote | None:
        """The on-demand price: looked up, else remembered, else None."""
        key = ("listed", instance_type)
        return self.memory.recall(key, LONG, lambda: self._listed(instance_type, cache))

    def _listed(self, instance_type: str, cache: prices.PriceCache) -> prices.Quote | None:
        today = datetime.datetime.now(datetime.timezone.utc).date()
        try:
            with explained("pricing:GetProducts"):
                answer = self.client("pricing", PRICING_REGION, quick=True).get_products(
                    ServiceCode="AmazonEC2", Filters=prices.filters(instance_type, self.region)
                )
            amount = prices.listed_price(answer["PriceList"])
        except (WorldFluxError, ValueError, KeyError):
            amount = None
        if amount is None:
            return cache.get(instance_type, self.region, today)
        found = prices.Quote("on-demand", amount, amount, None, prices.LISTED, today.isoformat())
        cache.put(instance_type, self.region, found)
        return found

    def spot(self, instance_type: str, zone: str | None) -> float | None:
        """The Spot price of this minute; None when it can not be had."""

        def ask() -> list[dict[str, Any]]:
            try:
                with explained("ec2:DescribeSpotPriceHistory"):
                    found: list[dict[str, Any]] = self.ec2.describe_spot_price_history(
                        InstanceTypes=[instance_type],
                        ProductDescriptions=["Linux/UNIX"],
                        StartTime=datetime.datetime.now(datetime.timezone.utc),
                    )["SpotPriceHistory"]
                    return found
            except WorldFluxError:
                return []

        history = self.memory.recall(("spot", instance_type), SHORT, ask)
        return prices.spot_price(history, zone) if history else None

    def instance(self, instance_id: str) -> dict[str, Any] | None:
        """The instance as DescribeInstances shows it; None while, or when, it does not know it."""
        try:
            with explained("ec2:DescribeInstances"):
                answer = self.ec2.describe_instances(InstanceIds=[instance_id])
        except WorldFluxError as error:
            if error.details.get("aws_code") == "InvalidInstanceID.NotFound":
                return None
            raise
        found = [each for group in answer["Reservations"] for each in group["Instances"]]
        return found[0] if found else None

    def tagged(self, run_id: str | None = None, states: tuple[str, ...] = ALIVE) -> list[dict[str, Any]]:
        """Instances with the tags of a run of ours, or of one run. The tags are checked again here."""
        name = {"Name": f"tag:{TAG}run-id", "Values": [run_id]} if run_id else {
            "Name": "tag-key", "Values": [f"{TAG}run-id"],
        }  # fmt: skip
        filters = [name, {"Name": "instance-state-name", "Values": list(states)}]
        with explained("ec2:DescribeInstances"):
            pages = self.ec2.get_paginator("describe_instances").paginate(Filters=filters)
            found = [each for page in pages for group in page["Reservations"] for each in group["Instances"]]
        return [each for each in found if ours(each) and (run_id is None or tags(each)["run-id"] == run_id)]

    def terminate(
        self, instance_id: str, *, tries: int = 6, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """Ask for the machine's end. Silent when AWS does not know it any more.

        Raises:
            WorldFluxError: AWS refuses.
        """
        for attempt in range(tries):
            try:
                with explained("ec2:TerminateInstances"):
                    self.ec2.terminate_instances(InstanceIds=[instance_id])
                return
            except WorldFluxError as error:
                # Just launched machines are not known everywhere at once.
                if error.details.get("aws_code") != "InvalidInstanceID.NotFound":
                    raise
            pause(min(0.3 * 2**attempt, 5))


def tags(instance: Mapping[str, Any]) -> dict[str, str]:
    """Our tags of an instance, without their prefix."""
    found = {each["Key"]: each["Value"] for each in instance.get("Tags", ())}
    return {key.removeprefix(TAG): value for key, value in found.items() if key.startswith(TAG)}


def ours(instance: Mapping[str, Any]) -> bool:
    """Whether an instance carries everything that a launch of ours puts on it.

    A filter alone is not trusted: a machine of somebody else must never be ended.
    """
    from worldflux.manifest.model import is_run_id

    found = tags(instance)
    return is_run_id(found.get("run-id")) and deadline_of(found) is not None and "attempt" in found


def deadline_of(found: Mapping[str, str]) -> float | None:
    """The deadline in our tags, as seconds since the epoch; None when there is no valid one."""
    try:
        moment = datetime.datetime.fromisoformat(found["deadline"])
    except (KeyError, ValueError):
        return None
    return moment.timestamp() if moment.tzinfo else None


def machine_of(entry: Mapping[str, Any], zones: tuple[str, ...]) -> Machine:
    """An instance type from DescribeInstanceTypes. GPU memory is that of the largest single GPU."""
    gpus = entry.get("GpuInfo", {}).get("Gpus", [])
    vram = [gpu.get("MemoryInfo", {}).get("SizeInMiB", 0) * 2**20 / 1e9 for gpu in gpus]
    architectures = entry.get("ProcessorInfo", {}).get("SupportedArchitectures", ["x86_64"])
    architecture = next((each for each in ("x86_64", "arm64") if each in architectures), "x86_64")
    return Machine(
        entry["InstanceType"],
        architecture,
        int(entry.get("VCpuInfo", {}).get("DefaultVCpus", 0)),
        entry.get("MemoryInfo", {}).get("SizeInMiB", 0) * 2**20 / 1e9,
        max(vram, default=0.0) or None,
        zones,
    )


def run_tags(run_id: str, attempt: int, deadline: float, max_usd: float) -> list[dict[str, str]]:
    """The tags that make a machine ours: whose it is, and when it must be gone."""
    values = {
        "run-id": run_id,
        "attempt": str(attempt),
        "deadline": utc(deadline),
        "max-usd": f"{max_usd:g}",
    }
    return [{"Key": f"{TAG}{key}", "Value": value} for key, value in values.items()] + [
        {"Key": "Name", "Value": f"worldflux {run_id[-12:]}"}
    ]
