-- name: remembered     the answer kept under an idempotency key
SELECT request, response FROM idempotency WHERE principal = :principal AND key = :key;

-- name: remember       keep an answer
INSERT INTO idempotency (principal, key, op, request, response, at)
VALUES (:principal, :key, :op, :request, :response, :at);

-- name: answer         put the answer under a key that is kept
UPDATE idempotency SET response = :response WHERE principal = :principal AND key = :key;

-- name: forget         free an idempotency key
DELETE FROM idempotency WHERE principal = :principal AND key = :key;

-- name: forget_old     free the idempotency keys that came before a time
DELETE FROM idempotency WHERE at < :before;

-- name: meta           a fact about the store
SELECT value FROM meta WHERE key = :key;

-- name: set_meta       set a fact about the store
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: sqlite_version      the version of the library
SELECT sqlite_version();

-- name: postgresql_version  the version of the server
SELECT current_setting('server_version');
