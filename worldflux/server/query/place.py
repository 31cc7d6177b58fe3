"""Which runs somebody may see: the wall between workspaces, and around what was shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, bindparam, select

from worldflux.server.tables import projects, runs

if TYPE_CHECKING:
    from worldflux.server.auth import Principal

#: States of a run that is there; `gone` is only its tombstone.
SHOWN = ("active", "archived")
STATES = (*SHOWN, "trash")
EVERY_STATE = (*STATES, "gone")

_PROJECT = select(projects.c.pk).where(
    projects.c.workspace_id == bindparam("workspace"), projects.c.slug == bindparam("slug")
)


@dataclass(frozen=True)
class Place:
    """The part of the server that a request is about; never wider than one workspace.

    Attributes:
        project_id: only this project.
        run_id: only this run.
        shared: seen through a share, which shows no trash and not who did what.
    """

    workspace_id: int
    project_id: int | None = None
    run_id: str | None = None
    shared: bool = False

    @classmethod
    def of(cls, who: Principal) -> Place:
        """All that somebody may see."""
        return cls(who.workspace_id, who.project_id, who.run_id, who.kind == "share")

    def limits(self, *, looked_up: bool = False) -> list[ColumnElement[bool]]:
        """What must hold for a row of `runs`; part of every query of it.

        Args:
            looked_up: the rows are found by their keys; a database is kept from going through the workspace's.
        """
        found: list[ColumnElement[bool]] = [runs.c.workspace_id == self.workspace_id]
        if looked_up:
            found = [runs.c.workspace_id + 0 == self.workspace_id]
        if self.project_id is not None:
            found.append(runs.c.project_id == self.project_id)
        if self.run_id is not None:
            found.append(runs.c.client_run_id == self.run_id)
        return found

    def narrowed(self, connection: Connection, project: str) -> Place | None:
        """The same within one project, by its slug; None when no such project can be seen."""
        found = connection.execute(_PROJECT, {"workspace": self.workspace_id, "slug": project}).scalar()
        if found is None or self.project_id not in (None, found):
            return None
        return Place(self.workspace_id, found, self.run_id, self.shared)
