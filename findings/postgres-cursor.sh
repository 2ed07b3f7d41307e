#!/bin/sh
# Which cursor may a poll have when several transactions write at the same time?
#
# Guess: a sequence, since it never gives a number twice; or the time of each change, read by a
# trigger. A poll asks for what is later than the highest stamp that it has seen.
#
# Behaviour: a stamp is given before the commit, and commits come in another order. A poll that sees
# 8 while 7 is not yet committed never asks for 7 again. Plain INSERTs are enough for that, without
# BEGIN. If the trigger moves the parent's row first, the lock of this row makes the order of stamps
# the order of commits, and nothing is lost. The price: a parent has one writer at a time.
#
# Seen with PostgreSQL 15.18, 6 writers for 8 s, a poll each 10 ms, on 2 cores:
#   sequence:              lost 197 of 17110 changes, 2138 writes a second
#   clock:                 lost 136 of 18344 changes, 2293 writes a second
#   parent moved, locked:  lost 0 of 5669 changes, 708 writes a second
#
# Usage: ./postgres-cursor.sh [seconds]. It needs Debian's package postgresql-15, and takes half a
# minute. It fails unless the first two cursors lose changes and the third loses none.
set -eu
seconds=${1:-8}
bin=/usr/lib/postgresql/15/bin
dir=$(mktemp -d)
as() { # runs a command as a user that PostgreSQL accepts: it refuses root
  if [ "$(id -u)" = 0 ]; then runuser -u nobody -- "$@"; else "$@"; fi
}
stop() {
  as "$bin/pg_ctl" -D "$dir/data" -m immediate stop >"$dir/stop" 2>&1 || true
  rm -rf "$dir"
}
trap stop EXIT
trap 'exit 1' INT TERM
if [ "$(id -u)" = 0 ]; then chown nobody "$dir"; fi
cd "$dir"
as "$bin/initdb" -D "$dir/data" -A trust -U poll >"$dir/init"
as "$bin/pg_ctl" -D "$dir/data" -l "$dir/data/log" -o "-k $dir -c listen_addresses=''" -w start >"$dir/start"
export PGHOST="$dir" PGUSER=poll PGDATABASE=postgres PGOPTIONS='-c client_min_messages=warning'
sql() { psql -XqAt -v ON_ERROR_STOP=1 "$@"; }
sql -c 'CREATE SEQUENCE versions; CREATE TABLE boards (id int PRIMARY KEY, updated_at timestamptz(3))'
sql -c 'INSERT INTO boards VALUES (1, clock_timestamp())'

race() { # the cursor's name, its type and first value, what the trigger does, what a poll reads as the next cursor
  sql <<SQL
DROP TABLE IF EXISTS tasks, seen;
CREATE TABLE tasks (id bigserial PRIMARY KEY, board_id int NOT NULL, stamp $2 NOT NULL);
CREATE INDEX ON tasks (board_id, stamp);
CREATE TABLE seen (id bigint PRIMARY KEY);
CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN $4; RETURN NEW; END \$\$;
CREATE TRIGGER stamp BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION stamp();
SQL
  echo 'INSERT INTO tasks (board_id) VALUES (1);' >"$dir/write"
  pgbench -n -f "$dir/write" -c 6 -T "$seconds" >"$dir/writes" 2>&1 &
  writers=$!
  # Each statement of this block sees what is committed when the statement begins. The last poll comes after the writers.
  sql <<SQL
DO \$\$
DECLARE since $2 := '$3'; next since%TYPE; stop timestamptz := clock_timestamp() + interval '$((seconds + 2)) s';
BEGIN
  WHILE clock_timestamp() < stop LOOP
    next := ($5);
    INSERT INTO seen SELECT id FROM tasks WHERE board_id = 1 AND stamp > since ON CONFLICT DO NOTHING;
    since := coalesce(next, since);
    COMMIT;
    PERFORM pg_sleep(0.01);
  END LOOP;
END \$\$
SQL
  wait "$writers"
  lost=$(sql -c 'SELECT count(*) FROM tasks WHERE id NOT IN (SELECT id FROM seen)')
  changes=$(sql -c 'SELECT count(*) FROM tasks')
  echo "$1 lost $lost of $changes changes, $((changes / seconds)) writes a second"
}

race 'sequence:             ' bigint 0 "NEW.stamp = nextval('versions')" 'SELECT max(stamp) FROM tasks'
in_sequence=$lost
race 'clock:                ' timestamptz -infinity 'NEW.stamp = clock_timestamp()' 'SELECT max(stamp) FROM tasks'
in_clock=$lost
race 'parent moved, locked: ' 'timestamptz(3)' -infinity "
  UPDATE boards SET updated_at = greatest(clock_timestamp(), updated_at + interval '1 ms')
  WHERE id = NEW.board_id RETURNING updated_at INTO NEW.stamp" 'SELECT updated_at FROM boards WHERE id = 1'
test "$in_sequence" -gt 0 -a "$in_clock" -gt 0 -a "$lost" -eq 0
