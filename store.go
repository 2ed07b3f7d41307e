package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/mattn/go-sqlite3"
)

// Errors that Store methods return for what a client asked. Test for them with
// errors.Is; every other error is the database's own.
var (
	ErrNoBoard = errors.New("no such board")
	ErrNoTask  = errors.New("no such task")
	ErrNoList  = errors.New("no such list on this board")
)

// Task is one row of the table tasks, in the form that clients get. Instants
// are text as schema.sql describes it.
type Task struct {
	ID          string `json:"id"`
	ListID      string `json:"list_id"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Position    int64  `json:"position"`
	CreatedAt   string `json:"created_at"`
	UpdatedAt   string `json:"updated_at"`
	DeletedAt   string `json:"deleted_at,omitempty"` // empty while the task lives
}

// Board is a board with its lists, by position.
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

// NewTask is what a client says of a task to create.
type NewTask struct {
	ListID      string `json:"list_id"`
	Title       string `json:"title"`
	Description string `json:"description"`
}

// TaskChanges is what a client wants changed of a task; nil keeps what is there.
type TaskChanges struct {
	ListID      *string `json:"list_id"`
	Title       *string `json:"title"`
	Description *string `json:"description"`
	Position    *int64  `json:"position"`
}

// selectTasks begins the queries that scanTask can read.
const selectTasks = `
SELECT t.id, t.list_id, t.title, t.description, t.position,
       t.created_at, t.updated_at, coalesce(t.deleted_at, '')
FROM tasks t `

// Why (SELECT ?) and not plain ?: in a join, SQLite's planner looks at the value
// of l.board_id = ?, and plans anew when the value changes. The driver clears the
// values after each use, so a prepared statement would be planned anew at every
// poll, at twice the cost (BenchmarkQuery). It can't look into a subquery.
const (
	boardTasksQuery = selectTasks + `
JOIN lists l ON t.list_id = l.id
WHERE l.board_id = (SELECT ?) AND t.deleted_at IS NULL
ORDER BY l.position, l.id, t.position, t.id`

	changedTasksQuery = selectTasks + `
JOIN lists l ON t.list_id = l.id
WHERE l.board_id = (SELECT ?) AND t.updated_at > ?
ORDER BY t.updated_at`
)

const (
	timestampQuery = `SELECT updated_at FROM boards WHERE id = ?`
	boardQuery     = `SELECT id, name FROM boards WHERE id = ?`
	listsQuery     = `SELECT id, name, position FROM lists WHERE board_id = ? ORDER BY position, id`
	taskQuery      = selectTasks + `WHERE t.id = ?`

	createTaskQuery = `
INSERT INTO tasks (id, list_id, title, description, position)
VALUES (?1, ?2, ?3, ?4, (
  SELECT coalesce(max(position) + 1, 0) FROM tasks
  WHERE list_id = ?2 AND deleted_at IS NULL))`

	updateTaskQuery = `
UPDATE tasks SET
  list_id     = coalesce(?2, list_id),
  title       = coalesce(?3, title),
  description = coalesce(?4, description),
  position    = coalesce(?5, iif(?2 <> list_id, (
    SELECT coalesce(max(other.position) + 1, 0) FROM tasks other
    WHERE other.list_id = ?2 AND other.deleted_at IS NULL), position))
WHERE id = ?1 AND deleted_at IS NULL`

	deleteTaskQuery = `
UPDATE tasks SET deleted_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE id = ? AND deleted_at IS NULL`
)

// readConnections is how many polls can be in the database at once. A query
// keeps a core busy for microseconds and hardly ever waits.
const readConnections = 4

//go:embed schema.sql
var schema string

// applicationID marks a file as ours; schema.sql writes the same number.
const applicationID = 0x706F6C6C

// Store keeps boards in an SQLite file. It is safe for concurrent use.
//
// Its methods take no context. A query is over in microseconds, and having one to
// watch costs the driver half as much again; a write that has begun is worth
// finishing. The busy timeout given to Open bounds each wait for SQLite's lock,
// and that of a write for the writes before it.
type Store struct {
	// SQLite has one writer at a time. Giving writers a pool of one connection
	// makes them queue here, and leaves the others to the readers when another
	// process keeps the database locked.
	reader, writer *sql.DB
	busyTimeout    time.Duration

	timestamp, board, lists, boardTasks, changedTasks *sql.Stmt // on reader
	task, createTask, updateTask, deleteTask          *sql.Stmt // on writer

	closers []io.Closer // all of the above, in the order they were opened
}

// Open opens the database file at path, creating it with the demo board if it
// is not there, and prepares all statements. A write that can't have the
// database within busyTimeout fails with an error that isBusy reports.
// The caller must Close the Store.
func Open(path string, busyTimeout time.Duration) (*Store, error) {
	s := &Store{busyTimeout: busyTimeout}
	if err := s.open(path); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), s.Close())
	}
	return s, nil
}

// open does the work of Open. What it opened before an error is in s.closers.
func (s *Store) open(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	// Pragmas of a connection belong into the data source name: sent with Exec,
	// they would reach one of the pool. With FULL, a change that a poller has
	// seen survives a power cut.
	source := fmt.Sprintf("file:%s?_synchronous=FULL&_foreign_keys=on&_busy_timeout=%d",
		(&url.URL{Path: path}).EscapedPath(), s.busyTimeout.Milliseconds())
	if s.writer, err = s.connect(source+"&_txlock=immediate", 1); err != nil {
		return err
	}
	if err := s.createSchema(); err != nil {
		return err
	}
	// With a write-ahead log, readers go on while a write commits. That is a
	// property of the file, and set only now that the file is known to be ours.
	if _, err := s.writer.Exec("PRAGMA journal_mode = WAL"); err != nil {
		return err
	}
	if s.reader, err = s.connect(source+"&_query_only=on", readConnections); err != nil {
		return err
	}
	for _, p := range []struct {
		statement **sql.Stmt
		db        *sql.DB
		query     string
	}{
		{&s.timestamp, s.reader, timestampQuery},
		{&s.board, s.reader, boardQuery},
		{&s.lists, s.reader, listsQuery},
		{&s.boardTasks, s.reader, boardTasksQuery},
		{&s.changedTasks, s.reader, changedTasksQuery},
		{&s.task, s.writer, taskQuery},
		{&s.createTask, s.writer, createTaskQuery},
		{&s.updateTask, s.writer, updateTaskQuery},
		{&s.deleteTask, s.writer, deleteTaskQuery},
	} {
		if *p.statement, err = p.db.Prepare(p.query); err != nil {
			return err
		}
		s.closers = append(s.closers, *p.statement)
	}
	return nil
}

// connect opens a pool of the given size. Its connections stay open when idle:
// closing one would throw away the statements prepared on it.
func (s *Store) connect(source string, connections int) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", source)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	s.closers = append(s.closers, db)
	return db, nil
}

// createSchema makes an empty file a task board. It returns an error for a file
// that can't be written, is no database, or is another program's database.
func (s *Store) createSchema() error {
	tx, err := s.writer.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	var id, objects int64
	err = tx.QueryRow(`
		SELECT application_id, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id`).Scan(&id, &objects)
	if err != nil {
		return err
	}
	if objects == 0 {
		if _, err := tx.Exec(schema); err != nil {
			return err
		}
	} else if id != applicationID {
		return errors.New("the file is a database of another program")
	}
	return tx.Commit()
}

// Close closes the statements and the database.
func (s *Store) Close() error {
	var errs []error
	for _, c := range slices.Backward(s.closers) {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// isBusy reports whether err says that the database was locked, or the writers
// before this one took, until the busy timeout was over.
func isBusy(err error) bool {
	var sqliteErr sqlite3.Error
	return errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, sql.ErrTxDone) || // rolled back at the deadline
		errors.As(err, &sqliteErr) && sqliteErr.Code == sqlite3.ErrBusy
}

// Poll answers a poll of a board: its timestamp, which is the instant of its
// last change and the next since; and a function that reads the tasks changed
// after since, or for an empty since the whole board. The caller who has seen
// that timestamp before need not call it. Poll returns ErrNoBoard.
//
// The order is the point: first the timestamp, then the rows. A change that
// lands in between comes with these rows and once more with the next poll's.
// The other way round it would come with neither.
func (s *Store) Poll(boardID, since string) (timestamp string, tasks func() ([]Task, error), err error) {
	err = s.timestamp.QueryRow(boardID).Scan(&timestamp)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil, ErrNoBoard
	}
	if err != nil {
		return "", nil, err
	}
	return timestamp, func() ([]Task, error) {
		switch {
		case since == "":
			return queryTasks(s.boardTasks, boardID)
		case since >= timestamp: // the idle poll: nothing to look for
			return []Task{}, nil
		default:
			return queryTasks(s.changedTasks, boardID, since)
		}
	}, nil
}

// queryTasks returns the rows of a selectTasks statement. The slice is never
// nil, which JSON would show as null.
func queryTasks(statement *sql.Stmt, args ...any) ([]Task, error) {
	rows, err := statement.Query(args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	tasks := []Task{}
	for rows.Next() {
		task, err := scanTask(rows)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, task)
	}
	return tasks, rows.Err()
}

// scanTask reads the columns of selectTasks from a *sql.Row or *sql.Rows.
func scanTask(row interface{ Scan(...any) error }) (t Task, err error) {
	err = row.Scan(&t.ID, &t.ListID, &t.Title, &t.Description, &t.Position,
		&t.CreatedAt, &t.UpdatedAt, &t.DeletedAt)
	return t, err
}

// Board returns a board with its lists. It returns ErrNoBoard.
func (s *Store) Board(boardID string) (Board, error) {
	board := Board{Lists: []List{}}
	err := s.board.QueryRow(boardID).Scan(&board.ID, &board.Name)
	if errors.Is(err, sql.ErrNoRows) {
		return Board{}, ErrNoBoard
	}
	if err != nil {
		return Board{}, err
	}
	rows, err := s.lists.Query(boardID)
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

// CreateTask puts a new task last in its list. It returns ErrNoList.
func (s *Store) CreateTask(n NewTask) (Task, error) {
	id := rand.Text()
	return s.write(id, s.createTask, id, n.ListID, n.Title, n.Description)
}

// UpdateTask changes a task. One that goes to another list without a position
// comes last there. It returns ErrNoTask, also for a deleted task, and ErrNoList.
func (s *Store) UpdateTask(id string, c TaskChanges) (Task, error) {
	return s.write(id, s.updateTask, id, c.ListID, c.Title, c.Description, c.Position)
}

// DeleteTask marks a task as deleted. It returns ErrNoTask, also for a task
// that is deleted already.
func (s *Store) DeleteTask(id string) error {
	_, err := s.write(id, s.deleteTask, id)
	return err
}

// write runs a statement that changes the task id, and returns the task as the
// next poll will show it. It must read the row again for that: RETURNING would
// give it as it was before the triggers stamped it.
func (s *Store) write(id string, statement *sql.Stmt, args ...any) (Task, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.busyTimeout)
	defer cancel()
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return Task{}, err
	}
	defer tx.Rollback() // does nothing after Commit
	result, err := tx.Stmt(statement).Exec(args...)
	var sqliteErr sqlite3.Error
	if errors.As(err, &sqliteErr) && sqliteErr.ExtendedCode == sqlite3.ErrConstraintTrigger {
		return Task{}, ErrNoList // all that the guards in schema.sql can refuse of our statements
	}
	if err != nil {
		return Task{}, err
	}
	if n, err := result.RowsAffected(); err != nil {
		return Task{}, err
	} else if n == 0 {
		return Task{}, ErrNoTask
	}
	task, err := scanTask(tx.Stmt(s.task).QueryRow(id))
	if err != nil {
		return Task{}, err
	}
	return task, tx.Commit()
}
