"""Where a key must never show: other people's view of processes, runs, logs, tracebacks, files, the wire."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import warm_python
from conftest_cli import BIN, Run, manifests

sys.path.append(str(Path(__file__).parents[1] / "sync"))
from key_lab import Gatekeeper, gatekeeper, make_key
from keyring_lab import dbus_session


@pytest.fixture
def key() -> str:
    return make_key()


@pytest.fixture
def server(key: str) -> Iterator[Gatekeeper]:
    with gatekeeper(key) as running:
        yield running


def command(server: Gatekeeper, *words: str) -> list[str]:
    return [str(BIN / "worldflux"), "auth", "login", "--with-token", "--server", server.url, *words]


def holding(key: str, *folders: Path) -> list[Path]:
    """Files with the key, or the greater part of it, in them."""
    needle = key[4:39].encode()
    files = [
        each for folder in folders for each in folder.rglob("*") if each.is_file() and not each.is_symlink()
    ]
    return [each for each in files if needle in each.read_bytes()]


def test_no_process_shows_it(server: Gatekeeper, key: str, project: Path) -> None:
    """While a login waits for the server, no process of the machine has the key in its arguments or variables."""
    server.manner = "silent"
    process = subprocess.Popen(
        command(server), cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(key.encode())
    process.stdin.close()
    process.stdin = None
    try:
        while not server.seen:
            assert process.poll() is None
            time.sleep(0.02)
        mine, shown = 0, []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                texts = [(entry / name).read_bytes() for name in ("cmdline", "environ")]
            except OSError:
                continue  # it has ended, or belongs to somebody else
            mine += int(entry.name) == process.pid
            shown += [entry.name for text in texts if key.encode() in text]
        assert mine == 1 and shown == []
    finally:
        server.done.set()
        process.communicate(timeout=60)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_nothing_is_started_with_it(server: Gatekeeper, key: str, project: Path, tmp_path: Path) -> None:
    """Of all programs that login starts, with a keyring that works, none gets the key by argument or variable."""
    trace = tmp_path / "trace"
    with dbus_session() as session, session.gnome_keyring("secret"):
        strace = ["strace", "-f", "-qq", "-v", "-s", "100000", "-e", "trace=execve", "-o", str(trace)]
        ended = subprocess.run(
            [*strace, *command(server)], cwd=project, input=key, env={**os.environ, **session.env},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if "ptrace" in ended.stderr:
            pytest.skip(f"strace may not trace here: {ended.stderr.strip()}")
        assert ended.returncode == 0, ended.stderr
        assert holding(key, session.folder) == []
    started = trace.read_text()
    assert started.count("keyring_child.py") >= 2 and key not in started


def test_which_files_hold_it(
    server: Gatekeeper, key: str, project: Path, clean_environment: Path, wf: Run
) -> None:
    """After a login in plain text exactly one file does, after a logout none."""
    ended = warm_python.run(command(server, "--allow-plaintext"), cwd=project, input=key.encode(), timeout=60)
    assert ended.returncode == 0
    for words in (["auth", "status"], ["status", "--online"], ["doctor"]):
        wf(*words)
    file = clean_environment / ".worldflux" / "credentials.toml"
    assert holding(key, project, clean_environment) == [file]
    assert wf("auth", "logout").code == 0
    assert holding(key, project, clean_environment) == []


RECIPE = "command: [python, main.py]\nartifacts: [{path: 'seen/*', commit: true}]\n"
PROGRAM = """
import os, pathlib
pathlib.Path("seen").mkdir()
text = repr(dict(os.environ))
for pid in os.listdir("/proc"):
    if pid.isdigit():
        for name in ("cmdline", "environ"):
            try:
                text += pathlib.Path("/proc", pid, name).read_text(errors="replace") if int(pid) == os.getpid() else ""
            except OSError:
                pass
pathlib.Path("seen/environment").write_text(text)
print(text)
"""


def test_a_run_does_not_get_it(
    key: str, server: Gatekeeper, wf: Run, recipe: Callable[..., Path], project: Path
) -> None:
    """Neither the command's variables nor the run's folder have the key, with the variable set and a file there."""
    recipe(RECIPE, PROGRAM)
    warm_python.run(
        command(server, "--allow-plaintext"), cwd=project, input=key.encode(), timeout=60, check=True
    )
    env = {"WORLDFLUX_API_KEY": key, "WORLDFLUX_SERVER": server.url}
    assert wf("run", "mine", **env).code == 0
    assert [each["run"]["status"] for each in manifests(project)] == ["succeeded"]
    assert holding(key, project) == []
    assert b"WORLDFLUX_RUN_ID" in next(project.glob("runs/*/artifacts/seen/environment")).read_bytes()


def test_a_recipe_can_not_ask_for_it(key: str, wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """Not even when the project allows it by name."""
    recipe("command: [python, main.py]\nenv: {pass: [WORLDFLUX_API_KEY]}\n", PROGRAM)
    (project / "worldflux.yaml").write_text("project: demo\npass: [WORLDFLUX_API_KEY]\n")
    ended = wf("run", "mine", WORLDFLUX_API_KEY=key)
    assert ended.code in (2, 4) and key not in ended.out + ended.err and "WORLDFLUX_API_KEY" in ended.err
    assert holding(key, project) == []


@pytest.mark.parametrize("manner", ["well", "401", "403", "500", "html", "huge", "cut", "redirect307"])
def test_tracebacks_do_not_show_it(server: Gatekeeper, key: str, project: Path, manner: str) -> None:
    """With WORLDFLUX_DEBUG every failure of a login shows where it came from, and not the key."""
    server.manner, server.elsewhere = manner, f"{server.url}/?{key}"
    for words in ([], ["--json"], ["--allow-plaintext", "--json"]):
        # Python's own aid is read at the start of a process, which has to be a new one then.
        aid = {} if words else {"PYTHONFAULTHANDLER": "1"}
        ended = warm_python.run(
            command(server, *words), cwd=project, input=key, capture_output=True, text=True, timeout=60,
            env={**os.environ, "WORLDFLUX_DEBUG": "1", **aid},
        )  # fmt: skip
        assert key not in ended.stdout + ended.stderr and key[4:39] not in ended.stdout + ended.stderr
        assert ended.returncode == (0 if manner == "well" and "--allow-plaintext" in words else 1), (
            ended.stderr
        )


def test_netrc_does_not_take_its_place(
    server: Gatekeeper, key: str, project: Path, clean_environment: Path
) -> None:
    """With a netrc for every host, as wandb leaves one, login and status send the key."""
    netrc = clean_environment / ".netrc"
    netrc.write_text("default login user password hunter2\n")
    netrc.chmod(0o600)
    warm_python.run(
        command(server, "--allow-plaintext"), cwd=project, input=key.encode(), timeout=60, check=True
    )
    warm_python.run([BIN / "worldflux", "auth", "status"], cwd=project, timeout=60, check=True)
    assert server.authorizations == [f"Bearer {key}"] * 2
    assert [path for _, path, _ in server.seen] == ["/api/sync"] * 2, "the key is in no address"


def test_a_proxy_does_not_see_it(server: Gatekeeper, key: str, project: Path) -> None:
    """HTTP_PROXY, which would read a plain request, is not used for this machine."""
    with gatekeeper() as proxy:
        env = {**os.environ, "HTTP_PROXY": proxy.url, "http_proxy": proxy.url, "ALL_PROXY": proxy.url}
        warm_python.run(
            command(server, "--allow-plaintext"), cwd=project, input=key.encode(), env=env, check=True
        )
        assert proxy.seen == [] and server.authorizations == [f"Bearer {key}"]


def test_a_redirect_does_not_carry_it_away(server: Gatekeeper, key: str, project: Path) -> None:
    """A server that points elsewhere is refused by name, and nothing is kept."""
    with gatekeeper(key) as other:
        server.manner, server.elsewhere = "redirect302", f"{other.url}/api/sync"
        ended = warm_python.run(
            command(server, "--allow-plaintext"),
            cwd=project,
            input=key,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 4 and f"redirect to {other.url}" in ended.stderr and other.seen == []


def test_dot_env_and_cwd_change_nothing(server: Gatekeeper, key: str, project: Path) -> None:
    """Files of a cloned project named like a library's settings do not choose where the key goes."""
    (project / ".env").write_text("WORLDFLUX_SERVER=https://evil.example\n")
    (project / ".netrc").write_text("default login user password hunter2\n")
    (project / "credentials.toml").write_text('["https://evil.example"]\ntoken = "x"\n')
    warm_python.run(
        command(server, "--allow-plaintext"), cwd=project, input=key.encode(), timeout=60, check=True
    )
    assert server.authorizations == [f"Bearer {key}"]
