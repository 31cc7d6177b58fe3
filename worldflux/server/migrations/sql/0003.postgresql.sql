ALTER TABLE runs ADD CONSTRAINT ck_runs_state CHECK (state IN ('active', 'archived', 'trash', 'gone'));
