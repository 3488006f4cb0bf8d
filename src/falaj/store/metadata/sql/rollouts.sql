-- name: not_live   newest first: the versions of an asset that may not be served any more
SELECT number, digest FROM version WHERE asset = :asset AND state <> 'live' ORDER BY number DESC LIMIT :limit
