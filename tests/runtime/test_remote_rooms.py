"""What remote runtimes share: the agent over there, what travels, what comes home, time and money."""

from __future__ import annotations

import datetime
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from worldflux.errors import RefusedError, WorldFluxError
from worldflux.runtime.remote import agent, client, place, whereabouts
from worldflux.runtime.remote.homecoming import unpack
from worldflux.runtime.remote.logfile import LogFile
from worldflux.runtime.remote.money import Budget, Price, table_age
from worldflux.runtime.remote.patience import Cancelled, Patience, TooLate
from worldflux.runtime.remote.upload import select, stage


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


class TestWhereabouts:
    @pytest.fixture(autouse=True)
    def _home(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("WORLDFLUX_HOME", str(tmp_path / "home"))

    def test_a_place_is_known_until_a_week_after_its_last_deadline(self) -> None:
        """The latest of its deadlines counts; configured places come first and are not repeated."""
        now = time.time()
        whereabouts.note("x", "old", now - whereabouts.KEPT_SECONDS - 5)
        whereabouts.note("x", "lately", now - whereabouts.KEPT_SECONDS + 60)
        whereabouts.note("x", "mine", now + 60)
        whereabouts.note("x", "mine", now - 10 * whereabouts.KEPT_SECONDS)
        whereabouts.note("y", "another runtime's", now)
        assert whereabouts.all_of("x", ["chosen", "mine"]) == ("chosen", "mine", "lately")
        assert whereabouts.all_of("z", []) == ()

    def test_any_name_and_any_damage(self, tmp_path: Path) -> None:
        """A name with slashes is one place; a torn or strange file makes nothing fail."""
        whereabouts.note("x", "../../odd name/%2f", time.time())
        assert whereabouts.all_of("x", []) == ("../../odd name/%2f",)
        (folder,) = (tmp_path / "home").rglob("x")
        assert len(list(folder.iterdir())) == 1 and not (tmp_path / "odd name").exists()
        (folder / "torn").write_bytes(b"99999999999\n12\xff")
        (folder / "empty").touch()
        assert "torn" in whereabouts.all_of("x", []) and "empty" not in whereabouts.all_of("x", [])

    def test_many_processes_may_note_at_once(self) -> None:
        """Nobody overwrites the deadline of another."""
        far = time.time() + 1000
        moments = [far if number == 17 else 1.0 for number in range(40)]
        threads = [threading.Thread(target=whereabouts.note, args=("x", "p", each)) for each in moments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert whereabouts.all_of("x", []) == ("p",)


def test_a_scratch_folder_is_gone_afterwards(tmp_path: Path) -> None:
    """Also when what was done in it failed; what the run's own `tmp` holds besides stays."""
    with place.scratch(tmp_path) as folder:
        (folder / "x").touch()
        assert folder.parent == tmp_path / "tmp"
    assert not (tmp_path / "tmp").exists()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "mine").touch()
    with pytest.raises(ZeroDivisionError), place.scratch(tmp_path) as folder:
        _ = 1 / 0
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["mine"]


class TestUpload:
    @pytest.mark.parametrize(
        "name",
        [
            ".env", "a/.env.local", "prod.env", ".git/config", "x/.ssh/id_rsa", "id_ed25519.pub", "k/server.PEM",
            "tls.key", ".aws/credentials", "credentials.json", "client_secret_1.json", ".netrc", ".pypirc",
            "venv/bin/python", ".venv-next/x", "runs/1/manifest.json", "a/__pycache__/b.pyc", "secrets.yaml",
            ".modal.toml", "b.kdbx", "terraform.tfstate.backup", ".python_history",
        ],
    )  # fmt: skip
    def test_what_is_likely_private_stays(self, tmp_path: Path, name: str) -> None:
        """At any depth and in any case, unless it is named."""
        chosen = select(tree(tmp_path, name, "main.py"))
        assert [path for path, _ in chosen.files] == ["main.py"] and len(chosen.kept_back) == 1
        named = select(tmp_path, include=[name])
        assert name in [path for path, _ in named.files]

    def test_ordinary_files_travel(self, tmp_path: Path) -> None:
        """Nothing that only looks alike is held back."""
        names = [
            "environment.py",
            "keys.py",
            "data/config.yaml",
            "runner.py",
            "models/credentials_test.py",
            "Makefile",
        ]
        assert sorted(names) == [path for path, _ in select(tree(tmp_path, *names)).files]

    def test_links_stay(self, tmp_path: Path) -> None:
        """Neither a linked file nor a linked folder is followed out of the source."""
        outside = tree(tmp_path / "outside", "secret.txt")
        source = tree(tmp_path / "source", "main.py")
        (source / "file").symlink_to(outside / "secret.txt")
        (source / "folder").symlink_to(outside)
        chosen = select(source)
        assert [path for path, _ in chosen.files] == ["main.py"]
        assert [path for path, _ in chosen.kept_back] == ["file", "folder/"]

    def test_staged_files_keep_content_and_the_right_to_run(self, tmp_path: Path) -> None:
        """What is uploaded is a copy, so an edit during the upload does not tear it."""
        source = tree(tmp_path / "source", "a/run.sh", "b.txt")
        (source / "a" / "run.sh").chmod(0o700)
        stage(source, select(source), tmp_path / "staged", cap=100)
        assert (tmp_path / "staged" / "b.txt").read_text() == "b.txt"
        assert os.access(tmp_path / "staged" / "a" / "run.sh", os.X_OK)
        with pytest.raises(RefusedError, match="to upload"):
            stage(source, select(source), tmp_path / "again", cap=3)


class TestAgent:
    def job(self, root: Path, *command: str, **changes: Any) -> dict[str, Any]:
        values = {"timeout": None, "grace": 1.0, "mark": "", "log": None, "wanted": [], "cap": 10**6}
        return {"root": str(root), "command": list(command), **values, **changes}

    def carry_out(self, root: Path, *command: str, **changes: Any) -> tuple[int, dict[str, Any]]:
        path = root / "job.json"
        path.write_text(json.dumps(self.job(root, *command, **changes)))
        words = [sys.executable, "-I", agent.__file__, "run", str(path)]
        code = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
        return code, json.loads((root / "exit.json").read_text())

    @pytest.mark.parametrize(
        ("command", "shell", "code", "reason"),
        [
            (("sh", "-c", "exit 139"), 139, 139, "exited"),
            (("sh", "-c", "kill -SEGV $$"), 139, -11, "signalled"),
            (("no-such-program",), 127, 127, "not_started"),
            (("/etc/hostname",), 126, 126, "not_started"),
        ],
    )
    def test_the_record_tells_a_signal_from_a_number(
        self, tmp_path: Path, command: tuple[str, ...], shell: int, code: int, reason: str
    ) -> None:
        """The exit code alone can not; it follows the shell's custom."""
        returned, record = self.carry_out(tmp_path, *command)
        assert (returned, record["code"], record["reason"]) == (shell, code, reason)

    def test_it_runs_alone(self, tmp_path: Path) -> None:
        """One file, isolated from every package, also ours; its facts name what is installed there."""
        _, record = self.carry_out(tmp_path, "true")
        assert record["facts"]["python"]["version"] and "packages" in record["facts"]

    def test_files_are_packed_wanted_first_up_to_the_cap(self, tmp_path: Path) -> None:
        """Links and special files are counted and left; what does not fit is named."""
        tree(tmp_path / "artifacts", "a.txt", "z/keep.txt")
        os.mkfifo(tmp_path / "artifacts" / "pipe")
        (tmp_path / "artifacts" / "link").symlink_to("/etc/passwd")
        stream = io.BytesIO()
        agent.pack(self.job(tmp_path, "true", wanted=["z/*.txt"], cap=12), stream)
        stream.seek(0)
        with tarfile.open(fileobj=stream) as tar:
            assert tar.getnames() == ["artifacts/z/keep.txt", "left-out.json"]
            source = tar.extractfile("left-out.json")
            assert source is not None
            left = json.load(source)
        assert left == {"left_out": [{"path": "a.txt", "bytes": 5}], "count": 1, "links": 2}


class TestHomecoming:
    def archive(self, *members: tuple[str, bytes | int]) -> io.BytesIO:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for name, content in members:
                entry = tarfile.TarInfo(name)
                if isinstance(content, bytes):
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
                else:
                    entry.type, entry.linkname = bytes([content]), "/etc/passwd"
                    tar.addfile(entry)
        stream.seek(0)
        return stream

    @pytest.mark.parametrize(
        "name",
        ["../up", "/abs", "artifacts/../../up", "artifacts/./x", "artifacts//x", "artifacts/a\\b", "manifest.json",
         "artifacts", "logs/x", "artifactsx/y"],
    )  # fmt: skip
    def test_a_name_that_leads_elsewhere_is_refused(self, tmp_path: Path, name: str) -> None:
        """Only artifacts, metrics and the log have a place; nothing is written for others."""
        home = unpack(self.archive((name, b"x"), ("artifacts/ok", b"y")), tmp_path, cap=100)
        assert [p.name for p in home.files] == ["ok"] and len(home.refused) == 1
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / "artifacts" / "ok"]

    def test_links_and_devices_are_refused(self, tmp_path: Path) -> None:
        """A link could make the next member write through it."""
        types = [tarfile.SYMTYPE[0], tarfile.LNKTYPE[0], tarfile.CHRTYPE[0], tarfile.FIFOTYPE[0]]
        home = unpack(self.archive(*((f"artifacts/{t}", t) for t in types)), tmp_path, cap=100)
        assert home.files == [] and len(home.refused) == 4

    def test_a_link_that_lies_there_is_not_written_through(self, tmp_path: Path) -> None:
        """Neither as the file nor as a folder on the way."""
        run, outside = tmp_path / "run", tmp_path / "outside"
        (run / "artifacts").mkdir(parents=True)
        outside.mkdir()
        (run / "artifacts" / "d").symlink_to(outside)
        home = unpack(self.archive(("artifacts/d/x", b"x")), run, cap=100)
        assert home.refused and list(outside.iterdir()) == []

    def test_declared_sizes_count_before_anything_is_written(self, tmp_path: Path) -> None:
        """All files together stay under the cap."""
        members = [(f"artifacts/{i}", b"x" * 600_000) for i in range(20)]
        home = unpack(self.archive(*members), tmp_path, cap=1_000_000)
        assert sum(p.stat().st_size for p in home.files) <= 1_000_000
        assert home.refused and "over the limit" in home.refused[0]

    def test_a_torn_archive_is_an_error(self, tmp_path: Path) -> None:
        """Half a tar is no result."""
        data = self.archive(("artifacts/a", b"x" * 10_000)).getvalue()[:3000]
        with pytest.raises(WorldFluxError, match="can not be read"):
            unpack(io.BytesIO(data), tmp_path, cap=10**6)


class TestTimeAndMoney:
    def test_calls_end_with_the_deadline_or_a_cancel(self) -> None:
        """A call that never returns does not hold the run; a failure is passed on."""
        event = threading.Event()
        patience, began = Patience(event), time.monotonic()
        with pytest.raises(TooLate):
            patience.call(lambda: time.sleep(30), began + 0.2)
        threading.Timer(0.2, event.set).start()
        with pytest.raises(Cancelled):
            patience.call(lambda: time.sleep(30), None)
        assert time.monotonic() - began < 5
        event.clear()
        assert patience.call(lambda: 7, None) == 7
        with pytest.raises(ZeroDivisionError):
            patience.call(lambda: 1 // 0, None)

    def test_a_budget_is_time_at_a_price(self) -> None:
        """Unknown price or too little money refuses; no budget is no limit."""
        price = Price(0.01, "table", "2026-01-01")
        assert Budget().seconds(price, least=10) is None
        assert Budget(5.0).seconds(price, least=10) == pytest.approx(500)
        with pytest.raises(RefusedError, match="pays for 5 seconds"):
            Budget(0.05).seconds(price, least=10)
        with pytest.raises(RefusedError, match="not known"):
            Budget(5.0).seconds(Price(None, "nobody said"), least=10)
        assert Budget(5.0, 36.0).price(Price(None, "x")).per_second == pytest.approx(0.01)
        for wrong in ({"max_usd": -1}, {"max_usd": 0}, {"price_per_hour": float("nan")}, {"max_usd": True}):
            with pytest.raises(ValueError, match="positive"):
                Budget.of(wrong)

    def test_an_old_table_says_so(self) -> None:
        """After half a year doctor warns."""
        today = datetime.date(2026, 12, 1)
        assert table_age("2026-11-01", today) == "rates are of 2026-11-01 (30 days old)"
        assert table_age("2026-01-01", today).startswith("warning: rates are of 2026-01-01 (334 days old)")

    def test_a_client_is_dead_only_where_that_is_known(self) -> None:
        """Gone on this host, or before its restart; elsewhere nobody can say."""
        me = client.me()
        machine, _, rest = me.partition("/")
        pid, _, started = rest.partition("/")
        host, boot, space = machine.split("|")
        child = subprocess.Popen(["sleep", "60"])
        alive = f"{machine}/{child.pid}/{client._started(child.pid)}"
        assert not client.is_dead(me) and not client.is_dead(alive)
        child.kill()
        child.wait()
        assert client.is_dead(alive)
        assert client.is_dead(f"{machine}/{pid}/{int(started or 0) + 1}")
        assert client.is_dead(f"{host}|another-boot|{space}/{pid}/{started}")
        assert not client.is_dead(f"{host}|{boot}|another-container/{pid}/1")
        assert not client.is_dead(f"elsewhere|{boot}|{space}/{pid}/1")
        for odd in ("", "x", "a/b", f"{machine}/x/y"):
            assert not client.is_dead(odd)

    def test_the_log_is_private_and_capped(self, tmp_path: Path) -> None:
        """Readable by its owner only; a full disk does not end the run."""
        with LogFile(tmp_path / "x.log", 10) as log:
            for _ in range(3):
                log.write(b"12345")
        assert log.path.read_bytes() == b"1234512345" and log.truncated and log.seen == 15
        assert log.path.stat().st_mode & 0o777 == 0o600
        full = LogFile(Path("/dev/full"), 100) if os.path.exists("/dev/full") else None
        if full is not None:
            full.write(b"x")
            full.write(b"y")
            assert full.error == "ENOSPC" and full.truncated
            full.close()
