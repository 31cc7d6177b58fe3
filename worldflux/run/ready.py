"""What is found out about a run before its turn has come, and leaves nothing behind."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worldflux.errors import UsageError
from worldflux.run.background import RECENT_SECONDS
from worldflux.run.draft import stored_texts
from worldflux.run.preflight import Findings, look_up

if TYPE_CHECKING:
    from worldflux.config.request import RunRequest
    from worldflux.run.engine import Place
    from worldflux.runtime.base import RuntimePlugin


@dataclass(frozen=True)
class Ready:
    """What was looked up for a run before its turn has come.

    Attributes:
        forwarded: variables of this process that go to the command.
        found: what the catalog says.
        texts: name -> content of the configuration files beside the manifest, free of secrets.
        at: when, on the monotonic clock.
    """

    forwarded: Mapping[str, str]
    found: Findings
    texts: Mapping[str, bytes]
    at: float = field(default_factory=time.monotonic)

    @property
    def fresh(self) -> bool:
        """Whether it can still be relied on."""
        return time.monotonic() - self.at < RECENT_SECONDS


def prepare(request: RunRequest, plugin: RuntimePlugin, place: Place) -> Ready:
    """The part of a run that leaves nothing behind.

    Raises:
        UsageError: see `execute`.
        RefusedError: a variable is not allowed, or the configuration carries a secret.
    """
    forwarded = check(request, plugin, place)
    found = look_up(request)
    texts = stored_texts(request)
    for name, data in texts.items():
        place.gate.refuse(data, name)
    return Ready(forwarded, found, texts)


def check(request: RunRequest, plugin: RuntimePlugin, place: Place) -> dict[str, str]:
    """The part of the preflight that leaves nothing behind; returns the forwarded variables.

    Raises:
        UsageError: a required variable is not set, or the runtime's doctor reports an error.
        RefusedError: a variable is not allowed.
    """
    from worldflux.runtime.environment import forwarded as take

    spec = request.spec
    typed = any(text.lstrip("+").startswith("runtime.env.pass") for text in request.overrides)
    allowed = (*place.allowed_variables, *(spec.runtime.env.pass_ if typed else ()))
    values, missing = take((*spec.env.pass_, *spec.runtime.env.pass_), place.environ, allowed=allowed)
    if missing:
        raise UsageError(
            f"recipe {spec.recipe} needs the variable {', '.join(missing)}, which is not set",
            f"export {missing[0]}=..., or write `{missing[0]}?` under env.pass when it may be missing",
            code="variable",
        )
    errors = [line for line in plugin.doctor() if line.startswith("error:")]
    if errors:
        text = "; ".join(line.removeprefix("error:").strip() for line in errors)
        raise UsageError(
            f"runtime {plugin.name} can not run: {text}",
            f"worldflux runtime doctor {plugin.name}",
            code="doctor",
        )
    return values
