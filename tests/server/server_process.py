"""Real servers for tests: a process on a loopback port, over SQLite or a PostgreSQL of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

import worldflux

sys.path.append(str(Path(__file__).parents[1]))

import warm_python

BIN = Path(sys.executable).parent

#: The server runs the very code that the tests import, also in a copy of the project.
CODE = str(Path(worldflux.__file__).parents[1])

LEASH = str(Path(__file__).with_name("leash.py"))


def postgres_bin() -> Path | None:
    """The folder of the newest PostgreSQL's programs; Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@dataclass
class Postgres:
    """One PostgreSQL of this test session, on a unix socket."""

    folder: Path

    def new_database(self, like: str = "") -> str:
        """URL of a fresh database: empty, or with what the database at the URL `like` holds."""
        import psycopg

        name = f"t{uuid.uuid4().hex}"
        template = f" TEMPLATE {like.partition('@/')[2].partition('?')[0]}" if like else ""
        with psycopg.connect(
            host=str(self.folder), user="postgres", dbname="postgres", autocommit=True
        ) as link:
            link.execute(f"CREATE DATABASE {name}{template}")  # type: ignore[arg-type,unused-ignore]
        return f"postgresql://postgres@/{name}?host={self.folder}"


def leashed(end: signal.Signals, *words: str | Path, user: str | None = None) -> list[str]:
    """A command that gets this signal when the test run, or the thread of it that starts it, is no more."""
    return [sys.executable, "-IS", LEASH, str(int(end)), str(os.getpid()), user or "", *map(str, words)]


@contextlib.contextmanager
def running_postgres(keep: Path | None = None, *settings: str) -> Iterator[Postgres]:
    """A PostgreSQL from nothing, gone without a trace afterwards.

    Args:
        keep: where it lies and stays; what an earlier one left there is taken up. The path must be short.
        settings: more of them, such as `shared_buffers=1GB`.
    """
    programs = postgres_bin()
    if programs is None:
        if os.environ.get("WORLDFLUX_TEST_REQUIRE_ALL"):
            pytest.fail("PostgreSQL is not installed: see tests/missing-packages")
        pytest.skip("PostgreSQL is not installed")
    # It refuses to run as root, and a unix socket's path must be short.
    user = "postgres" if os.geteuid() == 0 else None
    folder = keep or Path(tempfile.mkdtemp(prefix="wfpg-", dir="/tmp"))
    folder.mkdir(exist_ok=True)
    if user:
        shutil.chown(folder, user)
    try:
        data = folder / "data"
        if not data.exists():
            subprocess.run(
                [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync",
                 "--locale", "C.UTF-8"],
                check=True, capture_output=True, user=user, cwd=folder,
            )  # fmt: skip
        with _postgres(programs, folder, user, keep is not None, settings):
            yield Postgres(folder)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _postgres(
    programs: Path, folder: Path, user: str | None, keep: bool, settings: Sequence[str]
) -> Iterator[None]:
    chosen = ["listen_addresses=", "fsync=on", "max_connections=100", "shared_buffers=32MB", *settings]
    words = [programs / "postgres", "-D", folder / "data", "-k", folder]
    server = subprocess.Popen(
        leashed(signal.SIGQUIT, *words, *(f"--{setting}" for setting in chosen), user=user),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    try:
        _await_postgres(programs, folder, server)
        yield
    finally:
        # What is kept is written back first; what is not need not be.
        server.send_signal(signal.SIGINT if keep else signal.SIGQUIT)
        server.wait(60)


def _await_postgres(programs: Path, folder: Path, server: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        ready = subprocess.run([programs / "pg_isready", "-q", "-t", "1", "-h", folder], check=False)
        if ready.returncode == 0:
            return
        if server.poll() is not None:
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.05)
    pytest.fail("PostgreSQL did not start")


@dataclass
class Server:
    """A running `worldflux server start`.

    Attributes:
        url: its origin.
        key: the first admin key, of the workspace `default`.
        data: its data folder.
        database: URL of its PostgreSQL database; None is SQLite.
    """

    url: str
    key: str
    data: Path
    database: str | None
    process: subprocess.Popen[str]
    arguments: Sequence[str] = ()
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def place(self) -> list[str]:
        """The arguments of `worldflux server ...` that name this server's data."""
        return ["--data", str(self.data), *(["--database", self.database] if self.database else [])]

    def call(
        self, method: str, path: str, *, key: str | None = "", expect: int | None = None, **options: Any
    ) -> requests.Response:
        """One request with the admin key, another `key`, or with none (None); `expect`: its status code."""
        headers = dict(options.pop("headers", None) or {})
        if key is not None:
            headers.setdefault("Authorization", f"Bearer {key or self.key}")
        self.session.trust_env = False
        answer = self.session.request(
            method, self.url + path, headers=headers, timeout=30, allow_redirects=False, **options
        )
        if expect is not None:
            assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer

    def command(self, *words: str, text: str = "", code: int = 0) -> Any:
        """Run `worldflux --json server WORDS` on this server's data; the envelope's data."""
        ended = warm_python.run(
            [BIN / "worldflux", "--json", "server", *words, *self.place],
            input=text, text=True, capture_output=True, timeout=60, check=False, env=environment(),
        )  # fmt: skip
        assert ended.returncode == code, ended.stdout + ended.stderr
        envelope = json.loads(ended.stdout)
        return envelope["data"] if code == 0 else envelope["error"]

    def kill(self) -> None:
        """End it as a power switch would, all its workers with it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)
        self._close()

    def _close(self) -> None:
        self.session.close()
        if self.process.stdout:
            self.process.stdout.close()

    def restart(self) -> None:
        """Start it again on the same data and port."""
        self._close()
        port = self.url.rpartition(":")[2]
        again = start(self.data, self.database, *self.arguments, port=port)
        self.process, self.url, self.session = again.process, again.url, again.session

    def stop(self) -> int:
        """End it as Ctrl-C would; its exit code."""
        self.session.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            self._close()


def migrated(data: Path, postgres: Postgres | None = None) -> Callable[[Path], str | None]:
    """Makes all tables once, with the data folder `data`, on SQLite or in a PostgreSQL.

    Returns:
        What gives a new data folder a database with these tables, and tells its URL; None is SQLite. No server has
        started on it yet.
    """
    url = postgres.new_database() if postgres else None
    place = ["--data", str(data), *(["--database", url] if url else [])]
    words = [BIN / "worldflux", "server", "migrate", *place]
    ended = warm_python.run(words, capture_output=True, text=True, timeout=60, env=environment())
    assert ended.returncode == 0, ended.stdout + ended.stderr

    def give(folder: Path) -> str | None:
        shutil.copytree(data, folder, dirs_exist_ok=True)
        return postgres.new_database(like=url or "") if postgres else None

    return give


def environment() -> dict[str, str]:
    """The variables of a server process."""
    return {**os.environ, "PYTHONPATH": CODE}


def start(data: Path, database: str | None = None, *arguments: str, port: str = "0") -> Server:
    """Start a server and wait until it answers. Its standard error goes to `data`/../server.err."""
    place = ["--data", str(data), *(["--database", database] if database else [])]
    words = [BIN / "worldflux", "--json", "server", "start", *place, "--port", port, *arguments]
    with open(data.parent / f"{data.name}.err", "ab") as errors:
        process = warm_python.WarmPopen(
            words, leash=signal.SIGKILL,
            stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True, env=environment(),
        )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    envelope = json.loads(line) if line else {"ok": False, "error": f"ended with {process.wait()}"}
    assert envelope["ok"], envelope["error"]
    told = envelope["data"]
    server = Server(told["url"], told["first_key"] or "", data, database, process, arguments)
    try:
        # Connections wait in the listening socket, so one patient request is enough.
        server.call("GET", "/readyz", key=None, expect=200)
    except BaseException:
        server.kill()
        raise
    return server
