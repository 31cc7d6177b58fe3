"""runtime=modal keeps the promises of a runtime, over both protocols of the real SDK."""

from __future__ import annotations

from pathlib import Path

import pytest
from modal_bench import Bench

from worldflux.testing import RuntimeSuite

pytestmark = pytest.mark.filterwarnings("default::modal.exception.DeprecationError")


class TestWithoutGpu(Bench, RuntimeSuite):
    """The second version of the protocol."""

    stop_seconds = 20.0

    def test_an_exit_code_that_looks_like_a_signal_stays_one(self, place: Path) -> None:
        """139 is what shells say for SIGSEGV; here the number and the signal are told apart."""
        results = [
            self.carry_out(self.make_plugin(), self.context(place), self.script(place, text)).exit_code
            for text in ("raise SystemExit(139)", "import os; os.kill(os.getpid(), 11)")
        ]
        assert results == [139, -11]

    def test_bytes_that_are_no_text_arrive(self, place: Path) -> None:
        """One bad byte neither ends the run nor is replaced."""
        command = self.script(place, "import os; os.write(1, bytes(range(256)))")
        result = self.carry_out(self.make_plugin(), self.context(place), command)
        assert result.log_path.read_bytes() == bytes(range(256))


@pytest.mark.slow
class TestWithGpu(Bench, RuntimeSuite):
    """The first version, which a GPU selects."""

    gpu = "T4"
    stop_seconds = 20.0
