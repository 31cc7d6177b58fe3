"""One AWS for a test session and a project to run in; machines die with their test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from aws_world import World
from fake_aws import FakeAws
from fake_machine import Hypervisor, available


@pytest.fixture(scope="session")
def one_aws() -> Iterator[FakeAws]:
    pytest.importorskip("moto")
    import warm_botocore  # noqa: F401  heavy, and wanted by these tests alone

    aws = FakeAws()
    yield aws
    aws.close()


@pytest.fixture(scope="session")
def one_house(one_aws: FakeAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hypervisor]:
    why = available()
    if why:
        if os.environ.get("WORLDFLUX_TEST_REQUIRE_ALL") == "1":
            pytest.fail(why)
        pytest.skip(why)
    house = Hypervisor(one_aws, tmp_path_factory.mktemp("machines"))
    yield house
    house.close()


@pytest.fixture
def aws(one_aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAws]:
    """AWS with our credentials in the environment, the bucket and an image."""
    one_aws.sign_in(monkeypatch)
    monkeypatch.setattr("worldflux.runtime.aws_ec2.cloud._shared", {})
    one_aws.calm()
    yield one_aws
    one_aws.calm()


@pytest.fixture
def world(aws: FakeAws, one_house: Hypervisor, tmp_path: Path) -> Iterator[World]:
    """A project, AWS, and machines that boot."""
    world = World(aws, one_house, tmp_path)
    yield world
    world.close()
