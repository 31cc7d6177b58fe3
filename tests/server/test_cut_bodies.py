"""Clients that are gone in the middle of what they send."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

from server_process import start


def test_a_client_that_goes_is_no_fault_of_the_server(tmp_path: Path) -> None:
    """The access log has the request with 400, and no traceback; the server goes on."""
    server = start(tmp_path / "data")
    try:
        place = urlsplit(server.url)
        head = (
            f"POST /api/sync/state HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {server.key}\r\n"
        )
        with socket.create_connection((place.hostname, place.port)) as connection:
            connection.sendall(
                f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode()
            )
        until, told = time.monotonic() + 60, []
        while not told and time.monotonic() < until:
            lines = (tmp_path / "data.err").read_text().splitlines()
            told = [each for each in map(json.loads, lines) if each.get("path") == "/api/sync/state"]
            time.sleep(0.02)
        assert [each["status"] for each in told] == [400]
        assert "Traceback" not in (tmp_path / "data.err").read_text()
        server.call("GET", "/readyz", key=None, expect=200)
    finally:
        server.stop()
