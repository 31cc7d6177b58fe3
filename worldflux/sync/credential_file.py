"""`credentials.toml`: keys in a file that only its owner can read, for machines without a keyring.

Written only when the person asked for it. The file is born with 0600, replaced whole, and not read when
anybody else could have read or written it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from worldflux.errors import RefusedError, TemporaryError, UsageError

NAME = "credentials.toml"
_LOCK = "credentials.lock"
_TEMPORARY = ".credentials-"
_LOCK_SECONDS = 10.0
_MOST_BYTES = 1 << 20
_HEAD = "# Keys of WorldFlux servers. Whoever reads this file can use them; remove one with: worldflux auth logout\n"
_TABLE = re.compile(r'\["([^"\\\x00-\x1f]+)"\]\s*(?:#.*)?')
_TOKEN = re.compile(r'token\s*=\s*"([A-Za-z0-9_]+)"\s*(?:#.*)?')


def home() -> Path:
    """`$WORLDFLUX_HOME`, by default `~/.worldflux`.

    Raises:
        UsageError: nothing says where that is, as for a user without an account in a container.
    """
    named = os.environ.get("WORLDFLUX_HOME")
    try:
        return Path(named) if named else Path.home() / ".worldflux"
    except RuntimeError:
        raise UsageError("there is no home folder", "export WORLDFLUX_HOME=DIR") from None


def path() -> Path:
    """Where the file is, or would be."""
    return home() / NAME


def read() -> dict[str, str]:
    """Keys by origin; empty when there is no file.

    Raises:
        RefusedError: others may read or write the file, it is not ours, or it is a link.
        UsageError: it is not a file that `auth login` wrote.
    """
    where = path()
    try:
        descriptor = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return {}
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _unsafe(where, "is a link", f"remove it: rm {where}") from None
        raise _unsafe(where, f"can not be read: {error.strerror}", f"ls -l {where}") from None
    try:
        _check_owner(where, os.fstat(descriptor))
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(_MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    return _parse(where, data)


def _check_owner(where: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _unsafe(where, "is not a file", f"remove it: rm -r {where}")
    if status.st_uid != os.geteuid():
        raise _unsafe(where, "belongs to another user", f"remove it, or take it over: chown $USER {where}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise _unsafe(
            where,
            f"can be read or written by others (mode {mode:04o}), so its keys may be known",
            f"take the keys back on their servers, then: chmod 600 {where}",
        )


def _unsafe(where: Path, problem: str, hint: str) -> RefusedError:
    return RefusedError(f"{where} {problem}", hint, code="credentials-file")


def _parse(where: Path, data: bytes) -> dict[str, str]:
    """The keys in the file; the part of TOML that `auth login` writes, and comments."""
    keys: dict[str, str] = {}
    origin = ""
    for number, line in enumerate(data.decode("utf-8", errors="replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if (table := _TABLE.fullmatch(text)) and table[1] not in keys:
            origin = table[1]
        elif origin and origin not in keys and (token := _TOKEN.fullmatch(text)):
            keys[origin] = token[1]
        else:
            # The line may be half a key: it is named and not shown.
            raise UsageError(
                f"{where}:{number}: is not what `worldflux auth login` writes",
                f"correct the line, or remove the file and sign in again: rm {where}",
                code="credentials-file",
            )
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{where}: is longer than 1 MiB", f"rm {where}", code="credentials-file")
    return keys


def store(origin: str, token: str) -> Path:
    """Keep a key, beside those of other servers; returns the file.

    Raises:
        RefusedError: the folder or the file that is there is not safe.
        TemporaryError: another login does not end.
        WorldFluxError: the disk refused; what was in the file is still there.
    """
    _make_folder()
    with exclusive():
        _write({**read(), origin: token})
    return path()


def remove(origin: str) -> bool:
    """Remove the key of a server, and the file with the last one; False when there was none.

    Raises:
        As `store`.
    """
    if not path().is_symlink() and not path().exists():
        return False
    with exclusive():
        keys = read()
        if keys.pop(origin, None) is None:
            return False
        if keys:
            _write(keys)
        else:
            _unlink()
    return True


def _unlink() -> None:
    from worldflux.manifest.storage import storage_error

    try:
        path().unlink(missing_ok=True)
        _sync_folder(home())
    except OSError as error:
        raise storage_error(path(), error) from None


def make_home() -> None:
    """The folder of `home`, 0700 when it is new.

    Raises:
        WorldFluxError: it can not be made; code `storage`.
    """
    from worldflux.manifest.storage import storage_error

    try:
        home().mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(home(), error) from None


def _make_folder() -> None:
    """The folder, 0700; one that others can write is refused, they could put a file of theirs there."""
    folder = home()
    make_home()
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise _unsafe(
            folder, "belongs to another user", "choose a folder of yours: export WORLDFLUX_HOME=DIR"
        )
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise _unsafe(folder, "can be written by others", f"chmod 700 {folder}, or set WORLDFLUX_HOME")
    if stat.S_IMODE(status.st_mode) != 0o700:
        folder.chmod(0o700)


def _write(keys: Mapping[str, str]) -> None:
    """Replace the file: the old bytes or the new ones, readable for nobody else at any moment."""
    import tempfile

    from worldflux.manifest.storage import storage_error

    lines = [_HEAD, *(f'\n["{origin}"]\ntoken = "{token}"\n' for origin, token in sorted(keys.items()))]
    try:
        descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=home())
        try:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
                os.fchmod(descriptor, 0o600)  # a umask that takes even the owner's bits
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write("".join(lines))
                file.flush()
                os.fsync(descriptor)
            os.replace(name, path())
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(home())
    except OSError as error:
        raise storage_error(path(), error) from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no such call
            raise
    finally:
        os.close(descriptor)


@contextmanager
def exclusive() -> Iterator[None]:
    """Inside, no other process changes the files of this folder; what killed writers left behind is removed.

    Raises:
        TemporaryError: another process does not end.
        WorldFluxError: the lock can not be made; code `storage`.
    """
    import fcntl

    from worldflux.manifest.storage import storage_error

    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(home() / _LOCK, flags, 0o600)
    except OSError as error:
        raise storage_error(home() / _LOCK, error) from None
    deadline = time.monotonic() + _LOCK_SECONDS
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TemporaryError(
                        f"{home() / _LOCK}: another `worldflux auth` does not end", "end it and try again"
                    ) from None
                time.sleep(0.05)
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                    raise storage_error(home() / _LOCK, error) from None
                break  # a file system without locks: two logins in the same moment are the smaller risk
        for left in home().glob(f"{_TEMPORARY}*"):
            left.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)
