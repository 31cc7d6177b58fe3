"""Bodies that are too large, too slow or packed to hurt; rates; hosts; what the access log says."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sent_runs import BUNDLE, SentRun, digest_header, patch, result, send, sha256
from server_process import BIN, Server, environment, start

from worldflux.server import keys
from worldflux.server.buckets import Buckets

#: Starting two workers takes its time on a busy machine, also where tests are given little.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def strict_server(
    tmp_path_factory: pytest.TempPathFactory, tables: Callable[[Path], str | None]
) -> Iterator[Server]:
    """A server with small limits and two workers."""
    data = tmp_path_factory.mktemp("strict") / "data"
    url = tables(data)
    (data / "server.json").write_text(
        json.dumps(
            {"bundle_bytes": 200000, "patch_bytes": 100000, "blob_bytes": 1000000, "read_idle_seconds": 0.5}
        )
    )
    running = start(data, url, "--workers", "2")
    yield running
    running.stop()


def raw(server: Server, request: bytes, *, wait: float = 10.0) -> bytes:
    """Everything that the server answers to these bytes, until it closes or falls silent."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=wait) as link:
        with contextlib.suppress(OSError):
            link.sendall(request)
        answer = b""
        with contextlib.suppress(OSError):
            while part := link.recv(65536):
                answer += part
                if b"\r\n\r\n" in answer and answer.rstrip().endswith(b"}"):
                    break
        return answer


def head(server: Server, path: str = "/api/sync/bundle", *lines: str, method: str = "POST") -> bytes:
    """The head of a request with a right key."""
    host = server.url.removeprefix("http://")
    fixed = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {server.key}", *lines]
    return "\r\n".join([*fixed, "", ""]).encode()


def test_a_body_that_is_announced_too_large(strict_server: Server) -> None:
    """It is refused before it is sent."""
    begun = time.monotonic()
    answer = raw(
        strict_server,
        head(strict_server, "/api/sync/bundle", f"Content-Type: {BUNDLE}", "Content-Length: 999999999"),
    )
    assert b" 413 " in answer and time.monotonic() - begun < 5


@pytest.mark.parametrize("path", ["/api/sync/bundle", "/api/sync/state", "/api/projects", "/api/api-keys"])
def test_a_body_in_chunks_without_a_length(strict_server: Server, path: str) -> None:
    """It is counted as it comes, whatever it was announced as."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    kind = BUNDLE if "bundle" in path else "application/json"
    answer = raw(
        strict_server,
        head(strict_server, path, "Transfer-Encoding: chunked", f"Content-Type: {kind}") + chunk * 40,
    )
    assert b" 413 " in answer


def test_a_body_that_stands_still(strict_server: Server) -> None:
    """After the idle time it is ended with 408, and the worker is free again."""
    begun = time.monotonic()
    answer = raw(
        strict_server,
        head(strict_server, "/api/sync/bundle", f"Content-Type: {BUNDLE}", "Content-Length: 1000") + b"abc",
    )
    assert b" 408 " in answer and time.monotonic() - begun < 5
    strict_server.call("GET", "/healthz", key=None, expect=200)


def test_many_headers_and_a_long_one(strict_server: Server) -> None:
    """The head of a request has a limit, too."""
    lines = [f"X-{index}: {'y' * 100}" for index in range(2000)]
    assert b" 4" in raw(strict_server, head(strict_server, "/api/sync", *lines, method="GET"))[:20]


@pytest.mark.parametrize("lengths", [("5", "6"), ("5, 6",), ("-1",), ("abc",), ("+5",)])
def test_requests_with_two_meanings(strict_server: Server, lengths: tuple[str, ...]) -> None:
    """A length that can be read in two ways, or together with chunks, is refused."""
    stated = [f"Content-Length: {length}" for length in lengths]
    assert b" 400 " in raw(strict_server, head(strict_server, "/api/sync/state", *stated) + b"{}xxxx")
    both = [*stated, "Transfer-Encoding: chunked"]
    assert b" 400 " in raw(strict_server, head(strict_server, "/api/sync/state", *both) + b"0\r\n\r\n")


def test_a_gzip_bomb(strict_server: Server) -> None:
    """Packed zeros are refused without unpacking more than the limit; so is damaged and trailing data."""
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < 100_000

    def post(body: bytes) -> int:
        headers = {"Content-Type": BUNDLE, "Content-Digest": digest_header(body), "Content-Encoding": "gzip"}
        return strict_server.call("POST", "/api/sync/bundle", data=body, headers=headers).status_code

    assert post(bomb) == 413
    good = gzip.compress(b"".join(SentRun().frames()))
    assert post(good[:-5]) == post(good + b"more") == post(b"no gzip") == 400
    body, other = (
        b"x",
        {"Content-Encoding": "br", "Content-Type": BUNDLE, "Content-Digest": digest_header(b"x")},
    )
    strict_server.call("POST", "/api/sync/bundle", data=body, headers=other, expect=415)


def test_a_patch_and_a_blob_have_limits(strict_server: Server) -> None:
    """One piece and the whole are bounded; a piece beyond the stated length is not kept."""
    patch(strict_server, "0" * 64, 0, 100001, b"x" * 100001, expect=413)
    patch(strict_server, "0" * 64, 0, 1000001, b"x", expect=413)
    assert patch(strict_server, sha256(b"abc"), 0, 2, b"abc").status_code == 422
    for wrong in ("-1", "x", "1.0", "9" * 30, ""):
        patch(strict_server, "0" * 64, 0, 1, b"x", headers={"Upload-Offset": wrong}, expect=400)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", ""])
def test_another_host_is_not_answered(strict_server: Server, host: str) -> None:
    """A name that somebody else points here gets nothing."""
    strict_server.call("GET", "/healthz", key=None, headers={"Host": host}, expect=421 if host else None)
    answer = raw(strict_server, b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert b" 400 " in answer
    strict_server.call("GET", "/healthz", key=None, headers={"Host": "localhost:1234"}, expect=200)


def test_forwarded_headers_of_strangers_are_not_believed(strict_server: Server) -> None:
    """Without a trusted proxy, nobody can say that they are somebody else."""
    mark = f"203.0.113.{int(time.time()) % 250}"
    strict_server.call(
        "GET", "/healthz", key=None, headers={"X-Forwarded-For": mark, "X-Forwarded-Proto": "https"}
    )
    assert mark not in log_of(strict_server)


def log_of(server: Server) -> str:
    return (server.data.parent / f"{server.data.name}.err").read_text(encoding="utf-8")


def test_the_access_log_is_json_without_secrets(strict_server: Server) -> None:
    """Each request is one JSON line; no key, no query, no control character of a stranger in it."""
    token, agent = keys.token(), "evil\x1b]8;;http://x\x07\x9b31m"
    strict_server.call("GET", f"/s/{keys.token('wfs_')}?token={token}", key=None)
    strict_server.call(
        "GET", f"/api/projects/{token}?password=hunter2hunter2", headers={"User-Agent": agent.encode()}
    )
    answer = strict_server.call("GET", "/api/sync", expect=200)
    mine = None
    for _ in range(3000):  # the line is written behind the answer
        text = log_of(strict_server)
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        mine = next((line for line in lines if line.get("id") == answer.headers["X-Request-Id"]), None)
        if mine is not None:
            break
        time.sleep(0.02)
    assert mine is not None
    assert mine["method"] == "GET" and mine["path"] == "/api/sync" and mine["status"] == 200
    assert mine["workspace"] == "default" and mine["who"].startswith("key_")
    for secret in (strict_server.key, token, "hunter2", "\x1b", "\x9b", token[4:]):
        assert secret not in text


def test_a_key_that_asks_too_often_waits(tmp_path: Path, tables: Callable[[Path], str | None]) -> None:
    """The bucket of a key is one for all workers; 429 says when to come back, and then it is right."""
    url = tables(tmp_path / "data")
    (tmp_path / "data" / "server.json").write_text('{"key_rate": 2, "key_burst": 10}')
    server = start(tmp_path / "data", url, "--workers", "2")
    try:
        codes = []
        for _ in range(30):
            answer = server.call("GET", "/api/sync")
            server.session.close()  # the next one may go to the other worker
            codes.append(answer.status_code)
            if answer.status_code == 429:
                break
        assert codes[:10] == [200] * 10 and codes[-1] == 429 and len(codes) <= 16
        assert int(answer.headers["Retry-After"]) >= 1
        time.sleep(int(answer.headers["Retry-After"]))
        server.call("GET", "/api/sync", expect=200)
    finally:
        server.stop()


def test_wrong_keys_run_dry_and_right_ones_do_not(server: Server) -> None:
    """Who tries keys is told to wait; the same address with a right key is not."""
    codes = {server.call("GET", "/api/sync", key=keys.token()).status_code for _ in range(80)}
    assert codes == {401, 429}
    server.call("GET", "/api/sync", expect=200)


def test_quotas(server: Server) -> None:
    """A full workspace refuses new runs and bytes with 507, keeps what it has, and another is not touched."""
    made = server.call("POST", "/api/workspaces", json={"slug": "small", "quota_runs": 1}, expect=201).json()
    key = made["key"]["token"]
    first = SentRun()
    send(server, *first.frames(), key=key, expect=200)
    refused = result(send(server, *SentRun().frames(), key=key, expect=207))
    assert (refused["status"], refused["outcome"], refused["code"]) == (507, "refused", "quota")
    assert result(send(server, *first.frames(), key=key, expect=200))["outcome"] == "unchanged"
    server.call("PATCH", "/api/workspaces/small", json={"quota_runs": None, "quota_bytes": 20000}, expect=200)
    large = SentRun(logs={"output": bytes(range(256)) * 200})
    assert result(send(server, *large.frames(), key=key, expect=207))["status"] == 507
    patch(server, "0" * 64, 0, 30000, b"x", key=key, expect=507)
    shown = server.call("GET", "/api/workspace", key=key, expect=200).json()
    assert shown["usage"]["runs"] == 1 and 0 < shown["usage"]["bytes"] < 20000
    send(server, *large.frames(), expect=200)


def test_a_flood_of_metrics(server: Server) -> None:
    """Ten thousand metrics are stored, one more is refused; a name that is none becomes no row."""
    many = {f"m{index}": {"value": index} for index in range(10000)}
    assert result(send(server, *SentRun(metrics=many).frames(), expect=200))["outcome"] == "stored"
    more = {**many, "one-more": {"value": 1}}
    assert result(send(server, *SentRun(metrics=more).frames(), expect=207))["outcome"] == "invalid"
    odd = SentRun(metrics={"x" * 1_000_000: {"value": 1}, "\0": [], "a b": "c", "good": {"value": 1}})
    assert result(send(server, *odd.frames(), expect=200))["outcome"] == "stored"
    assert list(server.call("GET", f"/api/runs/{odd.run_id}", expect=200).json()["metrics"]) == ["good"]


def test_buckets_fill_again(tmp_path: Path) -> None:
    """A bucket gives what it holds, then what flows in; names do not touch one another."""
    buckets = Buckets(tmp_path)
    assert [buckets.take("a", 2, 5) for _ in range(5)] == [0] * 5
    wait = buckets.take("a", 2, 5)
    assert 0 < wait <= 0.5
    assert buckets.take("b", 2, 5) == 0
    time.sleep(wait + 0.01)
    assert buckets.take("a", 2, 5) == 0
    other = Buckets(tmp_path)
    assert [other.take("c", 0.001, 2) for _ in range(2)] == [0, 0]
    assert buckets.take("c", 0.001, 2) > 0
    for each in (buckets, other):
        each.close()


def test_the_file_of_the_buckets_is_reserved(tmp_path: Path) -> None:
    """It has all its blocks from the start, for a mapped page on a full disk would kill the worker."""
    buckets = Buckets(tmp_path)
    facts = (tmp_path / "limits.bin").stat()
    assert facts.st_blocks * 512 >= facts.st_size > 0
    buckets.close()


def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    """With standard error closed the server answers as before."""
    place = ["--data", str(tmp_path / "data"), "--port", "0"]
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$0" --json server start "$@" 2>/dev/full', BIN / "worldflux", *place],
        stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())["data"]
    server = Server(told["url"], told["first_key"], tmp_path / "data", None, process)
    try:
        for _ in range(5):
            server.call("GET", "/api/sync", expect=200)
    finally:
        assert server.stop() == 0
