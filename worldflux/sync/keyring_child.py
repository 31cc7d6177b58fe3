"""One question to the system's keyring, in a process of its own.

A keyring may wait for ever: for a prompt that nobody sees, for a service that does not answer. Its backends
are also other people's code, chosen by variables and files. So they are loaded here and not in the command,
which ends this process when it takes too long. It is run by its path with `python -I`, needs nothing of
WorldFlux, and reads one JSON object on standard input:

    {"op": "read" | "write" | "remove", "service": str, "user": str, "secret": str (write only),
     "site": folder of packages that the person installed, or null}

Standard output has one JSON object and nothing else:

    {"outcome": "ok" | "absent" | "none" | "locked" | "failed", "backend": str, "detail": str, "secret": str}

`none`: there is no keyring that keeps secrets for the person who is signed in to this machine. `secret` is
only in the answer to `read`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

#: Keep a secret encrypted under the login of the person. Anything else, such as a plain file, the null
#: backend, or a password manager that was never looked at, does not keep what `auth login` promises.
ALLOWED = {
    "keyring.backends.SecretService.Keyring": "Secret Service",
    "keyring.backends.libsecret.Keyring": "Secret Service",
    "keyring.backends.kwallet.DBusKeyring": "KWallet",
    "keyring.backends.kwallet.DBusKeyringKWallet4": "KWallet",
    "keyring.backends.macOS.Keyring": "macOS Keychain",
    "keyring.backends.Windows.WinVaultKeyring": "Windows Credential Manager",
}
_CHAINER = "keyring.backends.chainer.ChainerBackend"
_FAIL = "keyring.backends.fail.Keyring"


class NoKeyring(Exception):
    """No backend may be used; says which one was found instead."""


def _full_name(backend: object) -> str:
    return f"{type(backend).__module__}.{type(backend).__qualname__}"


def _members(backend: Any) -> Iterator[Any]:
    """The backend, or those that a chainer asks one after the other."""
    if _full_name(backend) == _CHAINER:
        for member in backend.backends:
            yield from _members(member)
    else:
        yield backend


def _candidates() -> list[Any]:
    """What the person chose for the keyring library; without a choice all that could work here, best first."""
    from keyring import core
    from keyring.backend import by_priority, get_all_keyring

    try:
        chosen = core.load_env() or core.load_config()
    except Exception as error:
        named = os.environ.get("PYTHON_KEYRING_BACKEND")
        where = f"PYTHON_KEYRING_BACKEND={named}" if named else "what keyringrc.cfg names"
        raise NoKeyring(f"{where} can not be used ({type(error).__name__}: {error})") from None
    if chosen is not None:
        return list(_members(chosen))
    return [each for each in sorted(get_all_keyring(), key=by_priority, reverse=True) if each.priority > 0]


def resolve() -> Any:
    """The first allowed backend among those that the keyring library would use.

    Raises:
        NoKeyring: there is none.
    """
    found = _candidates()
    for backend in found:
        if _full_name(backend) in ALLOWED:
            return backend
    names = [_full_name(backend) for backend in found if _full_name(backend) not in (_FAIL, _CHAINER)]
    if names:
        raise NoKeyring(f"{', '.join(names)} does not keep a key safe and is not used")
    raise NoKeyring("no keyring service answers in this session")


def answer(question: dict[str, str]) -> dict[str, str]:
    """What the keyring says to one question; never raises for what a backend does."""
    try:
        backend = resolve()
    except ImportError as error:
        return {"outcome": "none", "backend": "", "detail": f"the keyring library is missing: {error}"}
    except NoKeyring as error:
        return {"outcome": "none", "backend": "", "detail": str(error)}
    from keyring.errors import KeyringLocked, NoKeyringError

    told = {"backend": ALLOWED[_full_name(backend)], "detail": ""}
    try:
        return {**told, **_ask(backend, question)}
    except KeyringLocked as error:
        return {**told, "outcome": "locked", "detail": str(error)}
    except NoKeyringError as error:
        return {**told, "outcome": "none", "detail": str(error)}
    except Exception as error:
        return {**told, "outcome": "failed", "detail": f"{type(error).__name__}: {error}"}


def _ask(backend: Any, question: dict[str, str]) -> dict[str, str]:
    service, user = question["service"], question["user"]
    if question["op"] == "write":
        backend.set_password(service, user, question["secret"])
        return {"outcome": "ok"}
    held = backend.get_password(service, user)
    if held is None:
        return {"outcome": "absent"}
    if question["op"] == "remove":
        backend.delete_password(service, user)
        return {"outcome": "ok"}
    return {"outcome": "ok", "secret": held}


def main() -> None:
    # A backend may print while it is loaded; the answer has the pipe for itself.
    pipe = os.dup(1)
    os.dup2(2, 1)
    question = json.loads(sys.stdin.buffer.read())
    if question.get("site"):
        import site

        site.addsitedir(question["site"])
    said = answer(question)
    if question.get("secret"):
        said["detail"] = said["detail"].replace(question["secret"], "***")
    with os.fdopen(pipe, "w", encoding="utf-8") as out:
        json.dump(said, out)


if __name__ == "__main__":
    main()
