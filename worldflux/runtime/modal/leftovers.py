"""Sandboxes of ours, found by their tags. Nothing else is looked at, and age alone ends nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from worldflux.errors import WorldFluxError
from worldflux.runtime.modal import sdk
from worldflux.runtime.remote import client

RUN, DEADLINE, CLIENT = "worldflux_run", "worldflux_deadline", "worldflux_client"
#: Modal's own timeout of a sandbox comes first.
GRACE_SECONDS = 120.0


def app_id(account: Any, app_name: str) -> str | None:
    """The app's id; None when nothing was ever run in it."""
    modal = sdk.load()
    with sdk.explained("look the app up"):
        try:
            found = modal.App.lookup(app_name, create_if_missing=False, client=account).app_id
        except modal.exception.NotFoundError:
            return None
    return str(found)


def tags_of(run_id: str, deadline: float) -> dict[str, str]:
    """What a sandbox is marked with when it is asked for; `deadline` in seconds since 1970."""
    return {RUN: run_id, DEADLINE: str(int(deadline)), CLIENT: client.me()}


def look(account: Any, app_name: str, runs: Sequence[str] = (), *, end: bool = False) -> list[dict[str, Any]]:
    """Living sandboxes that carry a run's tag; named, late and abandoned ones are ended when asked to.

    Raises:
        WorldFluxError: Modal can not be asked.
    """
    modal, identity = sdk.load(), app_id(account, app_name)
    if identity is None:
        return []
    rows = []
    with sdk.explained("list sandboxes"):
        for sandbox in modal.Sandbox.list(app_id=identity, client=account):
            tags = sandbox.get_tags()
            if RUN not in tags:
                continue
            deadline = float(tags.get(DEADLINE) or 0)
            why = _why(tags, runs, deadline)
            if why and end:
                sandbox.terminate()
            rows.append(
                {
                    "instance_id": str(sandbox.object_id),
                    "region": app_name,
                    "run_id": tags[RUN],
                    "state": "running",
                    "deadline": deadline,
                    "ended": bool(why) and end,
                    "why": why,
                }
            )
    return rows


def _why(tags: Mapping[str, str], runs: Sequence[str], deadline: float) -> str:
    """Why a sandbox of ours is to be ended; empty when it is not."""
    if tags[RUN] in runs:
        return "asked for"
    if deadline and time.time() > deadline + GRACE_SECONDS:
        return "past its deadline"
    return "its client is dead" if client.is_dead(tags.get(CLIENT, "")) else ""


def sweep(account: Any, app_name: str, run_id: str) -> list[str]:
    """End every sandbox of one run, also one whose creator never learnt of it; ids of those that resist."""
    modal, identity = sdk.load(), app_id(account, app_name)
    if identity is None:
        return []
    resisting = []
    with sdk.explained("list sandboxes"):
        found = list(modal.Sandbox.list(app_id=identity, tags={RUN: run_id}, client=account))
    for sandbox in found:
        try:
            with sdk.explained("end a sandbox"):
                sandbox.terminate()
        except WorldFluxError:
            resisting.append(str(sandbox.object_id))
    return resisting
