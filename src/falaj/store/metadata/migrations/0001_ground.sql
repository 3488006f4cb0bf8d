-- The ground: what every room stands on. Columns hold text times (UTC, sortable) and canonical JSON where a value has parts.
-- A COUNTER is a number that PostgreSQL gives at insert; on SQLite, where writers are alone, it stays empty.
CREATE TABLE schema_version (number INTEGER PRIMARY KEY);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE project (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_at TEXT NOT NULL);

CREATE TABLE asset (
  id TEXT PRIMARY KEY, project TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, created_at TEXT NOT NULL,
  UNIQUE (project, kind, name)
);
CREATE TABLE version (
  asset TEXT NOT NULL, number INTEGER NOT NULL, payload BLOB NOT NULL, digest TEXT NOT NULL, created_at TEXT NOT NULL,
  by TEXT NOT NULL, person TEXT NOT NULL, content TEXT, domain TEXT, location TEXT,
  size_bytes INTEGER NOT NULL, stored_bytes INTEGER NOT NULL, run TEXT, state TEXT NOT NULL,
  PRIMARY KEY (asset, number)
);
CREATE INDEX version_content ON version (domain, content);
CREATE TABLE ref (
  asset TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, revision INTEGER NOT NULL, moved_at TEXT NOT NULL,
  PRIMARY KEY (asset, name)
);
CREATE TABLE ref_move (
  asset TEXT NOT NULL, ref TEXT NOT NULL, revision INTEGER NOT NULL, version INTEGER NOT NULL, previous INTEGER,
  sort TEXT NOT NULL, at TEXT NOT NULL, by TEXT NOT NULL, person TEXT NOT NULL, entry TEXT NOT NULL, proposal TEXT,
  PRIMARY KEY (asset, ref, revision)
);
-- Declared fields of payloads, so that versions stay queryable; rebuilt from the payloads at any time.
CREATE TABLE projection (
  asset TEXT NOT NULL, number INTEGER NOT NULL, field TEXT NOT NULL, text_value TEXT, number_value DOUBLE PRECISION,
  PRIMARY KEY (asset, number, field)
);
CREATE INDEX projection_text ON projection (field, text_value);
CREATE INDEX projection_number ON projection (field, number_value);

CREATE TABLE guard (
  gate TEXT NOT NULL, project TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, ref TEXT NOT NULL,
  gate_version INTEGER NOT NULL,
  PRIMARY KEY (gate, kind, name, ref)
);
CREATE INDEX guard_of ON guard (project, kind, name, ref);
CREATE TABLE verdict (
  id TEXT PRIMARY KEY, project TEXT NOT NULL, asset TEXT NOT NULL, version INTEGER NOT NULL, ref TEXT NOT NULL,
  candidate TEXT NOT NULL, gate TEXT NOT NULL, gate_version INTEGER NOT NULL, holder INTEGER, passed INTEGER NOT NULL,
  body BLOB NOT NULL, at TEXT NOT NULL, by TEXT NOT NULL, person TEXT NOT NULL, approvals TEXT NOT NULL, run TEXT,
  used_by TEXT
);
CREATE INDEX verdict_of ON verdict (asset, version, ref);
CREATE TABLE proposal (
  id TEXT PRIMARY KEY, project TEXT NOT NULL, asset TEXT NOT NULL, ref TEXT NOT NULL, version INTEGER NOT NULL,
  holder INTEGER, verdicts TEXT NOT NULL, at TEXT NOT NULL, by TEXT NOT NULL, person TEXT NOT NULL,
  state TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE INDEX proposal_of ON proposal (project, state, id);
CREATE TABLE approval (
  proposal TEXT NOT NULL, person TEXT NOT NULL, by TEXT NOT NULL, roles TEXT NOT NULL, at TEXT NOT NULL,
  PRIMARY KEY (proposal, person)
);

CREATE TABLE run (
  id TEXT PRIMARY KEY, project TEXT NOT NULL, sort TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
  started_at TEXT NOT NULL, by TEXT NOT NULL, person TEXT NOT NULL, owner TEXT NOT NULL, ended_at TEXT,
  params TEXT NOT NULL, metrics TEXT NOT NULL, code TEXT NOT NULL, environment TEXT NOT NULL, result TEXT NOT NULL,
  error TEXT
);
CREATE INDEX run_of ON run (project, id);
CREATE INDEX run_state ON run (state, id);
CREATE TABLE run_link (
  run TEXT NOT NULL, direction TEXT NOT NULL, asset TEXT NOT NULL, version INTEGER NOT NULL, role TEXT NOT NULL,
  PRIMARY KEY (run, direction, asset, version, role)
);
CREATE INDEX run_link_of ON run_link (asset, version, direction);

CREATE TABLE principal (
  id TEXT PRIMARY KEY, person TEXT NOT NULL, name TEXT NOT NULL UNIQUE, sort TEXT NOT NULL, groups TEXT NOT NULL
);
CREATE TABLE binding (
  id TEXT PRIMARY KEY, subject TEXT NOT NULL, role TEXT NOT NULL, scope TEXT NOT NULL, conditions TEXT NOT NULL,
  granted_by TEXT NOT NULL, created_at TEXT NOT NULL, expires_at TEXT
);
CREATE TABLE token (
  id TEXT PRIMARY KEY, principal TEXT NOT NULL, person TEXT NOT NULL, hash TEXT NOT NULL, scope TEXT NOT NULL,
  roles TEXT NOT NULL, created_at TEXT NOT NULL, expires_at TEXT, revoked_at TEXT, single_use INTEGER NOT NULL
);
CREATE TABLE wrapped_key (
  id TEXT PRIMARY KEY, purpose TEXT NOT NULL, domain TEXT NOT NULL, epoch INTEGER NOT NULL, parent TEXT NOT NULL,
  wrapped BLOB, fingerprint TEXT NOT NULL, algorithm TEXT NOT NULL, state TEXT NOT NULL, created_at TEXT NOT NULL,
  destroyed_at TEXT
);
CREATE UNIQUE INDEX wrapped_key_of ON wrapped_key (domain, purpose, epoch);

CREATE TABLE pack (
  id TEXT PRIMARY KEY, location TEXT NOT NULL, domain TEXT NOT NULL, epoch INTEGER NOT NULL, size INTEGER NOT NULL,
  upload TEXT NOT NULL, created_at TEXT NOT NULL
);
-- Of a chunk that several packs of one domain and location hold, the first place stays.
CREATE TABLE chunk (
  domain TEXT NOT NULL, location TEXT NOT NULL, name BLOB NOT NULL, pack TEXT NOT NULL, start INTEGER NOT NULL,
  length INTEGER NOT NULL, raw_length INTEGER NOT NULL,
  PRIMARY KEY (domain, location, name)
) WITHOUT ROWID;
CREATE INDEX chunk_pack ON chunk (pack);
CREATE TABLE upload (
  id TEXT PRIMARY KEY, domain TEXT NOT NULL, owner TEXT NOT NULL, started_at TEXT NOT NULL, expires_at TEXT NOT NULL
);

CREATE TABLE idempotency (
  principal TEXT NOT NULL, key TEXT NOT NULL, op TEXT NOT NULL, request TEXT NOT NULL, response BLOB NOT NULL,
  entry TEXT, at TEXT NOT NULL,
  PRIMARY KEY (principal, key)
);

-- The ledger. body is the leaf, byte for byte; project, what, op, at are an index over it, which verify compares.
-- arrived orders what waits for a leaf: drawn after the entry's rows are locked, so of two changes of one row the
-- earlier has the smaller one, whatever the clocks of the writers say.
CREATE TABLE ledger_entry (
  id TEXT PRIMARY KEY, leaf INTEGER UNIQUE, project TEXT NOT NULL, what TEXT NOT NULL, op TEXT NOT NULL, at TEXT NOT NULL,
  body BLOB NOT NULL, arrived COUNTER
);
CREATE INDEX ledger_entry_project ON ledger_entry (project, leaf);
CREATE INDEX ledger_pending ON ledger_entry (arrived) WHERE leaf IS NULL;
CREATE TABLE ledger_detail (entry TEXT PRIMARY KEY, salt BLOB NOT NULL, body BLOB NOT NULL);
CREATE TABLE ledger_node (level INTEGER NOT NULL, idx INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, idx)) WITHOUT ROWID;
CREATE TABLE ledger_checkpoint (size INTEGER PRIMARY KEY, note TEXT NOT NULL, at TEXT NOT NULL);
