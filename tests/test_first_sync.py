"""From an empty folder to runs on a server of one's own, with the server killed on the way: only what people type."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import warm_python

BIN = Path(sys.executable).parent
#: Large enough to be sent in several requests, each of which the server acknowledges.
WEIGHTS_BYTES = 24 << 20
TRAINING = f"""
with open("weights.bin", "wb") as weights:
    weights.write(random.randbytes({WEIGHTS_BYTES}))
"""


class House:
    """A folder with a project and, beside it, a server: processes that are gone afterwards."""

    def __init__(self, root: Path) -> None:
        self.root, self.project = root, root / "demo-box"
        self.port, self.key = "0", ""
        self.server: subprocess.Popen[str] | None = None

    def type(self, *words: str, code: int = 0, where: Path | None = None, text: str = "") -> str:
        """Run `worldflux WORDS` in the project; standard output. The exit code must be `code`."""
        ended = warm_python.run(
            [BIN / "worldflux", *words],
            cwd=where or self.project, input=text, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert ended.returncode == code, f"{words}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
        assert "Traceback" not in ended.stderr and (
            not self.key or self.key not in ended.stdout + ended.stderr
        )
        return ended.stdout

    def ask(self, *words: str, code: int = 0) -> dict[str, Any]:
        """The data of `worldflux --json WORDS`."""
        data: dict[str, Any] = json.loads(self.type("--json", *words, code=code))["data"]
        return data

    def start_server(self) -> str:
        """Start the server where it was before; what it printed until it was up."""
        with open(self.root / "server.err", "ab") as errors:
            self.server = warm_python.WarmPopen(
                [BIN / "worldflux", "server", "start", "--data", str(self.root / "server"), "--port", self.port],
                stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
            )  # fmt: skip
        assert self.server.stdout is not None
        shown = ""
        while "data in " not in shown:
            line = self.server.stdout.readline()
            assert line, f"the server ended: {(self.root / 'server.err').read_text()}"
            shown += line
        if not self.key:
            while "wfx_" not in shown:
                shown += self.server.stdout.readline()
        self.port = re.findall(r"http://127\.0\.0\.1:(\d+)", shown)[0]
        return shown

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill_server(self) -> None:
        """As a power switch would."""
        assert self.server is not None and self.server.stdout is not None
        os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait(60)
        self.server.stdout.close()
        self.server = None

    def requests_of(self, method: str) -> int:
        """How many requests the server has answered, by its own access log."""
        return (self.root / "server.err").read_text().count(f'"method": "{method}"')

    def get(self, path: str) -> requests.Response:
        with requests.Session() as http:
            http.trust_env = False
            answer = http.get(self.url + path, headers={"Authorization": f"Bearer {self.key}"}, timeout=30)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    if made.server is not None:
        made.kill_server()


def fingerprint(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file below a folder: its digest and the time it was last changed."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def holding(key: str, folder: Path) -> list[str]:
    return [
        str(path) for path in folder.rglob("*") if path.is_file() and key[4:39].encode() in path.read_bytes()
    ]


@pytest.mark.slow
def test_a_first_day(house: House, clean_environment: Path) -> None:
    """Init, run, a server, sign in, sync, kill the server in the middle, sync again: everything is there, once."""
    house.type("init", "demo-box", where=house.root)
    program = house.project / "run.py"
    program.write_text(program.read_text() + TRAINING)
    recipe = house.project / "recipes" / "default" / "recipe.yaml"
    text = recipe.read_text()
    assert "artifacts:" in text, "the recipe that init writes has no artifacts any more"
    recipe.write_text(text.replace("artifacts:", "artifacts:\n  - {path: weights.bin, commit: true}", 1))
    for seed in ("1", "2"):
        house.type("run", f"seed={seed}")
    before = fingerprint(house.project / "runs")
    ids = {row["run_id"] for row in house.ask("runs", "list", "--project", "demo-box")["runs"]}
    assert len(ids) == 2

    # Nobody is signed in yet, and that is said with what to type.
    house.type("sync", code=5)
    found = re.search(r"wfx_[0-9A-Za-z]{39}", house.start_server())
    assert found, "the first start shows no key"
    key = found[0]
    house.type(
        "auth", "login", house.url, "--with-token", code=4, text=key
    )  # there is no keyring on a bare machine
    house.type("auth", "login", house.url, "--with-token", "--allow-plaintext", text=key)
    house.key = key
    assert any("answers" in line for line in house.ask("doctor")["checks"]["cloud session"])
    assert len(house.ask("sync", "--dry-run")["runs"]) == 2

    # The server dies while the weights are on their way.
    syncing = warm_python.WarmPopen(
        [BIN / "worldflux", "--json", "sync", "--retry-for", "3s"],
        cwd=house.project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while house.requests_of("PATCH") < 1:
            assert syncing.poll() is None, "the sync ended before it sent the weights"
            time.sleep(0.005)
        house.kill_server()
        out, err = syncing.communicate(timeout=60)
    finally:
        syncing.kill()
        syncing.communicate()
    assert syncing.returncode == 3, out + err
    assert json.loads(out)["error"]["hint"] and key not in out + err
    assert fingerprint(house.project / "runs") == before
    house.ask("status")  # does not need the server

    # Again: it goes on where it was, and then there is nothing left to do.
    house.start_server()
    total = sum(path.stat().st_size for path in (house.project / "runs").rglob("weights.bin"))
    again = house.ask("sync")
    assert {row["run_id"] for row in again["runs"]} == ids
    assert 0 < again["bytes"] < total, "what the server had acknowledged was sent again"
    assert house.ask("sync")["bytes"] == 0
    assert fingerprint(house.project / "runs") == before

    # What is there is what is here.
    assert {row["run_id"] for row in house.ask("runs", "list", "--project", "demo-box")["runs"]} == ids
    remote = house.ask("runs", "list", "--remote", "--project", "demo-box")
    assert sorted(row.get("run_id") or row["id"] for row in remote["runs"]) == sorted(ids)
    for run_id in ids:
        folder = house.project / "runs" / run_id
        assert house.get(f"/api/runs/{run_id}/manifest").content == (folder / "manifest.json").read_bytes()
        for artifact in json.loads((folder / "manifest.json").read_bytes())["artifacts"]:
            if artifact["commit"]:
                body = house.get(f"/api/runs/{run_id}/artifacts/{artifact['sha256']}").content
                assert body == (folder / artifact["path"]).read_bytes(), artifact["path"]
        points = house.get(f"/api/runs/{run_id}/metrics?names=loss").json()["series"]["loss"]
        assert points["step"] == list(range(20)), "each point once"

    # The key is in the one file that was asked for, and nowhere on the server's side.
    file = clean_environment / ".worldflux" / "credentials.toml"
    assert holding(key, house.root) == [] and holding(key, clean_environment) == [str(file)]
    house.type("auth", "logout")
    house.type("sync", code=5)


@pytest.mark.slow
def test_a_server_that_comes_back_in_time(house: House) -> None:
    """A sync that meets a dead server waits for it, and ends well without anybody's help."""
    house.type("init", "demo-box", where=house.root)
    house.type("run")
    found = re.search(r"wfx_[0-9A-Za-z]{39}", house.start_server())
    assert found
    house.type("auth", "login", house.url, "--with-token", "--allow-plaintext", text=found[0])
    house.key = found[0]
    house.kill_server()
    syncing = warm_python.WarmPopen(
        [BIN / "worldflux", "sync", "--retry-for", "60s"],
        cwd=house.project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert syncing.stderr is not None
        assert "trying again" in syncing.stderr.readline()
        house.start_server()
        out, _ = syncing.communicate(timeout=90)
    finally:
        syncing.kill()
        syncing.communicate()
    assert syncing.returncode == 0 and "1 new" in out
