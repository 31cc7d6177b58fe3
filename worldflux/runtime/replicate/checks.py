"""What doctor looks at: token, server, rate table, leftovers."""

from __future__ import annotations

import os
import threading

from worldflux.errors import AccessError, WorldFluxError
from worldflux.runtime.remote.money import table_age
from worldflux.runtime.remote.patience import Patience
from worldflux.runtime.replicate import journal, rates
from worldflux.runtime.replicate.client import TERMINAL, TOKEN, Api


def token() -> str:
    """The account's token.

    Raises:
        AccessError: it is not set.
    """
    value = os.environ.get(TOKEN, "").strip()
    if not value:
        raise AccessError(f"{TOKEN} is not set", "make one at replicate.com/account/api-tokens and export it")
    return value


def lines(api_url: str, level: str) -> list[str]:
    """One line per check; the first problem ends the list, as the others hang on it.

    Args:
        level: what a problem's line starts with: `error: ` where a run depends on it.
    """
    import requests

    found = [f"requests {requests.__version__}; no SDK is needed"]
    try:
        api = Api(api_url, token(), Patience(threading.Event()))
        found.append(f"{TOKEN} is set")
        account = api.account()
        found.append(f"{api.base} answers; account {account.get('username', 'unknown')}")
        left = [each for each in api.recent() if each.get("status") not in TERMINAL]
        found.append(f"{len(left)} predictions are running" if left else "no prediction is running")
        found += journal.left_behind()
    except WorldFluxError as error:
        return [*found, f"{level}{error.problem}; {error.hint}"]
    return [*found, table_age(rates.DATE)]
