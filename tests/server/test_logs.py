"""Logs: bytes, lines and what is found in them, small and huge."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import store
from sent_runs import SentRun, send, sha256
from server_process import Server, start

from worldflux.manifest.model import new_run_id
from worldflux.server.streams import terminal
from worldflux.server.streams.content import Chunk, Stream
from worldflux.server.streams.lines import lines, search


class Pieces(Stream):
    """A stream in pieces of our choosing, of which one part is made at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "length", len(data))

    def chunks(self, start: int = 0, end: int | None = None) -> list[Chunk]:
        data, size = self.data, self.size  # type: ignore[attr-defined]
        parts = ((at, data[at : at + size]) for at in range(0, len(data), size))
        return [Chunk(0, at, len(part), sha256(part)) for at, part in parts]

    def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        data, size = self.data, self.size  # type: ignore[attr-defined]
        end = len(data) if end is None else min(end, len(data))
        for at in range(start, end, size):
            yield data[at : min(at + size, end)]


def expected_lines(data: bytes) -> list[str]:
    parts = data.split(b"\n")
    return [part.decode() for part in (parts[:-1] if parts[-1] == b"" else parts)]


log = st.lists(st.sampled_from([b"a", b"bb", b"needle", b"\n", b"\n\n", b"x" * 30]), max_size=40).map(
    b"".join
)


@given(log, st.integers(1, 50), st.integers(-12, 12), st.integers(1, 8))
def test_lines_by_number(data: bytes, size: int, start: int, count: int) -> None:
    """Whatever the pieces, line N is line N; a negative number counts from the end."""
    every = expected_lines(data)
    found = lines(Pieces(data, size), start, count)
    first = max(len(every) + start, 0) if start < 0 else start
    assert (found.lines, found.start, found.total) == (every[first : first + count], first, len(every))


@given(log, st.integers(1, 50), st.integers(1, 4))
def test_search_finds_each_line_once(data: bytes, size: int, limit: int) -> None:
    """All lines with the text, in either case, with their number and offset, page by page."""
    data = data.replace(b"needlea", b"NEEDLEa")
    wanted = [
        {"line": number, "offset": sum(len(each) + 1 for each in data.split(b"\n")[:number]), "text": line}
        for number, line in enumerate(expected_lines(data))
        if "needle" in line.lower()
    ]
    found, at, line = [], 0, 0
    while True:
        one = search(Pieces(data, size), "Needle", limit, at=at, line=line)
        found += one.matches
        if one.next is None:
            break
        assert len(one.matches) == limit
        at, line = one.next, one.line
    assert found == wanted
    cased = search(Pieces(data, size), "NEEDLE", 100, cased=True).matches
    assert [each["line"] for each in cased] == [
        each["line"] for each in wanted if "NEEDLE" in str(each["text"])
    ]


def test_an_endless_line_is_searched_too() -> None:
    """Megabytes without a line end neither fill the memory nor hide a match at a border."""
    data = bytearray(b"." * 5_000_000)
    for place in (1024 * 1024 - 3, 3_000_000):
        data[place : place + 6] = b"needle"
    tracemalloc.start()
    found = search(Pieces(bytes(data) + b"\nneedle\n", 65_536), "needle", 10)
    first = lines(Pieces(bytes(data), 65_536), 0, 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [match["line"] for match in found.matches] == [0, 1]
    assert len(first.lines[0]) == terminal.MAX_LINE + 1
    assert peak < 40_000_000


@pytest.mark.parametrize(
    ("data", "plain", "coloured"),
    [
        (b"\x1b[31mred\x1b[0m", "red", "\x1b[31mred\x1b[0m"),
        (b"\x1b[38;5;196;1mred", "red", "\x1b[38;5;196;1mred"),
        (b"\x1b[2Jclear\x1b[10;10H", "clear", "clear"),
        (b"\x1b]8;;http://evil\x07link\x1b]8;;\x07", "link", "link"),
        (b"\x1b]52;c;aGVsbG8=\x1b\\copied", "copied", "copied"),
        (b"\x1b]0;title\x07x", "x", "x"),
        (b"\x1bPq#0;2;0;0;0\x1b\\sixel", "sixel", "sixel"),
        (b"\x1b]0;never closed", "", ""),
        (b"\x1b[" + b"1;" * 100 + b"mlong", "long", "long"),
        (b"\x1b(Bx\x1b=y\x1b", "xy", "xy"),
        ("\x9b31mx\x9d0;t\x07y".encode(), "xy", "xy"),
        (b"10%\r50%\r100%\r\n", "100%", "100%"),
        (b"a\r\n", "a", "a"),
        (b"a\tb\x00c\x08d\x7f", "a\tb␀c␈d␡", "a\tb␀c␈d␡"),
        ("a\u202eb\u2066c\u2028d".encode(), "a\ufffdb\ufffdc\ufffdd", "a\ufffdb\ufffdc\ufffdd"),
        (b"\xff\xfeok \xc3", "\ufffd\ufffdok \ufffd", "\ufffd\ufffdok \ufffd"),
        ("日本 😀 é".encode(), "日本 😀 é", "日本 😀 é"),
    ],
)
def test_nobody_takes_over_the_screen(data: bytes, plain: str, coloured: str) -> None:
    """Of a terminal's commands only colours can stay; nothing is invisible or turned around."""
    assert terminal.line(data) == plain
    assert terminal.line(data, colours=True) == coloured


@given(st.binary(max_size=80).map(lambda data: data.replace(b"a", b"\x1b").replace(b"b", b"[")))
def test_no_escape_is_left(data: bytes) -> None:
    """No sequence of bytes leaves an escape in a line, or more than colours when they are wanted."""
    assert "\x1b" not in terminal.line(data)
    assert all(
        part[:1] == "[" and "m" in part for part in terminal.line(data, colours=True).split("\x1b")[1:]
    )


def test_lines_take_linear_time() -> None:
    """Input that is made to keep a pattern busy does not."""
    began = time.monotonic()
    for text in (
        b"\x1b[" * 30_000,
        b"\x1b]" * 30_000,
        b"\x1b[" + b"1;" * 30_000,
        b"\x1b]" + b"x" * 60_000,
        b"\r" * 60_000,
    ):
        terminal.line(text, colours=True)
    assert time.monotonic() - began < 2


@pytest.fixture
def run(shared_server: Server) -> SentRun:
    """A stored run with an output and another log."""
    made = SentRun(logs={"output": b"first\nsecond \x1b[31mred\x1b[0m\nthird\n\xff\x00", "build": b"built\n"})
    store(shared_server, made)
    return made


@pytest.mark.parametrize(
    ("query", "expected", "at"),
    [
        ({}, slice(0, None), 0), ({"offset": 6}, slice(6, None), 6), ({"offset": 6, "limit": 4}, slice(6, 10), 6),
        ({"offset": -2}, slice(-2, None), 32), ({"offset": -1000}, slice(0, None), 0), ({"limit": 0}, slice(0, 0), 0),
        ({"offset": 1000}, slice(0, 0), 34), ({"name": "output", "limit": 5}, slice(0, 5), 0),
    ],
)  # fmt: skip
def test_bytes_of_a_log(
    shared_server: Server, run: SentRun, query: dict[str, int], expected: slice, at: int
) -> None:
    """Exactly the bytes of the file, from any place; with its length and whether it has ended."""
    answer = shared_server.call("GET", f"/api/runs/{run.run_id}/log", params=query, expect=200)
    assert answer.content == run.logs["output"][expected]
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Log-Bytes"] == str(len(run.logs["output"]))
    assert (answer.headers["X-Log-Offset"], answer.headers["X-Log-Final"]) == (str(at), "true")


def test_logs_by_name(shared_server: Server, run: SentRun) -> None:
    """Each log has its name; what is not there is 404; what can not be is 422."""
    path = f"/api/runs/{run.run_id}/log"
    assert shared_server.call("GET", path, params={"name": "build"}, expect=200).content == b"built\n"
    for name in ("nothing", "../output", "metrics", "log:output"):
        shared_server.call("GET", path, params={"name": name}, expect=404)
    for wrong in ({"offset": "x"}, {"limit": -1}, {"limit": 10**9}, {"name": "a\0"}, {"name": "x" * 300}):
        shared_server.call("GET", path, params=wrong, expect=422)
    shared_server.call("GET", f"/api/runs/{new_run_id()}/log", expect=404)


def test_a_download_is_the_file(shared_server: Server, run: SentRun) -> None:
    """All bytes, as an attachment with a harmless name."""
    params = {"download": '../a";\r\nX: y.log'}
    answer = shared_server.call("GET", f"/api/runs/{run.run_id}/log", params=params, expect=200)
    assert answer.content == run.logs["output"]
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment; filename=")
    assert ".." not in disposition and "X" not in answer.headers


def test_lines_over_http(shared_server: Server, run: SentRun) -> None:
    """Lines by number and from the end, with colours only when they are wanted."""
    path = f"/api/runs/{run.run_id}/log/lines"
    whole = shared_server.call("GET", path, expect=200).json()
    assert whole["lines"] == ["first", "second red", "third", "\ufffd␀"]
    assert (whole["from"], whole["total_known"], whole["final"]) == (0, 4, True)
    some = shared_server.call(
        "GET", path, params={"from": -3, "count": 1, "ansi": "colours"}, expect=200
    ).json()
    assert (some["lines"], some["from"]) == (["second \x1b[31mred\x1b[0m"], 1)
    for wrong in ({"count": 0}, {"count": 5001}, {"ansi": "all"}, {"from": "x"}):
        shared_server.call("GET", path, params=wrong, expect=422)


def test_search_over_http(shared_server: Server, run: SentRun) -> None:
    """Lines with the text; patterns are taken as they stand."""
    path = f"/api/runs/{run.run_id}/log/search"
    found = shared_server.call("GET", path, params={"q": "IR"}, expect=200).json()
    assert found["matches"] == [
        {"line": 0, "offset": 0, "text": "first"}, {"line": 2, "offset": 26, "text": "third"},
    ]  # fmt: skip
    assert (found["truncated"], found["next"]) == (False, None)
    part = shared_server.call("GET", path, params={"q": "ir", "limit": 1}, expect=200).json()
    assert (part["truncated"], part["next"], part["next_line"]) == (True, 26, 2)
    rest = shared_server.call(
        "GET", path, params={"q": "ir", "offset": part["next"], "line": part["next_line"]}, expect=200
    ).json()
    assert rest["matches"] == [{"line": 2, "offset": 26, "text": "third"}]
    for text in (".*", "(", "[a-", "(a+)+$", "%", "_"):
        assert shared_server.call("GET", path, params={"q": text}, expect=200).json()["matches"] == []
    shared_server.call("GET", path, params={"q": ""}, expect=422)
    shared_server.call("GET", path, expect=422)


def test_a_growing_log(shared_server: Server) -> None:
    """What is appended is there at the next look; line numbers stay."""
    made = SentRun(status="running", logs={})
    first, second = b"one\ntw", b"o\nthree"
    send(shared_server, made.stream_frame("log:output", 0, first), expect=200)
    path = f"/api/runs/{made.run_id}/log"
    assert shared_server.call("GET", f"{path}/lines", expect=200).json()["lines"] == ["one", "tw"]
    send(shared_server, made.stream_frame("log:output", len(first), second), expect=200)
    assert shared_server.call("GET", f"{path}/lines", expect=200).json()["lines"] == ["one", "two", "three"]
    answer = shared_server.call("GET", path, params={"offset": len(first)}, expect=200)
    assert (answer.content, answer.headers["X-Log-Final"]) == (second, "false")


@pytest.mark.slow
def test_a_hundred_megabytes(
    tmp_path: Path, tables: Callable[[Path], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end, any line and any text of a huge log come quickly, and the server stays small."""
    monkeypatch.setenv("WORLDFLUX_TEST_COLD", "1")  # a forked one has what others import in its memory, too
    server = start(tmp_path / "data", tables(tmp_path / "data"))
    try:
        _send_and_read(server)
    finally:
        server.stop()


def _send_and_read(server: Server) -> None:
    made, block = SentRun(status="running", logs={}), 4 * 1024 * 1024
    line = b"step %07d loss 0.123456 reward 12.5 some more words to fill the line up to a hundred bytes........\n"
    total, number = 0, 0
    while total < 100_000_000:
        data = b"".join(line % (number + each) for each in range(block // len(line % 0)))
        number += data.count(b"\n")
        send(server, made.stream_frame("log:output", total, data), expect=200)
        total += len(data)
    path = f"/api/runs/{made.run_id}/log"
    tail = shared = server.call("GET", path, params={"offset": -1000}, expect=200)
    assert tail.headers["X-Log-Bytes"] == str(total) and shared.content.endswith(b"\n")
    took = []
    for query, expected in (
        ({"from": -1, "count": 1}, number - 1),
        ({"from": number // 2, "count": 1}, number // 2),
    ):
        began = time.monotonic()
        found = server.call("GET", f"{path}/lines", params=query, expect=200).json()
        took.append(time.monotonic() - began)
        assert found["lines"] == [(line % expected).decode().rstrip("\n")]
        assert found["total_known"] == number
    began = time.monotonic()
    found = server.call("GET", f"{path}/search", params={"q": f"STEP {number - 5:07d}"}, expect=200).json()
    took.append(time.monotonic() - began)
    assert [match["line"] for match in found["matches"]] == [number - 5]
    # The first look counts all lines, the second knows the counts of all pieces but the one it reads.
    assert took[0] < 10 and took[1] < 1 and took[2] < 10, took
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        (peak,) = [int(each.split()[1]) for each in status if each.startswith("VmHWM")]
    assert peak < 250_000, f"{peak} kB"
