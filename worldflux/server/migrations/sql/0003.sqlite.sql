CREATE TRIGGER ck_runs_state_insert BEFORE INSERT ON runs WHEN NEW.state NOT IN ('active', 'archived', 'trash', 'gone') BEGIN SELECT RAISE(ABORT, 'ck_runs_state: no such state'); END;

CREATE TRIGGER ck_runs_state_update BEFORE UPDATE OF state ON runs WHEN NEW.state NOT IN ('active', 'archived', 'trash', 'gone') BEGIN SELECT RAISE(ABORT, 'ck_runs_state: no such state'); END;
