"""What was learnt of servers when somebody signed in: no key, so that it may be shown without asking anybody.

A cache. Without it keys are still found; only "the server that I signed in to" is forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from worldflux.sync import credential_file

NAME = "servers.json"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class KnownServer:
    """One server, as it was at the last sign-in or `auth status` that reached it.

    Attributes:
        store: `keyring` or `file`, where the key was put.
        last4: last characters of the key.
        keyring: name of the keyring; empty for a file.
        workspace, key_name, scopes, expires_at: as the server said; None when it was never asked. `expires_at`
            is also None for a key that does not expire.
        checked_at: when it said so; None when it was never asked.
    """

    store: str
    last4: str
    keyring: str = ""
    workspace: str | None = None
    key_name: str | None = None
    scopes: tuple[str, ...] = ()
    expires_at: str | None = None
    checked_at: str | None = None


def path() -> Path:
    return credential_file.home() / NAME


def load() -> dict[str, KnownServer]:
    """Known servers by origin; empty when the file is missing or not what `save` wrote."""
    try:
        with open(path(), "rb") as file:
            document = json.loads(file.read(_MOST_BYTES))
        return {origin: _server(entry) for origin, entry in document["servers"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _server(entry: Mapping[str, object]) -> KnownServer:
    texts = {f.name: entry[f.name] for f in fields(KnownServer) if f.name != "scopes"}
    if not all(value is None or isinstance(value, str) for value in texts.values()):
        raise TypeError("not a known server")
    scopes = entry["scopes"]
    if texts["store"] not in ("keyring", "file") or not isinstance(scopes, list):
        raise TypeError("not a known server")
    return KnownServer(**texts, scopes=tuple(map(str, scopes)))  # type: ignore[arg-type]


def remember(origin: str, server: KnownServer) -> None:
    """Note a server, beside the others.

    Raises:
        WorldFluxError: the disk refused.
    """
    credential_file.make_home()
    with credential_file.exclusive():
        _save({**load(), origin: server})


def forget(origin: str) -> bool:
    """Forget a server; False when it was not known."""
    if origin not in load():
        return False
    with credential_file.exclusive():
        servers = load()
        servers.pop(origin, None)
        if servers:
            _save(servers)
        else:
            path().unlink(missing_ok=True)
    return True


def _save(servers: Mapping[str, KnownServer]) -> None:
    from worldflux.manifest.storage import write_bytes_atomic

    document = {"version": 1, "servers": {origin: asdict(each) for origin, each in sorted(servers.items())}}
    write_bytes_atomic(path(), json.dumps(document, indent=1).encode() + b"\n", mode=0o600)
