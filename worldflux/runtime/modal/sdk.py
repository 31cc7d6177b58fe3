"""The modal SDK: found late, opened with this account's token, its errors in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from worldflux.errors import AccessError, TemporaryError, UsageError, WorldFluxError

OLDEST, BELOW = (1, 5, 5), (1, 7)
INSTALL = "pip install 'worldflux[modal]'"


def load() -> Any:
    """The module `modal`.

    Raises:
        UsageError: it is not installed, or is of a version that was never tried.
    """
    try:
        import modal
    except ImportError:
        raise UsageError("the modal SDK is not installed", INSTALL, code="missing") from None
    found = version_of(modal)
    if not OLDEST <= found < BELOW:
        wanted = f">={'.'.join(map(str, OLDEST))},<{'.'.join(map(str, BELOW))}"
        raise UsageError(
            f"modal {modal.__version__} is not supported; wanted {wanted}", INSTALL, code="version"
        )
    return modal


def version_of(modal: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", modal.__version__)[:3])


def open_client() -> Any:
    """A client of its own, with the token of the environment or of `~/.modal.toml`.

    Raises:
        AccessError: there is no token.
    """
    modal = load()
    from modal.config import config

    identity, secret = config.get("token_id"), config.get("token_secret")
    if not identity or not secret:
        raise AccessError(
            "there is no Modal token", "modal setup, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET"
        )
    with explained("open a connection"):
        return modal.Client.from_credentials(identity, secret)


def server_url() -> str:
    from modal.config import config

    return str(config.get("server_url"))


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn the SDK's errors into ours: what was being done, why it failed, what to do.

    Raises:
        AccessError: the token is wrong or lacks a right.
        TemporaryError: the server does not answer, or has no room.
        UsageError: the request was wrong.
        WorldFluxError: anything else that the SDK reports.
    """
    modal = load()
    known = modal.exception
    try:
        yield
    except (known.AuthError, known.PermissionDeniedError) as error:
        raise AccessError(_problem(doing, error), "check the token: modal token info") from None
    except known.ResourceExhaustedError as error:
        raise TemporaryError(
            _problem(doing, error), "try again later, or choose another runtime.gpu"
        ) from None
    except (
        known.ConnectionError,
        known.ServiceError,
        known.InternalError,
        ConnectionError,
        OSError,
    ) as error:
        raise TemporaryError(_problem(doing, error), "try again; worldflux runtime doctor modal") from None
    except (known.InvalidError, known.NotFoundError) as error:
        raise UsageError(_problem(doing, error), "check the options of the runtime") from None
    except known.Error as error:
        raise WorldFluxError(_problem(doing, error), "worldflux runtime doctor modal", code="modal") from None


def _problem(doing: str, error: Exception) -> str:
    text = " ".join(str(error).split())[:500]
    return f"modal could not {doing}: {type(error).__name__}: {text}"


def close(client: Any) -> None:
    """Close a client. Silent when it is closed, or its connection is gone."""
    import contextlib

    with contextlib.suppress(Exception):
        (getattr(client, "close", None) or client._close)()  # public since 1.6
