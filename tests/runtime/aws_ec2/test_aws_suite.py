"""runtime=aws-ec2 keeps every promise of a runtime plugin, on machines that really boot."""

from __future__ import annotations

from typing import Any

import pytest
from aws_world import QUICK, World

from worldflux.runtime.aws_ec2_plugin import AwsEc2Plugin
from worldflux.testing import RuntimeSuite


class TestAwsEc2Plugin(RuntimeSuite):
    #: Booting, uploading and terminating are part of it.
    stop_seconds = 60.0

    @pytest.fixture(autouse=True)
    def _world(self, world: World) -> None:
        self.world = world

    def make_plugin(self) -> AwsEc2Plugin:
        options: dict[str, Any] = {**QUICK, "instance_types": ["c5.large"], "lifetime": 90}
        return AwsEc2Plugin(**options, market="on-demand", cost_guard={"max_usd": 1.0})

    @pytest.fixture(autouse=True)
    def _all_gone(self, _world: None) -> Any:
        """After each promise: every machine is terminated, and nothing of the run is left in S3."""
        yield
        assert self.world.alive == []
