-- A board has lists, and a list has tasks. The server runs this file on an empty database. It
-- opens any other only if each table, index and trigger below is in it, word for word.
--
-- Every instant is text in one layout, 2026-11-24T10:45:00.123Z. It is always in UTC and of the
-- same length, so comparing two texts compares the two times. The CHECKs refuse every other
-- layout. (SQLite's datetime('now') has a space in place of the T. A space sorts before T, so
-- it looks earlier.) STRICT makes SQLite check types.

CREATE TABLE boards (
  id         TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
             CHECK (created_at IS strftime('%Y-%m-%dT%H:%M:%fZ', created_at)),
  -- When a task of the board last changed: the timestamp of a poll, and since of the client's next.
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
             CHECK (updated_at IS strftime('%Y-%m-%dT%H:%M:%fZ', updated_at))
) STRICT;

CREATE TABLE lists (
  id       TEXT PRIMARY KEY,
  board_id TEXT NOT NULL REFERENCES boards (id),
  name     TEXT NOT NULL,
  position INTEGER NOT NULL
) STRICT;

CREATE TABLE tasks (
  id          TEXT PRIMARY KEY,
  list_id     TEXT NOT NULL REFERENCES lists (id),
  title       TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  position    INTEGER NOT NULL DEFAULT 0 CHECK (position >= 0),
  created_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
              CHECK (created_at IS strftime('%Y-%m-%dT%H:%M:%fZ', created_at)),
  updated_at  TEXT NOT NULL DEFAULT '', -- the triggers write over whatever is here
  -- A deleted task stays as a row with this instant. So a delete is a change like any other.
  deleted_at  TEXT CHECK (deleted_at IS strftime('%Y-%m-%dT%H:%M:%fZ', deleted_at))
) STRICT;

-- For a board's lists in order. The id makes each row unique; saying so lets SQLite skip a sort.
CREATE UNIQUE INDEX lists_in_order ON lists (board_id, position, id);
-- For the whole board: the live tasks of a list in order. Deleted tasks cost nothing here.
CREATE INDEX tasks_live ON tasks (list_id, position, id) WHERE deleted_at IS NULL;
-- For what changed: all tasks of a list, deleted ones too, in the order of change.
CREATE INDEX tasks_changed ON tasks (list_id, updated_at);

-- Stamping. A trigger is SQL that SQLite runs by itself when a row changes: both happen, or
-- neither. So no writer can forget it, and a row typed into the sqlite3 shell is stamped as
-- well. The first two triggers empty the stamp of a task that was added or changed; then
-- task_stamped sets a new one. OLD is the row before the change, NEW the row after it. (The last
-- UPDATE finds '' in OLD, so no trigger runs again, also after PRAGMA recursive_triggers = on.)
CREATE TRIGGER task_inserted AFTER INSERT ON tasks
BEGIN UPDATE tasks SET updated_at = '' WHERE id = NEW.id; END;
CREATE TRIGGER task_updated AFTER UPDATE ON tasks WHEN OLD.updated_at <> '' AND NEW.updated_at <> ''
BEGIN UPDATE tasks SET updated_at = '' WHERE id = NEW.id; END;
CREATE TRIGGER task_stamped AFTER UPDATE ON tasks WHEN NEW.updated_at = '' BEGIN
  -- The board's instant moves to now, or past its old value if that is later. So each change is
  -- later than any client's timestamp, even when the clock steps back. (It adds 0.002 because
  -- SQLite 3.37 to 3.39 sometimes round 0.001 away.)
  UPDATE boards SET updated_at = max(
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
    strftime('%Y-%m-%dT%H:%M:%fZ', updated_at, '+0.002 seconds'))
  WHERE id = (SELECT board_id FROM lists WHERE id = NEW.list_id);
  UPDATE tasks SET updated_at = (
    SELECT b.updated_at FROM boards b JOIN lists l ON l.board_id = b.id WHERE l.id = NEW.list_id)
  WHERE id = NEW.id;
END;

-- Guards. A client shows a task until it receives the row with deleted_at. So no task may leave its
-- board without one. (Lists have no guards: stop the server to change them. After the next start,
-- each client loads the whole board.)
CREATE TRIGGER task_delete_guard BEFORE DELETE ON tasks
BEGIN SELECT RAISE(ABORT, 'a removed row reaches no client: set tasks.deleted_at instead'); END;
CREATE TRIGGER task_update_guard BEFORE UPDATE ON tasks BEGIN
  SELECT RAISE(ABORT, 'no such list') WHERE NEW.list_id NOT IN (SELECT id FROM lists);
  SELECT RAISE(ABORT, 'a task keeps its id and its board: set deleted_at and insert a new task instead')
  WHERE NEW.id <> OLD.id OR NEW.rowid <> OLD.rowid
    OR (SELECT board_id FROM lists WHERE id = NEW.list_id) <> (SELECT board_id FROM lists WHERE id = OLD.list_id);
END;

-- REPLACE removes the row with the same id or rowid (SQLite's own key), past task_delete_guard,
-- and inserts a new one. On the same board, that is a change like any other. (A new task in no
-- list is refused above, when it is stamped. NEW.rowid is -1 where the INSERT names none.)
CREATE TRIGGER task_insert_guard BEFORE INSERT ON tasks BEGIN
  SELECT RAISE(ABORT, 'a task keeps its board: set deleted_at and insert a new task instead')
  FROM tasks t JOIN lists l ON t.list_id = l.id
  WHERE t.id = NEW.id AND l.board_id <> (SELECT board_id FROM lists WHERE id = NEW.list_id);
  SELECT RAISE(ABORT, 'another task has this rowid: leave it out') FROM tasks WHERE rowid = NEW.rowid AND id <> NEW.id;
END;

-- A program that reads a board, and later writes all of it back, would set updated_at back.
-- Polls would then not bring what has changed in between. REPLACE may do the same.
CREATE TRIGGER board_update_guard BEFORE UPDATE ON boards WHEN NEW.updated_at < OLD.updated_at
BEGIN SELECT RAISE(ABORT, 'the updated_at of a board never goes back: leave it out of the UPDATE'); END;
CREATE TRIGGER board_insert_guard BEFORE INSERT ON boards
WHEN NEW.updated_at < (SELECT updated_at FROM boards WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the updated_at of a board never goes back: do not REPLACE the board'); END;
CREATE TRIGGER board_delete_guard BEFORE DELETE ON boards
BEGIN SELECT RAISE(ABORT, 'clients would show a removed board for ever: keep it'); END;

-- The demo board.
INSERT INTO boards (id, name) VALUES ('board-1', 'Demo board');
INSERT INTO lists (id, board_id, name, position) VALUES
  ('list-1', 'board-1', 'To do', 0), ('list-2', 'board-1', 'In progress', 1), ('list-3', 'board-1', 'Done', 2);
INSERT INTO tasks (id, list_id, title, position) VALUES
  ('task-1', 'list-1', 'See a change arrive', 0), ('task-2', 'list-1', 'Open this board in a second window', 1),
  ('task-3', 'list-1', 'Try polling every 30 seconds', 2), ('task-4', 'list-2', 'Watch polls that bring nothing', 0),
  ('task-5', 'list-3', 'Start the server', 0);
