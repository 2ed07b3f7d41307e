-- A board has lists, and a list has tasks. The server runs this file once, on an empty database.
--
-- Every instant is text in one layout, 2026-11-24T10:45:00.123Z. It always has the same length and is
-- always in UTC, so comparing two texts compares the two times. The CHECKs refuse every other layout.
-- (SQLite's datetime('now') has a space instead of the T. A space sorts before T, so it looks earlier.)
-- STRICT makes SQLite check types. Without WITHOUT ROWID, a row would also have a hidden number as a key.

CREATE TABLE boards (
  id         TEXT PRIMARY KEY CHECK (id NOT IN ('', '.', '..')), -- in a URL, /boards/.. is another path
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
  -- A deleted task stays as a row with this instant. So a delete is a change like any other.
  deleted_at  TEXT
              CHECK (deleted_at IS strftime('%Y-%m-%dT%H:%M:%fZ', deleted_at))
) STRICT, WITHOUT ROWID;

CREATE TABLE schema_checksum (sha256 TEXT NOT NULL) STRICT; -- that of this file; see createSchema

-- The lists of a board in order. UNIQUE is no new rule, since the id is unique: it saves SQLite a sort.
CREATE UNIQUE INDEX lists_in_order ON lists (board_id, position, id);

-- For the whole board: the living tasks of a list in their order. Deleted tasks stay in the table for
-- ever, but they are not in this index, so they cost nothing here.
CREATE INDEX tasks_live ON tasks (list_id, position, id) WHERE deleted_at IS NULL;

-- For what changed: all tasks of a list, deleted ones too, in the order of change.
CREATE INDEX tasks_changed ON tasks (list_id, updated_at);

-- Stamping. A trigger is SQL that SQLite runs by itself whenever a row changes. Both happen, or neither.
-- So no writer can forget it, and a row typed into the sqlite3 shell is stamped as well. NEW is the row
-- after the change.
CREATE TRIGGER task_updated AFTER UPDATE ON tasks BEGIN
  -- The board's instant moves to now, or to its old value plus one millisecond if that is later. So no
  -- change has an instant that a client has already, even when the clock steps back.
  UPDATE boards SET updated_at = max(
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
    strftime('%Y-%m-%dT%H:%M:%fZ', updated_at, '+0.001 seconds'))
  WHERE id = (SELECT board_id FROM lists WHERE id = NEW.list_id);

  -- The task gets the same instant. A trigger does not run itself again, unless SQLite is told to.
  UPDATE tasks SET updated_at = (
    SELECT b.updated_at FROM boards b JOIN lists l ON l.board_id = b.id
    WHERE l.id = NEW.list_id)
  WHERE id = NEW.id;
END;

-- A new task needs a stamp too. This UPDATE of its row makes SQLite run the trigger above.
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
-- A client removes a task from its view only when it receives a row with deleted_at. The statements
-- refused below would take a task away without such a row, or move a cursor back. Clients would not see it.
CREATE TRIGGER task_delete_guard BEFORE DELETE ON tasks
BEGIN SELECT RAISE(ABORT, 'a removed row reaches no client: set tasks.deleted_at instead'); END;
CREATE TRIGGER task_move_guard BEFORE UPDATE OF id, list_id ON tasks
WHEN NEW.id <> OLD.id
  OR (SELECT board_id FROM lists WHERE id = NEW.list_id)
     IS NOT (SELECT board_id FROM lists WHERE id = OLD.list_id)
BEGIN SELECT RAISE(ABORT, 'a task keeps its id and its board: set deleted_at and insert a new task instead'); END;
-- INSERT OR REPLACE deletes a row that has the same id, without running task_delete_guard.
CREATE TRIGGER task_insert_guard BEFORE INSERT ON tasks
WHEN EXISTS (SELECT 1 FROM tasks WHERE id = NEW.id) OR NOT EXISTS (SELECT 1 FROM lists WHERE id = NEW.list_id)
BEGIN SELECT RAISE(ABORT, 'a new task needs a new id and an existing list: UPDATE a task that is there instead'); END;
CREATE TRIGGER list_delete_guard BEFORE DELETE ON lists
WHEN EXISTS (SELECT 1 FROM tasks WHERE list_id = OLD.id)
BEGIN SELECT RAISE(ABORT, 'a list that has had tasks stays: set deleted_at on its tasks instead'); END;
CREATE TRIGGER list_move_guard BEFORE UPDATE OF id, board_id ON lists
BEGIN SELECT RAISE(ABORT, 'a list keeps its id and its board: insert a new list instead'); END;
CREATE TRIGGER list_insert_guard BEFORE INSERT ON lists
WHEN EXISTS (SELECT 1 FROM lists WHERE id = NEW.id) OR NOT EXISTS (SELECT 1 FROM boards WHERE id = NEW.board_id)
BEGIN SELECT RAISE(ABORT, 'a new list needs a new id and an existing board: UPDATE a list that is there instead'); END;
CREATE TRIGGER board_delete_guard BEFORE DELETE ON boards
WHEN EXISTS (SELECT 1 FROM lists WHERE board_id = OLD.id)
BEGIN SELECT RAISE(ABORT, 'a board that has lists stays: set deleted_at on its tasks instead'); END;
CREATE TRIGGER board_move_guard BEFORE UPDATE OF id, updated_at ON boards
WHEN NEW.id <> OLD.id OR NEW.updated_at > OLD.updated_at IS NOT 1
BEGIN SELECT RAISE(ABORT, 'a board keeps its id, and its updated_at only moves forward: leave both as they are'); END;
CREATE TRIGGER board_insert_guard BEFORE INSERT ON boards
WHEN EXISTS (SELECT 1 FROM boards WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a new board needs a new id: UPDATE a board that is there instead'); END;
