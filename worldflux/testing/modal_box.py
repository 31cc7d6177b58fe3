"""A sandbox of the Modal stand-in: commands in namespaces, with the box's own files and variables."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import shlex
import shutil
import string
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modal_proto import api_pb2

from worldflux.testing.modal_image import Image, interpreter
from worldflux.testing.modal_process import Process

_LETTERS = string.ascii_letters + string.digits
#: Folders of this machine that a box sees, read as they are.
_SHARED = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/proc", "/dev", "/sys")
#: Folders of the box itself.
_OWN = ("tmp", "root", "opt", "worldflux")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def new_id(prefix: str, length: int = 22) -> str:
    return prefix + "-" + "".join(random.choices(_LETTERS, k=length))


@functools.lru_cache(maxsize=1)
def why_not_isolated() -> str:
    """Why this machine can not isolate a box; empty when it can."""
    if not sys.platform.startswith("linux"):
        return "boxes need Linux"
    try:
        ended = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs t /mnt"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"unshare: {error}"
    return ended.stderr.strip().replace("\n", "; ") if ended.returncode else ""


class Box:
    """One sandbox.

    A first-version id is exactly `sb-` and 22 letters or digits; the SDK takes any other for the
    second version, whose task ids end with V.
    """

    def __init__(
        self, home: Path, request: Any, version: int, image: Image, environment: Mapping[str, str]
    ) -> None:
        self.version, self.definition, self.app_id = version, request.definition, request.app_id
        self.id, self.task = (
            (new_id("sb"), new_id("ta")) if version == 1 else (new_id("sb", 24), new_id("ta", 21) + "V")
        )
        self.tags = {each.tag_name: each.tag_value for each in request.tags}
        self.created = time.time()
        self.image = image
        self.result: Any = None
        self.ended: float | None = None
        self.done = asyncio.Event()
        self.main: Process | None = None
        self.processes: dict[str, Process] = {}
        self.root = home / self.id
        for name in _OWN:
            (self.root / name).mkdir(parents=True)
        self._python = image.python or self._bare_python()
        self.environment = {
            "PATH": f"{self._python}:{_SYSTEM_PATH}",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "MODAL_SANDBOX_ID": self.id,
            "MODAL_TASK_ID": self.task,
            **image.environment,
            **environment,
        }

    def _bare_python(self) -> Path:
        """A folder in the box whose `python` is this machine's, as `/opt/python/bin`."""
        folder = self.root / "opt" / "python" / "bin"
        folder.mkdir(parents=True)
        for name in ("python", "python3"):
            (folder / name).symlink_to(interpreter())
        return Path("/opt/python/bin")

    def put(self, name: str, data: bytes, mode: int) -> None:
        """Place a mounted file."""
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode & 0o777 or 0o644)

    async def boot(self) -> None:
        """Start the entrypoint, and the clock of the sandbox's own timeout."""
        words = list(self.definition.entrypoint_args) or ["sleep", "infinity"]
        self.main = main = await Process.start(self._inside(words, self.image.workdir), self.environment)
        if self.result is not None:  # ended while it came up
            main.end()
            return
        self._life = asyncio.create_task(self._live(main))

    async def _live(self, main: Process) -> None:
        left = self.created + self.definition.timeout_secs - time.time()
        try:
            code = await main.wait(max(0.01, left))
        except asyncio.TimeoutError:
            self.finish(api_pb2.GenericResult.GENERIC_STATUS_TIMEOUT, 124)
        else:
            status = (
                api_pb2.GenericResult.GENERIC_STATUS_SUCCESS
                if code == 0
                else api_pb2.GenericResult.GENERIC_STATUS_FAILURE
            )
            self.finish(status, code if code >= 0 else 128 - code)

    async def execute(
        self,
        identity: str,
        words: Sequence[str],
        workdir: str,
        environment: Mapping[str, str],
        limit: float | None,
    ) -> None:
        """Run a command beside the entrypoint."""
        inside = self._inside(words, workdir or self.image.workdir)
        self.processes[identity] = await Process.start(inside, {**self.environment, **environment}, limit)

    def finish(self, status: Any, code: int) -> None:
        """End everything in it; the first reason stays."""
        if self.result is None:
            self.result = api_pb2.GenericResult(status=status, exitcode=code)
            self.ended = time.time()
            self.done.set()
        for process in (self.main, *self.processes.values()):
            if process is not None:
                process.end()

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def _inside(self, words: Sequence[str], workdir: str) -> list[str]:
        """The command in namespaces of its own, below a root that has the box's own folders."""
        root = f"{self.root}.root"
        # Its own folders first: this machine's Python may live below one of the same name.
        places = [(str(each), f"/{each.name}") for each in sorted(self.root.iterdir())]
        places += [(path, path) for path in _shared(self._python)]
        table = "".join(
            f"{_in_table(source)} {_in_table(root + target)} none rbind,X-mount.mkdir 0 0\n"
            for source, target in places
        )
        script = "\n".join(
            [
                "set -e",
                f"mkdir -p {shlex.quote(root)}",
                f"mount -t tmpfs box {shlex.quote(root)}",
                # One process instead of two for each folder. The table lies where only this command sees it.
                f"printf %s {shlex.quote(table)} > {shlex.quote(root)}/.mounts",
                f"mount --all --fstab {shlex.quote(root)}/.mounts",
                f'exec chroot {shlex.quote(root)} /bin/sh -c \'cd "$0" && exec "$@"\' "$@"',
            ]
        )
        return [
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "/bin/sh",
            "-c",
            script,
            "box",
            workdir,
            *words,
        ]


def _in_table(path: str) -> str:
    """A path as a table of mounts has it."""
    return "".join(f"\\{ord(each):03o}" if each in " \t\n\\#" else each for each in path)


def _shared(python: Path) -> Iterable[str]:
    """Folders of this machine that a command needs: the system's, and where its Python lives."""
    found = [path for path in _SHARED if os.path.exists(path)]
    needed = [interpreter().parents[1]]
    if not str(python).startswith("/opt/python"):
        needed.append(python.parent)
    for folder in needed:
        if not any(str(folder) == each or str(folder).startswith(each + "/") for each in found):
            found.append(str(folder))
    return found
