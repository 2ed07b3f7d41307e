package main

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// What polling costs, at /debug/vars.
var (
	polls            = expvar.NewInt("polls")              // responses with 200 or 304
	pollsEmpty       = expvar.NewInt("polls_empty")        // of these, 200 without a task
	pollsNotModified = expvar.NewInt("polls_not_modified") // of these, 304
	pollsFailed      = expvar.NewInt("polls_failed")       // responses with 4xx or 5xx
)

// server holds what the handlers share.
type server struct {
	store        *Store
	started      string // the instant at which the server started
	pollInterval string // the interval that clients are advised, in seconds
}

// routes returns the handler of all routes.
func routes(store *Store, pollInterval time.Duration) http.Handler {
	s := &server{store, time.Now().UTC().Format(timestampLayout), strconv.Itoa(int(pollInterval.Seconds()))}
	mux := http.NewServeMux()
	mux.Handle("GET /boards/{boardId}/updates", countFailed(s.poll))
	mux.Handle("GET /boards/{boardId}", handler(s.board))
	mux.Handle("POST /tasks", handler(s.createTask))
	mux.Handle("PATCH /tasks/{taskId}", handler(s.updateTask))
	mux.Handle("DELETE /tasks/{taskId}", handler(s.deleteTask))
	mux.HandleFunc("GET /debug/vars", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		expvar.Handler().ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /{$}", serveFile)
	mux.HandleFunc("GET /client/{file...}", serveFile)

	// This refuses writes that a page of another site makes a visitor's browser send (CSRF).
	return http.NewCrossOriginProtection().Handler(mux)
}

// poll writes what changed on a board since an instant, or the whole board.
func (s *server) poll(w http.ResponseWriter, r *http.Request) error {
	since, err := parseSince(r.URL.RawQuery)
	if err != nil {
		return err
	}

	// The timestamp is read before the tasks. What is committed in between is then in the next
	// response, perhaps also in this one, which does no harm. In the opposite order, it could
	// be in neither.
	boardID := r.PathValue("boardId")
	timestamp, err := s.store.Timestamp(boardID)
	if err != nil {
		return err
	}

	// A change moves the timestamp, and after a restart the database may be another one, so the
	// ETag has both. It is weak (W/): tasks may be newer than the timestamp, and the next body
	// with it another one.
	etag := `W/"` + s.started + "-" + timestamp + `"`
	notModified := matchesETag(r.Header.Values("If-None-Match"), etag)
	tasks := []Task{} // stays empty if nothing changed; nil would be null in JSON
	switch {
	case notModified: // the client has this version, so no task is read
	case since == "":
		tasks, err = s.store.BoardTasks(r.Context(), boardID)
	case since < timestamp:
		tasks, err = s.store.ChangedTasks(r.Context(), boardID, since)
	}
	if err != nil {
		return err
	}

	header := w.Header()
	header.Set("ETag", etag)
	header.Set("X-Server-Start", s.started)
	header.Set("X-Poll-Interval", s.pollInterval)
	header.Set("Cache-Control", pollCacheControl)
	polls.Add(1)
	if notModified {
		pollsNotModified.Add(1)
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if len(tasks) == 0 {
		pollsEmpty.Add(1)
	}
	writeJSON(w, http.StatusOK, response{Data: tasks, Timestamp: timestamp})
	return nil
}

// pollCacheControl: clients ask each time, and see a dead server (must-revalidate). A shared cache may send
// one response to all for a second, and renew it in the background for two more. Where there are accounts,
// this must be "private", or a cache gives one person's board to another.
const pollCacheControl = "public, max-age=0, must-revalidate, s-maxage=1, stale-while-revalidate=2"

// parseSince returns the since of a query string in timestampLayout, or "" if there is none. It accepts
// what Go reads as a time of RFC 3339, and returns a clientError for anything else.
func parseSince(rawQuery string) (string, error) {
	query, err := url.ParseQuery(rawQuery) // r.URL.Query() would leave out what it cannot parse
	if err != nil {
		return "", badRequest("the query string cannot be parsed; in a value, write %% as %%25 and ; as %%3B")
	}
	since := query.Get("since")
	if since == "" {
		return "", nil
	}
	t, err := time.Parse(time.RFC3339, since)
	if err != nil {
		return "", badRequest("since must be a time like 2026-11-24T10:45:00.123Z (RFC 3339), with + written as %%2B")
	}
	return t.UTC().Format(timestampLayout), nil // Format cuts off what is smaller than a millisecond
}

// matchesETag reports whether If-None-Match names etag or is *. As RFC 9110, section 13.1.2, wants it, the
// comparison leaves out W/. With its quotes, the ETag cannot be found as a part of another one.
func matchesETag(ifNoneMatch []string, etag string) bool {
	tags := strings.Join(ifNoneMatch, ", ")
	return tags == "*" || strings.Contains(tags, strings.TrimPrefix(etag, "W/"))
}

// board writes a board and its lists, without tasks.
func (s *server) board(w http.ResponseWriter, r *http.Request) error {
	board, err := s.store.Board(r.Context(), r.PathValue("boardId"))
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-cache") // without it, a cache may guess how long to keep this
	writeJSON(w, http.StatusOK, response{Data: board})
	return nil
}

func (s *server) createTask(w http.ResponseWriter, r *http.Request) error {
	var newTask NewTask
	if err := readJSON(w, r, &newTask); err != nil {
		return err
	}
	if err := checkTask(TaskChanges{Title: &newTask.Title, Description: &newTask.Description}); err != nil {
		return err
	}
	task, err := s.store.CreateTask(r.Context(), newTask)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, response{Data: task})
	return nil
}

func (s *server) updateTask(w http.ResponseWriter, r *http.Request) error {
	var changes TaskChanges
	if err := readJSON(w, r, &changes); err != nil {
		return err
	}
	if changes == (TaskChanges{}) {
		return badRequest("there is nothing to change; the body must have at least one field that is not null")
	}
	if err := checkTask(changes); err != nil {
		return err
	}
	task, err := s.store.UpdateTask(r.Context(), r.PathValue("taskId"), changes)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, response{Data: task})
	return nil
}

func (s *server) deleteTask(w http.ResponseWriter, r *http.Request) error {
	task, err := s.store.DeleteTask(r.Context(), r.PathValue("taskId"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, response{Data: task})
	return nil
}

// checkTask returns a clientError for what a task cannot have. nil is a field that was not sent.
func checkTask(c TaskChanges) error {
	switch {
	case c.Title != nil && strings.TrimSpace(*c.Title) == "":
		return badRequest("title must not be blank")
	case c.Title != nil && utf8.RuneCountInString(*c.Title) > 200:
		return badRequest("title must not be longer than 200 characters")
	case c.Description != nil && utf8.RuneCountInString(*c.Description) > 10_000:
		return badRequest("description must not be longer than 10,000 characters")
	case c.Position != nil && *c.Position < 0:
		return badRequest("position must be a whole number from 0")
	}
	return nil
}

// readJSON reads a request's body, one JSON object, into what into points to. It returns a clientError
// if the body is anything else.
func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if mediaType != "application/json" {
		return &clientError{http.StatusUnsupportedMediaType, "the body must be JSON (Content-Type: application/json)"}
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 128<<10))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil { // then nothing may follow but the end of the body
		if _, err = decoder.Token(); err == io.EOF {
			return nil
		}
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &clientError{http.StatusRequestEntityTooLarge, "the body must not be larger than 128 KiB"}
	}
	if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrongType.Field != "" {
		return badRequest("%s must be of type %s", wrongType.Field, wrongType.Type)
	}
	// encoding/json has no type for this error, only the text.
	if field, ok := strings.CutPrefix(fmt.Sprint(err), "json: unknown field "); ok {
		return badRequest("a client cannot set a field %s", field)
	}
	return badRequest("the body must be one JSON object, with nothing behind it")
}

// handler writes a response, or returns the error that ServeHTTP writes as the response.
type handler func(w http.ResponseWriter, r *http.Request) error

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h(w, r)
	if errors.Is(err, context.Canceled) { // the client has gone
		panic(http.ErrAbortHandler) // closes the connection; returning would send an empty response with 200
	}
	if err != nil {
		writeError(w, r, err)
	}
}

// countFailed counts the errors of poll, unless the client has gone.
func countFailed(poll handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := poll(w, r)
		if err != nil && !errors.Is(err, context.Canceled) {
			pollsFailed.Add(1)
		}
		return err
	}
}

// clientError is an error whose message is for the client: what was wrong, and what is right.
type clientError struct {
	status  int
	message string
}

func (e *clientError) Error() string { return e.message }

// badRequest returns a clientError with status 400.
func badRequest(format string, args ...any) error {
	return &clientError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// writeError writes the response to a request that failed. Other errors than clientErrors go to the log
// only, because their text may show how the server works inside.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	status, message := http.StatusInternalServerError, "internal error"
	forClient, ok := errors.AsType[*clientError](err)
	switch {
	case ok:
		status, message = forClient.status, forClient.message
	case errors.Is(err, ErrNoBoard):
		status, message = http.StatusNotFound, "there is no such board; the demo board is board-1"
	case errors.Is(err, ErrNoTask):
		status, message = http.StatusNotFound, "there is no such task, or it was deleted"
	case errors.Is(err, ErrConstraint):
		status, message = http.StatusBadRequest, "list_id must name a list of the task's board"
		slog.Info(message, "method", r.Method, "path", r.URL.Path, "error", err)
	case errors.Is(err, ErrBusy):
		status, message = http.StatusServiceUnavailable, "the database is busy; try again"
		w.Header().Set("Retry-After", "1")
	}
	if status >= http.StatusInternalServerError {
		slog.Error(message, "method", r.Method, "path", r.URL.Path, "error", err)
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, map[string]string{"error": message})
}

// response is the JSON body of every response that is not an error.
type response struct {
	Data      any    `json:"data"`
	Timestamp string `json:"timestamp,omitempty"` // only in the response to a poll
}

// writeJSON writes a response with body as JSON.
func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // fails only when the client has gone
}

//go:embed client/*.css client/*.html client/[^.]*.js client/*.svg
var clientFiles embed.FS // an editor's lock file, such as .#page.js, cannot be embedded

// serveFile writes the page, or another file of client/.
func serveFile(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	// Nothing from another site, and no place in a frame, where another site could steal
	// clicks.
	header.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-cache") // after a rebuild, browsers get the new files at once
	http.ServeFileFS(w, r, clientFiles, "client/"+cmp.Or(r.PathValue("file"), "index.html"))
}
