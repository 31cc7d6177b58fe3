"""The forms that WorldFlux publishes, to hold answers against."""

from __future__ import annotations

import functools
from typing import Any

from worldflux.cli import schema


@functools.cache
def form(name: str) -> Any:
    """A validator of a schema of the command line's, such as `cli`, which is a good schema itself.

    Made once in a process: to look at the schema takes a third of a second, at an answer a thousandth.
    """
    from jsonschema.validators import validator_for

    document = schema.load(name)
    kind = validator_for(document)
    kind.check_schema(document)
    return kind(document)
