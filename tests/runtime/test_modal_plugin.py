"""runtime=modal keeps the promises of a runtime, over both protocols of the real SDK."""

from __future__ import annotations

import pytest
from modal_bench import Bench

from worldflux.testing import RuntimeSuite

pytestmark = pytest.mark.filterwarnings("default::modal.exception.DeprecationError")


class TestWithoutGpu(Bench, RuntimeSuite):
    """The second version of the protocol."""

    stop_seconds = 20.0


@pytest.mark.slow
class TestWithGpu(Bench, RuntimeSuite):
    """The first version, which a GPU selects."""

    gpu = "T4"
    stop_seconds = 20.0
