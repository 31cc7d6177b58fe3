"""The server does what its own description says: every operation, with good and with bad data."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from nightly import WHOLE
from reading import TypedRun, new_key, store
from server_process import Server, start

from worldflux.server.ingest.bundle import MEDIA_TYPE

if TYPE_CHECKING:
    import schemathesis


def as_bundle(_: Any, value: Any) -> bytes:
    """A bundle is bytes, whatever they are."""
    return value if isinstance(value, bytes) else str(value).encode()


#: Of each operation.
EXAMPLES = 50 if WHOLE else 4

#: Here what fits the schema may still be refused, in one of these ways: the text is of a language of its own, the
#: body is no JSON, fields depend on one another, or a rule is stricter than a schema can say. Everywhere else it
#: must be accepted.
REFUSALS = ["400", "403", "404", "409", "422"]
STRICTER = {
    "GET /api/runs", "GET /api/runs/groups", "GET /api/audit-logs", "GET /api/sync/consistency",
    "GET /api/runs/{id}/metrics", "POST /api/runs/bulk", "POST /api/shares", "POST /api/sync/state",
    "POST /api/sync/heartbeat", "POST /api/sync/bundle", "POST /api/sync/blobs", "HEAD /api/sync/blobs/{sha256}",
    "PATCH /api/sync/blobs/{sha256}", "POST /api/api-keys", "POST /api/api-keys/{key_id}/rotate",
    "PUT /api/runs/{id}/evidence", "PUT /api/runs/{id}/signature", "PUT /api/trusted-keys/{name}",
    "PATCH /api/workspace", "POST /api/workspaces",
    "PATCH /api/workspaces/{slug}", "POST /api/session", "POST /api/session/password", "POST /api/users",
    "PATCH /api/users/{login}",
}  # fmt: skip


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Any]]:
    """A server with a run in it, and its description."""
    import schemathesis  # here, as it takes most of a second, which only one of the processes need spend

    schemathesis.serializer(MEDIA_TYPE)(as_bundle)
    data = tmp_path_factory.mktemp("openapi") / "data"
    data.mkdir()
    # The wrong credentials of all operations come from one address: it must be told 401 each time, not 429.
    (data / "server.json").write_text('{"address_rate": 1e6, "address_burst": 1000000}')
    server = start(data)
    store(server, TypedRun(artifacts={"a.txt": b"bytes"}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield server, schemathesis.openapi.from_url(f"{server.url}/openapi.json", config=expectations())
    server.stop()


def expectations() -> schemathesis.Config:
    """All checks, and which answers good data may have."""
    import schemathesis

    operations = []
    for label in sorted(STRICTER):
        # Whether a password is right is asked there; everywhere else the key has been found good before.
        answers = ["2xx", *REFUSALS, *(["401"] if label == "POST /api/session" else [])]
        checks = {"positive_data_acceptance": {"expected-statuses": answers}}
        operations.append({"include-name": label, "checks": checks})
    return schemathesis.Config.from_dict({"operations": operations})


def operations(schema: Any) -> Iterator[Any]:
    for each in schema.get_all_operations():
        yield each.ok()


def test_it_describes_every_api_route(described: tuple[Server, Any]) -> None:
    """Each operation has an answer for success and one for refusal, and says whether it needs a credential."""
    server, _ = described
    document = server.call("GET", "/openapi.json", key=None, expect=200).json()
    assert len(document["paths"]) > 30
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert any(code.startswith("2") for code in operation["responses"]), (method, path)
            assert "4XX" in operation["responses"], (method, path)
            assert operation["summary"] or operation["description"]
            assert ("security" in operation) != (path in ("/healthz", "/readyz", "/metrics")), path


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_it_does_what_it_says(described: tuple[Server, Any], mode: str) -> None:
    """No server error, no undescribed answer or type, no bad data accepted, no good data refused."""
    from schemathesis.core.failures import FailureGroup

    server, schema = described
    keys = iter(lambda: new_key(server, *SCOPES), None)
    problems: dict[str, str] = {}
    for operation in operations(schema):
        label = f"{operation.method.upper()} {operation.path}"
        try:
            _try(operation, mode, server, next(keys))
        except (Exception, FailureGroup) as error:
            problems[label] = str(error)[:1500]
    assert not problems, "\n\n".join(f"{label}: {why}" for label, why in problems.items())


SCOPES = ("runs:read", "runs:write", "artifacts:read", "artifacts:write", "keys:admin", "audit:read", "admin")


def _try(operation: Any, mode: str, server: Server, key: str) -> None:
    from schemathesis import GenerationMode

    session = requests.Session()
    session.trust_env = False

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate], derandomize=True,
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
    def one(case: Any) -> None:
        assume(len(str(case.query)) < 2000)  # what is longer the HTTP parser refuses, before it is ours
        headers = {"Authorization": f"Bearer {key}"}
        case.call_and_validate(session=session, headers=headers, timeout=30)

    try:
        one()
    except Unsatisfiable:
        pass  # an operation that takes nothing can not be given bad data
    finally:
        session.close()
