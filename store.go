package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/mattn/go-sqlite3"
)

// Errors that Store methods return. The last two are wrapped together with their cause.
var (
	ErrNoBoard    = errors.New("there is no such board; the demo board is board-1")
	ErrNoTask     = errors.New("there is no such task, or it was deleted")
	ErrConstraint = errors.New("schema.sql refused the write") // list_id names no list of the task's board
	ErrBusy       = errors.New("the database stayed busy")     // see Open
)

// timestampLayout is the layout of every instant, that of JavaScript's toISOString.
const timestampLayout = "2006-01-02T15:04:05.000Z"

// Task is one row of the table tasks, as clients receive it.
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
	Position    *int32  `json:"position"` // int32, so that a position + 1 cannot overflow
}

// Store keeps boards in an SQLite file. It is safe for concurrent use. A read stops, and returns
// the error of its ctx, when ctx is done because the client has gone.
type Store struct {
	// SQLite has one writer at a time, so writes share one connection and wait in turn. Timestamps
	// have a connection of their own, so polls that need no more do not wait for whole boards.
	writer, stampReader, reader *sql.DB

	// The queries of polls, prepared once on each connection. Preparing plans which index to read.
	timestampOf, boardTasks, changedTasks *sql.Stmt

	busyTimeout time.Duration // see Open
}

// Timestamp returns when a task of the board last changed, or ErrNoBoard. With the server's clock
// in its place, clients would miss a change stamped before the poll and committed after it.
func (s *Store) Timestamp(boardID string) (string, error) {
	var timestamp string
	err := s.timestampOf.QueryRow(boardID).Scan(&timestamp) // no context: this takes microseconds
	return timestamp, wrap(err)
}

// What scanTasks reads. Live tasks do without deleted_at, since each column costs time.
const liveColumns = `t.id, t.list_id, t.title, t.description, t.position, t.created_at, t.updated_at`
const allColumns = liveColumns + `, coalesce(t.deleted_at, '')`

// (SELECT ?) has the same value as ?, but SQLite does not look into it. Whenever the value in
// l.board_id = ? has changed, SQLite plans the query again. The driver clears all values after
// each use, so that would be at every poll, and planning takes longer than reading the rows.
const boardTasksQuery = `
SELECT ` + liveColumns + `
FROM tasks t JOIN lists l ON t.list_id = l.id
WHERE l.board_id = (SELECT ?) AND t.deleted_at IS NULL
ORDER BY l.position, l.id, t.position, t.id`

// BoardTasks returns the live tasks of a board, by list position, task position and id.
func (s *Store) BoardTasks(ctx context.Context, boardID string) ([]Task, error) {
	return scanTasks(s.boardTasks.QueryContext(ctx, boardID))
}

const changedTasksQuery = `
SELECT ` + allColumns + `
FROM tasks t JOIN lists l ON t.list_id = l.id
WHERE l.board_id = (SELECT ?) AND t.updated_at > ?
ORDER BY t.updated_at`

// ChangedTasks returns tasks changed after the instant since, deleted ones too, by updated_at.
func (s *Store) ChangedTasks(ctx context.Context, boardID, since string) ([]Task, error) {
	return scanTasks(s.changedTasks.QueryContext(ctx, boardID, since))
}

// scanTasks reads the rows of a query. The slice is never nil, because JSON shows nil as null.
func scanTasks(rows *sql.Rows, err error) ([]Task, error) {
	if err != nil {
		return nil, wrap(err)
	}
	defer rows.Close()

	var t Task // takes each row in turn; those of live tasks lack the last field
	fields := []any{&t.ID, &t.ListID, &t.Title, &t.Description, &t.Position, &t.CreatedAt, &t.UpdatedAt, &t.DeletedAt}
	columns, _ := rows.Columns()
	tasks := []Task{}
	for rows.Next() {
		if err := rows.Scan(fields[:len(columns)]...); err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	return tasks, wrap(rows.Err())
}

// Board returns a board with its lists in order, as JSON that SQLite writes, or ErrNoBoard.
func (s *Store) Board(ctx context.Context, boardID string) (json.RawMessage, error) {
	var board []byte
	err := s.reader.QueryRowContext(ctx, `
		SELECT json_object('id', id, 'name', name, 'lists', json((
			SELECT json_group_array(json_object('id', id, 'name', name, 'position', position) ORDER BY position, id)
			FROM lists WHERE board_id = boards.id)))
		FROM boards WHERE id = ?`, boardID).Scan(&board)
	return board, wrap(err)
}

// CreateTask puts a new task last in its list, or returns ErrConstraint if there is no such list.
func (s *Store) CreateTask(ctx context.Context, n NewTask) (Task, error) {
	id := rand.Text()
	return s.write(ctx, id, `
		INSERT INTO tasks (id, list_id, title, description, position)
		VALUES (?1, ?2, ?3, ?4, (
			SELECT coalesce(max(position) + 1, 0) FROM tasks WHERE list_id = ?2 AND deleted_at IS NULL))`,
		id, n.ListID, n.Title, n.Description)
}

// UpdateTask changes a task. With another list and no position, it puts the task last in that
// list. It returns ErrNoTask, or ErrConstraint if the list is not one of the task's board.
func (s *Store) UpdateTask(ctx context.Context, id string, c TaskChanges) (Task, error) {
	return s.write(ctx, id, `
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

// DeleteTask marks a task as deleted, or returns ErrNoTask.
func (s *Store) DeleteTask(ctx context.Context, id string) (Task, error) {
	return s.write(ctx, id, `
		UPDATE tasks SET deleted_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
		WHERE id = ?1 AND deleted_at IS NULL`, id)
}

// write runs a statement that changes the task with this id, with args for ?1, ?2 and so on, and
// reads the task as the next poll will show it. (RETURNING would show it before it was stamped.)
func (s *Store) write(ctx context.Context, id, statement string, args ...any) (Task, error) {
	ctx = context.WithoutCancel(ctx) // a client that leaves does not take its write back

	// The write waits here for the writes before it, and in BeginTx for other processes.
	waiting, cancel := context.WithTimeout(ctx, s.busyTimeout)
	defer cancel()
	conn, err := s.writer.Conn(waiting)
	if err != nil {
		return Task{}, wrap(err)
	}
	defer conn.Close() // gives the connection to the next write
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return Task{}, wrap(err)
	}
	defer tx.Rollback() // does nothing after Commit

	result, err := tx.Exec(statement, args...)
	if err != nil {
		return Task{}, wrap(err)
	}
	if n, _ := result.RowsAffected(); n == 0 { // this driver returns no error here
		return Task{}, ErrNoTask
	}

	tasks, err := scanTasks(tx.Query(`SELECT `+allColumns+` FROM tasks t WHERE t.id = ?`, id))
	if err != nil {
		return Task{}, err
	}
	return tasks[0], wrap(tx.Commit())
}

// wrap turns an error of the database into one of the errors above, if it means one.
func wrap(err error) error {
	sqliteErr, ok := errors.AsType[sqlite3.Error](err)
	switch {
	case errors.Is(err, sql.ErrNoRows): // only boards are read by QueryRow
		return ErrNoBoard
	case ok && sqliteErr.ExtendedCode == sqlite3.ErrConstraintTrigger: // a guard of schema.sql
		return fmt.Errorf("%w: %w", ErrConstraint, err)
	case ok && sqliteErr.Code == sqlite3.ErrBusy, errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return err
}

//go:embed schema.sql
var schema string

// Open opens the database file at path, and creates the demo board if the file is missing or
// empty. It returns an error for a file that is not a database, that may not be written, or
// that lacks something that schema.sql makes. The caller must Close the Store.
//
// A write waits at most busyTimeout for the writes before it, and then at most busyTimeout for
// another process that keeps the file locked. After that it fails with ErrBusy.
func Open(path string, busyTimeout time.Duration) (*Store, error) {
	// Settings in a data source name reach every connection of a pool; sent with Exec, they would
	// reach one. With FULL, a change that a client has seen survives a power cut. With immediate,
	// a transaction waits for other writers when it begins.
	dsn := fmt.Sprintf("file:%s?_synchronous=FULL&_foreign_keys=on&_txlock=immediate&_busy_timeout=%d",
		(&url.URL{Path: path}).EscapedPath(), busyTimeout.Milliseconds())
	s := &Store{writer: newPool(dsn, 1), stampReader: newPool(dsn, 1), reader: newPool(dsn, 4), busyTimeout: busyTimeout}
	err := s.createSchema(dsn)
	if err == nil {
		err = s.prepare()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), s.Close())
	}
	return s, nil
}

// newPool returns a pool of at most so many connections, which open when they are first needed
// and stay open, so that the statements prepared on them are kept.
func newPool(dsn string, connections int) *sql.DB {
	db, err := sql.Open("sqlite3", dsn)
	if err != nil {
		panic(err) // only if there is no driver of this name
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db
}

// createSchema runs schema.sql on an empty database, and refuses any other that lacks a part of
// it: migration tools often rebuild a table without its triggers. Then no change reaches a poll.
func (s *Store) createSchema(dsn string) error {
	tx, err := s.writer.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit

	memory := newPool(":memory:", 1) // a second connection would open another one
	defer memory.Close()
	if _, err := memory.Exec(schema+"\nATTACH ? AS file", dsn); err != nil {
		return err
	}
	var missing string // the first of the tables, indexes and triggers in memory that the file lacks
	var objects int    // in the file
	err = memory.QueryRow(`
		SELECT type || ' ' || name, (SELECT count(*) FROM file.sqlite_schema) FROM main.sqlite_schema AS want
		WHERE NOT EXISTS (SELECT 1 FROM file.sqlite_schema WHERE name = want.name AND sql IS want.sql)
		ORDER BY rowid`).Scan(&missing, &objects)

	switch {
	case errors.Is(err, sql.ErrNoRows): // nothing is missing
		_, err = tx.Exec(`UPDATE boards SET name = name WHERE false`) // tries whether the file may be written
		return err
	case err != nil:
		return err
	case objects > 0:
		return fmt.Errorf("%s is missing, or is not as in schema.sql; "+
			"delete the file if you do not need it, or name another file with -db", missing)
	}
	if _, err := tx.Exec(schema); err != nil {
		return err
	}
	return tx.Commit()
}

// prepare prepares the statements of Store. First it turns on the write-ahead log (WAL), so that
// reads go on while a write commits. That changes the file, so createSchema has to check it before.
func (s *Store) prepare() error {
	_, err := s.writer.Exec("PRAGMA journal_mode = WAL")
	var err1, err2, err3 error
	s.timestampOf, err1 = s.stampReader.Prepare(`SELECT updated_at FROM boards WHERE id = ?`)
	s.boardTasks, err2 = s.reader.Prepare(boardTasksQuery)
	s.changedTasks, err3 = s.reader.Prepare(changedTasksQuery)
	return errors.Join(err, err1, err2, err3)
}

// Close closes the database. That also closes the prepared statements.
func (s *Store) Close() error {
	return errors.Join(s.reader.Close(), s.stampReader.Close(), s.writer.Close())
}
