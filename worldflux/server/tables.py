"""The tables: one description for SQLite and PostgreSQL.

Rules that hold for all of them. A row that belongs to a workspace says so in `workspace_id`, and a
reference to such a row carries the workspace with it, so that no row can hang on another's. Integer
keys stay inside; what the outside sees are slugs, run ids and the `public_id` columns. Times are the
manifest's form (`2026-11-21T14:45:19.623+00:00`, by the server's clock unless a run claims them), so
text order is time order. Text compares by code point on both databases.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.ext.compiler import compiles

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Whole(BigInteger):
    """A 64-bit integer; `INTEGER` in SQLite, whose strict tables know no other name."""


class Real(Double[float]):
    """A double; `REAL` in SQLite, which PostgreSQL takes for four bytes."""


class Flag(Boolean):
    """True or false; 0 or 1 in SQLite."""


@compiles(Whole, "sqlite")
def _whole(*_: Any, **__: Any) -> str:
    return "INTEGER"


@compiles(Real, "sqlite")
def _real(*_: Any, **__: Any) -> str:
    return "REAL"


@compiles(Flag, "sqlite")
def _flag(*_: Any, **__: Any) -> str:
    return "INTEGER"


def _text() -> Text:
    return Text().with_variant(Text(collation="C"), "postgresql")


def _column(name: str, type_: Any, *rest: Any, null: bool = False, default: str | None = None) -> Column[Any]:
    return Column(
        name, type_, *rest, nullable=null, server_default=None if default is None else text(default)
    )


def _string(name: str, *rest: Any, null: bool = False, default: str | None = None) -> Column[Any]:
    return _column(name, _text(), *rest, null=null, default=default)


def _flagged(name: str) -> Column[Any]:
    """A flag that is off until somebody sets it."""
    return _column(name, Flag(), default="false")


def _key() -> Column[Any]:
    return Column("pk", Whole(), primary_key=True)


def _workspace() -> Column[Any]:
    return _column("workspace_id", Whole(), ForeignKey("workspaces.pk", ondelete="CASCADE"))


def _of(parent: str, column: str) -> ForeignKeyConstraint:
    """A reference that also says: of the same workspace."""
    return ForeignKeyConstraint(
        [column, "workspace_id"], [f"{parent}.pk", f"{parent}.workspace_id"], ondelete="CASCADE"
    )


def _table(name: str, *parts: Any, rowid: bool = True) -> Table:
    return Table(name, metadata, *parts, sqlite_strict=True, sqlite_with_rowid=rowid)


workspaces = _table(
    "workspaces",
    _key(),
    _string("slug"),
    _string("name", default="''"),
    _string("created_at"),
    # Null: the server's own default holds.
    _column("quota_bytes", Whole(), null=True),
    _column("quota_runs", Whole(), null=True),
    _column("retention_days", Whole(), null=True),
    _column("trash_days", Whole(), null=True),
    UniqueConstraint("slug"),
)

projects = _table(
    "projects",
    _key(),
    _workspace(),
    _string("slug"),
    _string("description", default="''"),
    _string("baseline_run", null=True),  # client_run_id
    _flagged("archived"),
    _string("created_at"),
    UniqueConstraint("workspace_id", "slug"),
    UniqueConstraint("pk", "workspace_id"),
)

runs = _table(
    "runs",
    _key(),
    _workspace(),
    _column("project_id", Whole()),
    _string("client_run_id"),
    # What the manifest says; a run that only has streams so far is `queued` with an empty manifest.
    _string("name", default="''"),
    _string("recipe", default="''"),
    _string("task", default="''"),
    _string("adapter", null=True),
    _string("support", null=True),
    _string("runtime", default="''"),
    _column("attempt", Whole(), default="1"),
    _string("sweep_id", null=True),
    _string("parent_id", null=True),
    _string("seed", null=True),
    _column("exit_code", Whole(), null=True),
    _string("error_code", null=True),
    _string("error_message", null=True),
    _string("created_at"),
    _string("started_at", null=True),
    _string("finished_at", null=True),
    _column("duration_seconds", Real(), null=True),
    _column("cost_usd", Real(), null=True),
    _string("git_commit", null=True),
    _string("git_branch", null=True),
    _column("git_dirty", Flag(), null=True),
    # `status` is what is shown: `interrupted` with `lost` when a running run fell silent. What the
    # manifest claims stays in `claimed_status`.
    _string("status"),
    _string("claimed_status"),
    _flagged("lost"),
    _flagged("final"),  # a manifest was committed with everything it names
    _string("heartbeat_at", null=True),
    _string("received_at"),
    _string("updated_at"),
    _string("who", null=True),  # name of the key that sent it first
    # What people set; a later manifest leaves a renamed or retagged run its name and tags.
    _string("notes", default="''"),
    _flagged("starred"),
    _flagged("renamed"),
    _flagged("retagged"),
    # `active`, `archived` or `trash`; a purged run keeps its row as a tombstone, in the state `gone`.
    _string("state", default="'active'"),
    _string("deleted_at", null=True),
    _string("purged_at", null=True),
    _column("manifest", LargeBinary(), null=True),  # zlib
    _string("manifest_sha256", null=True),
    _column("manifest_bytes", Whole(), default="0"),
    _string("withheld", default="'[]'"),  # JSON list of stream names or `logs`
    _string("torn", default="'[]'"),  # JSON list of streams whose last line is not whole
    _column("stored_bytes", Whole(), default="0"),  # manifest and streams; blobs are counted apart
    _string("evidence", default="'none'"),  # none, unsigned, signed, verified, invalid
    _flagged("signature"),
    _column("ledger_seq", Whole(), null=True),
    UniqueConstraint("workspace_id", "client_run_id"),
    UniqueConstraint("pk", "workspace_id"),
    _of("projects", "project_id"),
)
Index("ix_runs_page", runs.c.workspace_id, runs.c.state, runs.c.created_at, runs.c.pk)
Index(
    "ix_runs_project_page",
    runs.c.workspace_id, runs.c.project_id, runs.c.state, runs.c.created_at, runs.c.pk,
)  # fmt: skip
Index("ix_runs_status_page", runs.c.workspace_id, runs.c.state, runs.c.status, runs.c.created_at, runs.c.pk)
Index(
    "ix_runs_alive",
    runs.c.heartbeat_at,
    sqlite_where=text("claimed_status = 'running' AND lost = 0"),
    postgresql_where=text("claimed_status = 'running' AND NOT lost"),
)

run_metrics = _table(
    "run_metrics",
    _column("run_pk", Whole()),
    _workspace(),
    _string("name"),
    _column("value", Real(), null=True),  # null for NaN, which has no order; infinities are numbers
    _string("kind"),  # finite, nan, inf, -inf
    _string("measure", default="'value'"),  # value or success, as the manifest has it
    _column("low", Real(), null=True),
    _column("high", Real(), null=True),
    _column("k", Whole(), null=True),
    _column("n", Whole(), null=True),
    _string("unit", null=True),
    _column("step", Whole(), null=True),
    PrimaryKeyConstraint("run_pk", "name"),
    _of("runs", "run_pk"),
    rowid=False,
)
Index(
    "ix_run_metrics_value",
    run_metrics.c.workspace_id, run_metrics.c.name, run_metrics.c.value, run_metrics.c.run_pk,
)  # fmt: skip

run_params = _table(
    "run_params",
    _column("run_pk", Whole()),
    _workspace(),
    _string("name"),
    _string("text"),  # at most 500 characters; the manifest has all of it
    _column("number", Real(), null=True),
    PrimaryKeyConstraint("run_pk", "name"),
    _of("runs", "run_pk"),
    rowid=False,
)
Index(
    "ix_run_params_value",
    run_params.c.workspace_id, run_params.c.name, run_params.c.number, run_params.c.text, run_params.c.run_pk,
)  # fmt: skip

run_tags = _table(
    "run_tags",
    _column("run_pk", Whole()),
    _workspace(),
    _string("tag"),
    PrimaryKeyConstraint("run_pk", "tag"),
    _of("runs", "run_pk"),
    rowid=False,
)
Index("ix_run_tags_tag", run_tags.c.workspace_id, run_tags.c.tag, run_tags.c.run_pk)

streams = _table(
    "streams",
    _column("run_pk", Whole()),
    _workspace(),
    _string("name"),  # `metrics` or `log:<name>`
    _column("length", Whole()),
    _string("sha256"),  # of all bytes so far
    PrimaryKeyConstraint("run_pk", "name"),
    _of("runs", "run_pk"),
    rowid=False,
)

chunks = _table(
    "chunks",
    _key(),
    _column("run_pk", Whole()),
    _workspace(),
    _string("stream"),
    _column("offset", Whole()),
    _column("length", Whole()),
    _string("sha256"),
    _column("body", LargeBinary(), null=True),  # zlib; null: the blob with this sha256
    UniqueConstraint("run_pk", "stream", "offset"),
    _of("runs", "run_pk"),
)
Index(
    "ix_chunks_blob", chunks.c.workspace_id, chunks.c.sha256,
    sqlite_where=chunks.c.body.is_(None), postgresql_where=chunks.c.body.is_(None),
)  # fmt: skip

blobs = _table(
    "blobs",
    _workspace(),
    _string("sha256"),
    _column("bytes", Whole()),
    _string("stored_at"),  # or last asked for by a client that is about to refer to it
    _flagged("dying"),  # chosen by gc: missing for everybody, until it is stored again
    PrimaryKeyConstraint("workspace_id", "sha256"),
    rowid=False,
)

run_artifacts = _table(
    "run_artifacts",
    _column("run_pk", Whole()),
    _workspace(),
    _string("path"),
    _string("sha256"),
    _column("bytes", Whole()),
    _string("media_type"),
    _flagged("committed"),
    PrimaryKeyConstraint("run_pk", "path"),
    _of("runs", "run_pk"),
    rowid=False,
)
Index("ix_run_artifacts_sha256", run_artifacts.c.workspace_id, run_artifacts.c.sha256)

api_keys = _table(
    "api_keys",
    _key(),
    _workspace(),
    _string("public_id"),
    _string("name"),
    _string("hash"),  # sha256 of the whole key
    _string("last4"),
    _string("scopes"),  # separated by spaces
    _string("created_at"),
    _string("created_by", null=True),
    _string("expires_at", null=True),
    _string("last_used_at", null=True),  # to the minute
    _string("revoked_at", null=True),
    UniqueConstraint("hash"),
    UniqueConstraint("public_id"),
)

users = _table(
    "users",
    _key(),
    _string("login"),
    _string("name", default="''"),
    _string("password_hash", null=True),  # argon2id
    _string("created_at"),
    _string("disabled_at", null=True),
    UniqueConstraint("login"),
)

memberships = _table(
    "memberships",
    _column("user_pk", Whole(), ForeignKey("users.pk", ondelete="CASCADE")),
    _workspace(),
    _string("scopes"),
    PrimaryKeyConstraint("user_pk", "workspace_id"),
    rowid=False,
)

sessions = _table(
    "sessions",
    _string("hash"),  # sha256 of the cookie
    _workspace(),
    _column("user_pk", Whole(), ForeignKey("users.pk", ondelete="CASCADE"), null=True),
    _column("api_key_pk", Whole(), ForeignKey("api_keys.pk", ondelete="CASCADE"), null=True),
    _string("scopes"),
    _string("csrf"),
    _string("created_at"),
    _string("last_seen_at"),
    _string("expires_at"),
    PrimaryKeyConstraint("hash"),
    rowid=False,
)

shares = _table(
    "shares",
    _key(),
    _workspace(),
    _string("public_id"),
    _string("name", default="''"),
    _string("hash"),  # sha256 of the token
    _string("last4"),
    _column("project_id", Whole(), null=True),  # one of these two is set
    _column("run_pk", Whole(), null=True),
    _string("created_by", null=True),
    _string("created_at"),
    _string("expires_at"),
    _string("revoked_at", null=True),
    UniqueConstraint("hash"),
    UniqueConstraint("public_id"),
    _of("projects", "project_id"),
    _of("runs", "run_pk"),
)

audit_log = _table(
    "audit_log",
    _workspace(),
    _column("seq", Whole()),
    _string("at"),
    _string("actor"),  # public id of the key, login of the user, or `server`
    _string("action"),
    _string("target"),
    _string("detail"),  # JSON object
    _string("prev"),
    _string("hash"),
    PrimaryKeyConstraint("workspace_id", "seq"),
    rowid=False,
)

ledger_entries = _table(
    "ledger_entries",
    _column("project_id", Whole()),
    _workspace(),
    _column("seq", Whole()),
    _string("kind"),
    _string("run_id"),
    _column("attempt", Whole()),
    _string("manifest_sha256"),
    _string("at"),
    _string("leaf"),
    _string("chain"),
    PrimaryKeyConstraint("project_id", "seq"),
    _of("projects", "project_id"),
    rowid=False,
)
Index("ix_ledger_entries_run", ledger_entries.c.workspace_id, ledger_entries.c.run_id)

ledger_heads = _table(
    "ledger_heads",
    _column("project_id", Whole()),
    _workspace(),
    _column("size", Whole()),
    _string("chain"),
    _string("root"),
    _string("frontier"),  # JSON list of hashes
    _string("checkpoint", null=True),
    _string("updated_at"),
    PrimaryKeyConstraint("project_id"),
    _of("projects", "project_id"),
    rowid=False,
)

signatures = _table(
    "signatures",
    _column("run_pk", Whole()),
    _workspace(),
    _string("kind"),  # `bundle`: body; `evidence`: the blob with this sha256
    _string("sha256"),
    _column("bytes", Whole()),
    _column("body", LargeBinary(), null=True),
    _string("verdict", default="''"),  # JSON object: what verification said
    _string("created_at"),
    PrimaryKeyConstraint("run_pk", "kind"),
    _of("runs", "run_pk"),
    rowid=False,
)

settings = _table(
    "settings",
    _string("name"),
    _string("value"),
    PrimaryKeyConstraint("name"),
    rowid=False,
)
