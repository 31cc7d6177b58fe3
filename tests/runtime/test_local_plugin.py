"""runtime=local keeps every promise of a runtime plugin."""

from __future__ import annotations

from worldflux.runtime.local_plugin import LocalPlugin
from worldflux.testing import RuntimeSuite


class TestLocalPlugin(RuntimeSuite):
    def make_plugin(self) -> LocalPlugin:
        return LocalPlugin(grace_seconds=0.5)
