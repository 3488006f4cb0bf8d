-- name: remembered     the answer kept under an idempotency key
SELECT request, response FROM idempotency WHERE principal = :principal AND key = :key;

-- name: remember       keep an answer
INSERT INTO idempotency (principal, key, op, request, response, at)
VALUES (:principal, :key, :op, :request, :response, :at);

-- name: answer         put the answer under a key that is kept
UPDATE idempotency SET response = :response WHERE principal = :principal AND key = :key;

-- name: forget         free an idempotency key
DELETE FROM idempotency WHERE principal = :principal AND key = :key;

-- name: meta           a fact about the store
SELECT value FROM meta WHERE key = :key;

-- name: set_meta       set a fact about the store
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: find_chunks    where chunks of a domain rest
SELECT name, pack, start, length, raw_length FROM chunk WHERE domain = :domain AND name = :name;

-- name: add_chunk      a chunk's place; the first place stays
INSERT INTO chunk (domain, name, pack, start, length, raw_length)
VALUES (:domain, :name, :pack, :start, :length, :raw_length) ON CONFLICT (domain, name) DO NOTHING;

-- name: add_pack       a pack that committed content lies in
INSERT INTO pack (id, location, domain, epoch, size, upload, created_at)
VALUES (:id, :location, :domain, :epoch, :size, :upload, :created_at);

-- name: packs          every known pack
SELECT id, location, domain, epoch, size, upload, created_at FROM pack ORDER BY id;

-- name: drop_pack      forget a pack
DELETE FROM pack WHERE id = :id;

-- name: drop_chunks    forget the chunks of a pack
DELETE FROM chunk WHERE pack = :pack;

-- name: chunks_of      the chunks of a pack
SELECT domain, name, start, length, raw_length FROM chunk WHERE pack = :pack;

-- name: begin_upload   a running upload: what it wrote is not garbage
INSERT INTO upload (id, domain, started_at, expires_at) VALUES (:id, :domain, :started_at, :expires_at);

-- name: end_upload     it committed, or was given up
DELETE FROM upload WHERE id = :id;

-- name: uploads        the running uploads
SELECT id, domain, started_at, expires_at FROM upload;
