"""The conformance suite finds what is wrong with deliberately broken plugins."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from worldflux.runtime.base import Adapter, RuntimeContext, RuntimeResult
from worldflux.testing import RuntimeSuite


class Plain:
    """A naive plugin: right as far as `subprocess.run` goes. The broken ones change one thing."""

    name = "plain"

    def doctor(self) -> list[str]:
        return ["fine"]

    def build_env(self, adapter: Adapter, install_dir: Path) -> Path | None:
        return None

    def environment(self, ctx: RuntimeContext) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ctx.source_dir), **ctx.env_vars}

    def code(self, returned: int) -> int:
        return returned

    def write_log(self, path: Path, output: bytes) -> None:
        path.write_bytes(output)

    def run(self, ctx: RuntimeContext, command: Sequence[str]) -> RuntimeResult:
        work, log = ctx.output_dir / "artifacts", ctx.output_dir / "logs" / f"{ctx.run_id}.log"
        words = [str(ctx.source_dir / w) if (ctx.source_dir / w).is_file() else w for w in command]
        begun = time.monotonic()
        ended = subprocess.run(
            [sys.executable, *words[1:], *ctx.extra_args],
            cwd=work,
            env=self.environment(ctx),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.write_log(log, ended.stdout)
        return RuntimeResult(self.code(ended.returncode), time.monotonic() - begun, log)

    def teardown(self, ctx: RuntimeContext) -> None:
        return None


class LeaksEnvironment(Plain):
    def environment(self, ctx: RuntimeContext) -> dict[str, str]:
        return {**os.environ, **super().environment(ctx)}


class DecodesOutput(Plain):
    def write_log(self, path: Path, output: bytes) -> None:
        path.write_text(output.decode("utf-8", "replace"))


class HidesFailure(Plain):
    def code(self, returned: int) -> int:
        return 0


class LeavesChildren(Plain):
    """Redirects output to a file, so that it does not even notice the child that lives on."""

    def run(self, ctx: RuntimeContext, command: Sequence[str]) -> RuntimeResult:
        work, log = ctx.output_dir / "artifacts", ctx.output_dir / "logs" / f"{ctx.run_id}.log"
        words = [str(ctx.source_dir / w) if (ctx.source_dir / w).is_file() else w for w in command]
        with log.open("wb") as stream:
            argv = [sys.executable, *words[1:]]
            ended = subprocess.run(argv, cwd=work, env=self.environment(ctx), stdout=stream, stderr=stream)
        return RuntimeResult(ended.returncode, 0.0, log)


class RaisesAtTeardown(Plain):
    def teardown(self, ctx: RuntimeContext) -> None:
        (ctx.output_dir / "artifacts").rmdir()


class TestPlainParts(RuntimeSuite):
    """The naive plugin passes what it can, so a failure below is the broken part's own."""

    runs_here = False

    def make_plugin(self) -> Plain:
        return Plain()

    test_timeout_ends_the_command = None  # type: ignore[assignment]
    test_an_unknown_command_is_an_error = None  # type: ignore[assignment]
    test_children_end_with_the_command = None  # type: ignore[assignment]


Check = Callable[[RuntimeSuite, Plain, Path, pytest.MonkeyPatch], None]

BROKEN: list[tuple[type[Plain], Check]] = [
    (LeaksEnvironment, lambda s, p, t, m: s.test_only_given_variables_arrive(p, t, m)),
    (DecodesOutput, lambda s, p, t, m: s.test_log_is_byte_exact(p, t)),
    (HidesFailure, lambda s, p, t, m: s.test_failure_is_a_result(p, t, 7)),
    (LeavesChildren, lambda s, p, t, m: s.test_children_end_with_the_command(p, t)),
    (RaisesAtTeardown, lambda s, p, t, m: s.test_teardown_is_silent_and_repeatable(p, t)),
]


@pytest.mark.parametrize(("broken", "check"), BROKEN, ids=[cls.__name__ for cls, _ in BROKEN])
def test_broken_plugin_is_caught(
    broken: type[Plain], check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each broken plugin fails the promise it breaks."""
    for name in ("out", "source", "install"):
        (tmp_path / name).mkdir()
    with pytest.raises((AssertionError, OSError)):
        check(RuntimeSuite(), broken(), tmp_path, monkeypatch)
    _end_leftovers(tmp_path)


def _end_leftovers(place: Path) -> None:
    """Ends the process that a broken plugin left; it is found by its working directory."""
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if entry.name.isdigit():
            try:
                if str(place) in os.readlink(entry / "cwd"):
                    os.kill(int(entry.name), 9)
            except OSError:
                continue
