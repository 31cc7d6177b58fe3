"""What is asked for by whoever asks for a list of runs."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_

from worldflux.server.query import cursor as cursors
from worldflux.server.query.nodes import EVERY, Node
from worldflux.server.query.order import NEWEST, Order
from worldflux.server.query.place import SHOWN, Place
from worldflux.server.tables import runs


@dataclass(frozen=True)
class Listing:
    """What is asked for.

    Attributes:
        states: of `place.STATES`.
        live: only runs that run now.
        text: what the request said, for the cursor.
    """

    place: Place
    node: Node = EVERY
    order: Order = NEWEST
    states: tuple[str, ...] = ("active",)
    live: bool = False
    text: str = ""

    @property
    def fingerprint(self) -> str:
        place = self.place
        return cursors.fingerprint(
            [
                place.workspace_id,
                place.project_id,
                place.run_id,
                self.text,
                str(self.order),
                self.states,
                self.live,
            ]
        )

    @property
    def seen_states(self) -> list[str]:
        """Those of the states that who asks may see."""
        return [state for state in self.states if not self.place.shared or state in SHOWN]

    @property
    def is_whole(self) -> bool:
        """Whether all active runs of the workspace are listed, but for the filter."""
        place = self.place
        return place.project_id is None and place.run_id is None and not self.live and "active" in self.states

    def base(self, *, looked_up: bool = False) -> list[ColumnElement[bool]]:
        """What holds for each listed run, beside the filter; `looked_up` as in `Place.limits`."""
        found = self.place.limits(looked_up=looked_up)
        states = self.seen_states
        found.append(runs.c.state == states[0] if len(states) == 1 else runs.c.state.in_(states))
        if self.live:
            found.append(and_(runs.c.status == "running", runs.c.lost.is_not(True)))
        return found
