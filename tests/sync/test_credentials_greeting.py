"""The first question to a server: every way it can go wrong has its own words and code, and an end."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from key_lab import Gatekeeper, gatekeeper, greeting, make_key

from worldflux.errors import AccessError, RefusedError, TemporaryError, UsageError, WorldFluxError
from worldflux.sync.credentials import Credential
from worldflux.sync.greeting import greet


@pytest.fixture
def server() -> Iterator[Gatekeeper]:
    with gatekeeper() as running:
        yield running


def credential(server: Gatekeeper, *, known: bool = True) -> Credential:
    key = make_key()
    if known:
        server.keys.add(key)
    return Credential(key, "file", server.url)


def test_what_a_server_says(server: Gatekeeper) -> None:
    """Workspace, scopes and expiry, by one GET with the key and nothing else in it."""
    mine = credential(server)
    said = greet(mine)
    assert (said.workspace, said.key_name, said.scopes) == ("lab", "laptop", ("runs:read", "runs:write"))
    assert said.expires_at == "2027-02-19T12:00:00.000+00:00" and said.days_left() == 90
    ((method, path, headers),) = server.seen
    assert (method, path) == ("GET", "/api/sync") and headers["Authorization"] == f"Bearer {mine.token}"
    assert mine.token not in path


def test_only_the_servers_clock_counts(server: Gatekeeper) -> None:
    """A key is not expired because this machine's clock is wrong by years."""
    server.document = greeting(
        key__expires_at="2001-01-02T00:00:00.000+00:00", server__time="2001-01-01T00:00:00.000+00:00"
    )
    assert greet(credential(server)).days_left() == 1
    server.document = greeting(key__expires_at=None)
    assert greet(credential(server)).days_left() is None


REFUSALS: list[tuple[str, type[WorldFluxError], str]] = [
    ("401", AccessError, "does not accept the key"),
    ("403", AccessError, "does not allow this key to sync: nicht "),
    ("404", UsageError, "there is no WorldFlux server at"),
    ("200", UsageError, "there is no WorldFlux server at"),
    ("405", UsageError, "status 405"),
    ("408", TemporaryError, "status 408"),
    ("429", TemporaryError, "status 429"),
    ("500", TemporaryError, "status 500"),
    ("503", TemporaryError, "status 503 (nicht "),
    ("html", UsageError, "there is no WorldFlux server at"),
    ("huge", UsageError, "there is no WorldFlux server at"),
    ("cut", TemporaryError, "can not be reached: Remote end closed connection"),
    ("redirect302", RefusedError, "answers with a redirect to another page"),
]


@pytest.mark.parametrize(("manner", "error", "told"), REFUSALS, ids=[r[0] for r in REFUSALS])
def test_what_goes_wrong_is_told(
    server: Gatekeeper, manner: str, error: type[WorldFluxError], told: str
) -> None:
    """By its kind, without the key, and without a control character of the server's."""
    server.manner, server.elsewhere = manner, "//evil.example/\x1b[31m"
    mine = credential(server)
    with pytest.raises(error) as caught:
        greet(mine)
    text = str(caught.value)
    assert told in text and mine.token not in text and "\x1b" not in text and caught.value.hint


def test_an_unknown_key(server: Gatekeeper) -> None:
    """Unknown, revoked and expired are one answer, with how to get a new key."""
    with pytest.raises(AccessError, match="does not accept the key") as caught:
        greet(credential(server, known=False))
    assert caught.value.code == "key-rejected" and "worldflux server key create" in caught.value.hint


def test_nobody_there() -> None:
    """A port without a server, and a name without an address, in words."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TemporaryError, match="can not be reached: Connection refused"):
        greet(Credential(make_key(), "file", f"http://127.0.0.1:{port}"))


def test_causes_are_in_words(server: Gatekeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of certificates that is not there is named, not called an unreachable server without a reason."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent/ca.pem")
    with pytest.raises(TemporaryError, match=r"CA certificate bundle, invalid path: /nonexistent/ca\.pem"):
        greet(Credential(make_key(), "file", server.url.replace("http:", "https:")))


def test_another_kind_of_server(server: Gatekeeper) -> None:
    """https to a server without TLS is said to be about the certificate or the connection, not a traceback."""
    with pytest.raises(TemporaryError):
        greet(Credential(make_key(), "file", server.url.replace("http:", "https:")))


@pytest.mark.parametrize("manner", ["trickle", "silent"])
def test_the_whole_question_has_an_end(server: Gatekeeper, manner: str) -> None:
    """A server that sends a byte now and then resets every timeout of a read; the question ends all the same."""
    server.manner = manner
    started = time.monotonic()
    with pytest.raises(TemporaryError, match=r"did not answer|does not answer"):
        greet(credential(server), seconds=1.0)
    assert time.monotonic() - started < 8


WRONG: list[dict[str, Any]] = [
    {"workspace": None},
    {"workspace": ""},
    {"workspace": "a\x1b[31mb"},
    {"workspace": ["lab"]},
    {"key": None},
    {"key__scopes": "runs:read"},
    {"key__scopes": [1]},
    {"key__expires_at": "soon"},
    {"key__expires_at": "2027-02-19T12:00:00"},
    {"key__expires_at": 5},
    {"server": {}},
    {"server__time": None},
]


@pytest.mark.parametrize("changes", WRONG, ids=[str(each) for each in WRONG])
def test_an_answer_of_another_form_is_not_believed(server: Gatekeeper, changes: dict[str, Any]) -> None:
    """What does not have the form of a WorldFlux server's answer is not shown and not kept."""
    server.document = greeting(**changes)
    with pytest.raises(UsageError, match="there is no WorldFlux server at"):
        greet(credential(server))


def test_another_version_of_the_api(server: Gatekeeper) -> None:
    """A newer server is told apart from no server."""
    server.document = {"api": 2}
    with pytest.raises(UsageError, match="speaks version 2"):
        greet(credential(server))
