-- What the causes of a trigger came to: one row a cause, whatever the number of runs that it took.
CREATE TABLE trigger_start (
  trigger TEXT NOT NULL, entry TEXT NOT NULL, project TEXT NOT NULL, number INTEGER NOT NULL, version INTEGER NOT NULL,
  conditions TEXT NOT NULL, state TEXT NOT NULL, noted_at TEXT NOT NULL, covered_by TEXT, owner TEXT NOT NULL,
  attempt INTEGER NOT NULL, began_at TEXT, ended_at TEXT, pipeline TEXT NOT NULL, params TEXT NOT NULL,
  runs TEXT NOT NULL, registered TEXT NOT NULL, promotion TEXT NOT NULL, outcome TEXT NOT NULL, error TEXT,
  PRIMARY KEY (trigger, entry)
);
CREATE UNIQUE INDEX trigger_start_number ON trigger_start (trigger, number);
CREATE INDEX trigger_start_state ON trigger_start (trigger, state, number);
-- How far a trigger has read. An index only: read again from the beginning, no cause is taken twice.
CREATE TABLE trigger_cursor (trigger TEXT PRIMARY KEY, leaf INTEGER NOT NULL, lease_until TEXT NOT NULL);
