"""Follow runs that are still going on: their lines as they come, heartbeats, and the end.

Each round looks at the files, sends whole lines beyond those that the server has, and says that
the run is alive. A round that fails costs nothing: the next one begins by asking the server. When
a run has ended, its record and its artifacts go the ordinary way.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from worldflux.errors import RefusedError, TemporaryError, WorldFluxError
from worldflux.run.machine import owner_alive
from worldflux.sync import snapshot, spans
from worldflux.sync.beneath import Unreadable, open_beneath, read_at
from worldflux.sync.client import BundleRefused, Client
from worldflux.sync.plan import Options
from worldflux.sync.retries import Budget
from worldflux.sync.wire import Frame, Hello, RunState, frame

if TYPE_CHECKING:
    from worldflux.manifest.io import SecretGate
    from worldflux.sync.snapshot import Snapshot, Stamp, Stream

#: Seconds between two looks at the files.
INTERVAL_SECONDS = 1.0

#: Seconds of trouble after which a round is given up, and the next one begins.
ROUND_BUDGET_SECONDS = 20.0

#: The most that one round sends of one stream.
ROUND_BYTES = 1 << 20


@dataclass
class _Cursor:
    """How far a stream has been sent, with the digest up to there."""

    offset: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    torn: bool = False


@dataclass
class _Tail:
    """One run that is followed."""

    run_id: str
    folder: Path
    cursors: dict[str, _Cursor] = field(default_factory=dict)
    seen: Snapshot | None = None
    told_sha256: str = ""
    asked: bool = False
    ask_at: float = -1e9
    changed: float = 0.0
    problem: str = ""


class Follow:
    """Keeps the server up to date about some runs until each has ended.

    Args:
        notice: told in a sentence what a person should know.
        finish: brings a run that has ended to the server, whole.
        clock, sleep: of this machine; only differences count.
    """

    def __init__(
        self,
        client: Client,
        hello: Hello,
        runs_dir: Path,
        gate: SecretGate,
        options: Options,
        notice: Callable[[str], None],
        finish: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client, self.hello, self.runs_dir = client, hello, runs_dir
        self.gate, self.options = gate, options
        self._notice, self._finish, self._clock, self._sleep = notice, finish, clock, sleep
        self._beat = -1e9

    def run(self, run_ids: Sequence[str]) -> list[str]:
        """Follow these runs; returns those that were left open because the process behind them is gone.

        Ctrl-C may end it at any time; what was sent stays, and nothing else is needed.

        Raises:
            AccessError: the key is not accepted.
        """
        tails = {run_id: _Tail(run_id, self.runs_dir / run_id) for run_id in run_ids}
        left_open: list[str] = []
        while tails:
            for run_id in list(tails):
                word = self._look(tails[run_id])
                if word in ("ended", "gone"):
                    self._last_lines(tails.pop(run_id))
                    if word == "ended":
                        self._finish(run_id)
                    else:
                        left_open.append(run_id)
            if tails:
                self._round(list(tails.values()))
                self._sleep(INTERVAL_SECONDS)
        return left_open

    def _look(self, tail: _Tail) -> str:
        """Read the record when it was replaced: `open`, `ended`, or `gone` when nobody writes it any more."""
        now: Stamp | None = snapshot.stamp_of(tail.folder)
        if tail.seen is None or now != tail.seen.stamp:
            try:
                tail.seen = snapshot.read(tail.folder)
            except WorldFluxError as error:
                self._problem(tail, error.problem)
                return "open" if now is not None else "gone"
            tail.changed = self._clock()
        if tail.seen.final:
            return "ended"
        owner = tail.seen.owner
        return "gone" if owner is not None and owner_alive(owner) is False else "open"  # type: ignore[arg-type]

    def _last_lines(self, tail: _Tail) -> None:
        """A run whose process died has written its last line: send it without saying that it is alive."""
        if tail.seen is not None and not tail.seen.final:
            self._round([tail], alive=False)

    def _round(self, tails: Sequence[_Tail], alive: bool = True) -> None:
        self.client.channel.budget = Budget(ROUND_BUDGET_SECONDS)
        try:
            self._ask(tails)
            moved = self._send([tail for tail in tails if tail.asked])
            if alive:
                self._heartbeat([tail for tail in tails if tail.asked], moved)
        except TemporaryError as error:
            self._notice(f"{error.problem}; the run goes on, and so does this")

    def _ask(self, tails: Sequence[_Tail]) -> None:
        """Ask how far the server is with runs of which that is not known."""
        now = self._clock()
        unknown = [tail for tail in tails if not tail.asked and tail.seen and tail.ask_at <= now]
        if not unknown:
            return
        states = self.client.states([tail.run_id for tail in unknown])
        for tail in unknown:
            state = states[tail.run_id]
            if state.status in ("deleted", "final"):
                self._problem(tail, f"it is {state.status} on the server, so nothing more is sent")
                tail.ask_at = now + self.hello.heartbeat_seconds
                continue
            self._go_on(tail, state)

    def _go_on(self, tail: _Tail, state: RunState) -> None:
        """Begin where the server stands, once its bytes are known to be the same as these."""
        assert tail.seen is not None
        tail.cursors.clear()
        for stream in self._streams(tail.seen):
            held = state.streams.get(stream.name)
            try:
                span = spans.measure(tail.folder, stream, held, closed=False)
                cursor = _Cursor(span.offset)
                with open_beneath(tail.folder, stream.path) as file:
                    position = 0
                    while position < span.offset:
                        piece = read_at(file, position, min(spans.BLOCK, span.offset - position))
                        cursor.digest.update(piece)
                        position += len(piece)
                tail.cursors[stream.name] = cursor
            except Unreadable:
                tail.cursors[stream.name] = _Cursor()
            except (spans.Changed, spans.Diverged) as error:
                self._problem(tail, f"{stream.path}: {error}")
                tail.ask_at = self._clock() + self.hello.heartbeat_seconds
                return
        tail.told_sha256 = state.manifest_sha256 or ""
        tail.asked = True

    def _streams(self, seen: Snapshot) -> list[Stream]:
        return [each for each in seen.streams if self.options.logs or not each.is_log]

    def _send(self, tails: Sequence[_Tail]) -> set[str]:
        """Send what is new of all these runs in one bundle; returns the runs that had something."""
        frames: list[Frame] = []
        steps: dict[str, dict[str, _Cursor]] = {}
        room = self.hello.limits.bundle_bytes // 2
        for tail in tails:
            try:
                own, after = self._frames(tail, min(room, ROUND_BYTES))
            except RefusedError as error:
                self._problem(tail, error.problem)
                continue
            if own and sum(each.size for each in frames) + sum(each.size for each in own) <= room:
                frames += own
                steps[tail.run_id] = after
        if not frames:
            return set()
        try:
            results = self.client.send_bundle(frames)
        except BundleRefused as error:
            self._notice(f"{error.problem}; trying again")
            for tail in tails:
                tail.asked = False
            return set()
        for tail in tails:
            if tail.run_id not in steps:
                continue
            result = next((each for each in results if each.run == tail.run_id), None)
            if result is not None and result.status < 300:
                tail.cursors.update(steps[tail.run_id])
                assert tail.seen is not None
                tail.told_sha256, tail.problem = tail.seen.sha256, ""
            else:
                # Somebody else was quicker, or the server lost its last seconds: ask where it stands.
                tail.asked = False
        return set(steps)

    def _frames(self, tail: _Tail, most: int) -> tuple[list[Frame], dict[str, _Cursor]]:
        """New lines of a run, and its record when that is new as well; where its cursors are then."""
        assert tail.seen is not None
        seen, frames = tail.seen, list[Frame]()
        after: dict[str, _Cursor] = {}
        project = self.options.project
        for stream in self._streams(seen):
            cursor = tail.cursors.setdefault(stream.name, _Cursor())
            data, torn = self._new_lines(tail, stream, cursor, most)
            moved = _Cursor(cursor.offset + len(data), cursor.digest.copy(), torn)
            moved.digest.update(data)
            after[stream.name] = moved
            if data:
                frames.append(
                    frame(
                        seen.run_id,
                        "stream",
                        data,
                        stream=stream.name,
                        offset=cursor.offset,
                        project=project or seen.project,
                    )
                )
        if frames or seen.sha256 != tail.told_sha256:
            if seen.sha256 != tail.told_sha256:
                self.gate.refuse(seen.data, f"{seen.run_id}/manifest.json")
            stated = {
                name: {"bytes": each.offset, "sha256": each.digest.hexdigest(), "torn": each.torn}
                for name, each in after.items()
                if each.offset
            }
            withheld = list(self.options.withheld)
            more = {"final": False, "streams": stated, "withheld": withheld, "project": project}
            frames.append(frame(seen.run_id, "manifest", seen.data, **more))
        return frames, after

    def _new_lines(self, tail: _Tail, stream: Stream, cursor: _Cursor, most: int) -> tuple[bytes, bool]:
        """Whole lines beyond a cursor, and whether something behind them is not whole."""
        try:
            with open_beneath(tail.folder, stream.path) as file:
                size = os.fstat(file).st_size
                data = read_at(file, cursor.offset, min(most, max(0, size - cursor.offset)))
        except Unreadable:
            return b"", False
        if data:
            tail.changed = self._clock()
        end = data.rfind(b"\n") + 1
        if end == 0 and len(data) == most:
            end = most  # longer than any line is waited for
        return data[:end], end < len(data)

    def _heartbeat(self, tails: Sequence[_Tail], moved: set[str]) -> None:
        """Say which runs are alive, as often as the server asked; what was just sent says it, too."""
        now = self._clock()
        every = self.hello.heartbeat_seconds
        if now - self._beat < every * 0.8:
            return
        alive = [tail.run_id for tail in tails if tail.run_id not in moved and self._is_alive(tail, now)]
        if alive:
            for run, word in self.client.heartbeat(alive).items():
                if word in ("absent", "deleted"):
                    for tail in tails:
                        tail.asked = tail.asked and tail.run_id != run
        self._beat = now

    def _is_alive(self, tail: _Tail, now: float) -> bool:
        """Whether a run is known to be alive: by its process here, or by files that change."""
        assert tail.seen is not None
        owner = tail.seen.owner
        if owner is not None and owner_alive(owner) is True:  # type: ignore[arg-type]
            return True
        return now - tail.changed < self.hello.heartbeat_seconds * 2

    def _problem(self, tail: _Tail, text: str) -> None:
        """Tell what is wrong with a run, once."""
        if text != tail.problem:
            tail.problem = text
            self._notice(f"{tail.run_id}: {text}")
