DROP INDEX ix_run_params_value;

CREATE INDEX ix_run_params_number ON run_params (workspace_id, name, number, run_pk) WHERE number IS NOT NULL;

CREATE INDEX ix_run_params_text ON run_params (workspace_id, name, text, run_pk) WHERE number IS NULL;
