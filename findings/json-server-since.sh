#!/bin/sh
# A poll asks a mock server for "what changed since". Three versions of json-server, a mock server for REST that many
# tutorials use, give three answers, and none of them says that it does not know the question.
#
# Versions: json-server 0.17.4 (what npm calls latest), 1.0.0-beta.3 and 1.0.0-beta.15, on Node 20.20.
# Three rows; at is a time as toISOString() writes it, the cursor is that of row 2. Seen:
# - 0.17.4 knows at_gte only. It ignores at_gt, at:gt and since, so each poll brings every row.
# - beta.3 ignores at:gt and since. It compares numbers only: n_gte is right, at_gte and at_gt bring nothing, for ever.
# - beta.15 is right about all four, but takes since for a column that no row has: nothing, for ever.
# Guessed before: each compares such times as text, and ignores a filter that it does not know.
# It fails if one of the answers changes.
set -eu

dir=$(mktemp -d)
server=
trap 'test -z "$server" || kill "$server"; rm -rf "$dir"' EXIT
export npm_config_cache="$dir/cache"
cd "$dir"

port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => {
  console.log(s.address().port); s.close() })')
row='{"id":"%s","n":%s,"at":"2026-11-24T10:45:00.%s00Z"}'
for version in 0.17.4 1.0.0-beta.3 1.0.0-beta.15; do
  npm install --silent --no-audit --no-fund --ignore-scripts --prefix $version json-server@$version
  printf '{"tasks":['"$row,$row,$row"']}' 1 1 1 2 2 2 3 3 3 > db.json
  node $version/node_modules/.bin/json-server --host 127.0.0.1 --port "$port" db.json > log 2>&1 & server=$!
  curl -s -o ready --retry 50 --retry-connrefused --retry-delay 1 "http://127.0.0.1:$port/tasks"
  for filter in at_gte at_gt at:gt since n_gte; do
    cursor=2026-11-24T10:45:00.200Z
    test $filter != n_gte || cursor=2
    ids=$(curl -s "http://127.0.0.1:$port/tasks?$filter=$cursor" | grep -o '"id": "."' | tr -dc 0-9)
    printf '%s=%s ' "$filter" "${ids:-nothing}"
  done
  echo $version
  kill $server; wait $server 2> log || true; server=
done > seen
cat seen
diff - seen << 'EXPECTED'
at_gte=23 at_gt=123 at:gt=123 since=123 n_gte=23 0.17.4
at_gte=nothing at_gt=nothing at:gt=123 since=123 n_gte=23 1.0.0-beta.3
at_gte=23 at_gt=3 at:gt=3 since=nothing n_gte=23 1.0.0-beta.15
EXPECTED
