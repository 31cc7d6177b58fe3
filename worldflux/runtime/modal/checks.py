"""What doctor looks at: SDK, token, server, rate table, leftovers."""

from __future__ import annotations

from worldflux.errors import WorldFluxError
from worldflux.runtime.modal import leftovers, rates, sdk
from worldflux.runtime.remote import whereabouts
from worldflux.runtime.remote.client import left_behind
from worldflux.runtime.remote.money import table_age


def lines(app_name: str, level: str) -> list[str]:
    """One line per check; the first problem ends the list, as the others hang on it.

    Args:
        level: what a problem's line starts with: `error: ` where a run depends on it.
    """
    found: list[str] = []
    try:
        modal = sdk.load()
        found.append(f"modal {modal.__version__}")
        client = sdk.open_client()
        try:
            found.append("a token is set")
            places = whereabouts.all_of("modal", [app_name])
            rows = [row for place in places for row in leftovers.look(client, place)]
            found.append(f"{sdk.server_url()} answers")
            found.append(f"{len(rows)} sandboxes are running" if rows else "no sandbox is running")
            found += left_behind(rows)
        finally:
            sdk.close(client)
    except WorldFluxError as error:
        return [*found, f"{level}{error.problem}; {error.hint}".replace("\n", " ")]
    return [*found, table_age(rates.DATE)]
