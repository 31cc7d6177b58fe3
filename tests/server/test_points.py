"""Series of metrics, thinned out and whole."""

from __future__ import annotations

import csv
import io
import json
import math
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import store
from sent_runs import SentRun, send
from server_process import Server

from worldflux.manifest.model import new_run_id
from worldflux.server.streams.content import Stream
from worldflux.server.streams.points import Asked, Series, Since, names_of, points, series


class Pieces(Stream):
    """A stream that comes in pieces of our choosing."""

    def __init__(self, data: bytes, size: int = 7) -> None:
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "length", len(data))

    def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        data: bytes = self.data  # type: ignore[attr-defined]
        size: int = self.size  # type: ignore[attr-defined]
        for at in range(start, len(data) if end is None else end, size):
            yield data[at : at + size]


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


number = st.sampled_from([math.nan, math.inf, -math.inf]) | st.floats(-1e308, 1e308)


@given(st.lists(number, max_size=60), st.integers(2, 9))
def test_thinned_out_is_what_the_points_say(values: list[float], most: int) -> None:
    """At most so many places; each has the mean, the least and the greatest of its own points."""
    one = Series(most)
    for step, value in enumerate(values):
        one.add(step, value)
    shown = one.to_json()
    assert shown["points"] == len(values)
    assert len(shown["step"]) <= max(most, 1)
    assert shown["downsampled"] is (len(values) > most)
    width = one.width
    assert [values[at : at + width] != [] for at in shown["step"]] == [True] * len(shown["step"])
    for place, start in enumerate(range(0, len(values), width)):
        own = [value for value in values[start : start + width] if not math.isnan(value)]
        finite = [value for value in own if math.isfinite(value)]
        assert shown["step"][place] == start
        if finite:
            expected = math.fsum(value / len(finite) for value in finite)
            close = math.isclose(
                shown["value"][place], expected, rel_tol=1e-9, abs_tol=1e-9 * max(abs(v) for v in finite)
            )
            assert close
        else:
            same = len(set(own)) == 1
            assert shown["value"][place] == (("Infinity" if own[0] > 0 else "-Infinity") if same else "NaN")
        if width > 1:
            assert float(shown["min"][place]) == min(own) if own else shown["min"][place] == "NaN"
            assert float(shown["max"][place]) == max(own) if own else shown["max"][place] == "NaN"


def test_what_is_no_metric_is_left_out() -> None:
    """Other lines, broken ones and a torn end cost nothing but themselves, wherever pieces are cut."""
    data = (
        lines({"name": "a", "value": 1, "step": 0}, {"name": "b", "value": True}, [1], "x", None, 5, {"value": 1})
        + b"{broken\n\n   \n\xff\xfe\n"
        + b'{"name":"a","value":NaN,"step":1}\n{"name":"a","value":-Infinity,"step":2}\n'
        + lines({"name": "a", "value": "Infinity", "step": 3}, {"name": "a", "value": "4"}, {"name": "", "value": 1})
        + lines({"name": "a", "value": 10**400}, {"name": "a", "value": 5, "step": "x"}, {"name": "a b", "value": 6})
        + b'{"name":"a"\n,"value":7}\n'
        + b'{"name":"c","value":' + b"1" * 70_000 + b"}\n"
        + b'{"name":"a","value":8,"step":4}\n{"name":"a","val'
    )  # fmt: skip
    expected = [("a", 1.0, 0), ("b", 1.0, None), ("a", -math.inf, 2), ("a", math.inf, 3), ("a", 5.0, None),
                ("a_b", 6.0, None), ("a", 8.0, 4)]  # fmt: skip
    for size in (1, 13, 1000, 10**6):
        found = list(points(Pieces(data, size)))
        assert [each for each in found if each[1] == each[1]] == expected
        assert len(found) == len(expected) + 1


def test_a_last_line_without_its_end_counts_when_it_is_whole() -> None:
    """A file that was written without a last newline loses no point."""
    assert list(points(Pieces(b'{"name":"a","value":1}'))) == [("a", 1.0, None)]


def test_names_and_steps_are_chosen() -> None:
    """Only asked names; only steps within the bounds; points without a step are counted on."""
    data = lines(*({"name": name, "value": n, "step": n * 10} for n in range(6) for name in ("a", "b")))
    found, more, _ = series(Pieces(data), Asked(["b"], 100, 20, 40))
    assert {name: one.to_json()["step"] for name, one in found.items()} == {"b": [20, 30, 40]}
    assert not more
    plain, _, _ = series(Pieces(lines(*({"name": "a", "value": n} for n in range(3)))), Asked())
    assert plain["a"].to_json()["step"] == [0, 1, 2]
    many, more, _ = series(Pieces(lines(*({"name": f"m{n}", "value": 1} for n in range(60))), 1000), Asked())
    assert (len(many), more) == (50, True)


_line = st.sampled_from(
    [
        b'{"name":"a","value":1}\n', b'{"name":"a","value":NaN,"step":7}\n', b'{"name":"b","value":2}\n', b"\n",
        b"oh\n",
        b'{"name":"a","value":"Infinity"}\n', b'{"name":"c","value":3,"step":1}\n', b'{"name":"b"\n', b"[1]\n",
        b'{"name":"b","value":' + b"1" * 70_000 + b"}\n", b'{"name":"b","value":4}   \r\n',
    ]
)  # fmt: skip


@given(
    st.lists(_line, max_size=12),
    st.lists(st.integers(0, 10**6), max_size=4),
    st.sampled_from([5, 1000, 10**6]),
)
def test_what_came_since_is_all_that_is_new(parts: list[bytes], cuts: list[int], size: int) -> None:
    """However a stream grew, what each look finds after the one before makes up all of it, each point once."""
    data, names = b"".join(parts), ["b", "a"]
    found: dict[str, list[Any]] = {name: [] for name in names}
    since = Since()
    for end in (*sorted(cut % (len(data) + 1) for cut in cuts), len(data)):
        new, _, since = series(Pieces(data[:end], size), Asked(names, 1000, since=since))
        assert Since.parse(since.text(names), names).text(names) == since.text(names)
        since = Since.parse(since.text(names), names)
        for name, one in new.items():
            shown = one.to_json()
            found[name] += zip(shown["step"], shown["value"], strict=True)
    whole, _, _ = series(Pieces(data, 10**6), Asked(names, 1000))
    expected = {name: one.to_json() for name, one in whole.items()}
    for name in names:
        one = expected.get(name, {"step": [], "value": []})
        assert found[name] == list(zip(one["step"], one["value"], strict=True))


def test_memory_depends_on_what_is_asked_for() -> None:
    """Half a million points take no more memory than a thousand."""
    block = lines({"name": "loss", "value": 0.5, "step": 1}) * 1000

    class Long(Pieces):
        def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
            for _ in range(200):
                yield block

    tracemalloc.start()
    found, _, _ = series(Long(b""), Asked(None, 1000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found["loss"].points == 200_000
    assert peak < 8 * 1024 * 1024


@pytest.fixture
def run(shared_server: Server) -> SentRun:
    """A stored run with two curves, one of them with odd values."""
    rows = [{"name": "loss", "step": n, "value": n / 2} for n in range(10)]
    rows += [
        {"name": "odd", "step": n, "value": value} for n, value in enumerate(["NaN", "Infinity", 0.1, -0.0])
    ]
    rows += [{"name": "=cmd", "value": 1}]
    made = SentRun(series=lines(*rows))
    store(shared_server, made)
    return made


def test_series_over_http(shared_server: Server, run: SentRun) -> None:
    """Curves come whole when they are short, thinned out when they are not, and only those asked for."""
    path = f"/api/runs/{run.run_id}/metrics"
    whole = shared_server.call("GET", path, expect=200).json()
    assert whole["series"]["loss"] == {
        "step": list(range(10)), "value": [n / 2 for n in range(10)], "time": None, "points": 10, "downsampled": False,
    }  # fmt: skip
    assert whole["series"]["odd"]["value"] == ["NaN", "Infinity", 0.1, -0.0]
    assert (whole["bytes"], whole["final"], whole["more"]) == (len(run.series or b""), True, False)
    thin = shared_server.call("GET", path, params={"names": "loss", "max_points": 5}, expect=200).json()[
        "series"
    ]
    assert thin == {
        "loss": {
            "step": [0, 2, 4, 6, 8], "value": [0.25, 1.25, 2.25, 3.25, 4.25], "time": None, "points": 10,
            "downsampled": True, "width": 2, "min": [0, 1, 2, 3, 4], "max": [0.5, 1.5, 2.5, 3.5, 4.5],
        }
    }  # fmt: skip
    part = shared_server.call(
        "GET", path, params={"names": "loss", "from_step": 3, "to_step": 4}, expect=200
    ).json()
    assert part["series"]["loss"]["step"] == [3, 4]
    for wrong in ({"max_points": 1}, {"from_step": "x"}, {"names": ",".join(f"m{n}" for n in range(51))}):
        shared_server.call("GET", path, params=wrong, expect=422)


def test_a_run_without_series(shared_server: Server) -> None:
    """Nothing logged is an empty answer, not a missing run."""
    made = SentRun(series=None)
    store(shared_server, made)
    assert shared_server.call("GET", f"/api/runs/{made.run_id}/metrics", expect=200).json()["series"] == {}
    shared_server.call("GET", f"/api/runs/{new_run_id()}/metrics", expect=404)


def test_a_growing_series(shared_server: Server) -> None:
    """What was appended is there at the next look, also when a line was cut at the end of a piece."""
    made = SentRun(status="running", series=None)
    data = lines(*({"name": "loss", "step": n, "value": n} for n in range(4)))
    for start in range(0, len(data), 25):
        send(shared_server, made.stream_frame("metrics", start, data[start : start + 25]), expect=200)
    answer = shared_server.call("GET", f"/api/runs/{made.run_id}/metrics", expect=200).json()
    assert answer["series"]["loss"]["value"] == [0, 1, 2, 3]
    assert not answer["final"]


def test_a_second_look_brings_only_what_is_new(shared_server: Server) -> None:
    """`next` given as `after` brings the points that came since and no other, numbered on; a wrong one is said."""
    made = SentRun(status="running", series=None)
    old, new = (
        lines(*({"name": name, "value": n} for n in steps for name in ("loss", "other")))
        for steps in (range(3000), range(3000, 3004))
    )
    send(shared_server, made.stream_frame("metrics", 0, old), expect=200)
    path = f"/api/runs/{made.run_id}/metrics"

    def look(after: str | None, expect: int = 200) -> Any:
        asked = {"names": "loss", "max_points": 10_000, **({} if after is None else {"after": after})}
        return shared_server.call("GET", path, params=asked, expect=expect)

    first = look(None)
    assert len(first.json()["series"]["loss"]["step"]) == 3000
    nothing = look(first.json()["next"])
    assert nothing.json()["series"] == {} and nothing.json()["next"] == first.json()["next"]
    send(shared_server, made.stream_frame("metrics", len(old), new), expect=200)
    second = look(first.json()["next"])
    assert second.json()["series"] == {
        "loss": {
            "step": [3000, 3001, 3002, 3003], "value": [3000, 3001, 3002, 3003], "time": None, "points": 4,
            "downsampled": False,
        }
    }  # fmt: skip
    assert len(second.content) < 400 < 20_000 < len(first.content)
    assert look(second.json()["next"]).json()["series"] == {}
    for wrong in ("x", "1", "-1.2", "1.2.3", "999999999.0"):
        look(wrong, expect=422)
    shared_server.call("GET", path, params={"after": "1.2"}, expect=422)


def test_a_second_look_finds_new_series(shared_server: Server) -> None:
    """Without names, `next` given as `after` brings the series that have got points since: also one that is new."""
    made = SentRun(status="running", series=None)
    sent = 0
    after = ""
    for name, known in (("loss", ["loss"]), ("loss", ["loss"]), ("eval/success", ["eval/success"])):
        data = lines(*({"name": name, "value": n, "step": sent + n} for n in range(3)))
        send(shared_server, made.stream_frame("metrics", sent, data), expect=200)
        begun, sent = sent, sent + len(data)
        answer = shared_server.call(
            "GET", f"/api/runs/{made.run_id}/metrics", params={"after": after}, expect=200
        ).json()
        after = answer["next"]
        assert {each: one["step"] for each, one in answer["series"].items()} == {
            each: [begun, begun + 1, begun + 2] for each in known
        }


def test_all_names_are_found(shared_server: Server) -> None:
    """Of many series each is found by a text in its name, in any case; those beyond the limit are counted."""
    made = SentRun(series=lines(*({"name": f"Layer{n}/norm", "value": n, "step": 0} for n in range(300))))
    send(shared_server, *made.frames(), expect=200)

    def look(run: str = made.run_id, expect: int = 200, **asked: Any) -> Any:
        return shared_server.call("GET", f"/api/runs/{run}/metrics/names", params=asked, expect=expect).json()

    whole = look()
    assert whole["names"] == [f"Layer{n}/norm" for n in range(300)]
    assert (whole["total"], whole["total_is_exact"], whole["final"]) == (300, True, True)
    assert look(match="layer29")["names"] == [f"Layer{n}/norm" for n in (29, *range(290, 300))]
    few = look(match="R29", limit=2)
    assert few["names"] == ["Layer29/norm", "Layer290/norm"] and few["total"] == 11
    assert look(match="nothing")["names"] == [] and look(after=whole["next"])["total"] == 0
    look(after="9" * 15, expect=422)
    look(new_run_id(), expect=404)
    bare = SentRun(series=None)
    send(shared_server, *bare.frames(), expect=200)
    assert look(bare.run_id)["total"] == 0


def test_names_that_came_since(shared_server: Server) -> None:
    """Whoever follows a run is told the series that have got points since the answer before."""
    made, sent, after = SentRun(status="running", series=None), 0, ""
    for name in ("loss", "reward", "loss"):
        data = lines({"name": name, "value": 1, "step": sent})
        send(shared_server, made.stream_frame("metrics", sent, data), expect=200)
        sent += len(data)
        path = f"/api/runs/{made.run_id}/metrics/names"
        answer = shared_server.call("GET", path, params={"after": after}, expect=200).json()
        assert answer["names"] == [name] and answer["final"] is False
        after = answer["next"]


def test_names_beyond_what_is_told_apart_are_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search has room for its own finds only, however many other names there are; a count that ends says so."""
    monkeypatch.setattr("worldflux.server.streams.points.MAX_NAMES", 10)
    data = lines(*({"name": f"m{n}", "value": n} for n in range(100)))
    found = names_of(Pieces(data), "M99", 5, Since())
    assert (found.names, found.total, found.is_exact) == (["m99"], 1, True)
    found = names_of(Pieces(data), "", 5, Since())
    assert (found.names, found.total, found.is_exact) == ([f"m{n}" for n in range(5)], 10, False)


def test_csv_has_every_point(shared_server: Server, run: SentRun) -> None:
    """One series, or all with their names; a name that a spreadsheet would run is a text."""
    path = f"/api/runs/{run.run_id}/metrics.csv"
    answer = shared_server.call("GET", path, params={"name": "odd"}, expect=200)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert list(csv.reader(io.StringIO(answer.text))) == [
        ["step", "value"], ["0", "NaN"], ["1", "Infinity"], ["2", "0.1"], ["3", "-0.0"],
    ]  # fmt: skip
    every = list(csv.reader(io.StringIO(shared_server.call("GET", path, expect=200).text)))
    assert every[0] == ["name", "step", "value"]
    assert len(every) == 16
    assert every[1] == ["loss", "0", "0.0"]
    shared_server.call("GET", f"/api/runs/{new_run_id()}/metrics.csv", expect=404)
