package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/mattn/go-sqlite3"
)

// Errors that Store methods return when a client asks for what cannot be done.
var (
	ErrNoBoard    = errors.New("no such board")
	ErrNoTask     = errors.New("no such task")
	ErrConstraint = errors.New("schema.sql refused the write") // always wrapped, with SQLite's own words
)

// Task is one row of the table tasks, as clients receive it. Its instants have the layout that schema.sql describes.
type Task struct {
	ID          string `json:"id"`
	ListID      string `json:"list_id"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Position    int64  `json:"position"`
	CreatedAt   string `json:"created_at"`
	UpdatedAt   string `json:"updated_at"`
	DeletedAt   string `json:"deleted_at,omitempty"` // empty unless the task was deleted
}

// Board is a board with its lists, ordered by position.
type Board struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Lists []List `json:"lists"`
}

// List is one list of a board, without its tasks.
type List struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Position int64  `json:"position"`
}

// NewTask is what a client sends to create a task.
type NewTask struct {
	ListID      string `json:"list_id"`
	Title       string `json:"title"`
	Description string `json:"description"`
}

// TaskChanges is what a client sends to change a task. A nil field stays as it is.
type TaskChanges struct {
	ListID      *string `json:"list_id"`
	Title       *string `json:"title"`
	Description *string `json:"description"`
	Position    *int64  `json:"position"`
}

//go:embed schema.sql
var schema string

// Store keeps boards in an SQLite file. It is safe for concurrent use.
type Store struct {
	// SQLite has one writer at a time, so all writes share one connection and wait in turn. A poll that finds
	// nothing new uses only the connection in timestamps, so it never waits while others read whole boards.
	writer, timestamps, reader *sql.DB

	// What polls ask, prepared once. When SQLite prepares a statement, it plans it: it decides which index to
	// read, and in which order. Preparing at each request would repeat that work. Tasks have two statements and
	// not one, because polls want different rows in a different order: the living tasks in the order of the
	// board, or all changed tasks, deleted ones too, in the order of change.
	timestamp, boardTasks, changedTasks *sql.Stmt

	busyTimeout time.Duration // see Open
}

// Open opens the database file at path. If the file is missing or empty, Open creates the demo board in it. It returns
// an error for a file that may not be written, that is no database, or that another schema.sql made. The caller must
// Close the Store.
//
// A write waits at most busyTimeout for the writes before it, and then at most busyTimeout for another process that
// keeps the file locked. After that it fails with an error that isBusy reports.
func Open(path string, busyTimeout time.Duration) (*Store, error) {
	// These settings belong to a connection. In the data source name they reach every connection of a pool; sent
	// with Exec, they would reach one. FULL keeps a change through a power cut once a client has seen it. With
	// immediate, a transaction waits for other writers when it begins.
	source := fmt.Sprintf("file:%s?_synchronous=FULL&_foreign_keys=on&_txlock=immediate&_busy_timeout=%d",
		(&url.URL{Path: path}).EscapedPath(), busyTimeout.Milliseconds())
	writer, err1 := newPool(source, 1)
	timestamps, err2 := newPool(source, 1)
	reader, err3 := newPool(source, 4)
	err := errors.Join(err1, err2, err3)
	if err != nil {
		return nil, err
	}
	s := &Store{writer: writer, timestamps: timestamps, reader: reader, busyTimeout: busyTimeout}
	if err = s.createSchema(); err == nil {
		err = s.prepare()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), s.Close())
	}
	return s, nil
}

// newPool returns a pool that opens at most the given number of connections, when they are first needed. They stay open
// while they are idle: closing one would throw away the statements that are prepared on it.
func newPool(source string, connections int) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", source)
	if err == nil {
		db.SetMaxOpenConns(connections)
		db.SetMaxIdleConns(connections)
	}
	return db, err
}

// createSchema runs schema.sql on an empty database. For any other, it returns an error unless this schema.sql made it
// and the file may be written.
func (s *Store) createSchema() error {
	checksum := fmt.Sprintf("%x", sha256.Sum256([]byte(schema)))
	tx, err := s.writer.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	var objects int     // tables, indexes and triggers
	if err := tx.QueryRow(`SELECT count(*) FROM sqlite_schema`).Scan(&objects); err != nil {
		return err
	}
	if objects == 0 {
		if _, err := tx.Exec(schema+`INSERT INTO schema_checksum VALUES (?)`, checksum); err != nil {
			return err
		}
		return tx.Commit()
	}
	var found string
	err = tx.QueryRow(`SELECT sha256 FROM schema_checksum`).Scan(&found)
	if sqliteErr, ok := errors.AsType[sqlite3.Error](err); ok && sqliteErr.Code != sqlite3.ErrError {
		return err // ErrError would only say that there is no such table
	}
	if found != checksum {
		return errors.New("another schema.sql or another program made this database; " +
			"delete the file if you do not need it, or name another file with -db")
	}
	// This only tries to write. It changes nothing and is rolled back.
	_, err = tx.Exec(`UPDATE schema_checksum SET sha256 = sha256`)
	return err
}

// prepare turns on the write-ahead log and prepares the statements of Store.
func (s *Store) prepare() error {
	// With a write-ahead log (WAL), reads go on while a write commits. This setting changes the file, so it comes
	// after the check that the file is a task board.
	_, err := s.writer.Exec("PRAGMA journal_mode = WAL")
	if err != nil {
		return err
	}
	s.timestamp, err = s.timestamps.Prepare(`SELECT updated_at FROM boards WHERE id = ?`)
	if err != nil {
		return err
	}
	s.boardTasks, err = s.reader.Prepare(boardTasksQuery)
	if err != nil {
		return err
	}
	s.changedTasks, err = s.reader.Prepare(changedTasksQuery)
	return err
}

// Close closes the database. That also closes the prepared statements.
func (s *Store) Close() error {
	return errors.Join(s.reader.Close(), s.timestamps.Close(), s.writer.Close())
}

// isBusy reports whether err says that a write could not have the database in time.
func isBusy(err error) bool {
	sqliteErr, ok := errors.AsType[sqlite3.Error](err)
	return ok && sqliteErr.Code == sqlite3.ErrBusy || errors.Is(err, context.DeadlineExceeded)
}

// Timestamp returns the instant of the last change to any task of a board, or ErrNoBoard. The server's clock would not
// do: a change that was stamped earlier may be committed later, and a client that has the clock's time would miss it.
// Timestamp takes no context, because its query is over in microseconds.
func (s *Store) Timestamp(boardID string) (string, error) {
	var timestamp string
	err := s.timestamp.QueryRow(boardID).Scan(&timestamp)
	if errors.Is(err, sql.ErrNoRows) {
		return "", ErrNoBoard
	}
	return timestamp, err
}

// selectTasks begins each query whose rows scanTasks reads.
const selectTasks = `
SELECT t.id, t.list_id, t.title, t.description, t.position,
       t.created_at, t.updated_at, coalesce(t.deleted_at, '')
FROM tasks t `

// (SELECT ?) is the same value as ?. When SQLite plans l.board_id = ?, it looks at the value, and it plans again when
// the value has changed. The driver clears all values after each use. So SQLite would plan at every poll, which takes
// longer than reading the rows. SQLite cannot look into (SELECT ?), so it keeps its first plan. It does not look at the
// value of > ? when it plans, so the one below can stay as it is.
const boardTasksQuery = selectTasks + `
JOIN lists l ON t.list_id = l.id
WHERE l.board_id = (SELECT ?) AND t.deleted_at IS NULL
ORDER BY l.position, l.id, t.position, t.id`

// BoardTasks returns the living tasks of a board, by list position, task position and id. If ctx is done before all are
// read, because the client has gone, it stops and returns the error of ctx.
func (s *Store) BoardTasks(ctx context.Context, boardID string) ([]Task, error) {
	return scanTasks(s.boardTasks.QueryContext(ctx, boardID))
}

const changedTasksQuery = selectTasks + `
JOIN lists l ON t.list_id = l.id
WHERE l.board_id = (SELECT ?) AND t.updated_at > ?
ORDER BY t.updated_at`

// ChangedTasks returns the tasks that changed after since, deleted ones too, by updated_at. It stops as BoardTasks does.
func (s *Store) ChangedTasks(ctx context.Context, boardID, since string) ([]Task, error) {
	return scanTasks(s.changedTasks.QueryContext(ctx, boardID, since))
}

// scanTasks reads the rows of a selectTasks query. The slice is never nil, because JSON shows nil as null.
func scanTasks(rows *sql.Rows, err error) ([]Task, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	tasks := []Task{}
	for rows.Next() {
		var t Task
		err := rows.Scan(&t.ID, &t.ListID, &t.Title, &t.Description, &t.Position,
			&t.CreatedAt, &t.UpdatedAt, &t.DeletedAt)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	return tasks, rows.Err()
}

// Board returns a board with its lists, or ErrNoBoard.
func (s *Store) Board(boardID string) (Board, error) {
	board := Board{ID: boardID, Lists: []List{}}
	err := s.reader.QueryRow(`SELECT name FROM boards WHERE id = ?`, boardID).Scan(&board.Name)
	if errors.Is(err, sql.ErrNoRows) {
		return Board{}, ErrNoBoard
	}
	if err != nil {
		return Board{}, err
	}
	rows, err := s.reader.Query(`SELECT id, name, position FROM lists WHERE board_id = ? ORDER BY position, id`, boardID)
	if err != nil {
		return Board{}, err
	}
	defer rows.Close()
	for rows.Next() {
		var list List
		if err := rows.Scan(&list.ID, &list.Name, &list.Position); err != nil {
			return Board{}, err
		}
		board.Lists = append(board.Lists, list)
	}
	return board, rows.Err()
}

// CreateTask puts a new task last in its list. It returns ErrConstraint if there is no such list or no position left.
func (s *Store) CreateTask(n NewTask) (Task, error) {
	id := rand.Text()
	return s.write(id, `
		INSERT INTO tasks (id, list_id, title, description, position)
		VALUES (?1, ?2, ?3, ?4, (
			SELECT coalesce(max(position) + 1, 0) FROM tasks
			WHERE list_id = ?2 AND deleted_at IS NULL))`,
		id, n.ListID, n.Title, n.Description)
}

// UpdateTask changes a task. With another list and no position, the task comes last in that list. It returns ErrNoTask
// if there is no such task, or if it was deleted, and ErrConstraint for a list of another board or a wrong position.
func (s *Store) UpdateTask(id string, c TaskChanges) (Task, error) {
	return s.write(id, `
		UPDATE tasks SET
			list_id     = coalesce(?2, list_id),
			title       = coalesce(?3, title),
			description = coalesce(?4, description),
			position    = coalesce(?5, iif(?2 <> list_id, ( -- as sent; else last in another list; else as it was
				SELECT coalesce(max(other.position) + 1, 0) FROM tasks other
				WHERE other.list_id = ?2 AND other.deleted_at IS NULL), position))
		WHERE id = ?1 AND deleted_at IS NULL`,
		id, c.ListID, c.Title, c.Description, c.Position)
}

// DeleteTask marks a task as deleted. It returns ErrNoTask if there is no such task, or if it was deleted before.
func (s *Store) DeleteTask(id string) (Task, error) {
	return s.write(id, `
		UPDATE tasks SET deleted_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
		WHERE id = ?1 AND deleted_at IS NULL`, id)
}

// write runs a statement that changes the task with this id, with args for ?1, ?2 and so on. It returns the task exactly
// as the next poll will show it. So it reads the row again: RETURNING would give it as it was before it was stamped.
func (s *Store) write(id, statement string, args ...any) (Task, error) {
	// A write waits twice: here for the writes before it, and in BeginTx, where SQLite has a timeout of its own, for other
	// processes. A client that leaves ends neither wait.
	waiting, cancel := context.WithTimeout(context.Background(), s.busyTimeout)
	defer cancel()
	conn, err := s.writer.Conn(waiting)
	if err != nil {
		return Task{}, err
	}
	defer conn.Close() // gives the connection to the next write
	tx, err := conn.BeginTx(context.Background(), nil)
	if err != nil {
		return Task{}, err
	}
	defer tx.Rollback() // does nothing after Commit
	result, err := tx.Exec(statement, args...)
	if sqliteErr, ok := errors.AsType[sqlite3.Error](err); ok && sqliteErr.Code == sqlite3.ErrConstraint {
		return Task{}, fmt.Errorf("%w: %w", ErrConstraint, err)
	}
	if err != nil {
		return Task{}, err
	}
	if n, _ := result.RowsAffected(); n == 0 { // this driver returns no error here
		return Task{}, ErrNoTask
	}
	tasks, err := scanTasks(tx.Query(selectTasks+`WHERE t.id = ?`, id))
	if err != nil {
		return Task{}, err
	}
	return tasks[0], tx.Commit()
}
