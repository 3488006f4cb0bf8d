-- name: unread        entries of a project from one leaf up to before another that may cause something, in order
SELECT leaf, body FROM ledger_entry
 WHERE project = :project AND leaf >= :start AND leaf < :stop
   AND what IN ('ref.moved', 'drift.found', 'score.fell')
 ORDER BY leaf LIMIT :limit;

-- name: last_number   the greatest number of a start of a trigger
SELECT max(number) FROM trigger_start WHERE trigger = :trigger;

-- name: renew_lease   whoever carries out a start of this trigger still does
UPDATE trigger_cursor SET lease_until = :until WHERE trigger = :trigger;

-- name: read_on       a trigger has read every leaf before this one; a lease that is renewed meanwhile stays
INSERT INTO trigger_cursor (trigger, leaf, lease_until) VALUES (:trigger, :leaf, '')
    ON CONFLICT (trigger) DO UPDATE SET leaf = excluded.leaf;
