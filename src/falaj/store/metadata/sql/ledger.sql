-- name: add_entry        one entry, with its leaf number where the transaction gives it
INSERT INTO ledger_entry (id, leaf, project, what, op, at, body) VALUES (:id, :leaf, :project, :what, :op, :at, :body);

-- name: add_detail       the erasable words beside an entry
INSERT INTO ledger_detail (entry, salt, body) VALUES (:entry, :salt, :body);

-- name: add_told         an entry and the words beside it, in one round trip (PostgreSQL)
WITH told AS (INSERT INTO ledger_detail (entry, salt, body) VALUES (:id, :salt, :words))
INSERT INTO ledger_entry (id, leaf, project, what, op, at, body) VALUES (:id, :leaf, :project, :what, :op, :at, :body);

-- name: detail           the words beside one entry
SELECT salt, body FROM ledger_detail WHERE entry = :entry;

-- name: size             the greatest leaf number
SELECT leaf FROM ledger_entry WHERE leaf IS NOT NULL ORDER BY leaf DESC LIMIT 1;

-- name: leaf_of          the leaf number of an entry
SELECT leaf FROM ledger_entry WHERE id = :id;

-- name: pending          committed and not yet numbered, in the order of arrival (PostgreSQL)
SELECT id, body FROM ledger_entry WHERE leaf IS NULL ORDER BY arrived LIMIT :limit;

-- name: number           give a batch its leaf numbers (PostgreSQL)
UPDATE ledger_entry SET leaf = batch.leaf
  FROM unnest(CAST(:ids AS text[]), CAST(:leaves AS bigint[])) AS batch (id, leaf)
 WHERE ledger_entry.id = batch.id;

-- name: number_alone     wait until no other transaction gives numbers (PostgreSQL)
SELECT pg_advisory_xact_lock(:lock);

-- name: index_entry      set the columns that index an entry
UPDATE ledger_entry SET id = :id, project = :project, what = :what, op = :op, at = :at WHERE leaf = :leaf;

-- name: count_pending    how many wait for a number
SELECT count(*) FROM ledger_entry WHERE leaf IS NULL;

-- name: node             one node of the tree
SELECT hash FROM ledger_node WHERE level = :level AND idx = :idx;

-- name: add_node         one complete subtree
INSERT INTO ledger_node (level, idx, hash) VALUES (:level, :idx, :hash);

-- name: clear_nodes      before all are written anew from the entries
DELETE FROM ledger_node;

-- name: last_checkpoint  the newest signed head
SELECT size, note FROM ledger_checkpoint ORDER BY size DESC LIMIT 1;

-- name: checkpoints      every signed head, oldest first
SELECT size, note FROM ledger_checkpoint ORDER BY size;

-- name: add_checkpoint   keep a signed head; a size is signed once
INSERT INTO ledger_checkpoint (size, note, at) VALUES (:size, :note, :at) ON CONFLICT (size) DO NOTHING;

-- name: old_checkpoints  the two that come after the newest :newest, newest first
SELECT size, at FROM ledger_checkpoint ORDER BY size DESC LIMIT 2 OFFSET :newest;

-- name: drop_checkpoint  forget a signed head that later ones cover
DELETE FROM ledger_checkpoint WHERE size = :size;

-- name: leaves           the bodies of leaves in order, from one up to before another
SELECT body FROM ledger_entry WHERE leaf >= :start AND leaf < :stop ORDER BY leaf;

-- name: indexed_leaves   the leaves with the columns that index them
SELECT leaf, body, id, project, what, op, at FROM ledger_entry WHERE leaf IS NOT NULL ORDER BY leaf;

-- name: page             entries of a project (or all), newest first, before a leaf; only of one event if given
SELECT id, leaf, project, what, op, at, body FROM ledger_entry
 WHERE leaf < :before AND (:project = '' OR project = :project) AND (:what = '' OR what = :what)
 ORDER BY leaf DESC LIMIT :limit;

-- name: pending_page     entries of a project (or all) that wait for a number, newest first; only of one event if given
SELECT id, leaf, project, what, op, at, body FROM ledger_entry
 WHERE leaf IS NULL AND (:project = '' OR project = :project) AND (:what = '' OR what = :what)
 ORDER BY arrived DESC LIMIT :limit;

-- name: by_leaf          one entry by its leaf number
SELECT id, leaf, project, what, op, at, body FROM ledger_entry WHERE leaf = :leaf;

-- name: by_id            one entry by its id
SELECT id, leaf, project, what, op, at, body FROM ledger_entry WHERE id = :id;

-- name: of_moment        entries of a project of one moment, among the ids from one up to before another
SELECT id, leaf, body FROM ledger_entry
 WHERE id >= :first AND id < :stop AND project = :project AND at = :at ORDER BY id;

-- name: pending_bodies   the bodies of all entries that wait for a number
SELECT body FROM ledger_entry WHERE leaf IS NULL ORDER BY arrived;

-- name: count_nodes      how many nodes there are
SELECT count(*) FROM ledger_node;

-- name: count_equal_nodes  how many nodes of a range are as in :hashes, 32 bytes each
SELECT count(*) FROM ledger_node
 WHERE level = :level AND idx >= :start AND idx < :stop
   AND hash = substr(:hashes, CAST((idx - :start) * 32 + 1 AS integer), 32);

-- name: nodes            every node, by level and index
SELECT level, idx, hash FROM ledger_node ORDER BY level, idx;

-- name: details          the words beside every entry that has some, with the entry that commits to them
SELECT d.entry, d.salt, d.body, e.leaf, e.body FROM ledger_detail d LEFT JOIN ledger_entry e ON e.id = d.entry
 ORDER BY d.entry;
