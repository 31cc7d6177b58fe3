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
from worldflux.server.streams.points import Asked, Series, points, series


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
    found, more = series(Pieces(data), Asked(["b"], 100, 20, 40))
    assert {name: one.to_json()["step"] for name, one in found.items()} == {"b": [20, 30, 40]}
    assert not more
    plain, _ = series(Pieces(lines(*({"name": "a", "value": n} for n in range(3)))), Asked())
    assert plain["a"].to_json()["step"] == [0, 1, 2]
    many, more = series(Pieces(lines(*({"name": f"m{n}", "value": 1} for n in range(60))), 1000), Asked())
    assert (len(many), more) == (50, True)


def test_memory_depends_on_what_is_asked_for() -> None:
    """Half a million points take no more memory than a thousand."""
    block = lines({"name": "loss", "value": 0.5, "step": 1}) * 1000

    class Long(Pieces):
        def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
            for _ in range(200):
                yield block

    tracemalloc.start()
    found, _ = series(Long(b""), Asked(None, 1000))
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
            "downsampled": True, "min": [0, 1, 2, 3, 4], "max": [0.5, 1.5, 2.5, 3.5, 4.5],
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
