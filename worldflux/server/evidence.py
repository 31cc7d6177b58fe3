"""Evidence that was sent with a run: judged when it comes, kept by digest, shown with its verdict."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, BinaryIO

from sqlalchemy import Connection, select, update

from worldflux.errors import WorldFluxError
from worldflux.evidence.verify import Report, Trust, verify_bundle, verify_zip
from worldflux.manifest.model import utc_now
from worldflux.server.problems import Problem
from worldflux.server.tables import runs, signatures

if TYPE_CHECKING:
    from worldflux.server.blobs import BlobStore
    from worldflux.server.db import Database


def judge(
    store: BlobStore,
    workspace_id: int,
    sha256: str,
    size: int,
    trust: Trust,
    run_id: str,
    manifest_sha256: str,
) -> dict[str, Any]:
    """The report on a stored archive, as data.

    Raises:
        Problem: 422 when it is no archive of this form, or about another run or record.
    """
    try:
        report = verify_zip(_opened(store, workspace_id, sha256, size), trust, "the archive")
    except FileNotFoundError:
        raise Problem(409, "missing", "the archive's bytes are not here", "upload them first") from None
    except WorldFluxError as error:
        raise Problem(422, "evidence", error.problem, error.hint) from None
    if report.run_id != run_id or report.manifest_sha256 != manifest_sha256:
        raise Problem(
            422, "evidence-other", "the archive is about another run, or another record of it",
            "sync the run first, then build its evidence",
        )  # fmt: skip
    return summary(report)


def judge_bundle(body: bytes, trust: Trust, manifest_sha256: str) -> dict[str, Any]:
    """Whether a bundle is a whole signature of a statement about a record, and by whom.

    Raises:
        Problem: 422 when it is not.
    """
    try:
        signer = verify_bundle(body, trust, manifest_sha256)
    except WorldFluxError as error:
        raise Problem(422, "bundle", error.problem, error.hint) from None
    return {
        "state": "verified" if signer.trusted else "signed",
        "manifest_sha256": manifest_sha256,
        "signer": {"key_id": signer.key_id, "name": signer.name, "trusted": signer.trusted},
    }


def bundle_now(row: Any, trust: Trust) -> dict[str, Any]:
    """What a kept bundle is by the keys that are trusted now; `invalid` when one of them did not make it."""
    about = json.loads(row.verdict)["manifest_sha256"]
    try:
        return judge_bundle(row.body, trust, about)
    except Problem:
        return {"state": "invalid", "manifest_sha256": about, "signer": None}


def summary(report: Report) -> dict[str, Any]:
    """What is kept of a report: all of it but where it was."""
    return {name: value for name, value in report.to_json().items() if name != "where"}


def keep(
    db: Database, connection: Connection, run: Any, kind: str, sha256: str, size: int, verdict: Any,
    state: str, body: bytes | None = None,
) -> None:  # fmt: skip
    """Remember evidence (`kind` evidence) or a bundle (`kind` bundle) of a run, in place of an earlier one.

    Args:
        state: what the evidence is now; the verdict says what it was found to be when it was judged.
    """
    row = {
        "run_pk": run.pk, "workspace_id": run.workspace_id, "kind": kind, "sha256": sha256, "bytes": size,
        "body": body, "verdict": json.dumps(verdict), "created_at": utc_now(),
    }  # fmt: skip
    changed = {name: row[name] for name in ("sha256", "bytes", "body", "verdict", "created_at")}
    connection.execute(
        db.insert(signatures)
        .values(row)
        .on_conflict_do_update(index_elements=["run_pk", "kind"], set_=changed)
    )
    changes = {"signature": True} if kind == "bundle" else {"evidence": state}
    connection.execute(
        update(runs).where(runs.c.pk == run.pk, runs.c.workspace_id == run.workspace_id).values(**changes)
    )


def kept(connection: Connection, run: Any, kind: str) -> Any:
    """The row of what a run was given; None when nothing was."""
    s = signatures.c
    query = select(signatures).where(s.run_pk == run.pk, s.workspace_id == run.workspace_id, s.kind == kind)
    return connection.execute(query).first()


def _opened(store: BlobStore, workspace_id: int, sha256: str, size: int) -> BinaryIO:
    file = store.open(workspace_id, sha256)
    if file.seekable():
        return file
    file.close()
    return io.BufferedReader(_Ranges(store, workspace_id, sha256, size), 1024 * 1024)  # type: ignore[return-value,unused-ignore]


class _Ranges(io.RawIOBase):
    """A blob of a store that only reads forwards: moving elsewhere opens it there anew."""

    def __init__(self, store: BlobStore, workspace_id: int, sha256: str, size: int) -> None:
        self._store, self._name, self._size = store, (workspace_id, sha256), size
        self._at, self._file, self._file_at = 0, None, 0  # type: int, BinaryIO | None, int

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._file is None or self._file_at != self._at:
            self._drop()
            self._file, self._file_at = self._store.open(*self._name, start=self._at), self._at
        data = self._file.read(min(len(buffer), max(0, self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        self._file_at = self._at
        return len(data)

    def close(self) -> None:
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
