"""The tables: one description for SQLite and PostgreSQL.

Rules that hold for all of them. A row that belongs to a workspace says so in `workspace_id`, and a
reference to such a row carries the workspace with it, so that no row can hang on another's. Integer
keys stay inside; what the outside sees are slugs, run ids and the `public_id` columns. Times are the
manifest's form (`2026-11-21T14:45:19.623+00:00`, by the server's clock unless a run claims them), so
text order is time order. Text compares by code point on both databases. On PostgreSQL the primary keys of
runs, metrics and parameters carry what lists compare (`state`, `value`, `number` ...), so that whether a run
belongs in one is known without its row.
"""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, LargeBinary, PrimaryKeyConstraint, UniqueConstraint, text

from worldflux.server.columns import (
    Flag,
    Whole,
    column,
    flagged,
    key,
    of,
    string,
    table,
    workspace,
)
from worldflux.server.columns import Real as Real
from worldflux.server.columns import metadata as metadata

workspaces = table(
    "workspaces",
    key(),
    string("slug"),
    string("name", default="''"),
    string("created_at"),
    # Null: the server's own default holds.
    column("quota_bytes", Whole(), null=True),
    column("quota_runs", Whole(), null=True),
    column("retention_days", Whole(), null=True),
    column("trash_days", Whole(), null=True),
    UniqueConstraint("slug"),
)

projects = table(
    "projects",
    key(),
    workspace(),
    string("slug"),
    string("description", default="''"),
    string("baseline_run", null=True),  # client_run_id
    flagged("archived"),
    string("created_at"),
    UniqueConstraint("workspace_id", "slug"),
    UniqueConstraint("pk", "workspace_id"),
)

runs = table(
    "runs",
    key(),
    workspace(),
    column("project_id", Whole()),
    string("client_run_id"),
    # What the manifest says; a run of which only streams came yet is `running`, without one.
    string("name", default="''"),
    string("recipe", default="''"),
    string("task", default="''"),
    string("adapter", null=True),
    string("support", null=True),
    string("runtime", default="''"),
    column("attempt", Whole(), default="1"),
    string("sweep_id", null=True),
    string("parent_id", null=True),
    string("seed", null=True),
    column("exit_code", Whole(), null=True),
    string("error_code", null=True),
    string("error_message", null=True),
    string("created_at"),
    string("started_at", null=True),
    string("finished_at", null=True),
    column("duration_seconds", Real(), null=True),
    column("cost_usd", Real(), null=True),
    string("git_commit", null=True),
    string("git_branch", null=True),
    column("git_dirty", Flag(), null=True),
    # `status` is what is shown: `interrupted` with `lost` when a running run fell silent. What the
    # manifest claims stays in `claimed_status`.
    string("status"),
    string("claimed_status"),
    flagged("lost"),
    flagged("final"),  # a manifest was committed with everything it names
    string("heartbeat_at", null=True),
    string("received_at"),
    string("updated_at"),
    string("who", null=True),  # name of the key that sent it first
    # What people set; a later manifest leaves a renamed or retagged run its name and tags.
    string("notes", default="''"),
    flagged("starred"),
    flagged("renamed"),
    flagged("retagged"),
    # `active`, `archived` or `trash`; a purged run keeps its row as a tombstone, in the state `gone`.
    string("state", default="'active'"),
    string("deleted_at", null=True),
    string("purged_at", null=True),
    column("manifest", LargeBinary(), null=True),  # zlib
    string("manifest_sha256", null=True),
    column("manifest_bytes", Whole(), default="0"),
    string("withheld", default="'[]'"),  # JSON list of stream names or `logs`
    string("torn", default="'[]'"),  # JSON list of streams whose last line is not whole
    column("stored_bytes", Whole(), default="0"),  # manifest and streams; blobs are counted apart
    string("evidence", default="'none'"),  # none, unsigned, signed, verified, invalid
    flagged("signature"),
    column("ledger_seq", Whole(), null=True),
    UniqueConstraint("workspace_id", "client_run_id"),
    UniqueConstraint("pk", "workspace_id"),
    of("projects", "project_id"),
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

run_metrics = table(
    "run_metrics",
    column("run_pk", Whole()),
    workspace(),
    string("name"),
    column("value", Real(), null=True),  # null for NaN, which has no order; infinities are numbers
    string("kind"),  # finite, nan, inf, -inf
    string("measure", default="'value'"),  # value or success, as the manifest has it
    column("low", Real(), null=True),
    column("high", Real(), null=True),
    column("k", Whole(), null=True),
    column("n", Whole(), null=True),
    string("unit", null=True),
    column("step", Whole(), null=True),
    PrimaryKeyConstraint("run_pk", "name"),
    of("runs", "run_pk"),
    rowid=False,
)
Index(
    "ix_run_metrics_value",
    run_metrics.c.workspace_id, run_metrics.c.name, run_metrics.c.value, run_metrics.c.run_pk,
)  # fmt: skip

run_params = table(
    "run_params",
    column("run_pk", Whole()),
    workspace(),
    string("name"),
    string("text"),  # at most 500 characters; the manifest has all of it
    column("number", Real(), null=True),
    PrimaryKeyConstraint("run_pk", "name"),
    of("runs", "run_pk"),
    rowid=False,
)
# Each row is in one of them: numbers in their order, texts in theirs, those that agree by age.
Index(
    "ix_run_params_number",
    run_params.c.workspace_id, run_params.c.name, run_params.c.number, run_params.c.run_pk,
    sqlite_where=run_params.c.number.is_not(None), postgresql_where=run_params.c.number.is_not(None),
)  # fmt: skip
Index(
    "ix_run_params_text",
    run_params.c.workspace_id, run_params.c.name, run_params.c.text, run_params.c.run_pk,
    sqlite_where=run_params.c.number.is_(None), postgresql_where=run_params.c.number.is_(None),
)  # fmt: skip

run_tags = table(
    "run_tags",
    column("run_pk", Whole()),
    workspace(),
    string("tag"),
    PrimaryKeyConstraint("run_pk", "tag"),
    of("runs", "run_pk"),
    rowid=False,
)
Index("ix_run_tags_tag", run_tags.c.workspace_id, run_tags.c.tag, run_tags.c.run_pk)

streams = table(
    "streams",
    column("run_pk", Whole()),
    workspace(),
    string("name"),  # `metrics` or `log:<name>`
    column("length", Whole()),
    string("sha256"),  # of all bytes so far
    PrimaryKeyConstraint("run_pk", "name"),
    of("runs", "run_pk"),
    rowid=False,
)

chunks = table(
    "chunks",
    key(),
    column("run_pk", Whole()),
    workspace(),
    string("stream"),
    column("offset", Whole()),
    column("length", Whole()),
    string("sha256"),
    column("body", LargeBinary(), null=True),  # zlib; null: the blob with this sha256
    UniqueConstraint("run_pk", "stream", "offset"),
    of("runs", "run_pk"),
)
Index(
    "ix_chunks_blob", chunks.c.workspace_id, chunks.c.sha256,
    sqlite_where=chunks.c.body.is_(None), postgresql_where=chunks.c.body.is_(None),
)  # fmt: skip

blobs = table(
    "blobs",
    workspace(),
    string("sha256"),
    column("bytes", Whole()),
    string("stored_at"),  # or last asked for by a client that is about to refer to it
    flagged("dying"),  # chosen by gc: missing for everybody, until it is stored again
    PrimaryKeyConstraint("workspace_id", "sha256"),
    rowid=False,
)

run_artifacts = table(
    "run_artifacts",
    column("run_pk", Whole()),
    workspace(),
    string("path"),
    string("sha256"),
    column("bytes", Whole()),
    string("media_type"),
    flagged("committed"),
    PrimaryKeyConstraint("run_pk", "path"),
    of("runs", "run_pk"),
    rowid=False,
)
Index("ix_run_artifacts_sha256", run_artifacts.c.workspace_id, run_artifacts.c.sha256)

api_keys = table(
    "api_keys",
    key(),
    workspace(),
    string("public_id"),
    string("name"),
    string("hash"),  # sha256 of the whole key
    string("last4"),
    string("scopes"),  # separated by spaces
    string("created_at"),
    string("created_by", null=True),
    string("expires_at", null=True),
    string("last_used_at", null=True),  # to the minute
    string("revoked_at", null=True),
    UniqueConstraint("hash"),
    UniqueConstraint("public_id"),
)

users = table(
    "users",
    key(),
    string("login"),
    string("name", default="''"),
    string("password_hash", null=True),  # argon2id
    string("created_at"),
    string("disabled_at", null=True),
    UniqueConstraint("login"),
)

memberships = table(
    "memberships",
    column("user_pk", Whole(), ForeignKey("users.pk", ondelete="CASCADE")),
    workspace(),
    string("scopes"),
    PrimaryKeyConstraint("user_pk", "workspace_id"),
    rowid=False,
)

sessions = table(
    "sessions",
    string("hash"),  # sha256 of the cookie
    workspace(),
    column("user_pk", Whole(), ForeignKey("users.pk", ondelete="CASCADE"), null=True),
    column("api_key_pk", Whole(), ForeignKey("api_keys.pk", ondelete="CASCADE"), null=True),
    string("scopes"),
    string("csrf"),
    string("created_at"),
    string("last_seen_at"),
    string("expires_at"),
    PrimaryKeyConstraint("hash"),
    rowid=False,
)

shares = table(
    "shares",
    key(),
    workspace(),
    string("public_id"),
    string("name", default="''"),
    string("hash"),  # sha256 of the token
    string("last4"),
    column("project_id", Whole(), null=True),  # one of these two is set
    column("run_pk", Whole(), null=True),
    string("created_by", null=True),
    string("created_at"),
    string("expires_at"),
    string("revoked_at", null=True),
    UniqueConstraint("hash"),
    UniqueConstraint("public_id"),
    of("projects", "project_id"),
    of("runs", "run_pk"),
)

audit_log = table(
    "audit_log",
    workspace(),
    column("seq", Whole()),
    string("at"),
    string("actor"),  # public id of the key, login of the user, or `server`
    string("action"),
    string("target"),
    string("detail"),  # JSON object
    string("prev"),
    string("hash"),
    PrimaryKeyConstraint("workspace_id", "seq"),
    rowid=False,
)

ledger_entries = table(
    "ledger_entries",
    column("project_id", Whole()),
    workspace(),
    column("seq", Whole()),
    string("kind"),
    string("run_id"),
    column("attempt", Whole()),
    string("manifest_sha256"),
    string("at"),
    string("leaf"),
    string("chain"),
    PrimaryKeyConstraint("project_id", "seq"),
    of("projects", "project_id"),
    rowid=False,
)
Index("ix_ledger_entries_run", ledger_entries.c.workspace_id, ledger_entries.c.run_id)

ledger_heads = table(
    "ledger_heads",
    column("project_id", Whole()),
    workspace(),
    column("size", Whole()),
    string("chain"),
    string("root"),
    string("frontier"),  # JSON list of hashes
    string("checkpoint", null=True),
    string("updated_at"),
    PrimaryKeyConstraint("project_id"),
    of("projects", "project_id"),
    rowid=False,
)

signatures = table(
    "signatures",
    column("run_pk", Whole()),
    workspace(),
    string("kind"),  # `bundle`: body; `evidence`: the blob with this sha256
    string("sha256"),
    column("bytes", Whole()),
    column("body", LargeBinary(), null=True),
    string("verdict", default="''"),  # JSON object: what verification said
    string("created_at"),
    PrimaryKeyConstraint("run_pk", "kind"),
    of("runs", "run_pk"),
    rowid=False,
)

settings = table(
    "settings",
    string("name"),
    string("value"),
    PrimaryKeyConstraint("name"),
    rowid=False,
)
