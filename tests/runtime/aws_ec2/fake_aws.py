"""AWS on loopback: moto in this process, behind a gate with the semantics that moto lacks.

The gate adds: ClientToken (same machine again, mismatch, terminated), the 16 KiB limit, `pending`,
GetProducts, believable Spot prices and MaxPrice, S3 signatures and their expiry in URLs and in
headers, 403 for whoever is not signed in, faults on demand, and a list of every call with the
access key that made it.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import io
import json
import os
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

ACCOUNT, REGION = "123456789012", "us-east-1"
SECRET = "stand-in-secret"
ROLE_KEY = "ROLEKEY"
BUCKET = f"worldflux-{ACCOUNT}-{REGION}"
#: A second region; the bucket in it goes by its name, too.
ELSEWHERE = "eu-central-1"
ON_DEMAND = {
    "t3.micro": 0.0104,
    "c5.large": 0.085,
    "c5.xlarge": 0.17,
    "g5.xlarge": 1.006,
    "m7i.xlarge": 0.2016,
}
SPOT = {"t3.micro": 0.0035, "c5.large": 0.034, "c5.xlarge": 0.07, "g5.xlarge": 0.402, "m7i.xlarge": 0.08}
STATES = {
    "pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80,
}  # fmt: skip
Response = tuple[str, list[tuple[str, str]], bytes]


@dataclass
class Call:
    """One request as it arrived.

    Attributes:
        detail: the form of a query call, or the path of an object.
        key: access key that signed it.
        own: signed in its headers, so not by a presigned URL.
        region: that it was signed for.
        session: the session's token that came with it, when it is a session's.
    """

    action: str
    detail: Any
    key: str
    own: bool
    region: str = REGION
    session: str = ""
    at: float = field(default_factory=time.time)


@dataclass
class Fault:
    """What shall go wrong: `error` answers so, `drop` does it and loses the answer, `call` calls a function
    before (`call`) or after (`after`) the work."""

    action: str
    kind: str
    times: int = 1
    code: str = "InternalError"
    when: Callable[[Call], bool] = lambda call: True
    function: Callable[[Call], None] | None = None


def ec2_error(code: str, message: str) -> Response:
    body = f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors></Response>"
    status = "503 Unavailable" if code in ("Unavailable", "InternalError") else "400 Bad Request"
    return status, [("Content-Type", "text/xml")], body.encode()


def s3_error(code: str, status: str = "403 Forbidden") -> Response:
    body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return status, [("Content-Type", "application/xml")], body.encode()


class FakeAws:
    """The stand-in; `url` is what AWS_ENDPOINT_URL must be."""

    def __init__(self) -> None:
        # Read by moto when its parts are imported.
        os.environ.setdefault("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "true")
        os.environ.setdefault("MOTO_ENABLE_AMI_VALIDATION", "true")
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from moto.ec2.models import ec2_backends
            from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
            from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log_request(self, code: Any = "-", size: Any = "-") -> None:
                return

            def make_environ(self) -> Any:
                return {**super().make_environ(), "werkzeug.socket": self.connection}

        self._backends = ec2_backends
        self._app = DomainDispatcherApplication(create_backend_app)
        self.lock = threading.RLock()
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.tokens: dict[str, tuple[dict[str, str], str, Response]] = {}
        self.hidden: dict[str, int] = {}
        self.termination_seconds = 0.0
        self.prices = dict(ON_DEMAND)
        self.spot_prices = dict(SPOT)
        self.quotas: dict[str, float] = {}
        self._buckets = False
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # ---- what tests say and ask

    def fault(self, action: str, kind: str, **more: Any) -> None:
        self.faults.append(Fault(action, kind, **more))

    def sign_in(self, patch: pytest.MonkeyPatch) -> None:
        """Our credentials in the environment, and a bucket in each region."""
        import boto3

        for name, value in {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "TESTKEY",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        if not self._buckets:
            boto3.client("s3").create_bucket(Bucket=BUCKET)
            place = {"LocationConstraint": ELSEWHERE}
            other = f"worldflux-{ACCOUNT}-{ELSEWHERE}"
            s3 = boto3.client("s3", region_name=ELSEWHERE)
            s3.create_bucket(Bucket=other, CreateBucketConfiguration=place)
            self._buckets = True

    def calm(self) -> None:
        """No more faults, no hidden machines, the usual prices."""
        self.faults.clear()
        self.hidden.clear()
        self.quotas.clear()
        self.termination_seconds = 0.0
        self.prices, self.spot_prices = dict(ON_DEMAND), dict(SPOT)

    def made(self, action: str, key: str | None = None) -> list[Call]:
        """Calls of this kind so far, or those made with one access key."""
        return [call for call in self.calls if call.action == action and key in (None, call.key)]

    def instance(self, instance_id: str) -> Any:
        """A machine of any region."""
        return next(each for each in self.instances() if each.id == instance_id)

    def instances(self, run_id: str | None = None) -> list[Any]:
        """All machines ever, or those of one run."""
        places = list(self._backends[ACCOUNT].values())
        found = [i for place in places for r in place.all_reservations() for i in r.instances]
        return [i for i in found if run_id is None or self.tag(i, "worldflux:run-id") == run_id]

    def alive(self, run_id: str | None = None) -> list[str]:
        return [i.id for i in self.instances(run_id) if i._state.name != "terminated"]

    @staticmethod
    def tag(instance: Any, name: str) -> str | None:
        return {each["key"]: each["value"] for each in instance.get_tags()}.get(name)

    def set_state(self, instance_id: str, name: str, code: str = "", reason: str = "") -> None:
        from moto.ec2.models.instances import StateReason

        instance = self.instance(instance_id)
        instance._state.name, instance._state.code = name, STATES[name]
        if code:
            now = datetime.datetime.now(datetime.timezone.utc)
            instance._reason = f"{reason} ({now:%Y-%m-%d %H:%M:%S} UTC)"
            instance.state_reason = StateReason(f"{code}: {reason}", code)

    # ---- the gate

    def __call__(self, env: dict[str, Any], start: Any) -> Iterable[bytes]:
        form = _form(env)
        target = env.get("HTTP_X_AMZ_TARGET", "").split(".")[-1]
        action = form.get("Action") or target or f"S3:{env['REQUEST_METHOD']}"
        key, region = _signer(env)
        own, session = "HTTP_AUTHORIZATION" in env, _session(env)
        call = Call(action, form or env["PATH_INFO"], key, own, region, session)
        with self.lock:
            self.calls.append(call)
            fault = next(
                (f for f in self.faults if f.action in (action, "*") and f.times and f.when(call)), None
            )
            if fault is not None:
                fault.times -= 1
        if fault is not None and fault.kind == "call" and fault.function:
            fault.function(call)
        answer = self._refusal(env, form, action)
        if answer is None and fault is not None and fault.kind == "error":
            answer = s3_error(fault.code) if action.startswith("S3:") else ec2_error(fault.code, "injected")
        if answer is None:
            # One at a time: launch and state must not be seen half done.
            with self.lock:
                answer = self._after(form, action, self._moto(env))
        if fault is not None and fault.kind == "after" and fault.function:
            fault.function(call)
        if fault is not None and fault.kind == "drop":
            env["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        status, headers, body = answer
        if env["REQUEST_METHOD"] != "HEAD":
            headers = [h for h in headers if h[0].lower() != "content-length"]
            headers.append(("Content-Length", str(len(body))))
        start(status, headers)
        return [body]

    def _moto(self, env: dict[str, Any]) -> Response:
        said: dict[str, Any] = {}

        def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
            said.update(status=status, headers=headers)
            return lambda data: None

        parts = self._app(env, start)
        try:
            body = b"".join(parts)
        finally:
            getattr(parts, "close", lambda: None)()
        return said["status"], said["headers"], body

    def _refusal(self, env: dict[str, Any], form: dict[str, str], action: str) -> Response | None:
        if action.startswith("S3:") and not env["PATH_INFO"].startswith("/moto-api"):
            problem = self._s3_problem(env)
            if problem:
                return s3_error(problem)
        if action == "GetProducts":
            return self._products(env)
        if action == "GetServiceQuota":
            asked = json.loads(env["wsgi.input"].read(int(env["CONTENT_LENGTH"])))["QuotaCode"]
            body = json.dumps({"Quota": {"QuotaCode": asked, "Value": self.quotas.get(asked, 64.0)}}).encode()
            return "200 OK", [("Content-Type", "application/x-amz-json-1.1")], body
        if action == "RunInstances" and form.get("DryRun") != "true":
            return self._launch_problem(form)
        if action == "DescribeInstances" and self.hidden.get(form.get("InstanceId.1", ""), 0) > 0:
            self.hidden[form["InstanceId.1"]] -= 1
            return ec2_error(
                "InvalidInstanceID.NotFound", f"The instance ID '{form['InstanceId.1']}' does not exist"
            )
        return None

    def _launch_problem(self, form: dict[str, str]) -> Response | None:
        if len(base64.b64decode(form.get("UserData", ""))) > 16384:
            return ec2_error("InvalidParameterValue", "User data is limited to 16384 bytes")
        ceiling = form.get("InstanceMarketOptions.SpotOptions.MaxPrice")
        if ceiling and float(ceiling) < self.spot_prices.get(form["InstanceType"], 9.9):
            return ec2_error("SpotMaxPriceTooLow", "Your Spot request price is lower than the minimum")
        token = form.get("ClientToken", "")
        if token not in self.tokens:
            return None
        wanted, instance_id, answer = self.tokens[token]
        if wanted != {key: value for key, value in form.items() if key != "ClientToken"}:
            return ec2_error("IdempotentParameterMismatch", "Arguments differ from those used before")
        if self.instance(instance_id)._state.name == "terminated":
            return ec2_error("IdempotentInstanceTerminated", "The token belongs to a terminated instance")
        return answer

    def _after(self, form: dict[str, str], action: str, answer: Response) -> Response:
        status, headers, body = answer
        if action == "RunInstances" and status.startswith("200"):
            instance_id = re.search(rb"<instanceId>(i-[0-9a-f]+)", body)[1].decode()  # type: ignore[index]
            self.set_state(instance_id, "pending")
            if form.get("ClientToken"):
                rest = {key: value for key, value in form.items() if key != "ClientToken"}
                self.tokens[form["ClientToken"]] = (rest, instance_id, answer)
        if action == "TerminateInstances" and self.termination_seconds:
            for name, instance_id in form.items():
                if name.startswith("InstanceId"):
                    self.set_state(instance_id, "shutting-down")
                    wait = threading.Timer(
                        self.termination_seconds, self.set_state, (instance_id, "terminated")
                    )
                    wait.start()
        if action == "DescribeSpotPriceHistory":
            price = self.spot_prices.get(form.get("InstanceType.1", ""))
            body = re.sub(rb"<spotPrice>[^<]*", f"<spotPrice>{price}".encode(), body)
            stamp = f"<timestamp>{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
            body = re.sub(rb"<timestamp>[^<]*", stamp.encode(), body)
            if price is None:
                body = re.sub(
                    rb"(?s)<spotPriceHistorySet>.*</spotPriceHistorySet>", b"<spotPriceHistorySet/>", body
                )
        if action == "GetConsoleOutput":
            text = base64.b64encode(b"[stand-in] console of the machine\n")
            body = re.sub(rb"(?s)<output>.*</output>", b"<output>" + text + b"</output>", body)
        return status, headers, body

    def _products(self, env: dict[str, Any]) -> Response:
        asked = json.loads(env["wsgi.input"].read(int(env["CONTENT_LENGTH"])))
        wanted = {each["Field"]: each["Value"] for each in asked["Filters"]}
        price = self.prices.get(wanted["instanceType"])
        dimension = {"unit": "Hrs", "pricePerUnit": {"USD": f"{price}"}}
        item = {"terms": {"OnDemand": {"a": {"priceDimensions": {"b": dimension}}}}}
        listed = [] if price is None else [json.dumps(item)]
        body = json.dumps({"FormatVersion": "aws_v1", "PriceList": listed}).encode()
        return "200 OK", [("Content-Type", "application/x-amz-json-1.1")], body

    def _s3_problem(self, env: dict[str, Any]) -> str | None:
        query = urllib.parse.parse_qsl(env.get("QUERY_STRING", ""), keep_blank_values=True)
        named = dict(query)
        if "X-Amz-Signature" in named:
            when = datetime.datetime.strptime(named["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
            made = when.replace(tzinfo=datetime.timezone.utc).timestamp()
            if time.time() > made + int(named["X-Amz-Expires"]):
                return "AccessDenied"
            rest = [pair for pair in query if pair[0] != "X-Amz-Signature"]
            signed = named["X-Amz-SignedHeaders"]
            right = signature(
                env, rest, signed, named["X-Amz-Date"], named["X-Amz-Credential"], "UNSIGNED-PAYLOAD"
            )
            return None if hmac.compare_digest(right, named["X-Amz-Signature"]) else "SignatureDoesNotMatch"
        given = env.get("HTTP_AUTHORIZATION", "")
        if not given:
            return "AccessDenied"
        if _signer(env)[0] != ROLE_KEY:
            return None
        words = dict(re.findall(r"(\w+)=([^,\s]+)", given))
        payload = env.get("HTTP_X_AMZ_CONTENT_SHA256", "")
        right = signature(
            env, query, words["SignedHeaders"], env["HTTP_X_AMZ_DATE"], words["Credential"], payload
        )
        return None if hmac.compare_digest(right, words["Signature"]) else "SignatureDoesNotMatch"


def signature(
    env: dict[str, Any], query: list[tuple[str, str]], signed: str, stamp: str, credential: str, payload: str
) -> str:
    """The signature that S3 would compute, version 4."""

    def quoted(text: str) -> str:
        return urllib.parse.quote(text, safe="-_.~")

    def header(name: str) -> str:
        plain = name.upper().replace("-", "_")
        return str(env.get(f"HTTP_{plain}", env.get(plain, "")))

    listed = "&".join(sorted(f"{quoted(key)}={quoted(value)}" for key, value in query))
    path = urllib.parse.quote(env["PATH_INFO"].encode("latin1").decode(), safe="/-_.~")
    headers = "".join(f"{name}:{header(name)}\n" for name in signed.split(";"))
    canonical = "\n".join([env["REQUEST_METHOD"], path, listed, headers, signed, payload])
    _, day, region, service, term = credential.split("/")
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, f"{day}/{region}/{service}/{term}", digest])
    key = b"AWS4" + SECRET.encode()
    for word in (day, region, service, term):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _form(env: dict[str, Any]) -> dict[str, str]:
    if env["REQUEST_METHOD"] != "POST" or "x-www-form-urlencoded" not in env.get("CONTENT_TYPE", ""):
        return {}
    body = env["wsgi.input"].read(int(env.get("CONTENT_LENGTH") or 0))
    env["wsgi.input"] = io.BytesIO(body)
    return {k: v[0] for k, v in urllib.parse.parse_qs(body.decode(), keep_blank_values=True).items()}


def _session(env: dict[str, Any]) -> str:
    query = dict(urllib.parse.parse_qsl(env.get("QUERY_STRING", "")))
    return str(env.get("HTTP_X_AMZ_SECURITY_TOKEN") or query.get("X-Amz-Security-Token", ""))


def _signer(env: dict[str, Any]) -> tuple[str, str]:
    """Access key and region of a signature."""
    text = env.get("HTTP_AUTHORIZATION", "") + urllib.parse.unquote(env.get("QUERY_STRING", ""))
    found = re.search(r"Credential=([A-Za-z0-9-]+)/\d+/([a-z0-9-]+)/", text)
    return (found[1], found[2]) if found else ("", REGION)
