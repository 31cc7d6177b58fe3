"""What watches a sync, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from worldflux.sync.outcome import Outcome


class Progress(Protocol):
    """What watches a sync; called from several threads."""

    def begin(self, runs: int) -> None: ...

    def settled(self, outcome: Outcome) -> None: ...

    def blob(self, key: str, label: str, total: int) -> None: ...

    def advance(self, key: str, count: int) -> None: ...

    def blob_done(self, key: str) -> None: ...

    def end(self) -> None: ...


class Silent:
    """A progress that shows nothing."""

    def begin(self, runs: int) -> None:
        pass

    def settled(self, outcome: Outcome) -> None:
        pass

    def blob(self, key: str, label: str, total: int) -> None:
        pass

    def advance(self, key: str, count: int) -> None:
        pass

    def blob_done(self, key: str) -> None:
        pass

    def end(self) -> None:
        pass
