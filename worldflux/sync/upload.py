"""Bring runs to the server: ask what it holds, send the rest, note what it acknowledged.

The main thread reads, checks and packs; a few threads send. Nothing is taken for sent before
the server has said so, and nothing on disk is changed but the journal.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.errors import AccessError, Interrupted, TemporaryError, WorldFluxError
from worldflux.sync import blobs, snapshot
from worldflux.sync.client import BundleRefused, Client
from worldflux.sync.journal import Entry, Journal
from worldflux.sync.locks import RunLocks
from worldflux.sync.outcome import Outcome, Summary, failed, outcome_of, told
from worldflux.sync.pack import BUNDLE_BYTES, LEAST_BUNDLE_BYTES, Bundle, frames_of, is_short
from worldflux.sync.plan import FileChanged, Options, RunPlan, plan_run
from worldflux.sync.progress import Progress, Silent
from worldflux.sync.snapshot import Committed, Snapshot, Stamp
from worldflux.sync.spans import Changed
from worldflux.sync.wire import MOST_NAMES, Frame, Held, Hello, ProtocolError, Result, RunState

if TYPE_CHECKING:
    from worldflux.manifest.io import SecretGate

#: Runs that are looked at together: their records are in memory at the same time.
GROUP = 200

#: How often a run is looked at again when the server lacks something of it.
ROUNDS = 4

#: Seconds to wait for a run that another process is bringing to the same server.
BUSY_SECONDS = 30.0


@dataclass
class _Waiting:
    """A run whose large artifacts are under way."""

    plan: RunPlan
    left: set[str] = field(default_factory=set)


class Upload:
    """One sync of some runs to one server.

    Args:
        runs_dir: the folder of run folders.
        hello: the server's greeting.
        gate: asked about each manifest before it leaves.
    """

    def __init__(
        self,
        client: Client,
        hello: Hello,
        runs_dir: Path,
        journal: Journal,
        locks: RunLocks,
        gate: SecretGate,
        options: Options,
        progress: Progress | None = None,
    ) -> None:
        self.client, self.hello, self.runs_dir = client, hello, runs_dir
        self.journal, self.locks, self.gate, self.options = journal, locks, gate, options
        self.progress: Progress = progress or Silent()
        self.summary = Summary(client.origin, hello.workspace)
        self._pool = ThreadPoolExecutor(options.jobs, thread_name_prefix="sync")
        self._bundle = Bundle()
        self._bundles: dict[Future[Any], Bundle] = {}
        self._blobs: dict[Future[Any], tuple[str, Committed]] = {}
        self._landed: set[str] = set()
        self._waiting: dict[str, _Waiting] = {}
        self._sent: dict[str, int] = {}
        self._again: dict[str, str] = {}
        self._gave_up: TemporaryError | None = None

    def run(self, run_ids: Sequence[str]) -> Summary:
        """Bring these runs to the server.

        Returns:
            What became of each of them; trouble of a single run is an outcome.

        Raises:
            AccessError: the key is not accepted (any more).
            ProtocolError: the server does not speak the protocol.
        """
        begun = time.monotonic()
        self.progress.begin(len(run_ids))
        busy: list[str] = []
        try:
            self._round(run_ids, busy)
            for run_id in busy:
                if self.locks.take(run_id, BUSY_SECONDS):
                    self._round([run_id], [], locked=True)
                else:
                    error = TemporaryError("another process is syncing this run", "sync again", code="busy")
                    self._settle(failed(run_id, error))
        except BaseException:
            self.client.channel.close()
            raise
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self.journal.compact()
            self.progress.end()
        if self.journal.problem:
            self.summary.warnings.append(self.journal.problem)
        self.summary.requests = self.client.channel.requests
        self.summary.seconds = time.monotonic() - begun
        return self.summary

    def _round(self, run_ids: Sequence[str], busy: list[str], locked: bool = False) -> None:
        """Some runs, looked at again as long as the server lacks something and the next look may help."""
        todo = list(run_ids)
        for _ in range(ROUNDS):
            self._again = {}
            for start in range(0, len(todo), MOST_NAMES):
                self._batch(todo[start : start + MOST_NAMES], busy, locked)
            self._finish()
            todo = list(self._again)
            locked = True
            if not todo:
                return
        for run_id, why in self._again.items():
            error = TemporaryError(
                f"the server lacks something of it: {why}", "sync again", code="incomplete"
            )
            self._settle(failed(run_id, error))

    def _batch(self, run_ids: Sequence[str], busy: list[str], locked: bool) -> None:
        mine = []
        for run_id in run_ids:
            if locked or self.locks.take(run_id):
                mine.append(run_id)
            else:
                busy.append(run_id)
        try:
            states = self.client.states(mine) if mine and self._gave_up is None else {}
        except TemporaryError as error:
            self._gave_up = error
        if self._gave_up is not None:
            self._fail(mine, self._gave_up)
            return
        for start in range(0, len(mine), GROUP):
            self._group([(run_id, states[run_id]) for run_id in mine[start : start + GROUP]])

    def _group(self, runs: Iterable[tuple[str, RunState]]) -> None:
        """Read some runs, ask for their artifacts once, and send what is needed."""
        found: list[tuple[Snapshot, RunState]] = []
        wanted: list[str] = []
        for run_id, state in runs:
            folder = self.runs_dir / run_id
            if self._is_known(run_id, folder, state):
                self._settle(Outcome(run_id, "unchanged"))
                continue
            try:
                seen = snapshot.read(folder)
            except WorldFluxError as error:
                self._settle(failed(run_id, error))
                continue
            found.append((seen, state))
            self.summary.projects.setdefault(seen.project, run_id)
            if state.status != "final" or state.manifest_sha256 != seen.sha256:
                wanted += [artifact.sha256 for artifact in seen.artifacts]
        missing: dict[str, int] = {}
        try:
            missing = self.client.missing_blobs(wanted) if wanted and self._gave_up is None else {}
        except TemporaryError as error:
            self._gave_up = error
        for seen, state in found:
            if self._gave_up is not None:
                self._fail([seen.run_id], self._gave_up)
                continue
            try:
                self._dispatch(plan_run(seen, state, self.options, self.gate, missing), missing)
            except WorldFluxError as error:
                self._stop_at(error)
                self._settle(outcome_of(seen.run_id, error))

    def _is_known(self, run_id: str, folder: Path, state: RunState) -> bool:
        """Whether server, journal and folder agree that this run is there, whole and unchanged."""
        entry = self.journal.entries.get(run_id)
        return (
            entry is not None
            and not self.options.reread
            and not state.missing_blobs
            and state.status == "final"
            and entry.final
            and entry.manifest_sha256 == state.manifest_sha256
            and set(entry.withheld) <= set(self.options.withheld)
            and all(state.streams.get(name) == held for name, held in entry.streams.items())
            and snapshot.stamp_of(folder) == entry.stamp
        )

    def _dispatch(self, plan: RunPlan, missing: dict[str, int]) -> None:
        """Send a run: its large artifacts first, side by side, then the rest."""
        if not plan.needed:
            self._note(plan)
            self._settle(Outcome(plan.run_id, "unchanged", torn=plan.torn))
            return
        most = self.hello.limits.inline_blob_bytes
        large = [b for b in plan.blobs if b.bytes > most and b.sha256 not in self._landed]
        if not large:
            self._rest(plan)
            return
        self._waiting[plan.run_id] = _Waiting(plan, {blob.sha256 for blob in large})
        flying = {blob.sha256 for _, blob in self._blobs.values()}
        for blob in large:
            if blob.sha256 not in flying:
                self._blobs[self._submit_blob(plan, blob, missing)] = (plan.run_id, blob)
        self._drain(self.options.jobs * 2)

    def _submit_blob(self, plan: RunPlan, blob: Committed, missing: dict[str, int]) -> Future[Any]:
        folder, most, offset = (
            plan.snapshot.folder,
            self.hello.limits.patch_bytes,
            missing.get(blob.sha256, 0),
        )
        return self._pool.submit(blobs.transfer, self.client, self.progress, folder, blob, offset, most)

    def _rest(self, plan: RunPlan) -> None:
        """Send all of a run but its large artifacts: with others, or alone when it is long."""
        limits = self.hello.limits
        if is_short(plan, limits):
            frames = list(frames_of(plan, self.options, limits))
            if not self._bundle.fits(frames, limits):
                self._close_bundle()
            self._bundle.add(plan, frames)
        else:
            self._bundles[self._pool.submit(self._send_long, plan)] = Bundle([plan])
            self._drain(self.options.jobs * 2)

    def _close_bundle(self) -> None:
        bundle, self._bundle = self._bundle, Bundle()
        if bundle.plans:
            self._bundles[self._pool.submit(self.client.send_bundle, bundle.frames)] = bundle
            self._drain(self.options.jobs * 2)

    def _send_long(self, plan: RunPlan) -> list[Result]:
        """A run that is larger than a bundle, in several; the result of the last, or of the first bad one."""
        part, size, results = list[Frame](), 0, list[Result]()
        limits = self.hello.limits
        for each in frames_of(plan, self.options, limits):
            bundle = Bundle([plan], part, size)
            if part and not bundle.fits([each], limits):
                results = self.client.send_bundle(part)
                if any(result.status >= 300 for result in results):
                    return results
                part, size = [], 0
            part.append(each)
            size += each.size
        return self.client.send_bundle(part) if part else results

    def _drain(self, most: int) -> None:
        """Take what was sent until no more than `most` transfers are under way."""
        while len(self._bundles) + len(self._blobs) > most:
            under_way: list[Future[Any]] = [*self._bundles, *self._blobs]
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                # What one of them starts may wait in turn, and take the others meanwhile.
                if future in self._blobs:
                    self._blob_ended(future)
                elif future in self._bundles:
                    self._bundle_ended(future)

    def _finish(self) -> None:
        while self._bundle.plans or self._bundles or self._blobs:
            self._close_bundle()
            self._drain(0)
        self._landed.clear()  # the server may lose what no run holds on to: ask again in the next round
        self.journal.flush()

    def _blob_ended(self, future: Future[Any]) -> None:
        owner, blob = self._blobs.pop(future)
        runs = [each for each in self._waiting.values() if blob.sha256 in each.left]
        try:
            sent = future.result()
        except Changed as error:
            for each in runs:
                run_id = self._waiting.pop(each.plan.run_id).plan.run_id
                if run_id == owner:
                    self._settle(outcome_of(run_id, FileChanged(run_id, blob.path, str(error))))
                else:  # its own copy of the same artifact may be whole
                    self._again[run_id] = "an artifact"
            return
        except WorldFluxError as error:
            self._stop_at(error)
            for each in runs:
                del self._waiting[each.plan.run_id]
                self._settle(outcome_of(each.plan.run_id, error))
            return
        self._landed.add(blob.sha256)
        for index, each in enumerate(runs):
            run_id = each.plan.run_id
            self._sent[run_id] = self._sent.get(run_id, 0) + (sent if index == 0 else 0)
            each.left.discard(blob.sha256)
            if not each.left:
                del self._waiting[run_id]
                try:
                    self._rest(each.plan)
                except WorldFluxError as error:
                    self._settle(outcome_of(run_id, error))

    def _bundle_ended(self, future: Future[Any]) -> None:
        bundle = self._bundles.pop(future)
        try:
            results = {result.run: result for result in future.result()}
        except BundleRefused as error:
            self._refused(bundle, error)
            return
        except WorldFluxError as error:
            self._stop_at(error)
            for plan in bundle.plans:
                self._settle(outcome_of(plan.run_id, error))
            return
        for plan in bundle.plans:
            result = results.get(plan.run_id)
            if result is None:
                raise ProtocolError("a run of a bundle has no result")
            self._answered(plan, result)
        self.journal.flush()

    def _refused(self, bundle: Bundle, error: BundleRefused) -> None:
        """A bundle that is refused as a whole is divided until it is known what is wrong with which run."""
        shrunk = error.reply.status == 413 and self._shrink()
        if len(bundle.plans) > 1:
            for half in bundle.halves():
                self._bundles[self._pool.submit(self.client.send_bundle, half.frames)] = half
            return
        plan = bundle.plans[0]
        if error.reply.status == 409 or shrunk:
            self._again[plan.run_id] = error.reply.why
            return
        outcome = Outcome(plan.run_id, "refused", code=error.code, detail=error.problem, hint=error.hint)
        self._settle(outcome)

    def _shrink(self) -> bool:
        """Send smaller bundles from now on: a proxy on the way may take less than the server does."""
        limits = self.hello.limits
        now = min(limits.bundle_bytes, BUNDLE_BYTES)
        if now <= LEAST_BUNDLE_BYTES:
            return False
        self.hello = replace(
            self.hello, limits=replace(limits, bundle_bytes=max(LEAST_BUNDLE_BYTES, now // 4))
        )
        return True

    def _answered(self, plan: RunPlan, result: Result) -> None:
        run_id, sent = plan.run_id, plan.stream_bytes + len(plan.snapshot.data)
        inline = sum(b.bytes for b in plan.blobs if b.bytes <= self.hello.limits.inline_blob_bytes)
        self._sent[run_id] = self._sent.get(run_id, 0) + sent + inline
        if result.outcome in ("stored", "updated", "unchanged") and result.status < 300:
            self._note(plan)
            new = plan.state.status in ("absent", "deleted")
            word = "new" if new and result.outcome != "unchanged" else "updated"
            self._settle(Outcome(run_id, word, self._sent[run_id], torn=plan.torn))
        elif result.outcome == "incomplete":
            self._again[run_id] = result.detail or result.code
        elif result.status >= 500 or result.status == 429:
            error = TemporaryError(
                result.detail or "the server failed", "sync again", code=result.code or "server"
            )
            self._settle(failed(run_id, error))
        else:
            self._settle(told(run_id, result))

    def _note(self, plan: RunPlan) -> None:
        seen = plan.snapshot
        streams = {span.stream.name: Held(span.end, span.sha256) for span in plan.spans if span.end}
        entry = Entry(seen.sha256, seen.stamp, seen.final, streams, self.options.withheld)
        self.journal.note(plan.run_id, entry)

    def _settle(self, outcome: Outcome) -> None:
        if outcome.outcome == "deleted":
            stamp = snapshot.stamp_of(self.runs_dir / outcome.run_id) or Stamp(0, 0, 0)
            self.journal.note(outcome.run_id, Entry("", stamp, False, deleted=True))
        self.locks.release(outcome.run_id)
        self.summary.add(outcome)
        self.progress.settled(outcome)

    def _fail(self, run_ids: Iterable[str], error: TemporaryError) -> None:
        for run_id in run_ids:
            self._settle(failed(run_id, error))

    def _stop_at(self, error: WorldFluxError) -> None:
        """Go no further after trouble that every other run would have, too.

        Raises:
            AccessError, ProtocolError, Interrupted: the command ends here.
        """
        if isinstance(error, AccessError | ProtocolError | Interrupted):
            raise error
        if isinstance(error, TemporaryError) and error.code in ("server", "server-full"):
            self._gave_up = self._gave_up or error
