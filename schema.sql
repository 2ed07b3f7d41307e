-- A board has lists, a list has tasks. Safe to run again on its own database.
--
-- Every instant is text in one form, 2026-11-24T10:45:00.123Z, so that
-- comparing text is comparing time. The CHECKs refuse any other form:
-- datetime('now') has a space where this form has a T, and sorts before it.
-- (tasks.updated_at needs no CHECK: a trigger writes it over.)

PRAGMA application_id = 0x706F6C6C; -- "poll": Open refuses files without it

CREATE TABLE IF NOT EXISTS boards (
  id         TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
             CHECK (created_at IS strftime('%Y-%m-%dT%H:%M:%fZ', created_at)),
  -- The instant of the last change to any task of the board: the cursor that
  -- pollers send back as since. Leave it to the trigger task_updated.
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
             CHECK (updated_at IS strftime('%Y-%m-%dT%H:%M:%fZ', updated_at))
) STRICT;

CREATE TABLE IF NOT EXISTS lists (
  id       TEXT PRIMARY KEY,
  board_id TEXT NOT NULL REFERENCES boards (id),
  name     TEXT NOT NULL,
  position INTEGER NOT NULL
) STRICT;

-- A board's lists in order. UNIQUE, which it is by the id anyway, tells the
-- planner that what comes in this order needs no sorting.
CREATE UNIQUE INDEX IF NOT EXISTS lists_in_order ON lists (board_id, position, id);

CREATE TABLE IF NOT EXISTS tasks (
  id          TEXT PRIMARY KEY,
  list_id     TEXT NOT NULL REFERENCES lists (id),
  title       TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  position    INTEGER NOT NULL DEFAULT 0
              CHECK (position BETWEEN 0 AND 9007199254740991), -- what JavaScript holds exactly
  created_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
              CHECK (created_at IS strftime('%Y-%m-%dT%H:%M:%fZ', created_at)),
  updated_at  TEXT NOT NULL DEFAULT '', -- set by the trigger task_updated
  -- A deleted task stays as a row, so that a delete is a change like any other.
  deleted_at  TEXT
              CHECK (deleted_at IS strftime('%Y-%m-%dT%H:%M:%fZ', deleted_at))
) STRICT;

-- The full board in order. Partial: deleted tasks pile up, and cost it nothing.
CREATE INDEX IF NOT EXISTS tasks_live ON tasks (list_id, position, id)
  WHERE deleted_at IS NULL;

-- What changed in a list since an instant, deleted tasks among it.
CREATE INDEX IF NOT EXISTS tasks_changed ON tasks (list_id, updated_at);

-- Stamping. Each change moves its board forward and takes the board's new
-- instant, in the writer's own transaction. max(now, old + 1 ms) keeps the
-- instants of a board rising, also when the clock steps back or several
-- changes fall into one millisecond. Being here and not in Go, it holds for a
-- row typed into the sqlite3 shell as well.
CREATE TRIGGER IF NOT EXISTS task_updated AFTER UPDATE ON tasks BEGIN
  UPDATE boards SET updated_at = max(
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
    strftime('%Y-%m-%dT%H:%M:%fZ', updated_at, '+0.001 seconds'))
  WHERE id = (SELECT board_id FROM lists WHERE id = NEW.list_id);

  -- Does not fire this trigger again: SQLite's recursive_triggers is off.
  UPDATE tasks SET updated_at = (
    SELECT b.updated_at FROM boards b JOIN lists l ON l.board_id = b.id
    WHERE l.id = NEW.list_id)
  WHERE id = NEW.id;
END;

CREATE TRIGGER IF NOT EXISTS task_inserted AFTER INSERT ON tasks BEGIN
  UPDATE tasks SET id = id WHERE id = NEW.id; -- fires task_updated
END;

-- Guards. A poller learns of a change only from a row that it is sent. These
-- would take a task from a board without one, and leave a ghost on its screen.
CREATE TRIGGER IF NOT EXISTS task_delete_guard BEFORE DELETE ON tasks BEGIN
  SELECT RAISE(ABORT, 'a removed row reaches no poller: set tasks.deleted_at instead');
END;

CREATE TRIGGER IF NOT EXISTS task_move_guard BEFORE UPDATE OF id, list_id ON tasks
WHEN NEW.id <> OLD.id
  OR (SELECT board_id FROM lists WHERE id = NEW.list_id)
     IS NOT (SELECT board_id FROM lists WHERE id = OLD.list_id)
BEGIN
  SELECT RAISE(ABORT, 'a task keeps its id and its board: set deleted_at and insert a new task instead');
END;

-- REPLACE removes the old row without firing task_delete_guard.
CREATE TRIGGER IF NOT EXISTS task_insert_guard BEFORE INSERT ON tasks
WHEN EXISTS (SELECT 1 FROM tasks WHERE id = NEW.id)
  OR NOT EXISTS (SELECT 1 FROM lists WHERE id = NEW.list_id)
BEGIN
  SELECT RAISE(ABORT, 'a new task needs a new id and an existing list: UPDATE a task that is there instead');
END;

CREATE TRIGGER IF NOT EXISTS list_delete_guard BEFORE DELETE ON lists
WHEN EXISTS (SELECT 1 FROM tasks WHERE list_id = OLD.id)
BEGIN
  SELECT RAISE(ABORT, 'a list that has had tasks stays: set deleted_at on its tasks instead');
END;

CREATE TRIGGER IF NOT EXISTS list_move_guard BEFORE UPDATE OF id, board_id ON lists BEGIN
  SELECT RAISE(ABORT, 'a list keeps its id and its board: insert a new list instead');
END;

CREATE TRIGGER IF NOT EXISTS list_insert_guard BEFORE INSERT ON lists
WHEN EXISTS (SELECT 1 FROM lists WHERE id = NEW.id)
BEGIN
  SELECT RAISE(ABORT, 'a new list needs a new id: UPDATE a list that is there instead');
END;

-- The demo board. Tasks are never removed, so a table without one is new.
INSERT OR IGNORE INTO boards (id, name) VALUES ('board-1', 'Demo board');

INSERT INTO lists (id, board_id, name, position)
SELECT * FROM (VALUES
  ('list-1', 'board-1', 'To do', 0),
  ('list-2', 'board-1', 'In progress', 1),
  ('list-3', 'board-1', 'Done', 2))
WHERE NOT EXISTS (SELECT 1 FROM tasks);

INSERT INTO tasks (id, list_id, title, position)
SELECT * FROM (VALUES
  ('task-1', 'list-1', 'Open this board in a second window', 0),
  ('task-2', 'list-1', 'Add a task there and wait for it here', 1),
  ('task-3', 'list-1', 'Count the polls that bring nothing', 2),
  ('task-4', 'list-2', 'Read schema.sql and store.go', 0),
  ('task-5', 'list-3', 'Start the server', 0))
WHERE NOT EXISTS (SELECT 1 FROM tasks);
