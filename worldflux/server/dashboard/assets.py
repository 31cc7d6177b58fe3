"""Styles, modules and the plot library, as files whose address changes with their content."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import mimetypes
import re
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from fastapi import APIRouter, Request
from starlette.responses import Response

from worldflux.server.problems import not_found

STATIC = Path(__file__).parent / "static"
#: For a file whose address names its content.
FOREVER = "public, max-age=31536000, immutable"
PLOTLY = "plotly.min.js"

_IMPORT = re.compile(r"""^\s*(?:import|export)\b[^"'\n]*["'](\.{1,2}/[^"']+)["']""", re.MULTILINE)
_STYLE_ID = re.compile(rb'getElementById\("([0-9a-f]{64})"\)')
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class File:
    """A file as it is sent.

    Attributes:
        packed: the body after gzip; None when that saves nothing.
    """

    body: bytes
    packed: bytes | None
    media_type: str
    etag: str


class Tree:
    """All files of the dashboard, read once.

    Attributes:
        build: short digest of all of them; stands in every address.
    """

    def __init__(self, folder: Path) -> None:
        self.files = {
            path.relative_to(folder).as_posix(): _file(path.read_bytes(), path.suffix)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in (".js", ".css", ".svg", ".png")
        }
        whole = hashlib.sha256()
        for name, file in self.files.items():
            whole.update(f"{name}\0{file.etag}\n".encode())
        self.build = whole.hexdigest()[:16]

    def url(self, name: str) -> str:
        """Address of a file.

        Raises:
            KeyError: there is none of that name.
        """
        self.files[name]
        return f"/static/{self.build}/{name}"

    def modules(self, entry: str) -> list[str]:
        """Addresses of a module and of all it imports, so that a page may ask for them at once."""
        found: list[str] = []
        waiting = [entry]
        while waiting:
            name = waiting.pop()
            if name in found or name not in self.files:
                continue
            found.append(name)
            text = self.files[name].body.decode()
            waiting.extend(_beside(name, target) for target in _IMPORT.findall(text))
        return [self.url(name) for name in found]


def _beside(name: str, target: str) -> str:
    parts: list[str] = list(PurePosixPath(name).parent.parts)
    for step in target.split("/"):
        if step == "..":
            parts.pop()
        elif step != ".":
            parts.append(step)
    return "/".join(parts)


def _file(body: bytes, suffix: str, level: int = 9) -> File:
    # The time is left out: the same bytes on every machine.
    packed = gzip.compress(body, level, mtime=0) if len(body) > 512 else None
    if packed is not None and len(packed) > len(body) * 0.9:
        packed = None
    media_type = _TYPES.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")
    return File(body, packed, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


@lru_cache(maxsize=1)
def tree() -> Tree:
    """The dashboard's files."""
    return Tree(STATIC)


@dataclass(frozen=True)
class Plotly:
    """The plot library of the installed `plotly` package.

    Attributes:
        version: part of its address.
        style_ids: ids of elements that the library takes for its own style sheets. A page has empty
            elements with these ids, so that the library adds no inline style, which the policy forbids.
    """

    path: Path
    version: str
    style_ids: tuple[str, ...]

    @property
    def url(self) -> str:
        """Its address."""
        return f"/static/plotly-{self.version}/{PLOTLY}"


@lru_cache(maxsize=1)
def plotly() -> Plotly | None:
    """The plot library; None when the package is not installed. Nothing of it is imported."""
    found = importlib.util.find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(next(iter(found.submodule_search_locations))) / "package_data" / PLOTLY
    if not path.is_file():
        return None
    body = path.read_bytes()
    ids = tuple(sorted({match.decode() for match in _STYLE_ID.findall(body)}))
    return Plotly(path, hashlib.sha256(body).hexdigest()[:16], ids)


_packing = threading.Lock()


@lru_cache(maxsize=1)
def _plotly_file() -> File | None:
    found = plotly()
    return None if found is None else _file(found.path.read_bytes(), ".js", 6)


@router.get("/static/{build}/{name:path}")
def static(request: Request, build: str, name: str) -> Response:
    """A file; one whose address is of an older build is sent as it is now, and not kept."""
    wanted = plotly()
    if wanted is not None and build == f"plotly-{wanted.version}" and name == PLOTLY:
        with _packing:
            file = _plotly_file()
        current = True
    else:
        file, current = tree().files.get(name), build == tree().build
    if file is None:
        raise not_found("file")
    headers = {
        "Cache-Control": FOREVER if current else "no-cache",
        "ETag": file.etag,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            file.packed, headers=headers | {"Content-Encoding": "gzip"}, media_type=file.media_type
        )
    return Response(file.body, headers=headers, media_type=file.media_type)
