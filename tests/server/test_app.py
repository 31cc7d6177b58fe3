"""The application as a whole."""

from __future__ import annotations

from server_process import Server


def test_it_is_there_and_ready(shared_server: Server) -> None:
    """Health and readiness need no key, and say which."""
    assert shared_server.call("GET", "/healthz", key=None, expect=200).json() == {"status": "ok"}
    assert shared_server.call("GET", "/readyz", key=None, expect=200).json() == {"status": "ready"}
    assert shared_server.key.startswith("wfx_")


def test_what_is_not_there_is_a_problem_document(shared_server: Server) -> None:
    """An unknown path answers 404 as problem+json."""
    answer = shared_server.call("GET", "/api/nothing", key=None, expect=404)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "not-found"
