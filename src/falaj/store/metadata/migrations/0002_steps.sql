-- Attempts of steps of pipelines. `key` covers code, environment, params and inputs: by it a committed result is found.
CREATE TABLE step (
  run TEXT NOT NULL, step TEXT NOT NULL, item INTEGER NOT NULL, attempt INTEGER NOT NULL, project TEXT NOT NULL,
  label TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, parts TEXT NOT NULL, owner TEXT NOT NULL,
  started_at TEXT NOT NULL, lease_until TEXT NOT NULL, ended_at TEXT, job TEXT, asset TEXT, version INTEGER,
  error TEXT, log TEXT NOT NULL,
  PRIMARY KEY (run, step, item, attempt)
);
CREATE INDEX step_key ON step (project, key, state);
CREATE INDEX step_asset ON step (asset, version);
