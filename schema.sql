-- A board has lists, and a list has tasks. The server runs this file once, on an empty database.
--
-- Every instant is text in one layout, 2026-11-24T10:45:00.123Z. It always has the same length and is
-- always in UTC, so comparing two texts compares the two times. The CHECKs refuse every other layout.
-- (SQLite's datetime('now') writes a space instead of the T. As text, such an instant is too early.)

CREATE TABLE boards (
  id         TEXT PRIMARY KEY CHECK (id NOT IN ('', '.', '..')), -- a URL cannot carry these
  name       TEXT NOT NULL,
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
             CHECK (created_at IS strftime('%Y-%m-%dT%H:%M:%fZ', created_at)),
  -- The instant of the last change to any task of the board, set by the trigger task_updated. It is
  -- the timestamp in the response to a poll, which the client sends back as since.
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
             CHECK (updated_at IS strftime('%Y-%m-%dT%H:%M:%fZ', updated_at))
) STRICT, WITHOUT ROWID;

CREATE TABLE lists (
  id       TEXT PRIMARY KEY,
  board_id TEXT NOT NULL REFERENCES boards (id),
  name     TEXT NOT NULL,
  position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tasks (
  id          TEXT PRIMARY KEY CHECK (id NOT IN ('', '.', '..')),
  list_id     TEXT NOT NULL REFERENCES lists (id),
  title       TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  position    INTEGER NOT NULL DEFAULT 0
              CHECK (position BETWEEN 0 AND 9007199254740991), -- JavaScript's greatest exact integer
  created_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
              CHECK (created_at IS strftime('%Y-%m-%dT%H:%M:%fZ', created_at)),
  updated_at  TEXT NOT NULL DEFAULT '', -- task_updated writes over whatever is here
  -- A deleted task stays as a row. So a delete is a change like any other, and the next poll brings it.
  deleted_at  TEXT
              CHECK (deleted_at IS strftime('%Y-%m-%dT%H:%M:%fZ', deleted_at))
) STRICT, WITHOUT ROWID;

CREATE TABLE schema_checksum (sha256 TEXT NOT NULL) STRICT; -- that of this file; see createSchema

-- The lists of a board in order. Their id makes them UNIQUE anyway. Saying so lets SQLite skip a sort.
CREATE UNIQUE INDEX lists_in_order ON lists (board_id, position, id);

-- For the whole board: the living tasks of a list in their order. Deleted tasks stay in the table for
-- ever, but they are not in this index, so they cost nothing here.
CREATE INDEX tasks_live ON tasks (list_id, position, id) WHERE deleted_at IS NULL;

-- For what changed: all tasks of a list, deleted ones too, in the order of change.
CREATE INDEX tasks_changed ON tasks (list_id, updated_at);

-- Stamping. A trigger is SQL that SQLite runs by itself, in the transaction of whoever changes a row.
-- So no writer can forget it, and a row typed into the sqlite3 shell is stamped as well.
--
-- First the board's instant moves forward: to now, or to one millisecond after its old value if that is
-- later. So it moves even when the clock steps back, or when several changes fall into one millisecond.
-- Then the task gets the same instant.
CREATE TRIGGER task_updated AFTER UPDATE ON tasks BEGIN
  UPDATE boards SET updated_at = max(
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
    strftime('%Y-%m-%dT%H:%M:%fZ', updated_at, '+0.001 seconds'))
  WHERE id = (SELECT board_id FROM lists WHERE id = NEW.list_id);

  -- This UPDATE does not run the trigger again: in SQLite a trigger does not run itself.
  UPDATE tasks SET updated_at = (
    SELECT b.updated_at FROM boards b JOIN lists l ON l.board_id = b.id
    WHERE l.id = NEW.list_id)
  WHERE id = NEW.id;
END;

-- A new task needs the same stamp. Any UPDATE of the new row makes SQLite run task_updated for it.
CREATE TRIGGER task_inserted AFTER INSERT ON tasks BEGIN
  UPDATE tasks SET updated_at = '' WHERE id = NEW.id;
END;

-- The demo board.
INSERT INTO boards (id, name) VALUES ('board-1', 'Demo board');

INSERT INTO lists (id, board_id, name, position) VALUES
  ('list-1', 'board-1', 'To do', 0),
  ('list-2', 'board-1', 'In progress', 1),
  ('list-3', 'board-1', 'Done', 2);

INSERT INTO tasks (id, list_id, title, position) VALUES
  ('task-1', 'list-1', 'Open this board in a second window', 0),
  ('task-2', 'list-1', 'Add a task there and wait for it here', 1),
  ('task-3', 'list-1', 'Count the polls that bring nothing', 2),
  ('task-4', 'list-2', 'Read schema.sql and store.go', 0),
  ('task-5', 'list-3', 'Start the server', 0);

-- Guards. On a first reading, skip the rest of this file.
--
-- A client removes a task from its view only when it receives a row with deleted_at. The statements
-- refused below would take a task from its board without such a row, so clients would show it for ever.

CREATE TRIGGER task_delete_guard BEFORE DELETE ON tasks
BEGIN SELECT RAISE(ABORT, 'a removed row reaches no client: set tasks.deleted_at instead'); END;

CREATE TRIGGER task_move_guard BEFORE UPDATE OF id, list_id ON tasks
WHEN NEW.id <> OLD.id
  OR (SELECT board_id FROM lists WHERE id = NEW.list_id)
     IS NOT (SELECT board_id FROM lists WHERE id = OLD.list_id)
BEGIN SELECT RAISE(ABORT, 'a task keeps its id and its board: set deleted_at and insert a new task instead'); END;

-- REPLACE removes the old row without running task_delete_guard.
CREATE TRIGGER task_insert_guard BEFORE INSERT ON tasks
WHEN EXISTS (SELECT 1 FROM tasks WHERE id = NEW.id)
  OR NOT EXISTS (SELECT 1 FROM lists WHERE id = NEW.list_id)
BEGIN SELECT RAISE(ABORT, 'a new task needs a new id and an existing list: UPDATE a task that is there instead'); END;

CREATE TRIGGER list_delete_guard BEFORE DELETE ON lists
WHEN EXISTS (SELECT 1 FROM tasks WHERE list_id = OLD.id)
BEGIN SELECT RAISE(ABORT, 'a list that has had tasks stays: set deleted_at on its tasks instead'); END;

CREATE TRIGGER list_move_guard BEFORE UPDATE OF id, board_id ON lists
BEGIN SELECT RAISE(ABORT, 'a list keeps its id and its board: insert a new list instead'); END;

CREATE TRIGGER list_insert_guard BEFORE INSERT ON lists
WHEN EXISTS (SELECT 1 FROM lists WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a new list needs a new id: UPDATE a list that is there instead'); END;
