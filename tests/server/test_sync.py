"""Sync as its clients see it, on both databases."""

from __future__ import annotations

import copy
import json

import pytest
from sent_runs import SentRun, digest_header, frame, patch, result, send, sha256
from server_process import Server

from worldflux.manifest.model import new_run_id


def state(server: Server, run: SentRun) -> dict[str, object]:
    answer = server.call("POST", "/api/sync/state", json={"runs": [run.run_id]}, expect=200)
    return dict(answer.json()["runs"][run.run_id])


def test_hello_names_the_key_and_the_limits(shared_server: Server) -> None:
    """A client learns its workspace, its scopes and what the server takes; never the key itself."""
    answer = shared_server.call("GET", "/api/sync", expect=200)
    told = answer.json()
    assert told["workspace"] == "default" and told["api"] == 1
    assert told["key"]["last4"] == shared_server.key[-4:] and "runs:write" in told["key"]["scopes"]
    assert told["limits"]["bundle_bytes"] == 8388608
    assert shared_server.key not in answer.text


def test_a_whole_run_in_one_bundle(shared_server: Server) -> None:
    """Streams, a blob and the manifest in one request are one stored, final run."""
    run = SentRun(artifacts={"model.bin": b"\x00\x01weights"})
    told = result(send(shared_server, *run.frames(), expect=200))
    assert (told["status"], told["outcome"]) == (200, "stored")
    assert told["streams"] == {"metrics": len(run.series or b""), "log:output": 12}
    held = state(shared_server, run)
    assert held["status"] == "final" and held["manifest_sha256"] == sha256(run.manifest())
    assert held["streams"]["metrics"] == {
        "bytes": len(run.series or b""),
        "sha256": sha256(run.series or b""),
    }  # type: ignore[index]
    assert held["missing_blobs"] == []


def test_again_changes_nothing(shared_server: Server) -> None:
    """The same bundle a second time is `unchanged`."""
    run = SentRun(artifacts={"a": b"a"})
    send(shared_server, *run.frames(), expect=200)
    before = state(shared_server, run)
    assert result(send(shared_server, *run.frames(), expect=200))["outcome"] == "unchanged"
    assert state(shared_server, run) == before


def test_a_growing_run(shared_server: Server) -> None:
    """A live run grows piece by piece, pieces may overlap and repeat, and the end commits it."""
    run = SentRun(status="running")
    log = run.logs["output"]
    assert run.series is not None
    first = send(shared_server, run.stream_frame("log:output", 0, log[:5]), expect=200)
    assert result(first)["outcome"] == "stored"
    assert state(shared_server, run)["status"] == "open"
    send(shared_server, run.stream_frame("log:output", 0, log[:5]), run.manifest_frame(), expect=200)
    overlap = send(shared_server, run.stream_frame("log:output", 3, log[3:]), expect=200)
    assert result(overlap)["streams"]["log:output"] == len(log)
    run.status = "succeeded"
    end = send(shared_server, run.stream_frame("metrics", 0, run.series), run.manifest_frame(), expect=200)
    assert result(end)["outcome"] == "updated"
    assert state(shared_server, run)["status"] == "final"


def test_a_hole_is_told_with_the_true_offset(shared_server: Server) -> None:
    """A piece beyond the end is not stored; the answer says where to go on, and what came before is kept."""
    run = SentRun()
    answer = send(
        shared_server,
        run.stream_frame("log:output", 0, b"hello"),
        run.stream_frame("log:output", 9, b"x"),
        expect=207,
    )
    told = result(answer)
    assert (told["status"], told["outcome"]) == (409, "incomplete")
    assert told["missing"]["streams"] == {"log:output": 5}
    assert state(shared_server, run)["streams"] == {"log:output": {"bytes": 5, "sha256": sha256(b"hello")}}


def test_other_bytes_at_the_same_place_are_a_conflict(shared_server: Server) -> None:
    """What is stored stays; the whole run's part of the bundle is dropped."""
    run = SentRun()
    send(shared_server, run.stream_frame("log:output", 0, b"hello"), expect=200)
    told = result(send(shared_server, run.stream_frame("log:output", 0, b"hellO world"), expect=207))
    assert (told["status"], told["outcome"], told["code"]) == (422, "conflict", "stream-differs")
    assert state(shared_server, run)["streams"] == {"log:output": {"bytes": 5, "sha256": sha256(b"hello")}}


def test_a_commit_waits_for_its_parts(shared_server: Server) -> None:
    """A final manifest without its blob or a stream is 409 with what is missing; then it goes through."""
    run = SentRun(artifacts={"a": b"some artifact"})
    told = result(send(shared_server, run.manifest_frame(), expect=207))
    assert told["outcome"] == "incomplete"
    assert told["missing"] == {
        "blobs": [sha256(b"some artifact")], "streams": {"metrics": 0, "log:output": 0},
    }  # fmt: skip
    assert state(shared_server, run)["status"] == "open"
    assert result(send(shared_server, *run.frames(), expect=200))["outcome"] == "updated"


def test_one_id_has_one_ending(shared_server: Server) -> None:
    """The same id with another final manifest, perhaps from another machine, is a conflict with words."""
    run = SentRun()
    send(shared_server, *run.frames(), expect=200)
    other = copy.copy(run)
    other.name = "another"
    told = result(send(shared_server, *other.frames(), expect=207))
    assert (told["status"], told["outcome"]) == (422, "conflict")
    assert "another ending" in told["detail"]
    assert state(shared_server, run)["manifest_sha256"] == sha256(run.manifest())


def test_an_interrupted_run_may_go_on(shared_server: Server) -> None:
    """A run that was interrupted, resumed and finished ends as what it became."""
    run = SentRun(status="interrupted")
    send(shared_server, *run.frames(), expect=200)
    run.status, run.logs = "succeeded", {"output": run.logs["output"] + b"resumed\n"}
    assert result(send(shared_server, *run.frames(), expect=200))["outcome"] == "updated"


def test_withheld_logs_may_come_later(shared_server: Server) -> None:
    """A run synced without its logs is final without them; they can be added, and nothing else can."""
    run = SentRun()
    assert run.series is not None
    stated = {"metrics": {"bytes": len(run.series), "sha256": sha256(run.series)}}
    without = run.manifest_frame(withheld=["logs"], streams=stated)
    assert result(send(shared_server, run.stream_frame("metrics", 0, run.series), without, expect=200))
    longer = run.stream_frame("metrics", 0, run.series + b"{}\n")
    assert result(send(shared_server, longer, expect=207))["code"] == "final"
    assert result(send(shared_server, *run.frames(), expect=200))["outcome"] == "updated"
    assert "log:output" in state(shared_server, run)["streams"]  # type: ignore[operator]


def test_a_manifest_and_its_log_belong_together(shared_server: Server) -> None:
    """A log that is not the one whose digest the manifest records does not become part of the run."""
    run = SentRun()
    other = copy.copy(run)
    other.logs = {"output": b"something else"}
    stated = other.manifest_frame(run.manifest())
    told = result(send(shared_server, *other.stream_frames(), stated, expect=207))
    assert (told["status"], told["outcome"]) == (422, "invalid")


def test_several_runs_share_a_bundle(shared_server: Server) -> None:
    """One bad run does not keep its neighbours out."""
    good, bad, also = SentRun(), SentRun(), SentRun(series=None, logs={})
    broken = bad.manifest_frame(bad.manifest().replace(b'"attempt":1', b'"attempt":0'))
    answer = send(shared_server, *good.frames(), *bad.stream_frames(), broken, *also.frames(), expect=207)
    told = {entry["run"]: entry for entry in answer.json()["results"]}
    assert told[good.run_id]["outcome"] == told[also.run_id]["outcome"] == "stored"
    assert (told[bad.run_id]["status"], told[bad.run_id]["outcome"]) == (422, "invalid")
    assert "/run/attempt" in told[bad.run_id]["detail"]
    assert state(shared_server, bad)["status"] == "absent"


def test_gzip_is_taken(shared_server: Server) -> None:
    """A bundle may be packed; its digest is of what was sent."""
    assert result(send(shared_server, *SentRun().frames(), zipped=True, expect=200))["outcome"] == "stored"


def test_a_blob_in_pieces(shared_server: Server) -> None:
    """An upload goes on where it stopped, tells a wrong offset, and is there once it is whole."""
    data = b"0123456789" * 10000
    name = sha256(data)
    shared_server.call("HEAD", f"/api/sync/blobs/{name}", expect=404)
    assert patch(shared_server, name, 0, len(data), data[:60000], expect=200).json() == {
        "offset": 60000, "complete": False,
    }  # fmt: skip
    wrong = patch(shared_server, name, 50000, len(data), data[50000:], expect=409)
    assert wrong.headers["Upload-Offset"] == "60000"
    asked = shared_server.call(
        "POST", "/api/sync/blobs", json={"sha256": [name, "0" * 64]}, expect=200
    ).json()
    assert asked == {"missing": [{"sha256": name, "offset": 60000}, {"sha256": "0" * 64, "offset": 0}]}
    head = shared_server.call("HEAD", f"/api/sync/blobs/{name}", expect=200)
    assert (head.headers["Upload-Offset"], head.headers["Upload-Complete"]) == ("60000", "?0")
    assert patch(shared_server, name, 60000, len(data), data[60000:], expect=200).json()["complete"] is True
    assert patch(shared_server, name, 0, len(data), data[:10], expect=200).json()["complete"] is True
    asked = shared_server.call("POST", "/api/sync/blobs", json={"sha256": [name]}, expect=200).json()
    assert asked == {"missing": []}


def test_a_piece_that_was_damaged_on_its_way_is_not_kept(shared_server: Server) -> None:
    """A wrong Content-Digest leaves the upload as it was; a wrong whole starts from nothing."""
    data = b"the right bytes"
    name = sha256(data)
    headers = {"Content-Digest": digest_header(b"the wrong bytes")}
    patch(shared_server, name, 0, len(data), data, headers=headers, expect=422)
    shared_server.call("HEAD", f"/api/sync/blobs/{name}", expect=404)
    refused = patch(shared_server, name, 0, 15, b"the wrong bytes", expect=422)
    assert refused.headers["Upload-Offset"] == "0"
    shared_server.call("HEAD", f"/api/sync/blobs/{name}", expect=404)
    patch(shared_server, name, 0, len(data), data, expect=200)


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "..%2f..%2fetc", "A" * 64, "0" * 63, "0" * 65, "%00" * 64]
)
def test_blobs_have_no_other_names(shared_server: Server, path: str) -> None:
    """What is no digest is refused before any file is looked at."""
    answer = shared_server.call("PATCH", f"/api/sync/blobs/{path}", data=b"x", headers={"Upload-Offset": "0"})
    assert answer.status_code in (404, 405, 422)


def damaged(run: SentRun) -> dict[str, bytes]:
    whole = b"".join(run.frames())
    return {
        "empty": b"",
        "cut": whole[:-1],
        "no line": b"x" * 70000,
        "no json": b"{not json}\n",
        "a list": b"[]\n",
        "negative": frame(run.run_id, b"", part="blob", bytes=-1),
        "a truth value": frame(run.run_id, b"x", part="blob", bytes=True),
        "a float": frame(run.run_id, b"x", part="blob", bytes=1.0),
        "huge": frame(run.run_id, b"x", part="blob", bytes=2**63),
        "digest": frame(run.run_id, b"x", part="blob", sha256="0" * 64),
        "no such part": frame(run.run_id, b"x", part="code"),
        "no run id": frame("../../x", b"x", part="blob"),
        "a stream with a path": frame(
            run.run_id, b"x", part="stream", stream="log:../x", offset=0, project="p"
        ),
        "a project with a path": frame(
            run.run_id, b"x", part="stream", stream="metrics", offset=0, project="../p"
        ),
        "behind the manifest": run.manifest_frame() + run.stream_frame("metrics", 0, b"x"),
        "a field twice": b'{"run":"x","run":"y"}\n',
        "not a number": frame(run.run_id, b"x", part="stream", stream="metrics", offset=float("nan")),
    }


@pytest.mark.parametrize("how", list(damaged(SentRun())))
def test_a_damaged_bundle_is_refused_whole(shared_server: Server, how: str) -> None:
    """Nothing of a bundle that is not whole and true is stored, not even the good frames before."""
    good, run = SentRun(), SentRun()
    first = b"" if how == "empty" else b"".join(good.frames())
    answer = send(shared_server, first, damaged(run)[how], expect=422)
    assert answer.json()["code"] == "bundle"
    assert state(shared_server, good)["status"] == "absent"


def test_too_many_frames(shared_server: Server) -> None:
    """A bundle has a limit of frames."""
    tiny = frame(new_run_id(), b"", part="blob")
    assert "2000" in send(shared_server, *[tiny] * 2001, expect=422).json()["detail"]


def test_headers_of_a_bundle(shared_server: Server) -> None:
    """Without its media type or its digest, or with a wrong digest, a bundle is refused."""
    body = b"".join(SentRun().frames())
    post = {"data": body, "method": "POST", "path": "/api/sync/bundle"}
    kind = {"Content-Type": "application/vnd.worldflux.bundle"}
    shared_server.call(**post, headers={"Content-Digest": digest_header(body)}, expect=415)  # type: ignore[arg-type]
    shared_server.call(**post, headers=kind, expect=400)  # type: ignore[arg-type]
    shared_server.call(**post, headers={**kind, "Content-Digest": digest_header(b"")}, expect=422)  # type: ignore[arg-type]
    shared_server.call(**post, headers={**kind, "Content-Digest": "md5=:AAAA:"}, expect=400)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "names", [None, "x", [1], [["x"]], ["not-an-id"], [new_run_id()] * 0 + ["x"] * 1001, {"a": 1}]
)
def test_questions_with_wrong_names(shared_server: Server, names: object) -> None:
    """A list of run ids is a list of run ids."""
    for path in ("/api/sync/state", "/api/sync/heartbeat"):
        shared_server.call("POST", path, json={"runs": names}, expect=422)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[]", 422), (b'{"runs":[NaN]}', 422), (b'{"runs":[],"runs":[]}', 422), (b"\xff", 400),
     (b"[" * 100000, 400), (b'{"runs":["\\ud800"]}', 422)],
)  # fmt: skip
def test_what_is_no_json(shared_server: Server, body: bytes, status: int) -> None:
    """A damaged or hostile document is told apart, and is never a fault of the server."""
    headers = {"Content-Type": "application/json"}
    shared_server.call("POST", "/api/sync/state", data=body, headers=headers, expect=status)


def test_not_finite_values_survive(shared_server: Server) -> None:
    """NaN and the infinities are stored as what they are, on both databases."""
    run = SentRun(metrics={n: {"value": v} for n, v in (("a", "NaN"), ("b", "Infinity"), ("c", "-Infinity"))})
    assert result(send(shared_server, *run.frames(), expect=200))["outcome"] == "stored"


def test_a_key_in_a_manifest_is_refused(shared_server: Server) -> None:
    """An API key does not become part of a record; the answer does not repeat it."""
    run = SentRun(params={"token": shared_server.key})
    answer = send(shared_server, *run.frames(), expect=207)
    assert result(answer)["outcome"] == "invalid" and shared_server.key not in answer.text


def test_odd_text_is_kept(shared_server: Server) -> None:
    """Parameters with NUL, long text, other scripts and odd keys are stored on both databases."""
    odd = {
        "nul": "a\0b",
        "long": "x" * 100_000,
        "é": "日本語",
        "": {"": 1},
        "a.b": {"c": None, "d": []},
        "big": 1e300,
    }
    run = SentRun(params=odd)
    assert result(send(shared_server, *run.frames(), expect=200))["outcome"] == "stored"
    assert json.loads(run.manifest())["config"]["resolved"]["nul"] == "a\0b"
