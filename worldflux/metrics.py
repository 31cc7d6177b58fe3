"""`worldflux.log`: append metrics of the run that this program is part of."""

from __future__ import annotations

import os
from collections.abc import Mapping


def log(metrics: Mapping[str, float], step: int | None = None) -> None:
    """Append one line per metric to `$WORLDFLUX_METRICS`; outside a run nothing happens.

    Each line is written at once, so several processes may log to the same file.

    Args:
        metrics: name -> number; NaN and infinities are recorded as such.
        step: position in the series.
    """
    path = os.environ.get("WORLDFLUX_METRICS")
    if not path:
        return
    import json

    at = {} if step is None else {"step": int(step)}
    rows = (json.dumps({"name": name, "value": float(value), **at}) for name, value in metrics.items())
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, "".join(f"{row}\n" for row in rows).encode())
    finally:
        os.close(handle)
