package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/mattn/go-sqlite3"
)

// Errors that Store methods return. The last two are wrapped, with the driver's own words.
var (
	ErrNoBoard    = errors.New("no such board")
	ErrNoTask     = errors.New("no such task")
	ErrConstraint = errors.New("schema.sql refused the write") // list_id names no list of the task's board
	ErrBusy       = errors.New("the database stayed busy")     // see Open
)

// timestampLayout is the layout of every instant, as schema.sql and JavaScript's toISOString have it.
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
	Position    *int32  `json:"position"` // no int64, so that there is always a place behind it
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

// Store keeps boards in an SQLite file. It is safe for concurrent use.
type Store struct {
	// SQLite has one writer at a time, so writes share one connection and wait in turn. Polls that find
	// nothing new share that of idlePolls, so they never wait while others read whole boards.
	writer, idlePolls, reader *sql.DB

	// What polls ask, prepared once on each connection. To prepare is to plan: which index to read, in
	// which order. Doing so at each request would repeat that work. There are two statements for tasks,
	// because polls want the live tasks in the order of the board, or all changed tasks, deleted ones too.
	timestampOf, boardTasks, changedTasks *sql.Stmt

	busyTimeout time.Duration // see Open
}

// Timestamp returns the instant of the last change to any task of a board, or ErrNoBoard. The server's
// clock would not do: a change that was stamped earlier may be committed later, and a client that has
// the clock's time would miss it. It takes no context, because its query is over in microseconds.
func (s *Store) Timestamp(boardID string) (string, error) {
	var timestamp string
	err := s.timestampOf.QueryRow(boardID).Scan(&timestamp)
	if errors.Is(err, sql.ErrNoRows) {
		return "", ErrNoBoard
	}
	return timestamp, wrap(err)
}

// taskColumns are the columns that scanTasks reads. It also reads deletedAt, if that is selected.
const (
	taskColumns = `t.id, t.list_id, t.title, t.description, t.position, t.created_at, t.updated_at`
	deletedAt   = `coalesce(t.deleted_at, '')`
)

// (SELECT ?) is the same value as ?. SQLite plans l.board_id = ? again whenever the value has changed,
// and the driver clears all values after each use. So SQLite would plan at every poll, which takes longer
// than reading the rows. It cannot look into (SELECT ?), and it does not look at the value of > ? below.
const boardTasksQuery = `
SELECT ` + taskColumns + `
FROM tasks t JOIN lists l ON t.list_id = l.id
WHERE l.board_id = (SELECT ?) AND t.deleted_at IS NULL
ORDER BY l.position, l.id, t.position, t.id`

// BoardTasks returns the live tasks of a board, by list position, task position and id. If ctx is done
// before all are read, because the client has gone, it stops and returns the error of ctx.
func (s *Store) BoardTasks(ctx context.Context, boardID string) ([]Task, error) {
	return scanTasks(s.boardTasks.QueryContext(ctx, boardID))
}

const changedTasksQuery = `
SELECT ` + taskColumns + `, ` + deletedAt + `
FROM tasks t JOIN lists l ON t.list_id = l.id
WHERE l.board_id = (SELECT ?) AND t.updated_at > ?
ORDER BY t.updated_at`

// ChangedTasks returns the tasks that changed after since (in timestampLayout), deleted ones too, by
// updated_at. It stops as BoardTasks does.
func (s *Store) ChangedTasks(ctx context.Context, boardID, since string) ([]Task, error) {
	return scanTasks(s.changedTasks.QueryContext(ctx, boardID, since))
}

// scanTasks reads the rows of a query. The slice is never nil, because JSON shows nil as null.
func scanTasks(rows *sql.Rows, err error) ([]Task, error) {
	if err != nil {
		return nil, wrap(err)
	}
	defer rows.Close()

	var t Task
	into := []any{&t.ID, &t.ListID, &t.Title, &t.Description, &t.Position, &t.CreatedAt, &t.UpdatedAt, &t.DeletedAt}
	columns, _ := rows.Columns()
	tasks := []Task{}
	for rows.Next() {
		if err := rows.Scan(into[:len(columns)]...); err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	return tasks, wrap(rows.Err())
}

// Board returns a board with its lists, or ErrNoBoard. It stops as BoardTasks does.
func (s *Store) Board(ctx context.Context, boardID string) (Board, error) {
	board := Board{ID: boardID, Lists: []List{}}
	err := s.reader.QueryRowContext(ctx, `SELECT name FROM boards WHERE id = ?`, boardID).Scan(&board.Name)
	if errors.Is(err, sql.ErrNoRows) {
		return Board{}, ErrNoBoard
	}
	if err != nil {
		return Board{}, wrap(err)
	}
	rows, err := s.reader.QueryContext(ctx,
		`SELECT id, name, position FROM lists WHERE board_id = ? ORDER BY position, id`, boardID)
	if err != nil {
		return Board{}, wrap(err)
	}
	defer rows.Close()

	for rows.Next() {
		var list List
		if err := rows.Scan(&list.ID, &list.Name, &list.Position); err != nil {
			return Board{}, err
		}
		board.Lists = append(board.Lists, list)
	}
	return board, wrap(rows.Err())
}

// CreateTask puts a new task last in its list. It returns ErrConstraint if there is no such list.
func (s *Store) CreateTask(ctx context.Context, n NewTask) (Task, error) {
	id := rand.Text()
	return s.write(ctx, id, `
		INSERT INTO tasks (id, list_id, title, description, position)
		VALUES (?1, ?2, ?3, ?4, (
			SELECT coalesce(max(position) + 1, 0) FROM tasks
			WHERE list_id = ?2 AND deleted_at IS NULL))`,
		id, n.ListID, n.Title, n.Description)
}

// UpdateTask changes a task. With another list and no position, the task comes last in that list. It
// returns ErrNoTask if the task is not there or was deleted, and ErrConstraint for another board's list.
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

// DeleteTask marks a task as deleted. It returns ErrNoTask if the task is not there or was deleted before.
func (s *Store) DeleteTask(ctx context.Context, id string) (Task, error) {
	return s.write(ctx, id, `
		UPDATE tasks SET deleted_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
		WHERE id = ?1 AND deleted_at IS NULL`, id)
}

// write runs a statement that changes the task with this id, with args for ?1, ?2 and so on. It returns
// the task as the next poll will show it. So it reads the row again: RETURNING would give it as it was
// before it was stamped.
func (s *Store) write(ctx context.Context, id, statement string, args ...any) (Task, error) {
	ctx = context.WithoutCancel(ctx) // a client that leaves does not take its write back

	// The write waits here for the writes before it, and in BeginTx for other processes. SQLite counts that time.
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

	tasks, err := scanTasks(tx.Query(`SELECT `+taskColumns+`, `+deletedAt+` FROM tasks t WHERE t.id = ?`, id))
	if err != nil {
		return Task{}, err
	}
	return tasks[0], wrap(tx.Commit())
}

// wrap adds ErrBusy or ErrConstraint to an error of the driver that means it.
func wrap(err error) error {
	sqliteErr, ok := errors.AsType[sqlite3.Error](err)
	switch {
	case ok && sqliteErr.Code == sqlite3.ErrConstraint:
		return fmt.Errorf("%w: %w", ErrConstraint, err)
	case ok && sqliteErr.Code == sqlite3.ErrBusy, errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return err
}

//go:embed schema.sql
var schema string

// Open opens the database file at path, and creates the demo board if it is missing or empty. It returns
// an error for a file that is not a database, that may not be written, or that lacks something that
// schema.sql makes. The caller must Close the Store.
//
// A write waits at most busyTimeout for the writes before it, and then at most busyTimeout for another
// process that keeps the file locked. After that it fails with ErrBusy.
func Open(path string, busyTimeout time.Duration) (*Store, error) {
	// These settings belong to a connection. In the data source name they reach every connection of a
	// pool; sent with Exec, they would reach one. FULL keeps a change through a power cut once a client
	// has seen it. With immediate, a transaction waits for other writers when it begins.
	source := fmt.Sprintf("file:%s?_synchronous=FULL&_foreign_keys=on&_txlock=immediate&_busy_timeout=%d",
		(&url.URL{Path: path}).EscapedPath(), busyTimeout.Milliseconds())
	s := &Store{
		writer: newPool(source, 1), idlePolls: newPool(source, 1), reader: newPool(source, 4),
		busyTimeout: busyTimeout,
	}
	err := s.createSchema(source)
	if err == nil {
		err = s.prepare()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), s.Close())
	}
	return s, nil
}

// newPool returns a pool of at most so many connections, which open when they are first needed. They stay
// open while they are idle: closing one would throw away the statements that are prepared on it.
func newPool(source string, connections int) *sql.DB {
	db, err := sql.Open("sqlite3", source)
	if err != nil {
		panic(err) // only if there is no driver of this name
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db
}

// createSchema runs schema.sql on an empty database. Any other must have all that schema.sql makes, word
// for word: tools that change a table often make another one in its place, without its triggers, and
// then no change would reach a poll.
func (s *Store) createSchema(source string) error {
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
		if _, err := tx.Exec(schema); err != nil {
			return err
		}
		return tx.Commit()
	}

	// A database in memory has what schema.sql makes. This searches the file for each part of it.
	memory := newPool(":memory:", 1) // a second connection would have a second memory
	defer memory.Close()
	if _, err := memory.Exec(schema+"\nATTACH ? AS file", source); err != nil {
		return err
	}
	var missing string
	err = memory.QueryRow(`
		SELECT type || ' ' || name FROM main.sqlite_schema AS want
		WHERE NOT EXISTS (SELECT 1 FROM file.sqlite_schema WHERE name = want.name AND sql IS want.sql)
		ORDER BY rowid`).Scan(&missing)
	if err == nil {
		return fmt.Errorf("%s is missing, or is not as in schema.sql; "+
			"delete the file if you do not need it, or name another file with -db", missing)
	}
	if errors.Is(err, sql.ErrNoRows) {
		_, err = tx.Exec(`UPDATE boards SET name = name WHERE false`) // tries whether the file may be written
	}
	return err
}

// prepare turns on the write-ahead log and prepares the statements of Store.
func (s *Store) prepare() error {
	// With a write-ahead log (WAL), reads go on while a write commits. This changes the file, so it comes
	// after the check that the file is a task board.
	_, err := s.writer.Exec("PRAGMA journal_mode = WAL")
	if err != nil {
		return err
	}
	var err1, err2, err3 error
	s.timestampOf, err1 = s.idlePolls.Prepare(`SELECT updated_at FROM boards WHERE id = ?`)
	s.boardTasks, err2 = s.reader.Prepare(boardTasksQuery)
	s.changedTasks, err3 = s.reader.Prepare(changedTasksQuery)
	return errors.Join(err1, err2, err3)
}

// Close closes the database. That also closes the prepared statements.
func (s *Store) Close() error {
	return errors.Join(s.reader.Close(), s.idlePolls.Close(), s.writer.Close())
}
