"""Tiny wheels made by hand, in a folder that uv can install from without a network."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Wheel:
    """A wheel on disk; `line` is its line in a lock."""

    path: Path
    name: str
    version: str
    sha256: str

    @property
    def line(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"


@dataclass
class Wheelhouse:
    """A folder of wheels, and the variables that make it the only place packages come from."""

    folder: Path
    wheels: list[Wheel] = field(default_factory=list)

    def add(
        self,
        name: str,
        version: str = "1.0",
        *,
        files: Mapping[str, str | bytes] | None = None,
        requires: tuple[str, ...] = (),
        scripts: Mapping[str, str] | None = None,
        tag: str = "py3-none-any",
        wrong_digest_of: str = "",
    ) -> Wheel:
        """Write a wheel; by default one module that knows its own version."""
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        contents: dict[str, bytes] = {
            path: text if isinstance(text, bytes) else text.encode()
            for path, text in (files or {f"{module}.py": f"VERSION = {version!r}\n"}).items()
        }
        needs = "".join(f"Requires-Dist: {item}\n" for item in requires)
        contents[f"{info}/METADATA"] = (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}\nWords.\n".encode()
        )
        contents[f"{info}/WHEEL"] = (
            f"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
        )
        if scripts:
            lines = "".join(f"{script} = {target}\n" for script, target in scripts.items())
            contents[f"{info}/entry_points.txt"] = f"[console_scripts]\n{lines}".encode()
        rows = [
            f"{path},sha256={_record_digest(b'other' if path == wrong_digest_of else data)},{len(data)}"
            for path, data in contents.items()
        ]
        contents[f"{info}/RECORD"] = ("\n".join([*rows, f"{info}/RECORD,,"]) + "\n").encode()
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{module}-{version}-{tag}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for member, data in contents.items():
                archive.writestr(zipfile.ZipInfo(member, (2020, 1, 1, 0, 0, 0)), data)
        wheel = Wheel(path, name, version, hashlib.sha256(path.read_bytes()).hexdigest())
        self.wheels.append(wheel)
        return wheel

    def lock(self) -> str:
        """A lock with every wheel of the house."""
        return "".join(wheel.line for wheel in self.wheels)

    def environ(self, **more: str) -> dict[str, str]:
        """Variables of a person whose pip knows this folder and no index."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {
            **kept,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.folder),
            **more,
        }


def many_files(count: int, size: int = 400) -> dict[str, str]:
    """A package of that many modules, so that installing it takes a while."""
    modules = {f"bulk/m{number:04}.py": f"V = {number}\n" + "#" * size + "\n" for number in range(count)}
    return {"bulk/__init__.py": f"COUNT = {count}\n", **modules}


def _record_digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
