"""`worldflux sync` and its neighbours as a person or a CI job types them, against a real server."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import warm_python
from key_lab import make_key
from published import form
from run_lab import fingerprint, make_run, metric_lines
from server_process import Server, start
from sync_lab import Desk, crash
from wire_lab import odd_server, reply

BIN = Path(sys.executable).parent
SECRET = "0123456789abcdef0123456789abcdef01234567"
KEY = make_key()


class Ended:
    """How a command ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def envelope(self) -> dict[str, object]:
        document: dict[str, object] = json.loads(self.out)
        return document

    @property
    def data(self) -> dict[str, object]:
        found = self.envelope["data"]
        assert isinstance(found, dict)
        return found


Run = Callable[..., Ended]


@pytest.fixture
def wf(server: Server, project: Path) -> Iterator[Run]:
    """Run an installed command in the project, signed in to the shared server."""

    def run(*words: str, program: str = "worldflux", cwd: Path | None = None, **env: str) -> Ended:
        signed = {"WORLDFLUX_SERVER": server.url, "WORLDFLUX_API_KEY": server.key}
        done = warm_python.run(
            [BIN / program, *words], cwd=cwd or project, env={**os.environ, **signed, **env},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        for text in (done.stdout, done.stderr):
            assert server.key not in text and "Traceback" not in text
        return Ended(done)

    yield run


def write_recipe(project: Path, program: str, more: str = "") -> None:
    folder = project / "recipes" / "mine"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(f"command: [python, main.py]\n{more}")
    (folder / "main.py").write_text(program)


def test_the_way_of_a_new_user(wf: Run, project: Path, tmp_path: Path) -> None:
    """Init, run, sync, sync again, list: from the command line alone, as the documentation shows it."""
    fresh = tmp_path / "demo-box"
    assert wf("init", str(fresh)).code == 0
    assert wf("run", cwd=fresh).code == 0
    assert "unsynced 1 run; next: worldflux sync" in wf("status", cwd=fresh).out
    before = fingerprint(fresh / "runs")
    first = wf("--json", "sync", "--project", "demo-box", cwd=fresh)
    assert (first.code, first.data["counts"]["new"]) == (0, 1), first.out  # type: ignore[index]
    again = wf("sync", cwd=fresh)
    assert again.code == 0 and again.out.startswith("1 unchanged; 0 B")
    assert fingerprint(fresh / "runs") == before
    assert "unsynced" not in wf("status", cwd=fresh).out
    local = wf("--json", "runs", "list", "--project", "demo-box", cwd=fresh)
    remote = wf("--json", "runs", "list", "--remote", "--project", "demo-box", cwd=fresh)
    (here,), (there,) = local.data["runs"], remote.data["runs"]  # type: ignore[misc]
    assert {key: there[key] for key in here} == here  # type: ignore[index,union-attr]


def test_a_dry_run_lists_every_byte_and_sends_none(wf: Run, project: Path, server: Server) -> None:
    """All ranges are shown, their sum is what then leaves, and the server has heard of nothing."""
    run_id = make_run(
        project / "runs", metrics=metric_lines(3), log=b"one\n", artifacts={"a.bin": b"x" * 99_000, "b": b""},
        uncommitted={"c": b"stays"},
    )  # fmt: skip
    shown = wf("--json", "sync", "--dry-run")
    (row,) = shown.data["runs"]  # type: ignore[misc]
    manifest = (project / "runs" / run_id / "manifest.json").stat().st_size
    assert [(each["part"], each["path"], each["start"], each["end"]) for each in row["ranges"]] == [  # type: ignore[index]
        ("log:output", f"logs/{run_id}.log", 0, 4),
        ("metrics", "metrics.jsonl", 0, len(metric_lines(3))),
        ("artifact", "artifacts/a.bin", 0, 99_000),
        ("artifact", "artifacts/b", 0, 0),
        ("manifest", "manifest.json", 0, manifest),
    ]
    with Desk.at(server.url, server.key, project) as desk:
        assert desk.state(run_id)["status"] == "absent"
    assert not (project / ".worldflux").exists()
    sent = wf("--json", "sync", run_id[-6:])
    assert sent.data["bytes"] == row["bytes"]  # type: ignore[index]
    after = wf("sync", "--dry-run").out
    assert "1 unchanged; 0 B would leave" in after


def test_runs_are_named_as_everywhere(wf: Run, project: Path) -> None:
    """By id, start or end of it, `last`, or folder, also of a folder elsewhere; what means nothing is told."""
    ids = [make_run(project / "runs", log=b"%d\n" % number) for number in range(3)]
    elsewhere = project.parent / "from another host"
    moved = make_run(elsewhere, log=b"x\n")

    def names(*words: str) -> list[str]:
        ended = wf("--json", "sync", *words)
        assert ended.code == 0, ended.out
        return [row["run_id"] for row in ended.data["runs"]]  # type: ignore[union-attr,index,call-overload]

    assert names("last") == [ids[2]]
    assert names(ids[0][-8:], ids[0]) == [ids[0]]
    assert names(f"runs/{ids[1]}/") == [ids[1]]
    assert names(str(elsewhere)) == [moved] and names(str(elsewhere / moved)) == [moved]
    assert names() == sorted(ids)
    assert wf("sync", "nothing-like-it").code == 2
    assert wf("sync", "--all", "last").code == 2
    assert wf("sync", "--project", "../x").code == 2


def test_exit_codes(wf: Run, project: Path, server: Server, tmp_path: Path) -> None:
    """0 all there, 3 try again, 4 refused, 5 not signed in; --json carries code, message and hint."""
    run_id = make_run(project / "runs", log=b"one\n", artifacts={"a": b"1"})
    assert wf("sync").code == 0
    nobody = wf("--json", "sync", WORLDFLUX_API_KEY="")
    assert nobody.code == 5 and nobody.envelope["error"]["code"] == "not-signed-in"  # type: ignore[index]
    revoked = wf("--json", "sync", WORLDFLUX_API_KEY="wfx_000000000000000000000000000000000000000")
    assert revoked.code in (2, 5) and revoked.envelope["ok"] is False
    begun = time.monotonic()
    down = wf("--json", "sync", "--retry-for", "1s", WORLDFLUX_SERVER="http://127.0.0.1:9")
    assert down.code == 3 and time.monotonic() - begun < 10
    bad = make_run(project / "runs", params={"key": SECRET})
    refused = wf("--json", "sync", WANDB_API_KEY=SECRET)
    assert refused.code == 4 and refused.envelope["error"]["code"] == "secret"  # type: ignore[index]
    assert SECRET not in refused.out and "allow_secrets" in refused.envelope["error"]["hint"]  # type: ignore[index]
    shutil.rmtree(project / "runs" / bad)
    server.call("DELETE", f"/api/runs/{run_id}")
    deleted = wf("sync")
    assert deleted.code == 4 and f"worldflux sync --force {run_id}" in deleted.out
    assert wf("sync", "--force", run_id).code == 0
    broken = make_run(project / "runs", artifacts={"b": b"2"})
    (project / "runs" / broken / "artifacts" / "b").write_bytes(b"3")
    partial = wf("--json", "sync")
    assert partial.code == 3
    assert partial.data["counts"] == {
        "new": 0, "updated": 0, "unchanged": 1, "conflict": 0, "deleted": 0, "refused": 0, "failed": 1,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("status", ["0", "7"])
def test_sync_on_never_changes_how_a_run_ended(wf: Run, project: Path, status: str) -> None:
    """With a good server, none, a broken one, a black hole and no key: the same exit code, in a bounded time."""
    write_recipe(project, f"import sys; print('done'); sys.exit({status})")
    expected = wf("run", "mine").code
    good = wf("run", "mine", "sync=on")
    assert good.code == expected and "synced:" in good.out
    with odd_server(lambda request: reply(500)) as odd, odd_server(lambda request: time.sleep(30)) as hole:  # type: ignore[func-returns-value]
        bad: tuple[tuple[str, dict[str, str]], ...] = (("http://127.0.0.1:9", {}), (odd.url, {}))
        if status == "7":
            bad = ((hole.url, {}), (odd.url, {"WORLDFLUX_API_KEY": ""}))
        for where, more in bad:
            begun = time.monotonic()
            ended = wf("--json", "run", "mine", "sync=on", WORLDFLUX_SERVER=where, **more)
            assert ended.code == expected and time.monotonic() - begun < 45
            (warning,) = ended.envelope["warnings"]  # type: ignore[misc]
            assert "not synced" in warning and "worldflux sync brings it later" in warning
    hydra = wf("+recipe=mine", "sync=on", program="worldflux-run")
    assert hydra.code == expected and "synced:" in hydra.out


@pytest.mark.slow
def test_what_is_run_again_is_synced_too(wf: Run, project: Path) -> None:
    """`runs rerun` of a run that had sync=on brings the repetition to the server as well."""
    write_recipe(project, "print('done')")
    assert wf("run", "mine", "sync=on").code == 0
    again = wf("runs", "rerun", "last")
    assert again.code == 0 and "synced:" in again.out, again.out
    listed = wf("--json", "runs", "list", "--remote").data["runs"]
    assert {run["run_id"] for run in listed} >= set(os.listdir(project / "runs")) - {".launcher"}


@pytest.mark.slow
def test_a_sweep_is_synced_once_at_its_end(wf: Run, project: Path, server: Server) -> None:
    """All runs of a sweep go together, in a few requests; a server that is down changes nothing."""
    write_recipe(project, "print('done')")
    ended = wf("-m", "+recipe=mine", "seed=1,2,3", "sync=on", program="worldflux-run")
    assert ended.code == 0 and "synced: 3 runs" in ended.out, ended.out + ended.err
    with Desk.at(server.url, server.key, project) as desk:
        for path in (project / "runs").glob("0*"):
            desk.assert_same(path.name)
    down = wf(
        "-m",
        "+recipe=mine",
        "seed=4",
        "sync=on",
        program="worldflux-run",
        WORLDFLUX_SERVER="http://127.0.0.1:9",
    )
    assert down.code == 0 and "not synced" in down.out


def test_the_servers_runs_are_filtered_and_sorted_there(wf: Run, project: Path) -> None:
    """`runs list --remote` takes a filter and an order, pages through all, and tells a wrong filter."""
    ids = [
        make_run(project / "runs", metrics=metric_lines(n + 1), project="sorted", params={"n": n})
        for n in range(4)
    ]
    assert wf("sync").code == 0

    def listed(*words: str) -> list[str]:
        ended = wf("--json", "runs", "list", "--remote", "--project", "sorted", *words)
        assert ended.code == 0, ended.out
        return [row["run_id"] for row in ended.data["runs"]]  # type: ignore[union-attr,index,call-overload]

    assert listed() == ids[::-1]
    assert listed("--sort", "metrics.loss") == ids[::-1] and listed("--sort", "-metrics.loss") == ids
    assert listed("--filter", "params.n in [1, 3]", "--sort", "created_at") == [ids[1], ids[3]]
    assert listed("--status", "failed") == [] and len(listed("--recipe", "lab", "--limit", "3")) == 3
    wrong = wf("--json", "runs", "list", "--remote", "--filter", "params.n ==")
    assert wrong.code == 2 and wrong.envelope["error"]["message"]  # type: ignore[index]
    assert wf("runs", "list", "--filter", "status = failed").code == 2
    assert "sorted" in wf("runs", "list", "--remote").out


def test_a_server_killed_in_the_middle_is_no_loss(project: Path, tmp_path: Path) -> None:
    """The server dies under the first sync and comes back: the second brings the rest, nothing twice."""
    own = start(tmp_path / "data")
    try:
        ids = [
            make_run(project / "runs", log=os.urandom(30_000).hex().encode() + b"\n", validate=False)
            for _ in range(200)
        ]
        env = {**os.environ, "WORLDFLUX_SERVER": own.url, "WORLDFLUX_API_KEY": own.key}
        command = [BIN / "worldflux", "--json", "sync", "--retry-for", "0"]
        first = warm_python.WarmPopen(
            command, cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        with Desk.at(own.url, own.key, project) as desk:
            while desk.state(ids[0])["status"] == "absent":
                time.sleep(0.01)
        crash(own)
        out, _ = first.communicate(timeout=60)
        assert first.returncode in (0, 3), out
        own.restart()
        second = warm_python.run(command, cwd=project, env=env, capture_output=True, text=True)
        assert second.returncode == 0, second.stdout
        with Desk.at(own.url, own.key, project) as desk:
            for run_id in ids:
                desk.assert_same(run_id)
            assert json.loads(desk.get("/api/runs?limit=1"))["total"] == 200
    finally:
        own.stop()


@pytest.mark.slow
def test_over_tls_with_an_authority_of_ones_own(project: Path, tmp_path: Path) -> None:
    """A certificate that SSL_CERT_FILE vouches for is accepted; any other ends the command at once, with 3."""
    if shutil.which("openssl") is None:
        if os.environ.get("WORLDFLUX_TEST_REQUIRE_ALL"):
            pytest.fail("openssl is not installed")
        pytest.skip("openssl is not installed")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    running = warm_python.WarmPopen(
        [BIN / "worldflux", "--json", "server", "start", "--data", tmp_path / "data", "--port", "0",
         "--tls-certificate", certificate, "--tls-key", key],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    try:
        told = json.loads(running.stdout.readline())["data"]
        assert told["url"].startswith("https://")
        run_id = make_run(project / "runs", log=b"one\n" * 5000, artifacts={"a": os.urandom(200_000)})
        env = {**os.environ, "WORLDFLUX_SERVER": told["url"], "WORLDFLUX_API_KEY": told["first_key"]}
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            env.pop(name, None)
        command = [BIN / "worldflux", "--json", "sync", "--retry-for", "60s"]
        begun = time.monotonic()
        stranger = warm_python.run(command, cwd=project, env=env, capture_output=True, text=True)
        assert stranger.returncode == 3 and "SSL_CERT_FILE" in stranger.stdout, stranger.stdout
        assert time.monotonic() - begun < 20
        env["SSL_CERT_FILE"] = str(certificate)
        done = warm_python.run(command, cwd=project, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        assert json.loads(done.stdout)["data"]["runs"][0]["run_id"] == run_id
    finally:
        running.terminate()
        running.wait(20)
        running.stdout.close()


def test_a_stop_during_the_sync_at_the_end_leaves_the_exit_code(project: Path) -> None:
    """SIGTERM while a finished run is brought to a server that hangs: the run's own exit code, told as not synced."""
    write_recipe(project, "print('done')")
    with odd_server(lambda request: time.sleep(15)) as hole:  # type: ignore[func-returns-value]
        env = {
            **os.environ, "WORLDFLUX_SERVER": hole.url, "WORLDFLUX_API_KEY": KEY,
        }  # fmt: skip
        run = warm_python.WarmPopen(
            [BIN / "worldflux", "run", "mine", "sync=on"], cwd=project, env=env, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not hole.seen:
            assert run.poll() is None
            time.sleep(0.05)
        run.terminate()
        out, err = run.communicate(timeout=30)
        assert run.returncode == 0 and "succeeded" in out and "not synced: stopped" in err, err


def test_what_programs_read_fits_its_schema(wf: Run, project: Path, server: Server) -> None:
    """Good and bad answers of sync and its neighbours have the published form."""
    fits = form("cli").validate
    make_run(project / "runs", log=b"one\n", metrics=metric_lines(2), artifacts={"a": b"1"})
    make_run(project / "runs", status="interrupted", recorded=False, log=b"one\ntorn")
    broken = make_run(project / "runs", artifacts={"b": b"2"})
    (project / "runs" / broken / "artifacts" / "b").write_bytes(b"3")
    calls = [
        ["sync", "--dry-run"], ["sync"], ["sync", "--all"], ["sync", "nothing"], ["status"],
        ["runs", "list", "--remote"], ["runs", "list", "--remote", "--filter", "((("], ["runs", "list"],
    ]  # fmt: skip
    for words in calls:
        fits(wf("--json", *words).envelope)
    fits(wf("--json", "sync", WORLDFLUX_SERVER="http://127.0.0.1:9", WORLDFLUX_API_KEY="").envelope)


def test_bars_only_where_somebody_looks(wf: Run, project: Path, server: Server) -> None:
    """On a terminal there are bars, gone at the end; a pipe gets plain text and --json nothing else."""
    make_run(project / "runs", artifacts={"weights.bin": os.urandom(3_000_000)})
    env = {
        **os.environ, "WORLDFLUX_SERVER": server.url, "WORLDFLUX_API_KEY": server.key, "TERM": "xterm",
        "COLUMNS": "90",
    }  # fmt: skip
    leader, follower = pty.openpty()
    done = warm_python.WarmPopen(
        [BIN / "worldflux", "sync"], cwd=project, env=env, stdout=subprocess.PIPE, stderr=follower
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    os.close(leader)
    out, _ = done.communicate(timeout=30)
    assert done.returncode == 0 and out.startswith(b"1 new; 3.0 MB")
    assert b"runs" in seen and b"\x1b[" in seen
    make_run(project / "runs", artifacts={"weights.bin": os.urandom(3_000_000)})
    piped = wf("sync")
    assert piped.err == "" and "\x1b" not in piped.out


@pytest.mark.slow
def test_a_large_artifact_needs_little_memory(wf: Run, project: Path, server: Server) -> None:
    """Three hundred megabytes pass through a client that may have no more than a fraction of that."""
    run_id = make_run(project / "runs", artifacts={"weights.bin": b""})
    path = project / "runs" / run_id / "artifacts" / "weights.bin"
    size = 300 * 2**20
    with open(path, "r+b") as file:
        file.truncate(size)
    digest = hashlib.sha256()
    for _ in range(300):
        digest.update(bytes(2**20))
    manifest = project / "runs" / run_id / "manifest.json"
    document = json.loads(manifest.read_bytes())
    document["artifacts"][0].update(bytes=size, sha256=digest.hexdigest())
    manifest.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    env = {**os.environ, "WORLDFLUX_SERVER": server.url, "WORLDFLUX_API_KEY": server.key}
    child = subprocess.Popen([BIN / "worldflux", "sync"], cwd=project, env=env, stdout=subprocess.PIPE)
    peak = 0
    while child.poll() is None:  # not ru_maxrss, which begins with that of this process
        status = Path(f"/proc/{child.pid}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) if "VmHWM:" in status else peak
        time.sleep(0.02)
    told, _ = child.communicate()
    assert child.returncode == 0, told
    assert 20 * 1024 < peak < 100 * 1024, f"{peak} kB"
    with Desk.at(server.url, server.key, project) as desk:
        desk.assert_same(run_id)
