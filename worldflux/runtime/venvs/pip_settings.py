"""Where packages come from, as this machine says it for pip, said again for uv.

uv reads neither pip.conf nor PIP_*. A machine that is set up for a mirror, a folder of wheels or
its own certificates would otherwise work with pip and fail here. Order of precedence: uv's own
variables, PIP_* variables, then pip's files (`PIP_CONFIG_FILE`, the environment's, the user's,
the machine's).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

#: pip's settings that have a counterpart, as they are called in pip.conf.
_KEYS = (
    "index-url", "extra-index-url", "find-links", "no-index", "cert", "client-cert", "trusted-host", "proxy",
    "timeout",
)  # fmt: skip
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/\s'\"]+@")


def uv_settings(source: Mapping[str, str], *, cwd: Path) -> dict[str, str]:
    """uv's variables that say what pip's settings say; none that `source` sets for uv itself.

    Args:
        source: the variables of this process.
        cwd: folder that relative paths in pip's settings are meant from.
    """
    pip = pip_settings(source)
    result: dict[str, str] = {}

    def put(name: str, value: str, *others: str) -> None:
        if value and not any(source.get(known) for known in (name, *others)):
            result[name] = value

    put("UV_DEFAULT_INDEX", pip.get("index-url", "").strip(), "UV_INDEX_URL")
    put("UV_INDEX", " ".join(pip.get("extra-index-url", "").split()), "UV_EXTRA_INDEX_URL")
    put("UV_FIND_LINKS", ",".join(_link(item, cwd) for item in _paths(pip.get("find-links", ""))))
    put("UV_INSECURE_HOST", " ".join(pip.get("trusted-host", "").split()))
    if pip.get("timeout", "").strip().isdigit():
        put("UV_HTTP_TIMEOUT", pip["timeout"].strip())
    if pip.get("cert"):
        put("SSL_CERT_FILE", _absolute(pip["cert"], cwd))
    if pip.get("client-cert"):
        put("SSL_CLIENT_CERT", _absolute(pip["client-cert"], cwd))
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        put(name, pip.get("proxy", "").strip(), name.lower(), "ALL_PROXY", "all_proxy")
    return result


def uses_no_index(source: Mapping[str, str]) -> bool:
    """Whether pip is told to use no index at all; uv has an option for it, but no variable."""
    return pip_settings(source).get("no-index", "").strip().lower() in ("1", "true", "yes", "on", "y", "t")


def pip_settings(source: Mapping[str, str]) -> dict[str, str]:
    """pip's settings on this machine, by their names in pip.conf; unreadable files count as empty."""
    import configparser

    result: dict[str, str] = {}
    for path in _files(source):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                result.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    for key in _KEYS:
        value = source.get(f"PIP_{key.upper().replace('-', '_')}")
        if value:
            result[key] = value
    return {key: result[key] for key in _KEYS if result.get(key)}


def redacted(text: str, *, secrets: Iterator[str] | tuple[str, ...] = ()) -> str:
    """The text without the user and password of any URL, and without the given values."""
    for value in secrets:
        if len(value) > 3:
            text = text.replace(value, "****")
    return _USERINFO.sub(r"\g<scheme>****@", text)


def credentials(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Passwords inside an environment for uv: of its URLs, and in variables of their own."""
    found = [value for name, value in environment.items() if name.endswith("_PASSWORD")]
    for value in environment.values():
        for match in re.finditer(r"://([^/\s]+)@", value):
            user, _, password = match[1].partition(":")
            found.append(password or user)
    return tuple(sorted({value for value in found if value}, key=lambda value: (-len(value), value)))


def _files(source: Mapping[str, str]) -> list[Path]:
    """pip's files, the weakest first."""
    named = source.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = source.get("HOME")
    system = [
        Path(folder) / "pip" / "pip.conf"
        for folder in (source.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    ]
    files = [*reversed(system), Path("/etc/pip.conf")]
    if home:
        if sys.platform == "darwin":
            files.append(Path(home) / "Library" / "Application Support" / "pip" / "pip.conf")
        files.append(Path(home) / ".pip" / "pip.conf")
    if source.get("XDG_CONFIG_HOME") or home:
        files.append(Path(source.get("XDG_CONFIG_HOME") or Path(str(home)) / ".config") / "pip" / "pip.conf")
    files.append(Path(sys.prefix) / "pip.conf")
    if named:
        files.append(Path(named))
    return files


def _paths(value: str) -> list[str]:
    """Entries of find-links: pip separates them by white space, unless one folder has spaces in it."""
    whole = value.strip()
    if whole and "\n" not in whole and os.path.exists(os.path.expanduser(whole)):
        return [whole]
    return value.split()


def _absolute(value: str, cwd: Path) -> str:
    return os.path.join(cwd, os.path.expanduser(value.strip()))


def _link(item: str, cwd: Path) -> str:
    """A find-links entry that means the same from another folder; uv separates by commas."""
    if "://" in item or item.startswith("file:"):
        return item.replace(",", "%2C")
    from urllib.parse import quote

    path = _absolute(item, cwd)
    return "file://" + quote(path) if "," in path else path
