"""Bring a LeRobot policy or dataset into the catalog: metadata first, then the rest, then the record.

An import is pinned to one commit. Whatever interrupts it, the same command goes on where it was;
the record is written last, so half an import is never taken for one. Nothing of it is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldflux.catalog import lerobot_dataset, lerobot_policy, safetensors
from worldflux.catalog.card import front_matter, license_of
from worldflux.catalog.journal import Item
from worldflux.catalog.origin import FolderOrigin, HubOrigin, Origin
from worldflux.catalog.reference import Reference, is_reference, parse
from worldflux.catalog.shelf import SCHEMA, Berth, Shelf, check_room, contents_digest
from worldflux.catalog.transfer import Progress, Silent, Transfer
from worldflux.errors import UsageError, WorldFluxError

#: Small files of a repo are read whole up to this size.
_SMALL_FILE = 8 * 2**20


@dataclass(frozen=True)
class Imported:
    """A finished import.

    Attributes:
        record: what `entry.json` holds.
        folder: where the files are.
        fresh: False when everything asked for was there already.
    """

    record: dict[str, Any]
    folder: Path
    fresh: bool


@dataclass(frozen=True)
class Wanted:
    """How much of a repo to bring.

    Attributes:
        meta_only: no weights and no recordings.
        episodes: `0:10,20:25` of a dataset; None is all of them.
    """

    meta_only: bool = False
    episodes: str | None = None


def bring(
    what: str,
    wanted: Wanted = Wanted(),
    *,
    home: Path | None = None,
    client: Any = None,
    progress: Progress | None = None,
    workers: int = 8,
) -> Imported:
    """Import a repo of the Hub or a folder.

    Args:
        what: `lerobot:OWNER/NAME[@REV]`, `lerobot-dataset:OWNER/NAME[@REV]`, or a path.
        home: the folder of `$WORLDFLUX_HOME`; None takes it from the environment.
        client: a `HubClient`; None makes one from HF_ENDPOINT and HF_TOKEN.
        progress: what watches; None shows nothing.
        workers: files on their way at the same time.

    Raises:
        UsageError: what was named can not be imported: not found, not LeRobot's, renamed.
        AccessError: gated or private.
        TemporaryError: not reachable, rate limit, cut again and again, another import at work.
        WorldFluxError: a digest is wrong, no room, or the repo is broken.
    """
    shelf = Shelf.at(home)
    if is_reference(what):
        reference = parse(what)
        _check(reference, wanted)
        pinned = _already_pinned(shelf, reference, wanted)
        if pinned is not None:
            return pinned
        from worldflux.catalog.hub import HubClient

        origin: Origin = HubOrigin.resolve(client or HubClient(), reference)
    else:
        origin = FolderOrigin.read(Path(what))
        _check(origin.reference, wanted)
    berth = shelf.berth(origin.reference, origin.commit)
    with berth.lock(str(origin.reference)):
        return _Import(origin, berth, wanted, progress or Silent(), workers).run()


def _check(reference: Reference, wanted: Wanted) -> None:
    if wanted.episodes is not None and reference.kind == "policy":
        raise UsageError("--episodes is for datasets", "leave it out for a policy", code="usage")
    if wanted.episodes is not None and wanted.meta_only:
        raise UsageError("--meta-only and --episodes exclude each other", "choose one", code="usage")
    if wanted.episodes is not None:
        lerobot_dataset.parse_episodes(wanted.episodes, None)


def _already_pinned(shelf: Shelf, reference: Reference, wanted: Wanted) -> Imported | None:
    """An import that needs no network: its commit was named, and all that is wanted is here."""
    from worldflux.catalog.reference import COMMIT

    if reference.revision is None or not COMMIT.match(reference.revision):
        return None
    berth = shelf.berth(reference, reference.revision)
    record = berth.entry()
    if record is None or not _covers(record, wanted):
        return None
    return Imported(record, berth.files, fresh=False)


def _covers(record: dict[str, Any], wanted: Wanted) -> bool:
    if record["complete"] or wanted.meta_only:
        return True
    if wanted.episodes is None or not record["selection"]["episodes"]:
        return False
    have = set(lerobot_dataset.parse_episodes(record["selection"]["episodes"], None))
    return have.issuperset(lerobot_dataset.parse_episodes(wanted.episodes, None))


class _Import:
    """One import at work, under the lock of its berth."""

    def __init__(
        self, origin: Origin, berth: Berth, wanted: Wanted, progress: Progress, workers: int
    ) -> None:
        self.origin, self.berth, self.wanted = origin, berth, wanted
        self.progress, self.workers = progress, workers
        self.before = berth.entry()

    def run(self) -> Imported:
        if self.before is not None and _covers(self.before, self.wanted) and self._all_here():
            record = {**self.before, "names": sorted({*self.before["names"], *self.origin.names})}
            if record != self.before:
                self.berth.write_entry(record)
            return Imported(record, self.berth.files, fresh=False)
        if not self.berth.listed:
            self.berth.write_listing(self.origin.items())
        record = self._policy() if self.origin.reference.kind == "policy" else self._dataset()
        self.berth.clear_parts()
        self.berth.write_entry(record)
        return Imported(record, self.berth.files, fresh=True)

    def _all_here(self) -> bool:
        try:
            return all(done.unchanged((self.berth.files / done.path).stat()) for done in self.berth.done())
        except OSError:
            return False

    def _policy(self) -> dict[str, Any]:
        self._fetch("metadata", lambda item: item.path in lerobot_policy.SMALL)
        config = lerobot_policy.config_of(self._read(lerobot_policy.CONFIG), self.origin.reference.repo)
        items = {item.path: item for item in self.berth.listing()}
        if not self.wanted.meta_only:
            self._fetch("files", lambda item: True)
        header = self._header(items.get(lerobot_policy.WEIGHTS))
        facts = lerobot_policy.facts_of(config, self._read, frozenset(items), header, self.origin.tags)
        problems = [problem.json() for problem in facts.problems]
        weights = items.get(lerobot_policy.WEIGHTS)
        if header is not None and weights is not None and header.file_bytes != weights.size:
            text = (
                f"{lerobot_policy.WEIGHTS} has {weights.size} bytes, its header speaks of {header.file_bytes}"
            )
            problems.append({"code": "bad-weights", "text": text, "stops": ["eval"], "sources": []})
        record = self._record(facts.data, problems, self.wanted.meta_only and not self._was_complete(), None)
        return {**record, "license": facts.license, "license_from": facts.license_from}

    def _dataset(self) -> dict[str, Any]:
        if self.wanted.episodes is not None and self._version3():
            lerobot_dataset.need_pyarrow()
        self._fetch("metadata", lambda item: lerobot_dataset.is_metadata(item.path))
        info = lerobot_dataset.info_of(self._read(lerobot_dataset.INFO), self.origin.reference.repo)
        facts = lerobot_dataset.facts_of(info)
        episodes = None
        if self.wanted.episodes is not None:
            chosen = lerobot_dataset.parse_episodes(self.wanted.episodes, facts["episodes"])
            paths = lerobot_dataset.episode_files(info, self.berth.files, chosen)
            self._demand(paths)
            self._fetch("recordings", lambda item: item.path in paths)
            earlier = self.before["selection"]["episodes"] if self.before else None
            both = {*chosen, *(lerobot_dataset.parse_episodes(earlier, None) if earlier else ())}
            episodes = lerobot_dataset.episodes_text(sorted(both))
        elif not self.wanted.meta_only:
            self._fetch("recordings", lambda item: True)
        elif self.before is not None:
            episodes = self.before["selection"]["episodes"]
        problems = [
            {"code": "format", "text": text, "stops": ["train", "eval"], "sources": []}
            for text in lerobot_dataset.problems_of(facts)
        ]
        partial = (self.wanted.meta_only or self.wanted.episodes is not None) and not self._was_complete()
        record = self._record(facts, problems, partial, episodes if partial else None)
        license_, license_from = license_of(self._card(), self.origin.tags)
        return {**record, "license": license_, "license_from": license_from}

    def _was_complete(self) -> bool:
        return self.before is not None and bool(self.before["complete"])

    def _version3(self) -> bool:
        """Whether the listing has the episode tables of format 3; older ones name files by number."""
        return any(item.path.startswith("meta/episodes/") for item in self.berth.listing())

    def _demand(self, paths: Iterable[str]) -> None:
        missing = set(paths) - {item.path for item in self.berth.listing()}
        if missing:
            problem = f"the metadata speaks of {sorted(missing)[0]}, which the dataset does not hold"
            raise WorldFluxError(problem, "import all of it, without --episodes", code="bad_metadata")

    def _fetch(self, label: str, keep: Callable[[Item], bool]) -> None:
        """Bring the files that `keep` picks and that are not here."""
        here = {done.path for done in self.berth.journal.read()}
        count = size = needed = 0
        for item in self.berth.listing():
            if keep(item):
                count, size = count + 1, size + item.size
                needed += 0 if item.path in here else item.size
        check_room(self.berth.path, needed)
        transfer = Transfer(
            self.berth.files,
            self.berth.parts,
            self.berth.journal,
            self.origin.open,
            self.progress,
            self.workers,
        )
        self.progress.begin(label, count, size)
        try:
            transfer.run(item for item in self.berth.listing() if keep(item))
        finally:
            self.progress.end()

    def _header(self, weights: Item | None) -> safetensors.Header | None:
        """The header of the weights; over the wire when only the metadata is wanted."""
        if weights is None:
            return None
        here = self.berth.files / weights.path
        if here.exists():
            return safetensors.read(here)
        with self.origin.open(weights.path, 0) as (_, chunks):
            return safetensors.from_chunks(chunks, weights.path)

    def _read(self, path: str) -> bytes | None:
        file = self.berth.files / path
        try:
            with open(file, "rb") as handle:
                return handle.read(_SMALL_FILE)
        except FileNotFoundError:
            return None

    def _card(self) -> dict[str, Any]:
        return front_matter((self._read("README.md") or b"").decode("utf-8", "replace"))

    def _record(
        self, facts: dict[str, Any], problems: list[dict[str, Any]], partial: bool, episodes: str | None
    ) -> dict[str, Any]:
        from worldflux import __version__
        from worldflux.manifest.model import utc_now

        done = self.berth.done()
        listed = listed_bytes = 0
        for item in self.berth.listing():
            listed, listed_bytes = listed + 1, listed_bytes + item.size
        earlier = self.before["names"] if self.before else ()
        return {
            "schema": SCHEMA,
            "id": self.origin.reference.id,
            "kind": self.origin.reference.kind,
            "repo": self.origin.reference.repo,
            "commit": self.origin.commit,
            "names": sorted({*earlier, *self.origin.names}),
            "origin": self.origin.record(),
            "imported_at": utc_now(),
            "importer": f"worldflux {__version__}",
            "complete": not partial and len(done) == listed,
            "selection": {"meta_only": partial and episodes is None, "episodes": episodes},
            "files": len(done),
            "bytes": sum(file.size for file in done),
            "listed_files": listed,
            "listed_bytes": listed_bytes,
            "sha256": contents_digest(done),
            "facts": facts,
            "problems": problems,
        }
