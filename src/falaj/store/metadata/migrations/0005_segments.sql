-- Segments of prediction logs that were collected: each once, by the digest of its bytes.
CREATE TABLE segment (
  deployment TEXT NOT NULL, segment TEXT NOT NULL, project TEXT NOT NULL, sha256 TEXT NOT NULL, rows INTEGER NOT NULL,
  dataset TEXT NOT NULL, version INTEGER NOT NULL, at TEXT NOT NULL,
  PRIMARY KEY (deployment, segment)
);
