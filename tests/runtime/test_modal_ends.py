"""How a run on Modal ends, what it costs, what travels, and what is left when something breaks."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from modal_bench import Bench

from worldflux.errors import RefusedError, TemporaryError, UsageError, WorldFluxError
from worldflux.runtime.base import Adapter, RuntimeResult
from worldflux.runtime.modal import sandbox as rooms
from worldflux.runtime.modal import sdk
from worldflux.runtime.modal.streams import Pump
from worldflux.runtime.modal_plugin import ModalPlugin
from worldflux.testing import RuntimeSuite

pytestmark = pytest.mark.filterwarnings("default::modal.exception.DeprecationError")
SLEEP = "import time; print('sleeping', flush=True); time.sleep(600)"


class Ends(Bench):
    """The suite's own tools, without its tests."""

    place = RuntimeSuite.place
    context = RuntimeSuite.context
    carry_out = RuntimeSuite.carry_out
    script = RuntimeSuite.script

    def run_text(
        self, place: Path, text: str, plugin: ModalPlugin | None = None, **changes: Any
    ) -> RuntimeResult:
        self.ctx = self.context(place, **changes)
        return self.carry_out(plugin or self.make_plugin(), self.ctx, self.script(place, text))

    def when(self, ready: Callable[[], bool], act: Callable[[], object]) -> None:
        """Do something in a thread, once something is so."""

        def wait() -> None:
            until = time.monotonic() + 30
            while not ready() and time.monotonic() < until:
                time.sleep(0.02)
            act()

        threading.Thread(target=wait, daemon=True).start()

    def ran(self) -> bool:
        """The command has written to its log."""
        log = self.ctx.output_dir / "logs" / f"{self.ctx.run_id}.log"
        return log.exists() and log.stat().st_size > 0


class TestEnds(Ends):
    def test_the_record_says_where_and_how_much(self, place: Path) -> None:
        """Machine, protocol, price with its date, and facts of the far machine are in the result."""
        result = self.run_text(place, "pass", self.make_plugin(gpu="T4", cpu=2, memory_mb=1024))
        facts = result.metadata
        assert (facts["gpu"], facts["backend"], len(facts["sandbox"])) == ("T4", "v1", 25)
        rate = 0.000164 + 2 * 0.00003942 + 0.00000672
        assert facts["cost"]["price_per_hour"] == pytest.approx(rate * 3600, abs=1e-6)
        assert facts["cost"]["price_date"] and facts["cost"]["excludes"]
        assert result.cost_estimate_usd == pytest.approx(
            sum(p["amount_usd"] for p in facts["cost"]["parts"]), abs=1e-5
        )
        assert facts["environment"]["os"] == "Linux" and facts["hardware"]["memory_bytes"] > 0
        assert self.run_text(place, "pass").metadata["backend"] == "v2"

    def test_the_sandbox_ends_itself(self, place: Path) -> None:
        """Its own timeout covers start, run and fetch; with a budget never more than that pays for."""
        self.run_text(place, "pass", self.make_plugin(start_seconds=50, fetch_seconds=30), timeout=20.0)
        price = self.make_plugin().settings.price().per_second
        assert price is not None
        self.run_text(place, "pass", self.make_plugin(cost_guard={"max_usd": price * 40}), timeout=600.0)
        first, second = (box.definition for box in self.world.boxes.values())
        assert first.timeout_secs == 50 + 20 + 30 + rooms.SLACK + rooms.GRACE
        assert second.timeout_secs == 40
        assert first.resources.milli_cpu == first.resources.milli_cpu_max == 1000
        assert first.resources.memory_mb == first.resources.memory_mb_max == 2048

    def test_a_spent_budget_ends_the_run_within_it(self, place: Path) -> None:
        """Start and download are paid from it, too; what was written is brought home."""
        price = self.make_plugin().settings.price().per_second
        assert price is not None
        plugin = self.make_plugin(cost_guard={"max_usd": price * 20})
        result = self.run_text(place, "open('a', 'w').write('x'); " + SLEEP, plugin, timeout=600.0)
        assert result.metadata["outcome"] == "refused" and "budget" in result.metadata["reason"]
        assert result.cost_estimate_usd is not None and result.cost_estimate_usd <= price * 20
        assert (self.ctx.output_dir / "artifacts" / "a").read_text() == "x"

    @pytest.mark.parametrize(
        ("options", "error", "what"),
        [
            ({"cost_guard": {"max_usd": 0.00001}}, RefusedError, "pays for"),
            ({"gpu": "T5"}, UsageError, "known: T4"),
            ({"gpu": "T4:many"}, UsageError, "count"),
        ],
    )
    def test_what_can_not_be_paid_for_is_refused_first(
        self, place: Path, options: dict[str, Any], error: type[Exception], what: str
    ) -> None:
        """Before an image is built or a sandbox asked for."""
        plugin = self.make_plugin(**options)
        with pytest.raises(error, match=what):
            plugin.build_env(Adapter("suite"), place / "install")
        with pytest.raises(error, match=what):
            self.run_text(place, "pass", plugin)
        assert self.world.log == []

    def test_a_price_of_ones_own_counts(self, place: Path) -> None:
        """cost_guard.price_per_hour stands in for the table, also for a GPU that it does not have."""
        plugin = self.make_plugin(cost_guard={"price_per_hour": 3600.0})
        result = self.run_text(place, "pass", plugin)
        assert result.cost_estimate_usd is not None and result.cost_estimate_usd > 0.1
        assert result.metadata["cost"]["price_source"] == "cost_guard.price_per_hour"

    def test_a_timeout_still_brings_files_home(self, place: Path) -> None:
        """The command is asked politely first, and what it saved then is there."""
        text = (
            "import time\n"
            "try:\n    print('up', flush=True); time.sleep(600)\n"
            "except KeyboardInterrupt:\n    open('checkpoint', 'w').write('saved')"
        )
        result = self.run_text(place, text, timeout=12.0)
        assert result.metadata["outcome"] == "timeout"
        assert (self.ctx.output_dir / "artifacts" / "checkpoint").read_text() == "saved"

    def test_broken_streams_lose_nothing(self, place: Path) -> None:
        """Three breaks: every line arrives once and in order, of both streams."""
        self.world.cut_streams, self.world.cut_after = 3, 20_000
        text = (
            "import sys\nfor i in range(20000):\n"
            "    print(i, file=sys.stdout if i % 2 else sys.stderr, flush=True)"
        )
        result = self.run_text(place, text)
        assert self.world.cut_streams == 0
        assert result.log_path.read_bytes() == b"".join(b"%d\n" % i for i in range(20000))

    def test_the_log_has_a_cap(self, place: Path) -> None:
        """What goes over it is dropped, the command goes on, and the record says so."""
        result = self.run_text(place, "print('x' * 5000)", self.make_plugin(log_cap_mb=0.001))
        assert result.exit_code == 0 and result.log_path.stat().st_size == 1000
        assert result.metadata["log_truncated"] is True

    def test_files_have_a_cap_and_the_recipes_come_first(self, place: Path) -> None:
        """Over the limit, the recipe's own files are brought home and the rest is named."""
        plugin = self.make_plugin(download_cap_mb=0.06, artifacts=[{"path": "z/*.bin"}])
        text = (
            "import os; os.mkdir('z'); [open(n, 'wb').write(b'x' * 50_000) for n in ('a.tmp', 'z/keep.bin')]"
        )
        result = self.run_text(place, text, plugin)
        assert [p.name for p in result.artifacts] == ["keep.bin"]
        assert result.metadata["artifacts_left_out"] == [{"path": "a.tmp", "bytes": 50_000}]

    def test_a_hostile_archive_stays_in_its_place(self, place: Path) -> None:
        """A command that answers for the agent can not write outside of the run's folder."""
        text = (
            "import os, sys\n"
            "open('/worldflux/agent.py', 'w').write('''\n"
            "import io, sys, tarfile\n"
            "tar = tarfile.open(fileobj=sys.stdout.buffer, mode='w|')\n"
            "for name in '../../escape /etc/escape manifest.json artifacts/../../up artifacts/ok'.split():\n"
            "    entry = tarfile.TarInfo(name); entry.size = 2\n"
            "    tar.addfile(entry, io.BytesIO(b'hi'))\n"
            "link = tarfile.TarInfo('artifacts/link'); link.type = tarfile.SYMTYPE\n"
            "link.linkname = '/etc/passwd'\n"
            "tar.addfile(link); tar.close()\n"
            "''')"
        )
        result = self.run_text(place, text)
        assert [p.name for p in result.artifacts] == ["ok"]
        assert len(result.metadata["artifacts_refused"]) == 5
        files = [p for p in (place / "out").rglob("*") if p.name in ("escape", "up", "link", "manifest.json")]
        assert files == []


class TestWhatBreaks(Ends):
    @pytest.mark.parametrize("gpu", [None, "T4"])
    def test_ctrl_c_before_there_is_a_handle(self, place: Path, gpu: str | None) -> None:
        """The server has the sandbox, we never learnt its name: it is found by the run's tag and ended."""
        self.world.late_create = 3.0
        plugin, context = self.make_plugin(gpu=gpu), self.context(place)
        self.when(lambda: bool(self.world.boxes), lambda: plugin.cancel(context))
        result = self.carry_out(plugin, context, self.script(place, SLEEP))
        assert result.metadata["outcome"] == "cancelled" and "sandbox" not in result.metadata
        assert len(self.world.boxes) == 1 and self.world.running() == []

    @pytest.mark.parametrize("gpu", [None, "T4"])
    def test_a_cancelled_run_keeps_its_files(self, place: Path, gpu: str | None) -> None:
        """The command is asked politely, and what it saved then comes home before the sandbox ends."""
        text = (
            "import time\nopen('early', 'w').write('1')\n"
            "try:\n    print('up', flush=True); time.sleep(600)\n"
            "except KeyboardInterrupt:\n    open('late', 'w').write('2')"
        )
        plugin, self.ctx = self.make_plugin(gpu=gpu), self.context(place)
        self.when(self.ran, lambda: plugin.cancel(self.ctx))
        result = self.carry_out(plugin, self.ctx, self.script(place, text))
        assert result.metadata["outcome"] == "cancelled" and result.exit_code < 0
        assert sorted(path.name for path in result.artifacts) == ["early", "late"]
        assert result.metadata["hardware"]["memory_bytes"] > 0
        assert self.world.running() == []

    def test_cancelled_twice_waits_for_nothing(self, place: Path) -> None:
        """A command that does not listen is given its grace, but not to who asks again."""
        text = (
            "import signal, time; signal.signal(2, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
        )
        plugin, self.ctx = self.make_plugin(), self.context(place)

        def twice() -> None:
            plugin.cancel(self.ctx)
            plugin.cancel(self.ctx)

        self.when(self.ran, twice)
        result = self.carry_out(plugin, self.ctx, self.script(place, text))
        assert result.metadata["outcome"] == "cancelled" and self.world.running() == []
        assert "TaskExecStdioRead" in self.world.names() and result.artifacts == ()
        assert "not_brought_home" in result.metadata

    def test_an_interrupt_leaves_nothing(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """KeyboardInterrupt while the command runs goes on, and the sandbox is gone."""
        monkeypatch.setattr(Pump, "finished", lambda self: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            self.run_text(place, "pass")
        assert self.world.running() == []

    def test_a_refused_end_is_tried_again_and_told(self, place: Path) -> None:
        """One failure is made good by the sweep; one that stays is in the record."""
        self.world.refuse_terminate = 1
        assert "left_running" not in self.run_text(place, "pass").metadata
        assert self.world.running() == []
        self.world.refuse_terminate = 100
        with pytest.raises(WorldFluxError):
            plugin, context = self.make_plugin(), self.context(place)
            result = plugin.run(context, self.script(place, "pass"))
            assert len(result.metadata["left_running"]) == 1
            raise WorldFluxError("seen")
        self.world.refuse_terminate = 0
        plugin.teardown(context)
        assert self.world.running() == []

    def test_a_sandbox_that_dies_ends_the_run(self, place: Path) -> None:
        """A machine that is taken away is an error that says so, not a wait without end."""
        from modal_proto.api_pb2 import GenericResult

        def take_away() -> None:
            (box,) = self.world.running()
            loop = self.world._loop
            loop.call_soon_threadsafe(box.finish, GenericResult.GENERIC_STATUS_TERMINATED, 137)

        self.ctx = self.context(place)
        self.when(self.ran, take_away)
        try:
            result = self.carry_out(self.make_plugin(), self.ctx, self.script(place, SLEEP))
        except WorldFluxError as error:
            assert "modal could not" in error.problem
        else:
            assert result.exit_code != 0

    def test_a_server_that_is_gone_ends_the_run(self, place: Path) -> None:
        """No answer for good: the run fails in bounded time with the next command to type."""
        self.ctx = self.context(place)
        plugin = self.make_plugin()
        self.when(self.ran, self.world.stop)
        began = time.monotonic()
        with pytest.raises(TemporaryError, match="modal could not"):
            self.carry_out(plugin, self.ctx, self.script(place, SLEEP))
        assert time.monotonic() - began < 90

    def test_a_failed_build_is_explained(self, place: Path) -> None:
        """The builder's own words, before any sandbox is paid for; a second try is a new one."""
        plugin = self.make_plugin(apt=["FAIL_BUILD"])
        for _ in range(2):
            with pytest.raises(WorldFluxError, match=r"could not be built: .*FAIL_BUILD"):
                plugin.build_env(Adapter("suite"), place / "install")
        plugin.teardown(self.context(place))

    def test_no_room_is_temporary(self, place: Path) -> None:
        """A workspace limit says to try again or to choose another GPU."""
        with pytest.raises(TemporaryError, match="GPU limit"):
            self.run_text(place, "pass", self.make_plugin(gpu="B200"))

    def test_reap_ends_named_runs_only(self, place: Path) -> None:
        """By tag: a run of somebody else in the same app, and a sandbox without a tag, stay."""
        import modal

        account = modal.Client.from_credentials("ak-stand-in", "as-stand-in-secret")
        app = modal.App.lookup("worldflux-tests", create_if_missing=True, client=account)
        image = modal.Image.debian_slim(python_version="3.11")
        for tags in ({"worldflux_run": "dead"}, {"worldflux_run": "alive"}, {"other": "x"}):
            modal.Sandbox.create(app=app, image=image, tags=tags, timeout=60, client=account).detach()
        plugin = self.make_plugin()
        rows, problems = plugin.reap(["dead"], end=False)
        assert {row["run_id"] for row in rows} == {"dead", "alive"} and not any(row["ended"] for row in rows)
        rows, problems = plugin.reap(["dead"])
        assert {row["run_id"]: row["ended"] for row in rows} == {"dead": True, "alive": False}
        assert problems == [] and len(self.world.running()) == 2
        sdk.close(account)

    def test_commands_end_with_the_server(self, tmp_path: Path) -> None:
        """The stand-in keeps its own promise: killed with SIGKILL, nothing of its sandboxes lives on."""
        text = (
            "import os, sys, time, pathlib\n"
            "from worldflux.testing.modal_server import ModalServer\n"
            "server = ModalServer(pathlib.Path(sys.argv[1])).__enter__()\n"
            "os.environ.update(server.variables())\n"
            "import modal\n"
            "app = modal.App.lookup('x', create_if_missing=True)\n"
            "image = modal.Image.debian_slim(python_version='3.11')\n"
            "sandbox = modal.Sandbox.create(app=app, image=image)\n"
            "sandbox.exec('setsid', 'sleep', '31.4159')\n"
            "print('up', flush=True); time.sleep(60)\n"
        )
        words = [sys.executable, "-c", text, str(tmp_path)]
        child = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"up\n"
        child.kill()
        child.wait()
        child.stdout.close()
        until = time.monotonic() + 60
        while _alive("31.4159") and time.monotonic() < until:
            time.sleep(0.05)
        assert not _alive("31.4159")


class TestWhatTravels(Ends):
    def test_only_the_allowed_variable_is_sent(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of what this process holds, the server sees what the context holds, and nothing else."""
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-aws-value")
        monkeypatch.setenv("HF_TOKEN", "planted-hf-value")
        (place / "source" / ".env").write_text("KEY=planted-file-value")
        given = {"HF_TOKEN": "planted-hf-value"}
        result = self.run_text(place, "import os; print(sorted(os.environ))", env_vars=given)
        seen = result.log_path.read_text()
        assert "HF_TOKEN" in seen and "AWS" not in seen and "MODAL_TOKEN" not in seen
        sent = self.world.sent()
        assert b"planted-hf-value" in sent
        assert b"planted-aws-value" not in sent and b"planted-file-value" not in sent
        assert b"planted" not in b"".join(self.world.files.values())

    def test_plan_lists_what_would_travel(self, place: Path) -> None:
        """The dry run names files, price and the most it can cost, and asks nobody."""
        for name in ("main.py", ".env", "id_ed25519", "notes.txt"):
            (place / "source" / name).write_text("x")
        plugin = self.make_plugin(gpu="T4", ignore=["*.txt"], cost_guard={"max_usd": 0.02})
        text = "\n".join(plugin.plan({"source_dir": place / "source", "timeout": 60.0, "variables": []}))
        assert "1 files, 1 bytes travel\n            main.py" in text
        for stays in (".env  (.env)", "id_ed25519  (id_ed25519*)", "notes.txt  (*.txt)"):
            assert stays in text
        assert "at most 0.02" in text or "at most 0.01" in text
        assert self.world.log == []

    def test_too_much_source_is_refused(self, place: Path) -> None:
        """A forgotten checkpoint is named before anything is sent."""
        (place / "source" / "model.bin").write_bytes(b"x" * 2_000_000)
        with pytest.raises(RefusedError, match=r"limit is 1\.0 MB") as caught:
            self.run_text(place, "pass", self.make_plugin(upload_cap_mb=1))
        assert "model.bin" in caught.value.hint and not self.world.files

    def test_a_large_file_goes_as_a_blob(self, place: Path) -> None:
        """Files over 4 MiB arrive, too."""
        (place / "source" / "big.bin").write_bytes(b"x" * 5_000_000)
        result = self.run_text(
            place, "import os; print(os.path.getsize(os.environ['WORLDFLUX_SOURCE_DIR'] + '/big.bin'))"
        )
        assert result.log_path.read_text() == "5000000\n" and len(self.world.blobs) == 1

    def test_a_kept_secret_is_used_by_name(self, place: Path) -> None:
        """A secret that Modal keeps reaches the command without passing through here."""
        self.world.secrets["st-training"] = {"KEPT": "kept-value"}
        result = self.run_text(
            place, "import os; print(len(os.environ['KEPT']))", self.make_plugin(secrets=["training"])
        )
        assert result.log_path.read_text() == "10\n" and b"kept-value" not in self.world.sent()
        with pytest.raises(UsageError, match="not found"):
            self.run_text(place, "pass", self.make_plugin(secrets=["nowhere"]))


def _alive(word: str) -> bool:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if word.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                    return True
            except OSError:
                continue
    return False
