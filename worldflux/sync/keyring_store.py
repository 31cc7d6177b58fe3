"""The system's keyring as a place for keys: every call bounded, every write read back."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.errors import RefusedError, TemporaryError

if TYPE_CHECKING:
    import subprocess

SERVICE = "worldflux"
#: How long the keyring may take for one answer, a prompt of the desktop included.
LIMIT_SECONDS = 10.0


class NoKeyring(RefusedError):
    """This machine has no keyring that may be used; says why and what to do."""

    code = "no-keyring"


class KeyringStuck(TemporaryError):
    """There is a keyring, but it is locked, does not answer, or fails."""

    code = "keyring"


def read(origin: str) -> str | None:
    """The key that is kept for a server, None when there is none.

    Raises:
        NoKeyring, KeyringStuck: the keyring could not be asked.
    """
    said = _ask("read", origin)
    return said["secret"] if said["outcome"] == "ok" else None


def write(origin: str, token: str) -> str:
    """Keep a key, and prove by reading it back that it is kept; returns the keyring's name.

    Raises:
        NoKeyring, KeyringStuck: it is not kept.
    """
    import hmac

    said = _ask("write", origin, token)
    held = read(origin) or ""
    if not hmac.compare_digest(held.encode(), token.encode()):
        raise KeyringStuck(
            f"the keyring ({said['backend']}) took the key and did not give it back",
            "look at the keyring's own program, or sign in with --allow-plaintext",
        )
    return str(said["backend"])


def remove(origin: str) -> bool:
    """Remove the key of a server; False when there was none.

    Raises:
        NoKeyring, KeyringStuck: the keyring could not be asked.
    """
    return bool(_ask("remove", origin)["outcome"] == "ok")


def _ask(op: str, origin: str, secret: str = "") -> dict[str, Any]:
    """The child's answer to one question, when it is `ok` or `absent`."""
    import json
    import site

    question = {"op": op, "service": SERVICE, "user": origin, "secret": secret}
    # `-I` leaves out the person's own packages; an installation with `pip install --user` is one.
    people = site.getusersitepackages() if site.ENABLE_USER_SITE else None
    said = _exchange(json.dumps({**question, "site": people}).encode())
    try:
        answer: dict[str, Any] = json.loads(said)
        outcome = answer["outcome"]
    except (ValueError, KeyError, TypeError):
        raise KeyringStuck("the keyring ended without an answer", _ELSEWHERE) from None
    if outcome in ("ok", "absent"):
        return answer
    detail = " ".join(str(answer["detail"]).split())[:300]
    if outcome == "none":
        raise NoKeyring(f"there is no keyring to keep a key in: {detail}", _NONE)
    if outcome == "locked":
        raise KeyringStuck(f"the keyring ({answer['backend']}) is locked", _UNLOCK)
    raise KeyringStuck(f"the keyring ({answer['backend']}) failed: {detail}", _ELSEWHERE)


_ELSEWHERE = (
    "try again; to do without the keyring, set WORLDFLUX_API_KEY, or keep the key in a file that only you can "
    "read: worldflux auth login --allow-plaintext"
)
_NONE = (
    "on a desktop, start its keyring (GNOME Keyring or KWallet); elsewhere set WORLDFLUX_API_KEY, or keep the "
    "key in a file that only you can read: worldflux auth login --allow-plaintext"
)
_UNLOCK = (
    "unlock it, for example by signing in to the desktop, and try again; without one set WORLDFLUX_API_KEY, or "
    "keep the key in a file that only you can read: worldflux auth login --allow-plaintext"
)


def _exchange(question: bytes) -> bytes:
    """What the child prints for a question, or KeyringStuck when it takes too long."""
    import subprocess

    script = Path(__file__).with_name("keyring_child.py")
    environ = {name: value for name, value in os.environ.items() if name != "WORLDFLUX_API_KEY"}
    child = subprocess.Popen(
        [sys.executable, "-I", str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
        cwd="/" if os.name == "posix" else None,
        start_new_session=True,
    )
    try:
        said, _ = child.communicate(question, timeout=LIMIT_SECONDS)
        return said
    except subprocess.TimeoutExpired:
        raise KeyringStuck(
            f"the keyring did not answer within {LIMIT_SECONDS:.0f} seconds", _UNLOCK
        ) from None
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Nothing of the child stays, also after Ctrl-C."""
    import signal
    from contextlib import suppress

    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
