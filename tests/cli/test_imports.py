"""`worldflux import` as people type it, against a Hub on loopback."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm_python
from conftest_cli import BIN, Run
from published import form

sys.path.append(str(Path(__file__).parents[1] / "catalog"))
from hub_standin import TOKEN, StandInHub, standing_hub
from lerobot_files import ACT_CONFIG, processor, safetensors


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    with standing_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        import json

        act: dict[str, bytes | Path] = {
            "README.md": b"---\nlicense: apache-2.0\n---\n",
            "config.json": json.dumps(ACT_CONFIG).encode(),
            "policy_preprocessor.json": processor(),
            "policy_postprocessor.json": processor(),
            "model.safetensors": safetensors({"w": ("F32", [300, 100])}),
        }
        hub.add("me/act", act)
        hub.add("me/gated", act, gated=True)
        hub.add("me/old", {}, renamed_to="me/new")
        yield hub


def test_import_then_list_then_inspect(hub: StandInHub, wf: Run) -> None:
    """What was imported is in the list and can be inspected, with its commit."""
    ended = wf("import", "lerobot:me/act")
    commit = hub.repos[("model", "me/act")].commit
    assert ended.code == 0, ended.err
    assert f"imported lerobot:me/act at {commit[:12]}" in ended.out and "5 files" in ended.out
    assert "metadata: 4 files" in ended.err and "\r" not in ended.err
    rows = wf("--json", "curated", "list").envelope["data"]["entries"]
    assert {row["id"]: row["revision"] for row in rows}["lerobot:me/act"] == commit
    out = wf("curated", "inspect", "lerobot:me/act").out
    assert commit in out and "apache-2.0" in out and "figures of lerobot/act" in out
    assert wf("import", "lerobot:me/act").out.startswith("already here: lerobot:me/act")


@pytest.mark.parametrize(
    ("what", "code", "part"),
    [
        ("lerobot:me/gated", 5, "set HF_TOKEN"),
        ("lerobot:me/nothing", 2, "check the spelling"),
        ("lerobot:me/old", 2, "worldflux import lerobot:me/new"),
        ("lerobot:me/act@v9", 2, "no revision `v9`"),
        ("lerobot:not a name", 2, "OWNER/NAME"),
        ("./nowhere", 2, "there is no folder"),
    ],
)
def test_each_refusal_is_one_block(hub: StandInHub, wf: Run, what: str, code: int, part: str) -> None:
    """One problem, what to do, the right exit code, nothing on standard output, no traceback."""
    ended = wf("import", what)
    assert (ended.code, ended.out) == (code, "") and part in ended.err
    assert ended.err.count("error:") == 1 and "Traceback" not in ended.err
    envelope = wf("--json", "import", what).envelope
    assert envelope["ok"] is False and envelope["error"]["hint"]


def test_offline_and_rate_limit_are_temporary(hub: StandInHub, wf: Run) -> None:
    """Exit code 3 tells scripts to try again later."""
    ended = wf("import", "lerobot:me/act", HF_ENDPOINT="http://127.0.0.1:9")
    assert ended.code == 3 and "can not be reached" in ended.err
    hub.busy = [(429, {"Retry-After": "600"})]
    ended = wf("import", "lerobot:me/act")
    assert ended.code == 3 and "in 600 s" in ended.err


def test_the_token_is_never_shown(hub: StandInHub, wf: Run) -> None:
    """Neither answer, progress, error nor anything on disk holds HF_TOKEN."""
    for token in (TOKEN, "hf_wrong_but_secret_token"):
        ended = wf("--json", "import", "lerobot:me/gated", HF_TOKEN=token)
        assert token not in ended.out + ended.err
    home = Path(os.environ["WORLDFLUX_HOME"])
    assert not [path for path in home.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


def test_a_terminal_shows_a_bar(hub: StandInHub, project: Path) -> None:
    """On a terminal the transfer has a bar on standard error; the answer on standard output is plain."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    process = warm_python.WarmPopen(
        [str(BIN / "worldflux"), "import", "lerobot:me/act"],
        cwd=project,
        env=environment,
        stderr=follower,
        stdout=subprocess.PIPE,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    out, _ = process.communicate(timeout=60)
    os.close(leader)
    assert process.returncode == 0
    assert "files" in shown.decode() and "5/5 files" in shown.decode()
    assert b"\x1b" not in out and out.startswith(b"imported lerobot:me/act")


def test_doctor_names_what_would_stop_the_evaluator(hub: StandInHub, wf: Run) -> None:
    """A policy from before LeRobot's processor files is named with the thread; it does not block other runs."""
    old = {
        "config.json": b'{"type": "act"}',
        "model.safetensors": safetensors({"normalize_inputs.state.mean": ("F32", [2])}),
    }
    hub.add("me/ancient", dict(old))
    assert wf("import", "lerobot:me/ancient").code == 0
    ended = wf("doctor")
    line = next(line for line in ended.out.splitlines() if "lerobot:me/ancient" in line)
    assert "warning: lerobot-eval will stop at" in line and "huggingface/lerobot#4047" in line
    assert "imports: 1 policies, 0 datasets" in ended.out


def test_an_import_that_is_wanted_gone(hub: StandInHub, wf: Run) -> None:
    """`curated remove` takes its files and its place in the list; another import stays, and a second
    removal says that there is nothing.
    """
    import json

    assert wf("import", "lerobot:me/act").code == 0
    hub.add("me/other", {"README.md": b"x", "config.json": json.dumps(ACT_CONFIG).encode()})
    assert wf("import", "lerobot:me/other", "--meta-only").code == 0
    commit = hub.repos[("model", "me/act")].commit
    ended = wf("--json", "curated", "remove", "lerobot:me/act")
    assert ended.code == 0
    form("cli").validate(ended.envelope)
    (row,) = ended.envelope["data"]["removed"]
    assert row["commit"] == commit and row["finished"] and row["bytes"] > 120_000
    home = (
        Path(os.environ["WORLDFLUX_HOME"]) if "WORLDFLUX_HOME" in os.environ else Path.home() / ".worldflux"
    )
    assert not list(home.rglob(f"*{commit}*")) and not (home / "catalog/policies/me/act").exists()
    listed = {row["id"] for row in wf("--json", "curated", "list").envelope["data"]["entries"]}
    assert "lerobot:me/act" not in listed and "lerobot:me/other" in listed
    ended = wf("curated", "remove", "lerobot:me/act")
    assert ended.code == 2 and "lerobot:me/act was not imported" in ended.err
    assert wf("import", "lerobot:me/act").out.startswith("imported")


def test_one_commit_of_several_goes(hub: StandInHub, wf: Run) -> None:
    """With a revision only that commit; without one all of them, also what was never finished."""
    assert wf("import", "lerobot:me/act").code == 0
    folder = next(Path.home().rglob("catalog/policies/me/act"))
    (first,) = folder.iterdir()
    torn = folder / ("0" * 40)
    (torn / "parts").mkdir(parents=True)
    (torn / "parts" / "model").write_bytes(b"x" * 1000)
    ended = wf("curated", "remove", f"lerobot:me/act@{first.name[:8]}")
    assert ended.code == 0 and first.name[:12] in ended.out and not first.exists() and torn.exists()
    ended = wf("curated", "remove", "lerobot:me/act")
    assert ended.code == 0 and "it was not finished" in ended.out and not folder.exists()


def test_an_import_that_goes_on_is_not_removed(hub: StandInHub, wf: Run) -> None:
    """Whoever imports it at this moment is not disturbed: try again later, exit code 3."""
    import fcntl

    assert wf("import", "lerobot:me/act").code == 0
    (berth,) = next(Path.home().rglob("catalog/policies/me/act")).iterdir()
    with (berth / ".lock").open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        ended = wf("curated", "remove", "lerobot:me/act")
    assert ended.code == 3 and "another process" in ended.err and (berth / "entry.json").exists()
