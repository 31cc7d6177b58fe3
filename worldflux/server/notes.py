"""Lines for who runs the server, on standard error: one JSON object each."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from worldflux.manifest.model import utc_now

_STANDARD_ERROR = 2


def note(**facts: Any) -> None:
    """Write one line, with the time; the facts hold no secrets.

    One write for a line, for several workers share the stream. A log that is full or closed stops nobody.
    """
    line = json.dumps({"at": utc_now(), **facts}, ensure_ascii=True)
    with contextlib.suppress(OSError):
        os.write(_STANDARD_ERROR, (line + "\n").encode())
