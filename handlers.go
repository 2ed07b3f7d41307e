package main

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits on what a client may send.
const (
	maxBodyBytes             = 64 << 10
	maxTitleCharacters       = 200
	maxDescriptionCharacters = 10_000
	maxPosition              = 1_000_000_000 // far from where JavaScript loses count of appended tasks
)

// timestampForm is the one form of an instant, for time.Time.Format. It is that
// of JavaScript's toISOString and of schema.sql.
const timestampForm = "2006-01-02T15:04:05.000Z"

// rfc3339 is the grammar of RFC 3339, section 5.6. time.Parse knows the calendar
// but is lax with the form: it takes a one-digit hour and a decimal comma.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// taskFormVersion is a part of every ETag. Raise it when the JSON of a poll
// changes, or clients that are asked to keep their old copy will.
const taskFormVersion = "1"

//go:embed client/icon.svg client/index.html client/page.css client/page.js client/poll.js
var clientFiles embed.FS

// What polling costs, at /debug/vars.
var (
	polls            = expvar.NewInt("polls")              // answered, with 200 or 304
	pollsEmpty       = expvar.NewInt("polls_empty")        // of these, 200 without a task
	pollsNotModified = expvar.NewInt("polls_not_modified") // of these, 304
	pollsFailed      = expvar.NewInt("polls_failed")       // answered with 4xx or 5xx
)

// server holds what the handlers share.
type server struct {
	store        *Store
	pollInterval string // the advice to clients, in seconds
}

// newHandler returns the handler of all routes.
func newHandler(store *Store, pollInterval time.Duration) http.Handler {
	s := &server{store, strconv.Itoa(int(pollInterval.Seconds()))}
	mux := http.NewServeMux()
	mux.Handle("GET /boards/{boardId}/updates", handler(s.poll))
	mux.Handle("GET /boards/{boardId}", handler(s.board))
	mux.Handle("POST /tasks", handler(s.createTask))
	mux.Handle("PATCH /tasks/{taskId}", handler(s.updateTask))
	mux.Handle("DELETE /tasks/{taskId}", handler(s.deleteTask))
	mux.Handle("GET /debug/vars", expvar.Handler())
	mux.HandleFunc("GET /{$}", page)
	mux.HandleFunc("GET /client/{file}", page)

	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(handler(func(http.ResponseWriter, *http.Request) error {
		return &clientError{http.StatusForbidden, "a page of another site may not write here"}
	}))
	return protection.Handler(mux)
}

// handler answers a request, or returns the error to answer with.
type handler func(w http.ResponseWriter, r *http.Request) error

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h(w, r); err != nil {
		writeError(w, r, err)
	}
}

// clientError is an error whose message is for the client: it says what was
// wrong with the request and what is right.
type clientError struct {
	status  int
	message string
}

func (e *clientError) Error() string { return e.message }

// badRequest returns a clientError with status 400.
func badRequest(format string, args ...any) error {
	return &clientError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// writeError answers with an error. What the client can't act on stays here, in
// the log: an error's text may show more of the inside than is good.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	status, message := http.StatusInternalServerError, "internal error"
	var forClient *clientError
	switch {
	case errors.As(err, &forClient):
		status, message = forClient.status, forClient.message
	case errors.Is(err, ErrNoBoard):
		status, message = http.StatusNotFound, "there is no such board; the demo board is board-1"
	case errors.Is(err, ErrNoTask):
		status, message = http.StatusNotFound, "there is no such task, or it was deleted"
	case errors.Is(err, ErrNoList):
		status, message = http.StatusBadRequest, "list_id must name a list of the task's board; GET /boards/{boardId} shows them"
	case isBusy(err):
		status, message = http.StatusServiceUnavailable, "the database is busy; try again"
		w.Header().Set("Retry-After", "1")
	}
	if status >= http.StatusInternalServerError {
		slog.Error(message, "method", r.Method, "path", r.URL.Path, "error", err)
	}
	w.Header().Del("ETag") // an error is no version of the board
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, struct {
		Error string `json:"error"`
	}{message})
}

// writeJSON answers with body as JSON.
func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // fails if the client has gone, who then need not know
}

// answer is the body of every answer that is not an error.
type answer struct {
	Data      any    `json:"data"`
	Timestamp string `json:"timestamp,omitempty"` // in the answer to a poll
}

// poll answers the request this program is about.
func (s *server) poll(w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if err != nil {
			pollsFailed.Add(1)
		}
	}()
	since, err := parseSince(r.URL.RawQuery)
	if err != nil {
		return err
	}
	timestamp, readTasks, err := s.store.Poll(r.PathValue("boardId"), since)
	if err != nil {
		return err
	}

	// The same URL has the same answer until the board's timestamp moves, so
	// the timestamp is all a validator needs. It is weak since a change that
	// lands before the rows are read comes with an answer tagged without it.
	etag := `W/"` + taskFormVersion + "-" + timestamp + `"`
	header := w.Header()
	header.Set("X-Poll-Interval", s.pollInterval)
	header.Set("ETag", etag)
	// Browsers must ask each time. A cache in front of the server may answer
	// all pollers of an idle board, who ask the same, from one answer a second.
	header.Set("Cache-Control", "public, max-age=0, s-maxage=1")
	if matchesETag(r.Header.Values("If-None-Match"), etag) {
		polls.Add(1)
		pollsNotModified.Add(1)
		w.WriteHeader(http.StatusNotModified)
		return nil
	}

	tasks, err := readTasks()
	if err != nil {
		return err
	}
	polls.Add(1)
	if len(tasks) == 0 {
		pollsEmpty.Add(1)
	}
	writeJSON(w, http.StatusOK, answer{Data: tasks, Timestamp: timestamp})
	return nil
}

// parseSince returns the since of a query in timestampForm, rounded down to the
// millisecond, or "" if there is none. It takes what RFC 3339 allows but for leap
// seconds, which Go's time does not have, and returns a clientError for the rest.
func parseSince(rawQuery string) (string, error) {
	query, err := url.ParseQuery(rawQuery) // r.URL.Query() would drop a broken since
	since := query.Get("since")
	if err == nil && since == "" {
		return "", nil
	}
	// RFC 3339, section 5.6, allows the letters in lower case.
	since = strings.ToUpper(since)
	t, err := time.Parse(time.RFC3339, since)
	if err != nil || !rfc3339.MatchString(since) {
		hint := ""
		if strings.Contains(since, " ") {
			hint = ", and a + in a URL is written %2B"
		}
		return "", badRequest("since must be a time like 2026-11-24T10:45:00.123Z (RFC 3339)%s", hint)
	}
	if t = t.UTC(); t.Year() > 9999 {
		// An offset can lead into the year 10000, which as text comes before 2026.
		// (The year -1, at the other edge, comes first as text as well.)
		return "9999-12-31T23:59:59.999Z", nil
	}
	return t.Format(timestampForm), nil
}

// matchesETag reports whether an If-None-Match header names etag by the weak
// comparison of RFC 9110, section 13.1.2, or is *. Splitting at commas is safe,
// although a tag may contain one: no part of such a tag has both its quotes.
func matchesETag(ifNoneMatch []string, etag string) bool {
	for _, line := range ifNoneMatch {
		if line == "*" {
			return true
		}
		for tag := range strings.SplitSeq(line, ",") {
			if strings.TrimPrefix(strings.Trim(tag, " \t"), "W/") == strings.TrimPrefix(etag, "W/") {
				return true
			}
		}
	}
	return false
}

// board answers with a board and its lists, which a client needs once.
func (s *server) board(w http.ResponseWriter, r *http.Request) error {
	board, err := s.store.Board(r.PathValue("boardId"))
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-cache")
	writeJSON(w, http.StatusOK, answer{Data: board})
	return nil
}

func (s *server) createTask(w http.ResponseWriter, r *http.Request) error {
	var newTask NewTask
	if err := readJSON(w, r, &newTask); err != nil {
		return err
	}
	if err := checkTask(&newTask.Title, &newTask.Description, nil); err != nil {
		return err
	}
	task, err := s.store.CreateTask(newTask)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, answer{Data: task})
	return nil
}

func (s *server) updateTask(w http.ResponseWriter, r *http.Request) error {
	var changes TaskChanges
	if err := readJSON(w, r, &changes); err != nil {
		return err
	}
	if changes == (TaskChanges{}) {
		return badRequest("nothing to change; send one or more of title, description, list_id and position")
	}
	if err := checkTask(changes.Title, changes.Description, changes.Position); err != nil {
		return err
	}
	task, err := s.store.UpdateTask(r.PathValue("taskId"), changes)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer{Data: task})
	return nil
}

func (s *server) deleteTask(w http.ResponseWriter, r *http.Request) error {
	if err := s.store.DeleteTask(r.PathValue("taskId")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// readJSON reads a request's body, one JSON object, into the struct that into
// points to. It returns a clientError if the body is anything else.
func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(mediaType), "application/json") {
		return &clientError{http.StatusUnsupportedMediaType, "the body must be JSON, sent with Content-Type: application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &clientError{http.StatusRequestEntityTooLarge, "the body must not be larger than 64 KiB"}
	}
	if err != nil {
		return badRequest("the body did not arrive whole")
	}

	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(into)
	var syntax *json.SyntaxError
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return badRequest("the body must be a JSON object")
	case errors.As(err, &wrongType) && wrongType.Type.Kind() == reflect.String:
		return badRequest("%s must be text", wrongType.Field)
	case errors.As(err, &wrongType):
		return badRequest("%s must be a whole number", wrongType.Field)
	case errors.As(err, &syntax), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return badRequest("the body must be valid JSON")
	case err != nil:
		return badRequest("the body has a field that does not exist; a task has list_id, title and description, and position once it is there")
	}
	if _, err := decoder.Token(); err != io.EOF {
		return badRequest("the body must be a single JSON object, with nothing behind it")
	}
	return nil
}

// checkTask returns a clientError for a value that a task can't have. It does
// not look at what is nil.
func checkTask(title, description *string, position *int64) error {
	switch {
	case title != nil && strings.TrimSpace(*title) == "":
		return badRequest("title must not be blank")
	case title != nil && utf8.RuneCountInString(*title) > maxTitleCharacters:
		return badRequest("title must not be longer than %d characters", maxTitleCharacters)
	case description != nil && utf8.RuneCountInString(*description) > maxDescriptionCharacters:
		return badRequest("description must not be longer than %d characters", maxDescriptionCharacters)
	case position != nil && (*position < 0 || *position > maxPosition):
		return badRequest("position must be a whole number from 0 to %d", maxPosition)
	}
	return nil
}

// page answers with the page, or one of the files that it loads.
func page(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", "default-src 'self'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-cache") // a rebuilt program shows at once
	http.ServeFileFS(w, r, clientFiles, "client/"+cmp.Or(r.PathValue("file"), "index.html"))
}
