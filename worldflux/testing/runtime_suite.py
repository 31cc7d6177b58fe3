"""The conformance suite of runtime plugins.

A plugin's test inherits it and says how to make one:

    from worldflux.testing import RuntimeSuite

    class TestMyRuntime(RuntimeSuite):
        def make_plugin(self):
            return MyPlugin()

Each test states one promise of `worldflux.runtime.base`. A promise that a place can not keep is
switched off by its class attribute, which says so in the open, instead of by a skip.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from worldflux.errors import WorldFluxError
from worldflux.manifest.model import new_run_id
from worldflux.runtime.base import (
    OUTCOMES,
    RESERVED_METADATA,
    Adapter,
    RuntimeContext,
    RuntimePlugin,
    RuntimeResult,
    furnish,
)

#: A child in a session of its own, which a signal to the command's group does not reach.
SLEEPING_CHILD = (
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
)


class RuntimeSuite:
    """Promises that every runtime plugin keeps."""

    #: The runtime reports the signal that ended a command.
    reports_signals = True
    #: Processes of the command can be looked for on this machine.
    runs_here = True
    #: Longest time that ending a command may take, beyond its timeout; seconds.
    stop_seconds = 8.0
    #: Interpreter that the runtime's machine knows as this word.
    python = "python"

    def make_plugin(self) -> RuntimePlugin:
        """A fresh plugin with options that suit tests (short graces)."""
        raise NotImplementedError("say how to make the plugin")

    @pytest.fixture
    def plugin(self) -> RuntimePlugin:
        return self.make_plugin()

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        for name in ("out", "source", "install"):
            (tmp_path / name).mkdir()
        return tmp_path

    def context(self, place: Path, **changes: Any) -> RuntimeContext:
        """A context for one run below `place`."""
        run_id = changes.pop("run_id", None) or new_run_id()
        folder = place / "out" / run_id
        folder.mkdir(parents=True)
        furnish(folder)
        values: dict[str, Any] = {
            "adapter_id": "suite",
            "task": "eval",
            "output_dir": folder,
            "install_dir": place / "install",
            "source_dir": place / "source",
            "venv_python": None,
            "timeout": 60.0,
            "env_vars": {"WORLDFLUX_RUN_ID": run_id, "WORLDFLUX_RUN_MARK": str(uuid.uuid4())},
            "extra_args": (),
            "run_id": run_id,
        }
        values["env_vars"] = {**values["env_vars"], **changes.pop("env_vars", {})}
        return RuntimeContext(**{**values, **changes})

    def carry_out(
        self, plugin: RuntimePlugin, context: RuntimeContext, command: Sequence[str]
    ) -> RuntimeResult:
        """Run and tear down, as the engine does."""
        try:
            return plugin.run(context, command)
        finally:
            plugin.teardown(context)

    def script(self, place: Path, text: str) -> list[str]:
        """A command that runs this Python text as a file of the recipe."""
        (place / "source" / "main.py").write_text(text, encoding="utf-8")
        return [self.python, "main.py"]

    def test_has_the_four_methods_and_a_name(self, plugin: RuntimePlugin) -> None:
        """A plugin is what the protocol says, under a name that can be typed."""
        assert isinstance(plugin, RuntimePlugin)
        assert plugin.name and all(c.islower() or c.isdigit() or c == "-" for c in plugin.name)

    def test_doctor_is_a_list_of_lines(self, plugin: RuntimePlugin) -> None:
        """doctor() returns single, printable lines, and can be asked again."""
        for lines in (plugin.doctor(), plugin.doctor()):
            assert isinstance(lines, list) and lines
            assert all(isinstance(line, str) and line.strip() and "\n" not in line for line in lines)

    def test_build_env_without_requirements_needs_nothing(self, plugin: RuntimePlugin, place: Path) -> None:
        """Without a lock there is nothing to build, and the answer stays the same."""
        adapter = Adapter("suite")
        assert plugin.build_env(adapter, place / "install") == plugin.build_env(adapter, place / "install")

    def test_success_is_exit_code_zero(self, plugin: RuntimePlugin, place: Path) -> None:
        """A command that ends well is reported with 0, a duration and its log at the fixed path."""
        context = self.context(place)
        result = self.carry_out(plugin, context, self.script(place, "print('hello')"))
        assert result.exit_code == 0
        assert 0 <= result.duration_seconds < 60
        assert result.log_path == context.output_dir / "logs" / f"{context.run_id}.log"
        assert result.log_path.read_bytes() == b"hello\n"

    @pytest.mark.parametrize("code", [1, 7, 255])
    def test_failure_is_a_result(self, plugin: RuntimePlugin, place: Path, code: int) -> None:
        """An exit code other than 0 comes back exactly, and does not raise."""
        result = self.carry_out(plugin, self.context(place), self.script(place, f"raise SystemExit({code})"))
        assert result.exit_code == code

    def test_a_signal_is_a_negative_code(self, plugin: RuntimePlugin, place: Path) -> None:
        """A command ended by a signal is told apart from one that returned a number."""
        text = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
        result = self.carry_out(plugin, self.context(place), self.script(place, text))
        assert result.exit_code == -11 if self.reports_signals else result.exit_code != 0

    def test_an_unknown_command_is_an_error(self, plugin: RuntimePlugin, place: Path) -> None:
        """A command that does not exist is explained, or reported as exit code 127."""
        context = self.context(place)
        try:
            result = self.carry_out(plugin, context, ["no-such-command-anywhere"])
        except WorldFluxError as error:
            assert "no-such-command-anywhere" in error.problem
        else:
            assert result.exit_code == 127

    def test_log_is_byte_exact(self, plugin: RuntimePlugin, place: Path) -> None:
        """Every byte of both streams arrives, also those that are no text."""
        text = (
            "import sys\n"
            "sys.stdout.buffer.write(bytes(range(256)) * 300); sys.stdout.flush()\n"
            "sys.stderr.buffer.write(b'\\xff\\xfe last'); sys.stderr.flush()\n"
        )
        result = self.carry_out(plugin, self.context(place), self.script(place, text))
        assert result.log_path.read_bytes() == bytes(range(256)) * 300 + b"\xff\xfe last"

    def test_only_given_variables_arrive(
        self, plugin: RuntimePlugin, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A secret of this process stays here; what the context holds is there."""
        monkeypatch.setenv("SUITE_API_TOKEN", "must-not-travel")
        monkeypatch.setenv("WORLDFLUX_API_KEY", "must-not-travel-either")
        context = self.context(place, env_vars={"SUITE_GIVEN": "a b 'c' \" é"})
        text = "import json, os; json.dump(dict(os.environ), open('env.json', 'w'))"
        self.carry_out(plugin, context, self.script(place, text))
        seen = json.loads((context.output_dir / "artifacts" / "env.json").read_text())
        assert seen["SUITE_GIVEN"] == "a b 'c' \" é"
        assert seen["WORLDFLUX_RUN_ID"] == context.run_id
        assert not {"SUITE_API_TOKEN", "WORLDFLUX_API_KEY"} & seen.keys()
        assert "must-not-travel" not in json.dumps(seen)

    def test_files_land_in_artifacts(self, plugin: RuntimePlugin, place: Path) -> None:
        """The working directory is the run's own, and what is written there is brought home."""
        context = self.context(place)
        text = "import os; os.makedirs('a/b'); open('a/b/c.bin', 'wb').write(b'\\x00' * 70000)"
        self.carry_out(plugin, context, self.script(place, text))
        assert (context.output_dir / "artifacts" / "a" / "b" / "c.bin").read_bytes() == b"\0" * 70000

    def test_source_files_are_found_and_left_alone(self, plugin: RuntimePlugin, place: Path) -> None:
        """A script of the recipe is found by its relative name, imports its neighbours, stays as it was."""
        (place / "source" / "neighbour.py").write_text("VALUE = 41\n", encoding="utf-8")
        command = self.script(place, "import neighbour; print(neighbour.VALUE + 1)")
        before = sorted(p.name for p in (place / "source").iterdir())
        result = self.carry_out(plugin, self.context(place), command)
        assert result.log_path.read_bytes() == b"42\n"
        assert sorted(p.name for p in (place / "source").iterdir() if p.name != "__pycache__") == before

    def test_arguments_arrive_unchanged(self, plugin: RuntimePlugin, place: Path) -> None:
        """No shell touches the words, neither of the command nor of the extra arguments."""
        words = ["a b", "$HOME", "`id`", "é", "", "*", '"', "\\", "; exit 3", "--x=1 2"]
        context = self.context(place, extra_args=("extra one", "$(two)"))
        command = [*self.script(place, "import json, sys; print(json.dumps(sys.argv[1:]))"), *words]
        result = self.carry_out(plugin, context, command)
        assert json.loads(result.log_path.read_text()) == [*words, "extra one", "$(two)"]

    def test_standard_input_is_empty(self, plugin: RuntimePlugin, place: Path) -> None:
        """A command that asks a question gets no answer, and does not wait for one."""
        result = self.carry_out(
            plugin, self.context(place), self.script(place, "import sys; print(sys.stdin.read())")
        )
        assert result.exit_code == 0 and result.log_path.read_bytes() == b"\n"

    def test_timeout_ends_the_command(self, plugin: RuntimePlugin, place: Path) -> None:
        """At the limit the command and its children are ended, and the result says why."""
        context = self.context(place, timeout=1.0)
        text = (
            "import signal, subprocess, sys, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            f"{SLEEPING_CHILD}"
            "time.sleep(600)\n"
        )
        begun = time.monotonic()
        result = self.carry_out(plugin, context, self.script(place, text))
        assert time.monotonic() - begun < 1.0 + self.stop_seconds
        assert result.metadata.get("outcome") == "timeout" and result.exit_code != 0
        self.assert_nothing_left(context)

    def test_children_end_with_the_command(self, plugin: RuntimePlugin, place: Path) -> None:
        """A process that the command left behind does not outlive the run."""
        context = self.context(place)
        text = f"import subprocess, sys\n{SLEEPING_CHILD}"
        assert self.carry_out(plugin, context, self.script(place, text)).exit_code == 0
        self.assert_nothing_left(context)

    def test_cancel_ends_the_command(self, plugin: RuntimePlugin, place: Path) -> None:
        """A plugin that offers cancel() ends the run when another thread calls it."""
        cancel = getattr(plugin, "cancel", None)
        if cancel is None:
            return
        context = self.context(place)
        threading.Timer(0.8, cancel, (context,)).start()
        result = self.carry_out(plugin, context, self.script(place, "import time; time.sleep(600)"))
        assert result.metadata.get("outcome") == "cancelled"
        self.assert_nothing_left(context)

    def test_metadata_fits_the_manifest(self, plugin: RuntimePlugin, place: Path) -> None:
        """Metadata is JSON, uses no reserved name, and its outcome is one the engine knows."""
        result = self.carry_out(plugin, self.context(place), self.script(place, "pass"))
        json.dumps(dict(result.metadata), allow_nan=False)
        assert not RESERVED_METADATA & result.metadata.keys()
        assert result.metadata.get("outcome", "exited") in OUTCOMES
        assert result.cost_estimate_usd is None or result.cost_estimate_usd >= 0

    def test_two_runs_at_once_do_not_mix(self, plugin: RuntimePlugin, place: Path) -> None:
        """One plugin carries out runs side by side, each with its own log and files."""
        text = "import os; who = os.environ['WHO']; print(who * 1000); open(who, 'w')"
        command = self.script(place, text)
        contexts = [self.context(place, env_vars={"WHO": who}) for who in ("left", "right")]
        results: dict[str, RuntimeResult] = {}

        def one(context: RuntimeContext) -> None:
            results[context.env_vars["WHO"]] = self.carry_out(plugin, context, command)

        threads = [threading.Thread(target=one, args=(context,)) for context in contexts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for context in contexts:
            who = context.env_vars["WHO"]
            assert results[who].log_path.read_text() == who * 1000 + "\n"
            assert [p.name for p in (context.output_dir / "artifacts").iterdir()] == [who]

    def test_teardown_is_silent_and_repeatable(self, plugin: RuntimePlugin, place: Path) -> None:
        """teardown() of a run that never was, and a second time, changes nothing and raises nothing."""
        context = self.context(place)
        plugin.teardown(context)
        self.carry_out(plugin, context, self.script(place, "pass"))
        plugin.teardown(context)

    def assert_nothing_left(self, context: RuntimeContext) -> None:
        """No process of the run is alive a moment after it ended."""
        if not self.runs_here or not sys.platform.startswith("linux"):
            return
        mark = f"WORLDFLUX_RUN_MARK={context.env_vars['WORLDFLUX_RUN_MARK']}".encode()
        deadline = time.monotonic() + 1.0
        while alive := [pid for pid in os.listdir("/proc") if pid.isdigit() and _carries(pid, mark)]:
            assert time.monotonic() < deadline, f"processes {alive} outlived the run"
            time.sleep(0.02)


def _carries(pid: str, mark: bytes) -> bool:
    try:
        if mark not in Path("/proc", pid, "environ").read_bytes().split(b"\0"):
            return False
        return Path("/proc", pid, "stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False
