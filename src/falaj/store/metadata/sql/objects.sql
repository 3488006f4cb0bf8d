-- name: find_chunk        where one chunk of a domain rests in a location
SELECT name, pack, start, length, raw_length FROM chunk
 WHERE domain = :domain AND location = :location AND name = :name;

-- name: find_chunks       where chunks of a domain rest in a location (PostgreSQL)
SELECT name, pack, start, length, raw_length FROM chunk
 WHERE domain = :domain AND location = :location AND name = ANY(CAST(:names AS bytea[]));

-- name: add_chunk         a chunk's place; the first place stays
INSERT INTO chunk (domain, location, name, pack, start, length, raw_length)
VALUES (:domain, :location, :name, :pack, :start, :length, :raw_length) ON CONFLICT (domain, location, name) DO NOTHING;

-- name: chunks_of         the chunks that are read from a pack, in order
SELECT name, start, length, raw_length FROM chunk WHERE pack = :pack ORDER BY start;

-- name: drop_chunks       forget the chunks of a pack
DELETE FROM chunk WHERE pack = :pack;

-- name: add_pack          a pack that committed content lies in
INSERT INTO pack (id, location, domain, epoch, size, upload, created_at)
VALUES (:id, :location, :domain, :epoch, :size, :upload, :created_at);

-- name: has_pack          whether a pack is known
SELECT 1 FROM pack WHERE id = :id;

-- name: packs             every known pack, by domain
SELECT id, location, domain, epoch, size, upload, created_at FROM pack ORDER BY domain, location, id;

-- name: drop_pack         forget a pack
DELETE FROM pack WHERE id = :id;

-- name: lock_domain       uploads begin and end, and garbage is forgotten, one at a time in a domain
SELECT id FROM wrapped_key WHERE domain = :domain AND purpose = 'id' FOR UPDATE;

-- name: begin_upload      a running upload: what it wrote, and what it counts on, is not garbage
INSERT INTO upload (id, domain, owner, started_at, expires_at)
VALUES (:id, :domain, :owner, :started_at, :expires_at);

-- name: renew_upload      it is still running
UPDATE upload SET expires_at = :expires_at WHERE id = :id;

-- name: end_upload        it committed, or was given up
DELETE FROM upload WHERE id = :id;

-- name: uploads           the uploads that began and have not ended
SELECT id, domain, owner, expires_at FROM upload ORDER BY id;

-- name: uploads_of        those of one domain
SELECT id, domain, owner, expires_at FROM upload WHERE domain = :domain ORDER BY id;

-- name: retired_since     the entries that retired versions lately
SELECT body FROM ledger_entry WHERE what = 'version.retired' AND at > :since;

-- name: content_versions  every version that has bytes, and how many refs hold it
SELECT v.asset, v.number, v.domain, v.location, v.content, v.state,
       (SELECT count(*) FROM ref r WHERE r.asset = v.asset AND r.version = v.number)
  FROM version v WHERE v.content IS NOT NULL AND v.state <> 'erased'
 ORDER BY v.domain, v.location, v.asset, v.number;

-- name: versions_of       those of one domain
SELECT v.asset, v.number, v.domain, v.location, v.content, v.state,
       (SELECT count(*) FROM ref r WHERE r.asset = v.asset AND r.version = v.number)
  FROM version v WHERE v.domain = :domain AND v.content IS NOT NULL AND v.state <> 'erased'
 ORDER BY v.location, v.asset, v.number;
