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

type server struct {
	store        *Store
	started      string // when the server started; clients reload the board when it changes
	pollInterval string // the interval that clients are advised, in seconds
}

// routes returns the handler of all routes.
func routes(store *Store, pollInterval time.Duration) http.Handler {
	s := &server{store, time.Now().UTC().Format(timestampLayout), strconv.Itoa(int(pollInterval.Seconds()))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /boards/{boardId}/updates", func(w http.ResponseWriter, r *http.Request) {
		if err := s.poll(w, r); err != nil {
			writeError(w, r, err) // panics if the client has gone
			pollsFailed.Add(1)
		}
	})
	mux.Handle("GET /boards/{boardId}", handler(s.board))
	mux.Handle("POST /tasks", handler(s.createTask))
	mux.Handle("PATCH /tasks/{taskId}", handler(s.updateTask))
	mux.Handle("DELETE /tasks/{taskId}", handler(s.deleteTask))
	mux.HandleFunc("GET /debug/vars", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		expvar.Handler().ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /{$}", serveFile)
	mux.HandleFunc("GET /client/{file}", serveFile)

	// This refuses writes that a page of another site has a visitor's browser send (CSRF).
	return http.NewCrossOriginProtection().Handler(mux)
}

// poll writes what changed on a board since an instant, or the whole board.
func (s *server) poll(w http.ResponseWriter, r *http.Request) error {
	since, err := parseSince(r.URL.RawQuery)
	if err != nil {
		return err
	}

	// The timestamp is read before the tasks. So a change committed in between is in the next
	// response, and perhaps also in this one. In the opposite order, it could be in neither.
	boardID := r.PathValue("boardId")
	timestamp, err := s.store.Timestamp(boardID)
	if err != nil {
		return err
	}

	etag := `W/"` + s.started + "-" + timestamp + `"` // weak (W/): a task may be newer than the timestamp
	notModified := matchesETag(r.Header.Values("If-None-Match"), etag)
	tasks := []Task{} // stays empty if nothing changed; nil would be null in JSON
	switch {
	case notModified: // the client has this response, so no task is read
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

// pollCacheControl lets a shared cache send one response to all for a second; nginx and Varnish do so
// for two more while they fetch the next. must-revalidate keeps other caches from hiding a dead server.
// With accounts, this must be "private", or a cache sends one person's board to another.
const pollCacheControl = "public, max-age=0, must-revalidate, s-maxage=1, stale-while-revalidate=2"

// parseSince returns the since of a query string in timestampLayout, or "" if there is none. It
// returns a clientError for what Go does not read as a time of RFC 3339.
func parseSince(rawQuery string) (string, error) {
	query, err := url.ParseQuery(rawQuery) // r.URL.Query() would leave out what it cannot parse
	if err != nil {
		return "", badRequest("the query string cannot be parsed; in a value, write % as %25 and ; as %3B")
	}
	since := query.Get("since")
	if since == "" {
		return "", nil
	}
	t, err := time.Parse(time.RFC3339, since)
	if err != nil {
		return "", badRequest("since must be a time like 2026-11-24T10:45:00.123Z (RFC 3339), with + written as %2B")
	}
	return t.UTC().Format(timestampLayout), nil // Format cuts off what is smaller than a millisecond
}

// matchesETag reports whether If-None-Match is * or names etag, compared without W/ (RFC 9110,
// section 13.1.2). Because of its quotes, the ETag is not found as a part of another one.
func matchesETag(ifNoneMatch []string, etag string) bool {
	tags := strings.Join(ifNoneMatch, ", ")
	return tags == "*" || strings.Contains(tags, strings.TrimPrefix(etag, "W/"))
}

func (s *server) board(w http.ResponseWriter, r *http.Request) (any, error) {
	w.Header().Set("Cache-Control", "no-cache") // without it, a cache may guess how long to keep this
	return s.store.Board(r.Context(), r.PathValue("boardId"))
}

func (s *server) createTask(w http.ResponseWriter, r *http.Request) (any, error) {
	var newTask NewTask
	if err := readJSON(w, r, &newTask); err != nil {
		return nil, err
	}
	if err := checkTask(TaskChanges{Title: &newTask.Title, Description: &newTask.Description}); err != nil {
		return nil, err
	}
	return s.store.CreateTask(r.Context(), newTask)
}

func (s *server) updateTask(w http.ResponseWriter, r *http.Request) (any, error) {
	var changes TaskChanges
	if err := readJSON(w, r, &changes); err != nil {
		return nil, err
	}
	if err := checkTask(changes); err != nil {
		return nil, err
	}
	return s.store.UpdateTask(r.Context(), r.PathValue("taskId"), changes)
}

func (s *server) deleteTask(w http.ResponseWriter, r *http.Request) (any, error) {
	return s.store.DeleteTask(r.Context(), r.PathValue("taskId"))
}

// checkTask returns a clientError for what a task cannot have. A nil field was not sent.
func checkTask(c TaskChanges) error {
	switch {
	case c == TaskChanges{}:
		return badRequest("there is nothing to change; the body must have at least one field that is not null")
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

// readJSON reads a body of one JSON object into what into points to, or returns a clientError.
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
		return badRequest(wrongType.Field + " must be of type " + wrongType.Type.String())
	}
	// encoding/json has no type for this error, only the text.
	if field, ok := strings.CutPrefix(fmt.Sprint(err), "json: unknown field "); ok {
		return badRequest("a client cannot set a field " + field)
	}
	return badRequest("the body must be one JSON object, with nothing behind it")
}

// handler returns the data of a response, or an error. ServeHTTP writes the response.
type handler func(w http.ResponseWriter, r *http.Request) (any, error)

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, err := h(w, r)
	if err != nil {
		writeError(w, r, err)
		return
	}
	status := http.StatusOK
	if r.Method == http.MethodPost {
		status = http.StatusCreated
	}
	writeJSON(w, status, response{Data: data})
}

// clientError is an error whose message tells the client what was wrong, and what is right.
type clientError struct {
	status  int
	message string
}

func (e *clientError) Error() string { return e.message }

// badRequest returns a clientError with status 400.
func badRequest(message string) error {
	return &clientError{http.StatusBadRequest, message}
}

// writeError writes err as a response. The text of an unforeseen error goes to the log alone.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) { // the client has gone
		panic(http.ErrAbortHandler) // closes the connection; returning would send an empty response with 200
	}
	status, message := http.StatusInternalServerError, "internal error"
	forClient, ok := errors.AsType[*clientError](err)
	switch {
	case ok:
		status, message = forClient.status, forClient.message
	case errors.Is(err, ErrNoBoard), errors.Is(err, ErrNoTask):
		status, message = http.StatusNotFound, err.Error()
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
	// The page loads nothing from other sites. They cannot show it in a frame to steal clicks.
	w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-cache") // after a rebuild, browsers get the new files at once
	http.ServeFileFS(w, r, clientFiles, "client/"+cmp.Or(r.PathValue("file"), "index.html"))
}
