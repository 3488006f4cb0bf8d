-- name: last_number          the greatest version number of an asset
SELECT max(number) FROM version WHERE asset = :asset;

-- name: add_projection       one declared field of one version
INSERT INTO projection (asset, number, field, text_value, number_value)
VALUES (:asset, :number, :field, :text_value, :number_value);

-- name: clear_projections    before they are rebuilt from the payloads
DELETE FROM projection;

-- name: upstream             every version that a version was made from, with the run between, breadth first
WITH RECURSIVE up (asset, version, run, depth) AS (
  SELECT v.asset, v.number, v.run, 0 FROM version v WHERE v.asset = :asset AND v.number = :version
  UNION
  SELECT l.asset, l.version, v.run, up.depth + 1
    FROM up JOIN run_link l ON l.run = up.run AND l.direction = 'in'
    JOIN version v ON v.asset = l.asset AND v.number = l.version
   WHERE up.depth < :depth
)
SELECT asset, version, run, min(depth) FROM up GROUP BY asset, version, run ORDER BY 4, 1, 2 LIMIT :limit;

-- name: downstream           every version that was made from a version, breadth first
WITH RECURSIVE down (asset, version, run, depth) AS (
  SELECT v.asset, v.number, v.run, 0 FROM version v WHERE v.asset = :asset AND v.number = :version
  UNION
  SELECT v.asset, v.number, v.run, down.depth + 1
    FROM down JOIN run_link l ON l.asset = down.asset AND l.version = down.version AND l.direction = 'in'
    JOIN version v ON v.run = l.run
   WHERE down.depth < :depth
)
SELECT asset, version, run, min(depth) FROM down GROUP BY asset, version, run ORDER BY 4, 1, 2 LIMIT :limit;
