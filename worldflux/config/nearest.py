"""The nearest right name, for error messages."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.5) -> str | None:
    """The known name that is most like `name`, or None when none is close; 1 is equal, 0 has nothing in common."""
    import difflib

    choices = list(known)
    lowered = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=cutoff)
    return lowered[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str], *, limit: int = 12) -> str:
    """A sentence with the nearest name, or with the choices when none is near; may be empty."""
    choices = sorted(known)
    close = nearest(name, choices)
    if close is not None:
        return f"did you mean `{close}`?"
    if not choices:
        return ""
    more = ", ..." if len(choices) > limit else ""
    return f"known: {', '.join(choices[:limit])}{more}"
