"""The server, an extra: whoever imports a part of it learns at once what is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from worldflux.errors import WorldFluxError

for _name in ("sqlalchemy", "fastapi"):
    if find_spec(_name) is None:
        raise WorldFluxError(
            f"the server needs {_name}, which is not installed",
            "pip install 'worldflux[server]'",
            code="extra",
        )
