CREATE TABLE settings (
    name TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    CONSTRAINT pk_settings PRIMARY KEY (name)
);

CREATE TABLE users (
    pk BIGSERIAL NOT NULL,
    login TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" DEFAULT '' NOT NULL,
    password_hash TEXT COLLATE "C",
    created_at TEXT COLLATE "C" NOT NULL,
    disabled_at TEXT COLLATE "C",
    CONSTRAINT pk_users PRIMARY KEY (pk),
    CONSTRAINT uq_users_login UNIQUE (login)
);

CREATE TABLE workspaces (
    pk BIGSERIAL NOT NULL,
    slug TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" DEFAULT '' NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    quota_bytes BIGINT,
    quota_runs BIGINT,
    retention_days BIGINT,
    trash_days BIGINT,
    CONSTRAINT pk_workspaces PRIMARY KEY (pk),
    CONSTRAINT uq_workspaces_slug UNIQUE (slug)
);

CREATE TABLE api_keys (
    pk BIGSERIAL NOT NULL,
    workspace_id BIGINT NOT NULL,
    public_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    last4 TEXT COLLATE "C" NOT NULL,
    scopes TEXT COLLATE "C" NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    created_by TEXT COLLATE "C",
    expires_at TEXT COLLATE "C",
    last_used_at TEXT COLLATE "C",
    revoked_at TEXT COLLATE "C",
    CONSTRAINT pk_api_keys PRIMARY KEY (pk),
    CONSTRAINT uq_api_keys_hash UNIQUE (hash),
    CONSTRAINT uq_api_keys_public_id UNIQUE (public_id),
    CONSTRAINT fk_api_keys_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE TABLE audit_log (
    workspace_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    at TEXT COLLATE "C" NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    detail TEXT COLLATE "C" NOT NULL,
    prev TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    CONSTRAINT pk_audit_log PRIMARY KEY (workspace_id, seq),
    CONSTRAINT fk_audit_log_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE TABLE blobs (
    workspace_id BIGINT NOT NULL,
    sha256 TEXT COLLATE "C" NOT NULL,
    bytes BIGINT NOT NULL,
    stored_at TEXT COLLATE "C" NOT NULL,
    dying BOOLEAN DEFAULT false NOT NULL,
    CONSTRAINT pk_blobs PRIMARY KEY (workspace_id, sha256),
    CONSTRAINT fk_blobs_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE TABLE memberships (
    user_pk BIGINT NOT NULL,
    workspace_id BIGINT NOT NULL,
    scopes TEXT COLLATE "C" NOT NULL,
    CONSTRAINT pk_memberships PRIMARY KEY (user_pk, workspace_id),
    CONSTRAINT fk_memberships_user_pk FOREIGN KEY(user_pk) REFERENCES users (pk) ON DELETE CASCADE,
    CONSTRAINT fk_memberships_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE TABLE projects (
    pk BIGSERIAL NOT NULL,
    workspace_id BIGINT NOT NULL,
    slug TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" DEFAULT '' NOT NULL,
    baseline_run TEXT COLLATE "C",
    archived BOOLEAN DEFAULT false NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    CONSTRAINT pk_projects PRIMARY KEY (pk),
    CONSTRAINT uq_projects_workspace_id_slug UNIQUE (workspace_id, slug),
    CONSTRAINT uq_projects_pk_workspace_id UNIQUE (pk, workspace_id),
    CONSTRAINT fk_projects_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE TABLE ledger_entries (
    project_id BIGINT NOT NULL,
    workspace_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    attempt BIGINT NOT NULL,
    manifest_sha256 TEXT COLLATE "C" NOT NULL,
    at TEXT COLLATE "C" NOT NULL,
    leaf TEXT COLLATE "C" NOT NULL,
    chain TEXT COLLATE "C" NOT NULL,
    CONSTRAINT pk_ledger_entries PRIMARY KEY (project_id, seq),
    CONSTRAINT fk_ledger_entries_project_id_workspace_id FOREIGN KEY(project_id, workspace_id) REFERENCES projects (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_ledger_entries_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE INDEX ix_ledger_entries_run ON ledger_entries (workspace_id, run_id);

CREATE TABLE ledger_heads (
    project_id BIGINT NOT NULL,
    workspace_id BIGINT NOT NULL,
    size BIGINT NOT NULL,
    chain TEXT COLLATE "C" NOT NULL,
    root TEXT COLLATE "C" NOT NULL,
    frontier TEXT COLLATE "C" NOT NULL,
    checkpoint TEXT COLLATE "C",
    updated_at TEXT COLLATE "C" NOT NULL,
    CONSTRAINT pk_ledger_heads PRIMARY KEY (project_id),
    CONSTRAINT fk_ledger_heads_project_id_workspace_id FOREIGN KEY(project_id, workspace_id) REFERENCES projects (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_ledger_heads_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE TABLE runs (
    pk BIGSERIAL NOT NULL,
    workspace_id BIGINT NOT NULL,
    project_id BIGINT NOT NULL,
    client_run_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" DEFAULT '' NOT NULL,
    recipe TEXT COLLATE "C" DEFAULT '' NOT NULL,
    task TEXT COLLATE "C" DEFAULT '' NOT NULL,
    adapter TEXT COLLATE "C",
    support TEXT COLLATE "C",
    runtime TEXT COLLATE "C" DEFAULT '' NOT NULL,
    attempt BIGINT DEFAULT 1 NOT NULL,
    sweep_id TEXT COLLATE "C",
    parent_id TEXT COLLATE "C",
    seed TEXT COLLATE "C",
    exit_code BIGINT,
    error_code TEXT COLLATE "C",
    error_message TEXT COLLATE "C",
    created_at TEXT COLLATE "C" NOT NULL,
    started_at TEXT COLLATE "C",
    finished_at TEXT COLLATE "C",
    duration_seconds DOUBLE PRECISION,
    cost_usd DOUBLE PRECISION,
    git_commit TEXT COLLATE "C",
    git_branch TEXT COLLATE "C",
    git_dirty BOOLEAN,
    status TEXT COLLATE "C" NOT NULL,
    claimed_status TEXT COLLATE "C" NOT NULL,
    lost BOOLEAN DEFAULT false NOT NULL,
    final BOOLEAN DEFAULT false NOT NULL,
    heartbeat_at TEXT COLLATE "C",
    received_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    who TEXT COLLATE "C",
    notes TEXT COLLATE "C" DEFAULT '' NOT NULL,
    starred BOOLEAN DEFAULT false NOT NULL,
    renamed BOOLEAN DEFAULT false NOT NULL,
    retagged BOOLEAN DEFAULT false NOT NULL,
    state TEXT COLLATE "C" DEFAULT 'active' NOT NULL,
    deleted_at TEXT COLLATE "C",
    purged_at TEXT COLLATE "C",
    manifest BYTEA,
    manifest_sha256 TEXT COLLATE "C",
    manifest_bytes BIGINT DEFAULT 0 NOT NULL,
    withheld TEXT COLLATE "C" DEFAULT '[]' NOT NULL,
    torn TEXT COLLATE "C" DEFAULT '[]' NOT NULL,
    stored_bytes BIGINT DEFAULT 0 NOT NULL,
    evidence TEXT COLLATE "C" DEFAULT 'none' NOT NULL,
    signature BOOLEAN DEFAULT false NOT NULL,
    ledger_seq BIGINT,
    CONSTRAINT pk_runs PRIMARY KEY (pk),
    CONSTRAINT uq_runs_workspace_id_client_run_id UNIQUE (workspace_id, client_run_id),
    CONSTRAINT uq_runs_pk_workspace_id UNIQUE (pk, workspace_id),
    CONSTRAINT fk_runs_project_id_workspace_id FOREIGN KEY(project_id, workspace_id) REFERENCES projects (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_runs_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE INDEX ix_runs_alive ON runs (heartbeat_at) WHERE claimed_status = 'running' AND NOT lost;

CREATE INDEX ix_runs_page ON runs (workspace_id, state, created_at, pk);

CREATE INDEX ix_runs_project_page ON runs (workspace_id, project_id, state, created_at, pk);

CREATE INDEX ix_runs_status_page ON runs (workspace_id, state, status, created_at, pk);

CREATE TABLE sessions (
    hash TEXT COLLATE "C" NOT NULL,
    workspace_id BIGINT NOT NULL,
    user_pk BIGINT,
    api_key_pk BIGINT,
    scopes TEXT COLLATE "C" NOT NULL,
    csrf TEXT COLLATE "C" NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    last_seen_at TEXT COLLATE "C" NOT NULL,
    expires_at TEXT COLLATE "C" NOT NULL,
    CONSTRAINT pk_sessions PRIMARY KEY (hash),
    CONSTRAINT fk_sessions_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE,
    CONSTRAINT fk_sessions_user_pk FOREIGN KEY(user_pk) REFERENCES users (pk) ON DELETE CASCADE,
    CONSTRAINT fk_sessions_api_key_pk FOREIGN KEY(api_key_pk) REFERENCES api_keys (pk) ON DELETE CASCADE
);

CREATE TABLE chunks (
    pk BIGSERIAL NOT NULL,
    run_pk BIGINT NOT NULL,
    workspace_id BIGINT NOT NULL,
    stream TEXT COLLATE "C" NOT NULL,
    "offset" BIGINT NOT NULL,
    length BIGINT NOT NULL,
    sha256 TEXT COLLATE "C" NOT NULL,
    body BYTEA,
    CONSTRAINT pk_chunks PRIMARY KEY (pk),
    CONSTRAINT uq_chunks_run_pk_stream_offset UNIQUE (run_pk, stream, "offset"),
    CONSTRAINT fk_chunks_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_chunks_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE INDEX ix_chunks_blob ON chunks (workspace_id, sha256) WHERE body IS NULL;

CREATE TABLE run_artifacts (
    run_pk BIGINT NOT NULL,
    workspace_id BIGINT NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    sha256 TEXT COLLATE "C" NOT NULL,
    bytes BIGINT NOT NULL,
    media_type TEXT COLLATE "C" NOT NULL,
    committed BOOLEAN DEFAULT false NOT NULL,
    CONSTRAINT pk_run_artifacts PRIMARY KEY (run_pk, path),
    CONSTRAINT fk_run_artifacts_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_run_artifacts_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE INDEX ix_run_artifacts_sha256 ON run_artifacts (workspace_id, sha256);

CREATE TABLE run_metrics (
    run_pk BIGINT NOT NULL,
    workspace_id BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    value DOUBLE PRECISION,
    kind TEXT COLLATE "C" NOT NULL,
    measure TEXT COLLATE "C" DEFAULT 'value' NOT NULL,
    low DOUBLE PRECISION,
    high DOUBLE PRECISION,
    k BIGINT,
    n BIGINT,
    unit TEXT COLLATE "C",
    step BIGINT,
    CONSTRAINT pk_run_metrics PRIMARY KEY (run_pk, name),
    CONSTRAINT fk_run_metrics_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_run_metrics_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE INDEX ix_run_metrics_value ON run_metrics (workspace_id, name, value, run_pk);

CREATE TABLE run_params (
    run_pk BIGINT NOT NULL,
    workspace_id BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    text TEXT COLLATE "C" NOT NULL,
    number DOUBLE PRECISION,
    CONSTRAINT pk_run_params PRIMARY KEY (run_pk, name),
    CONSTRAINT fk_run_params_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_run_params_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE INDEX ix_run_params_value ON run_params (workspace_id, name, number, text, run_pk);

CREATE TABLE run_tags (
    run_pk BIGINT NOT NULL,
    workspace_id BIGINT NOT NULL,
    tag TEXT COLLATE "C" NOT NULL,
    CONSTRAINT pk_run_tags PRIMARY KEY (run_pk, tag),
    CONSTRAINT fk_run_tags_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_run_tags_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE INDEX ix_run_tags_tag ON run_tags (workspace_id, tag, run_pk);

CREATE TABLE shares (
    pk BIGSERIAL NOT NULL,
    workspace_id BIGINT NOT NULL,
    public_id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" DEFAULT '' NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    last4 TEXT COLLATE "C" NOT NULL,
    project_id BIGINT,
    run_pk BIGINT,
    created_by TEXT COLLATE "C",
    created_at TEXT COLLATE "C" NOT NULL,
    expires_at TEXT COLLATE "C" NOT NULL,
    revoked_at TEXT COLLATE "C",
    CONSTRAINT pk_shares PRIMARY KEY (pk),
    CONSTRAINT uq_shares_hash UNIQUE (hash),
    CONSTRAINT uq_shares_public_id UNIQUE (public_id),
    CONSTRAINT fk_shares_project_id_workspace_id FOREIGN KEY(project_id, workspace_id) REFERENCES projects (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_shares_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_shares_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE TABLE signatures (
    run_pk BIGINT NOT NULL,
    workspace_id BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    sha256 TEXT COLLATE "C" NOT NULL,
    bytes BIGINT NOT NULL,
    body BYTEA,
    verdict TEXT COLLATE "C" DEFAULT '' NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    CONSTRAINT pk_signatures PRIMARY KEY (run_pk, kind),
    CONSTRAINT fk_signatures_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_signatures_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);

CREATE TABLE streams (
    run_pk BIGINT NOT NULL,
    workspace_id BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    length BIGINT NOT NULL,
    sha256 TEXT COLLATE "C" NOT NULL,
    CONSTRAINT pk_streams PRIMARY KEY (run_pk, name),
    CONSTRAINT fk_streams_run_pk_workspace_id FOREIGN KEY(run_pk, workspace_id) REFERENCES runs (pk, workspace_id) ON DELETE CASCADE,
    CONSTRAINT fk_streams_workspace_id FOREIGN KEY(workspace_id) REFERENCES workspaces (pk) ON DELETE CASCADE
);
