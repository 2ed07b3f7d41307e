#!/bin/sh
# Does it help against deadlocks that a transaction locks the parent's row first, when the other writer's trigger locks it?
#
# A BEFORE UPDATE trigger on tasks moves the board's row. One writer locks the board, then changes the tasks 1 and 2. The
# other one sends a single UPDATE of task 2, without BEGIN.
#
# Guess: no deadlock. Both need the board's row, one of them has it, and a BEFORE trigger runs before the row is changed.
#
# Behaviour: deadlock (40P01). PostgreSQL locks the row that it will change before it runs the row's BEFORE triggers. So a
# single UPDATE holds task 2 while it waits for the board, and the other writer holds the board while it waits for task 2.
# With no lock by hand on either side it is the same. Only if every writer locks the board first is there none.
# (MariaDB 10.11 does the same, error 1213.)
#
# Seen with PostgreSQL 15.18:
#   one locks the board first:   ERROR:  deadlock detected
#   both lock the board first:   no deadlock
#
# Usage: ./postgres-lock-order.sh. It needs Debian's package postgresql-15 and takes ten seconds.
set -eu
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
export PGHOST="$dir" PGUSER=poll PGDATABASE=postgres
psql -Xq <<'SQL'
CREATE TABLE boards (id int PRIMARY KEY, updated_at timestamptz);
CREATE TABLE tasks (id int PRIMARY KEY, title text);
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN UPDATE boards SET updated_at = clock_timestamp(); RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION stamp();
INSERT INTO boards VALUES (1);
INSERT INTO tasks VALUES (1, ''), (2, '');
SQL
waits() { # waits until so many connections wait for a lock
  until [ "$(psql -XqAt -c "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")" = "$1" ]; do sleep 0.1; done
}
lock='SELECT FROM boards WHERE id = 1 FOR UPDATE;'
try() { # what the second writer sends
  mkfifo "$dir/first"
  psql -Xq <"$dir/first" >"$dir/out1" 2>&1 &
  exec 3>"$dir/first"
  echo "BEGIN; $lock UPDATE tasks SET title = 'first' WHERE id = 1;" >&3
  until grep -q . "$dir/out1"; do sleep 0.1; done # the board is locked
  psql -Xq -c "$1" >"$dir/out2" 2>&1 &
  waits 1
  echo "UPDATE tasks SET title = 'first' WHERE id = 2; COMMIT;" >&3
  exec 3>&-
  wait
  rm "$dir/first"
  grep -hm1 ERROR "$dir/out1" "$dir/out2" || echo 'no deadlock'
}
one=$(try "UPDATE tasks SET title = 'second' WHERE id = 2")
both=$(try "BEGIN; $lock UPDATE tasks SET title = 'second' WHERE id = 2; COMMIT")
echo "one locks the board first:   $one"
echo "both lock the board first:   $both"
test "$one" = 'ERROR:  deadlock detected' -a "$both" = 'no deadlock'
