"""When an environment can not be made: one line of cause, a next step, and nothing half made."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from envcache_lab import CHILD, get, house, names_left, printed, root
from wheelhouse import Wheelhouse

from worldflux.errors import AccessError, TemporaryError, WorldFluxError
from worldflux.runtime.venvs.check import findings, site_packages
from worldflux.runtime.venvs.lockfile import parse

__all__ = ["house", "root"]  # fixtures

ZERO = "0" * 64
PASSWORD = "correct-horse-battery"


class Index(http.server.ThreadingHTTPServer):
    """A package index on this machine: `/STATUS/…` answers with that status, `/simple/` is real."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.folder = folder
        self.yanked: set[str] = set()
        self.logins: list[str] = []
        self.cut = False

    def url(self, path: str, login: str = "") -> str:
        return f"http://{login}127.0.0.1:{self.server_address[1]}{path}"


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        first = self.path.strip("/").split("/")[0]
        login = self.headers.get("Authorization", "")
        if login.startswith("Basic "):
            self.server.logins.append(base64.b64decode(login[6:]).decode())
        if first.isdigit():
            self._send(int(first), b"")
        elif self.path.startswith("/simple/"):
            self._send(200, self._page(self.path.split("/")[2]))
        else:
            self._send(200, (self.server.folder / Path(self.path).name).read_bytes())

    do_HEAD = do_GET

    def _page(self, project: str) -> bytes:
        links = ""
        for path in sorted(self.server.folder.glob(f"{project.replace('-', '_')}-*.whl")):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            yanked = ' data-yanked="bad"' if path.name in self.server.yanked else ""
            links += f'<a href="/files/{path.name}#sha256={digest}"{yanked}>{path.name}</a>\n'
        return f"<!DOCTYPE html><html><body>{links}</body></html>".encode()

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if body[:1] == b"<" else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if self.server.cut and body[:1] != b"<" else body)
        self.close_connection = self.server.cut

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def serving(folder: Path) -> Iterator[Index]:
    server = Index(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def index(house: Wheelhouse) -> Iterator[Index]:
    with serving(house.folder) as server:
        yield server


def refusal(root: Path, house: Wheelhouse, lock: str, **options: Any) -> WorldFluxError:
    """The error, after checking what every error here must be."""
    with pytest.raises(WorldFluxError) as caught:
        get(root, house, lock, **options)
    error = caught.value
    assert error.problem and error.hint and "\n" not in error.problem and len(error.problem) < 500
    assert PASSWORD not in str(error) + json.dumps(error.details)
    assert names_left(root) == []
    return error


def indexed(house: Wheelhouse, url: str, **more: str) -> dict[str, str]:
    environ = {name: value for name, value in house.environ().items() if not name.startswith("PIP_F")}
    return {**environ, "PIP_NO_INDEX": "", "PIP_INDEX_URL": url, "UV_HTTP_RETRIES": "0", **more}


def test_a_wrong_hash(root: Path, house: Wheelhouse) -> None:
    """A file that is not the locked one is refused by name."""
    error = refusal(root, house, f"alpha-one==1.0 --hash=sha256:{ZERO}\n")
    assert error.code == "hash-mismatch" and "alpha-one==1.0" in error.problem
    assert get(root, house).built


def test_a_changed_file_with_the_same_name(root: Path, house: Wheelhouse) -> None:
    """A package cache that holds the good file does not make a changed one pass, nor the reverse."""
    lock = house.lock()
    get(root, house)
    house.add("alpha-one", "1.0", files={"alpha_one.py": "VERSION = 'changed'\n"})
    changed = house.wheels[-1].line
    with pytest.raises(WorldFluxError):
        get(root, house, changed.replace(house.wheels[-1].sha256, ZERO))
    assert (
        printed(get(root, house, changed).python, "import alpha_one; print(alpha_one.VERSION)") == "changed"
    )
    try:
        environment = get(root, house, lock + house.add("extra").line)
    except WorldFluxError as error:
        assert error.code == "hash-mismatch"
    else:
        assert printed(environment.python, "import alpha_one; print(alpha_one.VERSION)") == "1.0"


@pytest.mark.parametrize(
    ("lock", "code", "named"),
    [
        (f"alpha-one==9.9 --hash=sha256:{ZERO}", "not-found", "alpha-one==9.9"),
        (f"no-such-package==1.0 --hash=sha256:{ZERO}", "not-found", "no-such-package"),
        (f"foreign==1.0 --hash=sha256:{ZERO}", "no-wheel", "foreign"),
        (f"source-only==1.0 --hash=sha256:{ZERO}", "no-wheel", "source-only"),
    ],
)
def test_what_can_not_be_had(root: Path, house: Wheelhouse, lock: str, code: str, named: str) -> None:
    """A release that is missing, made for another platform, or only source, is told by name."""
    house.add("foreign", "1.0", tag="cp27-cp27m-win32")
    (house.folder / "source_only-1.0.tar.gz").write_bytes(b"not looked into")
    error = refusal(root, house, lock)
    assert error.code == code and named in error.problem


@pytest.mark.parametrize("spoiled", ["not a zip", "no metadata", "cut short", "climbs out"])
def test_a_wheel_that_is_broken(root: Path, house: Wheelhouse, spoiled: str) -> None:
    """A file that has the locked hash and still is no wheel is told as such, not as a failing network."""
    wheel = house.add("gamma", files={"gamma.py": "V = 1\n" * 5000})
    if spoiled == "not a zip":
        wheel.path.write_bytes(b"<html>login</html>")
    elif spoiled == "cut short":
        wheel.path.write_bytes(wheel.path.read_bytes()[:20_000])
    else:
        with zipfile.ZipFile(wheel.path, "w") as archive:
            archive.writestr("../../climbed.py" if spoiled == "climbs out" else "gamma.py", "V = 1\n")
    line = f"gamma==1.0 --hash=sha256:{hashlib.sha256(wheel.path.read_bytes()).hexdigest()}\n"
    error = refusal(root, house, line)
    assert error.code == "bad-wheel" and "gamma==1.0" in error.problem
    assert not list(root.parent.rglob("climbed.py"))


def test_an_answer_that_is_cut(root: Path, house: Wheelhouse, index: Index) -> None:
    """An index that stops in the middle of a file is a temporary failure."""
    index.cut = True
    error = refusal(root, house, house.lock(), environ=indexed(house, index.url("/simple")))
    assert error.code == "index-unreachable" and error.exit_code == 3


def test_requirements_that_contradict(root: Path, house: Wheelhouse) -> None:
    """When no set fits, one line says so and the derivation is kept for those who want it."""
    house.add("picky", "1.0", requires=("alpha-one>=3",))
    error = refusal(root, house, "picky\nalpha-one\n", unpinned=True)
    assert "alpha" in error.problem or error.code == "unsatisfiable"
    assert "picky" in error.details["uv"]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "index-access", AccessError),
        (403, "index-access", AccessError),
        (404, "not-found", WorldFluxError),
        (500, "index-unreachable", TemporaryError),
        (503, "index-unreachable", TemporaryError),
    ],
)
def test_an_index_that_refuses(
    root: Path, house: Wheelhouse, index: Index, status: int, code: str, kind: type[WorldFluxError]
) -> None:
    """The index's answer decides whether to try again later; its password is never shown."""
    environ = indexed(house, index.url(f"/{status}/simple", login=f"me:{PASSWORD}@"))
    error = refusal(root, house, house.lock(), environ=environ)
    assert error.code == code and type(error) is kind
    assert index.logins and index.logins[0] == f"me:{PASSWORD}"


def test_an_index_that_is_down_or_does_not_exist(root: Path, house: Wheelhouse) -> None:
    """No answer is a temporary failure, exit code 3."""
    for url in ("http://127.0.0.1:1/simple", "http://no-such-host.invalid/simple"):
        error = refusal(root, house, house.lock(), environ=indexed(house, url))
        assert error.code == "index-unreachable" and error.exit_code == 3


def test_packages_may_lie_in_different_indexes(
    root: Path, house: Wheelhouse, index: Index, tmp_path: Path
) -> None:
    """A lock finds its files wherever they are, also behind an index that has other releases of them."""
    other = Wheelhouse(tmp_path / "other")
    other.add("alpha-one", "0.9")
    other.add("gamma", "3.0")
    with serving(other.folder) as second:
        environ = indexed(house, index.url("/simple"), PIP_EXTRA_INDEX_URL=second.url("/simple"))
        environment = get(root, house, house.lock() + other.wheels[1].line, environ=environ)
    assert printed(environment.python, "import alpha_one, gamma; print(gamma.VERSION)") == "3.0"


def test_offline_with_a_cold_cache(root: Path, house: Wheelhouse, index: Index) -> None:
    """Offline is told as such; with a warm package cache it works."""
    url = index.url("/simple")
    error = refusal(root, house, house.lock(), environ=indexed(house, url, UV_OFFLINE="1"))
    assert error.code == "offline" and error.exit_code == 3
    get(root, house, house.wheels[0].line, environ=indexed(house, url))
    house.wheels[0].path.unlink()
    again = get(root, house, house.wheels[0].line + "# again\n", environ=indexed(house, url, UV_OFFLINE="1"))
    assert printed(again.python, "import alpha_one; print(alpha_one.VERSION)") == "1.0"


def test_a_yanked_release_that_is_locked_still_installs(root: Path, house: Wheelhouse, index: Index) -> None:
    """A lock outlives its release being withdrawn; an unpinned list does not choose that release."""
    index.yanked.add(house.add("alpha-one", "1.1").path.name)
    environ = indexed(house, index.url("/simple"))
    locked = get(root, house, house.wheels[-1].line, environ=environ)
    assert printed(locked.python, "import alpha_one; print(alpha_one.VERSION)") == "1.1"
    assert "alpha-one==1.0" in get(root, house, "alpha-one\n", unpinned=True, environ=environ).lock_text


def test_a_command_line_shows_no_traceback(root: Path, house: Wheelhouse) -> None:
    """A program that meets the error can print one block and end with its exit code."""
    asked = {"root": str(root), "lock": f"alpha-one==9.9 --hash=sha256:{ZERO}", "environ": house.environ()}
    done = subprocess.run([sys.executable, CHILD, json.dumps(asked)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["error"] == "not-found"


def test_uv_that_is_missing_or_too_old(root: Path, house: Wheelhouse, tmp_path: Path) -> None:
    """Without a usable uv the error says how to get one."""
    package = tmp_path / "other" / "uv"
    package.mkdir(parents=True)
    for code, program, problem in (
        ("raise ImportError('no uv')", "", "not installed"),
        ("def find_uv_bin(): return PROGRAM", "echo uv 0.4.0", "too old"),
        ("def find_uv_bin(): return PROGRAM", "exit 9", "does not run"),
    ):
        tool = package / "tool"
        tool.write_text(f"#!/bin/sh\n{program}\n")
        tool.chmod(0o755)
        (package / "__init__.py").write_text(f"PROGRAM = {str(tool)!r}\n{code}\n")
        asked = {"root": str(root), "lock": house.lock(), "environ": house.environ()}
        done = subprocess.run(
            [sys.executable, CHILD, json.dumps(asked)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(package.parent)},
        )
        answer = json.loads(done.stdout)
        assert problem in answer["problem"] and "pip install 'uv>=" in answer["hint"], answer


def test_wrong_files_in_the_package_cache_are_not_installed(root: Path, house: Wheelhouse) -> None:
    """What a power cut left in uv's cache is noticed, replaced, and does not come back."""
    told: list[str] = []
    get(root, house)
    for module in (root / "uv-cache").rglob("alpha_one.py"):
        module.write_text("")
    again = get(root, house, house.wheels[0].line, on_progress=told.append)
    assert printed(again.python, "import alpha_one; print(alpha_one.VERSION)") == "1.0"
    assert any("without the package cache" in line for line in told)
    told.clear()
    get(root, house, house.lock() + house.add("gamma").line, on_progress=told.append)
    assert not any("without the package cache" in line for line in told)


def test_a_wheel_with_a_wrong_list_of_its_own_is_accepted(root: Path, house: Wheelhouse) -> None:
    """A publisher's mistake in RECORD does not make a package unusable; it is noted."""
    house.add("sloppy", "1.0", wrong_digest_of="sloppy.py")
    environment = get(root, house)
    assert printed(environment.python, "import sloppy; print(sloppy.VERSION)") == "1.0"
    marker = json.loads((environment.path / "worldflux-env.json").read_text())
    assert len(marker["wheels_with_wrong_lists"]) == 1 and "sloppy.py" in marker["wheels_with_wrong_lists"][0]


def test_two_wheels_that_install_the_same_file(root: Path, house: Wheelhouse) -> None:
    """It is whole as either of them states it, whichever came last; as neither does, it is damaged."""
    for name in ("gamma", "delta"):
        own = {f"{name}.py": "V = 1\n", "shared/__init__.py": f"FROM = {name!r}\n"}
        house.add(name, files=own)
    said: list[str] = []
    environment = get(root, house, on_progress=said.append)
    assert environment.built and not [line for line in said if "again" in line]
    assert printed(environment.python, "import shared; print(shared.FROM)") in ("gamma", "delta")
    assert not get(root, house).built
    (path,) = environment.path.glob("lib/python*/site-packages/shared/__init__.py")
    for text, well in (("FROM = 'gamma'\n", True), ("FROM = 'delta'\n", True), ("FROM = 'evil!'\n", False)):
        path.write_text(text)
        assert bool(findings(environment.path, parse(house.lock()))) is not well, text


def test_damage_is_found_file_by_file(root: Path, house: Wheelhouse, tmp_path: Path) -> None:
    """A missing, short, changed or hard-linked file and a missing package each count."""
    environment, lock = get(root, house), parse(house.lock())
    assert not findings(environment.path, lock)
    (site,) = site_packages(environment.path)
    module = site / "alpha_one.py"
    good = module.read_bytes()
    module.unlink()
    assert "can not be read" in findings(environment.path, lock).first
    module.write_bytes(good[:-1])
    assert f"{len(good) - 1} bytes" in findings(environment.path, lock).first
    module.write_bytes(good[:-1] + b"#")
    assert "digest" in findings(environment.path, lock).first
    module.write_bytes(good)
    os.link(module, tmp_path / "second")
    assert "hard link" in findings(environment.path, lock).refused[0]
    (tmp_path / "second").unlink()
    assert not findings(environment.path, lock)
    shorter, longer = parse(house.wheels[0].line), parse(house.lock() + house.add("gamma").line)
    assert "not in the lock" in findings(environment.path, shorter).first
    assert "gamma: not installed" in findings(environment.path, longer).first
    other = parse(house.wheels[0].line + house.wheels[1].line.replace("==2.0", "==2.1"))
    assert "version 2.0 is not" in findings(environment.path, other).first
    (site / "beta-2.0.dist-info" / "METADATA").unlink()
    assert findings(environment.path, lock).refused
