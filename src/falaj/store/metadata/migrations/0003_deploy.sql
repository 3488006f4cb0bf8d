-- Rollouts: how a candidate that its gate let in comes to hold a ref that a deployment follows, step by step.
CREATE TABLE rollout (
  id TEXT PRIMARY KEY, project TEXT NOT NULL, deployment TEXT NOT NULL, config INTEGER NOT NULL, asset TEXT NOT NULL,
  ref TEXT NOT NULL, candidate INTEGER NOT NULL, stable INTEGER NOT NULL, state TEXT NOT NULL, step INTEGER NOT NULL,
  share INTEGER NOT NULL, revision INTEGER NOT NULL, verdicts TEXT NOT NULL, proposal TEXT, began_at TEXT NOT NULL,
  step_at TEXT NOT NULL, ended_at TEXT, by TEXT NOT NULL, person TEXT NOT NULL, why TEXT NOT NULL
);
CREATE INDEX rollout_of ON rollout (deployment, id);
-- Routing tables: what the servers of a deployment are told, by revision. Never changed, only followed by the next.
CREATE TABLE routing (
  deployment TEXT NOT NULL, revision INTEGER NOT NULL, project TEXT NOT NULL, config INTEGER NOT NULL,
  asset TEXT NOT NULL, ref TEXT NOT NULL, routes TEXT NOT NULL, held TEXT NOT NULL, previous INTEGER, rollout TEXT,
  at TEXT NOT NULL, entry TEXT NOT NULL,
  PRIMARY KEY (deployment, revision)
);
