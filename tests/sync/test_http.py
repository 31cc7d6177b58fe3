"""One request: bounded against every kind of server, and the key goes nowhere else."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sync_lab import Desk
from wire_lab import HELLO, Request, drip, odd_server, reply

from worldflux.errors import AccessError, Interrupted, RefusedError, TemporaryError
from worldflux.sync import http, retries
from worldflux.sync.wire import ProtocolError

KEY = "wfx_" + "a" * 39

Maker = Callable[..., Desk]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of a second instead of a minute."""
    monkeypatch.setattr(http, "LIMIT_SECONDS", 1.0)
    monkeypatch.setattr(http, "READ_SECONDS", 0.8)
    monkeypatch.setattr(retries, "BASE_SECONDS", 0.01)
    monkeypatch.setattr(retries, "MOST_RETRY_AFTER", 0.05)


WHOLE = reply(200, HELLO).replace(b"Because\r\n", b"Because\r\nX-Filler: 12345\r\n")


@pytest.mark.parametrize("most", range(WHOLE.index(b"\r\n\r\n") + 4))
def test_an_answer_that_is_cut_in_its_headers_is_no_answer(quick: None, desk_at: Maker, most: int) -> None:
    """Wherever the connection ends, what came is not taken for a success without a body."""

    def answer(request: Request) -> bytes | None:
        if request.number == 0:
            request.connection.sendall(WHOLE[:most])
            return None
        return WHOLE

    with odd_server(answer) as odd:
        assert desk_at(odd.url, KEY).client.hello().workspace == "lab"
        assert len(odd.seen) == 2


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_server_that_sends_a_byte_at_a_time_holds_nobody(quick: None, desk_at: Maker, part: str) -> None:
    """A whole request has a limit, though each byte arrives within every other limit."""

    def answer(request: Request) -> bytes | None:
        whole = reply(200, HELLO)
        split = whole.index(b"\r\n\r\n") + 4 if part == "body" else 0
        request.connection.sendall(whole[:split])
        drip(request.connection, whole[split:], 0.2)
        return None

    with odd_server(answer) as odd:
        begun = time.monotonic()
        with pytest.raises(TemporaryError, match="no whole answer within 1 s"):
            desk_at(odd.url, KEY, budget=0.0).client.hello()
        assert time.monotonic() - begun < 3


def test_a_handshake_that_never_ends_holds_nobody(quick: None, desk_at: Maker) -> None:
    """The limit holds before there is any HTTP: in the middle of TLS."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def stall() -> None:
        connection, _ = listener.accept()
        taken.append(connection)
        # The head of a TLS record that goes on for long, a byte at a time.
        try:
            drip(connection, b"\x16\x03\x03\x40\x00" + b"\0" * 200, 0.1)
        except OSError:
            return

    thread = threading.Thread(target=stall, daemon=True)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(TemporaryError):
        desk_at(f"https://127.0.0.1:{listener.getsockname()[1]}", KEY, budget=0.0).client.hello()
    assert time.monotonic() - begun < 4
    listener.close()
    thread.join(10)
    for each in taken:
        each.close()


def test_a_silent_server_is_given_up(quick: None, desk_at: Maker) -> None:
    """A server that takes the request and says nothing is a temporary failure, told as such."""

    def answer(request: Request) -> bytes | None:
        time.sleep(2)
        return None

    with odd_server(answer) as odd, pytest.raises(TemporaryError, match=r"no answer within|no whole answer"):
        desk_at(odd.url, KEY, budget=0.0).client.hello()


def test_a_storm_of_429_passes(quick: None, desk_at: Maker) -> None:
    """Whatever the server writes into Retry-After, the request is repeated in time and gets through."""
    odd_values = ["0", "120", "-5", "abc", "", "Fri, 31 Dec 2099 23:59:59 GMT", "1e9", "99999999999999999999"]

    def answer(request: Request) -> bytes | None:
        if request.number < len(odd_values):
            return reply(429, Retry_After=odd_values[request.number])
        return reply(200, HELLO)

    with odd_server(answer) as odd:
        begun = time.monotonic()
        assert desk_at(odd.url, KEY, budget=20.0).client.hello().workspace == "lab"
        assert time.monotonic() - begun < 10 and len(odd.seen) == len(odd_values) + 1


def test_500_for_ever_ends_within_the_budget(quick: None, desk_at: Maker) -> None:
    """The budget bounds all tries together, and the last reason is told."""
    with odd_server(
        lambda request: reply(500, b'{"title": "broken", "detail": "the disk\\u001b[31m"}')
    ) as odd:
        desk = desk_at(odd.url, KEY, budget=1.0)
        begun = time.monotonic()
        with pytest.raises(TemporaryError, match="HTTP 500: the disk") as caught:
            desk.client.hello()
        assert 0.2 < time.monotonic() - begun < 3 and len(odd.seen) > 3
        assert "\x1b" not in caught.value.problem
        count = len(odd.seen)
        with pytest.raises(TemporaryError):
            desk.client.hello()
        assert len(odd.seen) <= count + 2
        assert any("trying again" in text for text in desk.notices)


@pytest.mark.parametrize("status", [400, 404, 409, 410, 413, 415, 422])
def test_an_answer_that_means_no_is_not_asked_again(quick: None, desk_at: Maker, status: int) -> None:
    """Only answers that may change are repeated."""
    with odd_server(lambda request: reply(status)) as odd:
        assert desk_at(odd.url, KEY).channel.send("GET", "/api/x").status == status
        assert len(odd.seen) == 1


@pytest.mark.parametrize(("status", "code"), [(401, "key"), (403, "scope")])
def test_a_key_that_is_not_accepted_ends_the_command(desk_at: Maker, status: int, code: str) -> None:
    """401 and 403 are one clear error each, with exit code 5 and without the key."""
    with odd_server(lambda request: reply(status)) as odd:
        with pytest.raises(AccessError) as caught:
            desk_at(odd.url, KEY).client.hello()
        assert (caught.value.code, caught.value.exit_code) == (code, 5)
        assert KEY not in str(caught.value) and len(odd.seen) == 1


def test_a_netrc_never_replaces_the_key(desk_at: Maker, clean_environment: Path) -> None:
    """Users of other trackers have a ~/.netrc; its passwords are not sent, and the key is."""
    netrc = clean_environment / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password wrong\ndefault login x password y\n")
    netrc.chmod(0o600)
    with odd_server(lambda request: reply(200, HELLO)) as odd:
        desk = desk_at(odd.url, KEY)
        desk.client.hello()
        desk.channel.send("POST", "/api/x", b"{}")
        assert [each.header("Authorization") for each in odd.seen] == [f"Bearer {KEY}"] * 2


def test_a_proxy_of_the_environment_never_sees_a_key_in_the_clear(
    desk_at: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server on this machine is talked to directly, whatever the proxy variables say."""
    with odd_server(lambda r: reply(200, HELLO)) as odd, odd_server(lambda r: reply(500)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        desk_at(odd.url, KEY).client.hello()
        assert len(odd.seen) == 1 and proxy.seen == []


def test_https_goes_through_the_proxy_of_the_environment(
    desk_at: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy is asked for a tunnel, and is not told the key."""
    with odd_server(lambda r: reply(502)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(TemporaryError, match="proxy"):
            desk_at("https://worldflux.invalid", KEY, budget=0.0).client.hello()
        assert proxy.seen[0].head.startswith("CONNECT worldflux.invalid:443")
        assert KEY not in proxy.seen[0].head


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_redirects_are_not_followed(desk_at: Maker, status: int, method: str) -> None:
    """Neither the key nor a body goes where a redirect points."""
    with odd_server(lambda r: reply(200, HELLO)) as other:
        elsewhere = f"{other.url}/api/sync"
        with odd_server(lambda r: reply(status, Location=elsewhere)) as odd:
            with pytest.raises(RefusedError, match="redirect"):
                desk_at(odd.url, KEY).channel.send(method, "/api/sync", b"data" if method != "GET" else None)
            assert other.seen == [] and len(odd.seen) == 1


def test_cookies_are_not_kept(desk_at: Maker) -> None:
    """A server can not make a client carry something from one request to the next."""
    with odd_server(lambda r: reply(200, HELLO, Set_Cookie="track=1; Path=/")) as odd:
        desk = desk_at(odd.url, KEY)
        desk.client.hello()
        desk.client.hello()
        assert odd.seen[1].header("Cookie") is None


@pytest.mark.parametrize(
    "body",
    [b"<html>login</html>", b"[]", b'{"api": 2}', b'{"api": 1}', b'{"api":1,"workspace":"../x"}', b"\xff"],
)
def test_something_else_at_the_address_is_told(desk_at: Maker, body: bytes) -> None:
    """A portal, an older server, or nonsense is one clear error and not asked again."""
    with odd_server(lambda r: reply(200, body)) as odd:
        with pytest.raises(ProtocolError):
            desk_at(odd.url, KEY).client.hello()
        assert len(odd.seen) == 1


def test_an_endless_answer_is_not_kept_in_memory(desk_at: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer has a largest size."""
    monkeypatch.setattr(http, "MOST_ANSWER_BYTES", 100_000)
    with (
        odd_server(lambda r: reply(200, b" " * 3_000_000)) as odd,
        pytest.raises(ProtocolError, match="longer"),
    ):
        desk_at(odd.url, KEY).client.hello()


def test_a_cut_answer_is_asked_for_again(quick: None, desk_at: Maker) -> None:
    """An answer that ends in the middle is no answer, also when what came is JSON."""

    def answer(request: Request) -> bytes | None:
        whole = reply(200, HELLO)
        if request.number == 0:
            request.connection.sendall(whole.replace(b"Content-Length: ", b"Content-Length: 1"))
            return None
        return whole

    with odd_server(answer) as odd:
        assert desk_at(odd.url, KEY).client.hello().workspace == "lab"
        assert len(odd.seen) == 2


def test_closing_ends_a_request_that_hangs(desk_at: Maker) -> None:
    """Ctrl-C does not wait for a server: a request in another thread ends at once."""

    def answer(request: Request) -> bytes | None:
        time.sleep(20)
        return None

    with odd_server(answer) as odd:
        desk = desk_at(odd.url, KEY)
        caught: list[BaseException] = []

        def ask() -> None:
            try:
                desk.client.hello()
            except BaseException as error:
                caught.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while not odd.seen:
            time.sleep(0.01)
        begun = time.monotonic()
        desk.close()
        thread.join(10)
        assert time.monotonic() - begun < 2 and isinstance(caught[0], Interrupted)


def test_no_descriptor_is_left_open(desk_at: Maker) -> None:
    """Connections that are cut again and again leave nothing behind."""
    with odd_server(lambda r: None if r.number % 2 else reply(200, HELLO)) as odd:
        desk = desk_at(odd.url, KEY, budget=30.0)
        desk.client.hello()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(6):
            desk.client.hello()
        assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_packed_bodies_are_sent_plain_to_a_server_that_does_not_unpack(
    desk_at: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large bundle travels packed, with the digest of what travels; refused so, it goes as it is."""
    from worldflux.sync.wire import content_digest, frame

    def answer(request: Request) -> bytes | None:
        assert request.header("Content-Digest") == content_digest(request.body)
        if request.header("Content-Encoding") == "gzip":
            return reply(415)
        return reply(200, b'{"results": []}')

    run = "01a1fe9c-874f-7539-b5a0-74d096c43491"
    lines = b"".join(b"%d is a number\n" % (i * i) for i in range(2000))
    frames = [frame(run, "stream", lines, stream="log:output", offset=0, project="demo")]
    with odd_server(answer) as odd:
        desk = desk_at(odd.url, KEY)
        monkeypatch.setattr(desk.client, "_packs", True)
        assert desk.client.send_bundle(frames) == []
        assert [len(each.body) < len(lines) for each in odd.seen] == [True, False]
        desk.client.send_bundle(frames)
        assert len(odd.seen) == 3
