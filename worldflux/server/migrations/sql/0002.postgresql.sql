DROP INDEX ix_run_params_value;

CREATE INDEX ix_run_params_number ON run_params (workspace_id, name, number, run_pk) WHERE number IS NOT NULL;

CREATE INDEX ix_run_params_text ON run_params (workspace_id, name, text, run_pk) WHERE number IS NULL;

ALTER TABLE runs DROP CONSTRAINT pk_runs, ADD CONSTRAINT pk_runs PRIMARY KEY (pk) INCLUDE (workspace_id, project_id, state);

ALTER TABLE run_metrics DROP CONSTRAINT pk_run_metrics, ADD CONSTRAINT pk_run_metrics PRIMARY KEY (run_pk, name) INCLUDE (workspace_id, value);

ALTER TABLE run_params DROP CONSTRAINT pk_run_params, ADD CONSTRAINT pk_run_params PRIMARY KEY (run_pk, name) INCLUDE (workspace_id, number);

CREATE STATISTICS st_run_params_number (mcv) ON workspace_id, name, number FROM run_params;

ALTER STATISTICS st_run_params_number SET STATISTICS 1000;

CREATE STATISTICS st_run_params_text (mcv) ON workspace_id, name, text FROM run_params;

ALTER STATISTICS st_run_params_text SET STATISTICS 1000;
