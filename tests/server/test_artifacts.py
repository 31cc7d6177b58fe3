"""Artifacts over HTTP: which there are, and their bytes in a form that can do no harm."""

from __future__ import annotations

import hashlib

import pytest
from reading import NAUGHTY, TypedRun, new_key, new_workspace, store
from sent_runs import sha256
from server_process import Server

from worldflux.manifest.model import new_run_id
from worldflux.server.api.answer import attachment
from worldflux.server.api.artifacts import media_type

DATA = bytes(range(256)) * 8


@pytest.fixture
def run(shared_server: Server) -> TypedRun:
    """A stored run with artifacts of several kinds, one of which was not kept."""
    made = TypedRun(
        artifacts={
            "a.bin": DATA,
            "page.html": b"<script>alert(1)</script>",
            "dir/p.png": b"\x89PNG",
            "left.out": b"x",
        },
        media={"page.html": "text/html", "dir/p.png": "image/png"},
        commit={"left.out": False},
    )
    store(shared_server, made)
    return made


def test_a_list_says_what_is_there(shared_server: Server, run: TypedRun) -> None:
    """Every artifact of the manifest, with its digest and whether its bytes are here."""
    listed = shared_server.call("GET", f"/api/runs/{run.run_id}/artifacts", expect=200).json()["artifacts"]
    assert [each["path"] for each in listed] == [
        "artifacts/a.bin", "artifacts/dir/p.png", "artifacts/left.out", "artifacts/page.html",
    ]  # fmt: skip
    first = listed[0]
    assert first == {
        "path": "artifacts/a.bin", "sha256": sha256(DATA), "bytes": len(DATA),
        "media_type": "application/octet-stream", "commit": True, "present": True,
    }  # fmt: skip
    assert [each["commit"] for each in listed] == [True, True, False, True]


def test_bytes_and_what_a_browser_may_do_with_them(shared_server: Server, run: TypedRun) -> None:
    """The very bytes, saved rather than opened, in a sandbox, and never a document of somebody's making."""
    for path, kind in (
        ("a.bin", "application/octet-stream"), ("page.html", "application/octet-stream"), ("dir/p.png", "image/png"),
    ):  # fmt: skip
        data = run.artifacts[path]
        answer = shared_server.call("GET", f"/api/runs/{run.run_id}/artifacts/{sha256(data)}", expect=200)
        assert answer.content == data
        assert hashlib.sha256(answer.content).hexdigest() == sha256(data)
        assert answer.headers["content-type"] == kind
        assert answer.headers["content-length"] == str(len(data))
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
        name = path.rpartition("/")[2]
        assert (
            answer.headers["content-disposition"]
            == f"attachment; filename=\"{name}\"; filename*=UTF-8''{name}"
        )


@pytest.mark.parametrize(
    ("claimed", "sent"),
    [
        ("image/png", "image/png"), ("IMAGE/JPEG", "image/jpeg"), ("video/mp4", "video/mp4"),
        ("application/json", "application/json"), ("text/plain", "text/plain; charset=utf-8"),
        ("text/plain; charset=utf-16", "text/plain; charset=utf-8"), ("text/markdown", "text/plain; charset=utf-8"),
        ("text/csv", "text/csv; charset=utf-8"), ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"), ("application/xhtml+xml", "application/octet-stream"),
        ("text/xml", "application/octet-stream"), ("application/pdf", "application/octet-stream"),
        ("text/javascript", "application/octet-stream"), ("multipart/x-mixed-replace", "application/octet-stream"),
        ("image/png\r\nX: y", "application/octet-stream"), ("", "application/octet-stream"),
        ("text/html;image/png", "application/octet-stream"),
    ],
)  # fmt: skip
def test_only_harmless_kinds_keep_their_name(claimed: str, sent: str) -> None:
    """What could run in a browser is plain bytes, whatever a manifest says."""
    assert media_type(claimed) == sent


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-9", 206, 0, 10), ("bytes=10-", 206, 10, 2048), ("bytes=-5", 206, 2043, 2048),
        ("bytes=0-99999", 206, 0, 2048), ("bytes=-99999", 206, 0, 2048), ("bytes=2047-2047", 206, 2047, 2048),
        ("bytes=2048-", 416, 0, 0), ("bytes=9999-10000", 416, 0, 0), ("bytes=-0", 416, 0, 0),
        ("bytes=5-2", 200, 0, 2048), ("bytes=0-1,3-4", 200, 0, 2048), ("lines=0-1", 200, 0, 2048),
        ("bytes=-", 200, 0, 2048), ("bytes=x", 200, 0, 2048), ("bytes=" + "9" * 30 + "-", 200, 0, 2048),
        ("bytes=\u0661-", 200, 0, 2048),
    ],
)  # fmt: skip
def test_ranges(shared_server: Server, run: TypedRun, asked: str, status: int, start: int, end: int) -> None:
    """A part of a video is sent as a part; what is no range is the whole; what lies outside is 416."""
    path = f"/api/runs/{run.run_id}/artifacts/{sha256(DATA)}"
    answer = shared_server.call(
        "GET", path, headers={"Range": asked.encode().decode("latin-1")}, expect=status
    )
    if status == 416:
        assert answer.headers["content-range"] == "bytes */2048"
        return
    assert answer.content == DATA[start:end]
    assert answer.headers.get("content-range") == (f"bytes {start}-{end - 1}/2048" if status == 206 else None)
    assert answer.headers["accept-ranges"] == "bytes"


def test_what_the_client_has_is_not_sent_again(shared_server: Server, run: TypedRun) -> None:
    """The digest is the tag: 304 for who has it, the whole for who has an older one."""
    path, tag = f"/api/runs/{run.run_id}/artifacts/{sha256(DATA)}", f'"{sha256(DATA)}"'
    answer = shared_server.call("GET", path, headers={"If-None-Match": tag}, expect=304)
    assert answer.content == b"" and answer.headers["etag"] == tag
    both = {"Range": "bytes=0-0", "If-Range": tag}
    assert shared_server.call("GET", path, headers=both, expect=206).content == DATA[:1]
    shared_server.call("GET", path, headers={"Range": "bytes=0-0", "If-Range": '"old"'}, expect=200)


@pytest.mark.parametrize("name", [*NAUGHTY, "a\r\nX-Evil: 1", "\x00", "..", "/", "\u202egpj.exe", "x" * 255])
def test_a_name_to_save_as_does_no_harm(shared_server: Server, run: TypedRun, name: str) -> None:
    """A chosen file name stays one harmless name in one header."""
    said = attachment(name)
    assert said.isascii() and said.isprintable() and said.count('"') == 2
    assert "/" not in said and ".." not in said.partition("filename*")[0].replace("...", "")
    path = f"/api/runs/{run.run_id}/artifacts/{sha256(DATA)}"
    answer = shared_server.call("GET", path, params={"download": name}, expect=200)
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert "x-evil" not in answer.headers


def test_only_a_runs_own_artifacts(shared_server: Server, run: TypedRun) -> None:
    """A digest opens nothing by itself: it must be one of this run, in this workspace, and its bytes here."""
    other = new_workspace(shared_server, f"w{new_run_id()[-12:]}")
    empty, theirs = TypedRun(), TypedRun(artifacts={"b.bin": b"theirs"})
    store(shared_server, empty)
    store(shared_server, theirs, key=other)
    for id_, digest in (
        (empty.run_id, sha256(DATA)), (run.run_id, sha256(b"theirs")), (run.run_id, "0" * 64), (run.run_id, "x"),
        (run.run_id, sha256(DATA).upper()), (theirs.run_id, sha256(b"theirs")), (new_run_id(), sha256(DATA)),
        (run.run_id, "..%2f..%2fworldflux.db"), (run.run_id, "%00"),
    ):  # fmt: skip
        shared_server.call("GET", f"/api/runs/{id_}/artifacts/{digest}", expect=404)
    shared_server.call("GET", f"/api/runs/{run.run_id}/artifacts/{sha256(DATA)}", key=other, expect=404)
    shared_server.call(
        "GET", f"/api/runs/{theirs.run_id}/artifacts/{sha256(b'theirs')}", key=other, expect=200
    )


def test_artifacts_have_a_scope_of_their_own(shared_server: Server, run: TypedRun) -> None:
    """Who may read runs sees the list; the bytes need artifacts:read."""
    reader = new_key(shared_server, "runs:read")
    shared_server.call("GET", f"/api/runs/{run.run_id}/artifacts", key=reader, expect=200)
    answer = shared_server.call(
        "GET", f"/api/runs/{run.run_id}/artifacts/{sha256(DATA)}", key=reader, expect=403
    )
    assert answer.json()["scope"] == "artifacts:read"


def test_an_empty_artifact(shared_server: Server) -> None:
    """No bytes are sent as no bytes, and no part lies in them."""
    made = TypedRun(artifacts={"empty": b""})
    store(shared_server, made)
    path = f"/api/runs/{made.run_id}/artifacts/{sha256(b'')}"
    assert shared_server.call("GET", path, expect=200).content == b""
    shared_server.call("GET", path, headers={"Range": "bytes=0-"}, expect=416)
