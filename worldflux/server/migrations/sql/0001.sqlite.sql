CREATE TABLE settings (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT pk_settings PRIMARY KEY (name)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE users (
    pk INTEGER NOT NULL,
    login TEXT NOT NULL,
    name TEXT DEFAULT '' NOT NULL,
    password_hash TEXT,
    created_at TEXT NOT NULL,
    disabled_at TEXT,
    CONSTRAINT pk_users PRIMARY KEY (pk),
    CONSTRAINT uq_users_login UNIQUE (login)
)
 STRICT;

CREATE TABLE workspaces (
    pk INTEGER NOT NULL,
    slug TEXT NOT NULL,
    name TEXT DEFAULT '' NOT NULL,
    created_at TEXT NOT NULL,
    quota_bytes INTEGER,
    quota_runs INTEGER,
    retention_days INTEGER,
    trash_days INTEGER,
    CONSTRAINT pk_workspaces PRIMARY KEY (pk),
    CONSTRAINT uq_workspaces_slug UNIQUE (slug)
)
 STRICT;

CREATE TABLE api_keys (
    pk INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    public_id TEXT NOT NULL,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    last4 TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at TEXT NOT NULL,
    created_by TEXT,
    expires_at TEXT,
    last_used_at TEXT,
    revoked_at TEXT,
    CONSTRAINT pk_api_keys PRIMARY KEY (pk),
    CONSTRAINT uq_api_keys_hash UNIQUE (hash),
    CONSTRAINT uq_api_keys_public_id UNIQUE (public_id),
    CONSTRAINT fk_api_keys_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 STRICT;

CREATE TABLE audit_log (
    workspace_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at TEXT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL,
    prev TEXT NOT NULL,
    hash TEXT NOT NULL,
    CONSTRAINT pk_audit_log PRIMARY KEY (workspace_id, seq),
    CONSTRAINT fk_audit_log_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE blobs (
    workspace_id INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    stored_at TEXT NOT NULL,
    dying INTEGER DEFAULT false NOT NULL,
    CONSTRAINT pk_blobs PRIMARY KEY (workspace_id, sha256),
    CONSTRAINT fk_blobs_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE memberships (
    user_pk INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    scopes TEXT NOT NULL,
    CONSTRAINT pk_memberships PRIMARY KEY (user_pk, workspace_id),
    CONSTRAINT fk_memberships_user_pk FOREIGN KEY(user_pk) REFERENCES users (pk) ON DELETE CASCADE,
    CONSTRAINT fk_memberships_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE projects (
    pk INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    slug TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    baseline_run TEXT,
    archived INTEGER DEFAULT false NOT NULL,
    created_at TEXT NOT NULL,
    CONSTRAINT pk_projects PRIMARY KEY (pk),
    CONSTRAINT uq_projects_workspace_id_slug UNIQUE (workspace_id, slug),
    CONSTRAINT uq_projects_pk_workspace_id UNIQUE (pk, workspace_id),
    CONSTRAINT fk_projects_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 STRICT;

CREATE TABLE ledger_entries (
    project_id INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    run_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    manifest_sha256 TEXT NOT NULL,
    at TEXT NOT NULL,
    leaf TEXT NOT NULL,
    chain TEXT NOT NULL,
    CONSTRAINT pk_ledger_entries PRIMARY KEY (project_id, seq),
    CONSTRAINT fk_ledger_entries_project_id_workspace_id FOREIGN KEY(project_id, workspace_id) REFERENCES projects (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_ledger_entries_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_ledger_entries_run ON ledger_entries (workspace_id, run_id);

CREATE TABLE ledger_heads (
    project_id INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    size INTEGER NOT NULL,
    chain TEXT NOT NULL,
    root TEXT NOT NULL,
    frontier TEXT NOT NULL,
    checkpoint TEXT,
    updated_at TEXT NOT NULL,
    CONSTRAINT pk_ledger_heads PRIMARY KEY (project_id),
    CONSTRAINT fk_ledger_heads_project_id_workspace_id FOREIGN KEY(project_id, workspace_id) REFERENCES projects (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_ledger_heads_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE runs (
    pk INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    project_id INTEGER NOT NULL,
    client_run_id TEXT NOT NULL,
    name TEXT DEFAULT '' NOT NULL,
    recipe TEXT DEFAULT '' NOT NULL,
    task TEXT DEFAULT '' NOT NULL,
    adapter TEXT,
    support TEXT,
    runtime TEXT DEFAULT '' NOT NULL,
    attempt INTEGER DEFAULT 1 NOT NULL,
    sweep_id TEXT,
    parent_id TEXT,
    seed TEXT,
    exit_code INTEGER,
    error_code TEXT,
    error_message TEXT,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT,
    duration_seconds REAL,
    cost_usd REAL,
    git_commit TEXT,
    git_branch TEXT,
    git_dirty INTEGER,
    status TEXT NOT NULL,
    claimed_status TEXT NOT NULL,
    lost INTEGER DEFAULT false NOT NULL,
    final INTEGER DEFAULT false NOT NULL,
    heartbeat_at TEXT,
    received_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    who TEXT,
    notes TEXT DEFAULT '' NOT NULL,
    starred INTEGER DEFAULT false NOT NULL,
    renamed INTEGER DEFAULT false NOT NULL,
    retagged INTEGER DEFAULT false NOT NULL,
    state TEXT DEFAULT 'active' NOT NULL,
    deleted_at TEXT,
    purged_at TEXT,
    manifest BLOB,
    manifest_sha256 TEXT,
    manifest_bytes INTEGER DEFAULT 0 NOT NULL,
    withheld TEXT DEFAULT '[]' NOT NULL,
    torn TEXT DEFAULT '[]' NOT NULL,
    stored_bytes INTEGER DEFAULT 0 NOT NULL,
    evidence TEXT DEFAULT 'none' NOT NULL,
    signature INTEGER DEFAULT false NOT NULL,
    ledger_seq INTEGER,
    CONSTRAINT pk_runs PRIMARY KEY (pk),
    CONSTRAINT uq_runs_workspace_id_client_run_id UNIQUE (workspace_id, client_run_id),
    CONSTRAINT uq_runs_pk_workspace_id UNIQUE (pk, workspace_id),
    CONSTRAINT fk_runs_project_id_workspace_id FOREIGN KEY(project_id, workspace_id) REFERENCES projects (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_runs_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 STRICT;

CREATE INDEX ix_runs_alive ON runs (heartbeat_at) WHERE claimed_status = 'running' AND lost = 0;

CREATE INDEX ix_runs_page ON runs (workspace_id, state, created_at, pk);

CREATE INDEX ix_runs_project_page ON runs (workspace_id, project_id, state, created_at, pk);

CREATE INDEX ix_runs_status_page ON runs (workspace_id, state, status, created_at, pk);

CREATE TABLE sessions (
    hash TEXT NOT NULL,
    workspace_id INTEGER NOT NULL,
    user_pk INTEGER,
    api_key_pk INTEGER,
    scopes TEXT NOT NULL,
    csrf TEXT NOT NULL,
    created_at TEXT NOT NULL,
    last_seen_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    CONSTRAINT pk_sessions PRIMARY KEY (hash),
    CONSTRAINT fk_sessions_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE,
    CONSTRAINT fk_sessions_user_pk FOREIGN KEY(user_pk) REFERENCES users (pk) ON DELETE CASCADE,
    CONSTRAINT fk_sessions_api_key_pk FOREIGN KEY(api_key_pk) REFERENCES api_keys (pk) ON DELETE CASCADE
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE chunks (
    pk INTEGER NOT NULL,
    run_pk INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    stream TEXT NOT NULL,
    "offset" INTEGER NOT NULL,
    length INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    body BLOB,
    CONSTRAINT pk_chunks PRIMARY KEY (pk),
    CONSTRAINT uq_chunks_run_pk_stream_offset UNIQUE (run_pk, stream, "offset"),
    CONSTRAINT fk_chunks_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_chunks_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 STRICT;

CREATE INDEX ix_chunks_blob ON chunks (workspace_id, sha256) WHERE body IS NULL;

CREATE TABLE run_artifacts (
    run_pk INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    committed INTEGER DEFAULT false NOT NULL,
    CONSTRAINT pk_run_artifacts PRIMARY KEY (run_pk, path),
    CONSTRAINT fk_run_artifacts_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_run_artifacts_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_run_artifacts_sha256 ON run_artifacts (workspace_id, sha256);

CREATE TABLE run_metrics (
    run_pk INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    value REAL,
    kind TEXT NOT NULL,
    measure TEXT DEFAULT 'value' NOT NULL,
    low REAL,
    high REAL,
    k INTEGER,
    n INTEGER,
    unit TEXT,
    step INTEGER,
    CONSTRAINT pk_run_metrics PRIMARY KEY (run_pk, name),
    CONSTRAINT fk_run_metrics_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_run_metrics_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_run_metrics_value ON run_metrics (workspace_id, name, value, run_pk);

CREATE TABLE run_params (
    run_pk INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    number REAL,
    CONSTRAINT pk_run_params PRIMARY KEY (run_pk, name),
    CONSTRAINT fk_run_params_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_run_params_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_run_params_value ON run_params (workspace_id, name, number, text, run_pk);

CREATE TABLE run_tags (
    run_pk INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    tag TEXT NOT NULL,
    CONSTRAINT pk_run_tags PRIMARY KEY (run_pk, tag),
    CONSTRAINT fk_run_tags_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_run_tags_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_run_tags_tag ON run_tags (workspace_id, tag, run_pk);

CREATE TABLE shares (
    pk INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    public_id TEXT NOT NULL,
    name TEXT DEFAULT '' NOT NULL,
    hash TEXT NOT NULL,
    last4 TEXT NOT NULL,
    project_id INTEGER,
    run_pk INTEGER,
    created_by TEXT,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    revoked_at TEXT,
    CONSTRAINT pk_shares PRIMARY KEY (pk),
    CONSTRAINT uq_shares_hash UNIQUE (hash),
    CONSTRAINT uq_shares_public_id UNIQUE (public_id),
    CONSTRAINT fk_shares_project_id_workspace_id FOREIGN KEY(project_id, workspace_id) REFERENCES projects (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_shares_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_shares_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 STRICT;

CREATE TABLE signatures (
    run_pk INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    body BLOB,
    verdict TEXT DEFAULT '' NOT NULL,
    created_at TEXT NOT NULL,
    CONSTRAINT pk_signatures PRIMARY KEY (run_pk, kind),
    CONSTRAINT fk_signatures_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_signatures_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE streams (
    run_pk INTEGER NOT NULL,
    workspace_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    length INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    CONSTRAINT pk_streams PRIMARY KEY (run_pk, name),
    CONSTRAINT fk_streams_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_streams_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
)
 WITHOUT ROWID,
 STRICT;
