package main

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"expvar"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// newServer serves a fresh demo board. It returns the server's URL and the path of its database.
func newServer(t *testing.T) (origin, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "taskboard.db")
	return serveStore(t, newStore(t, path, time.Minute)), path
}

// newStore opens the database at path until the test ends.
func newStore(t *testing.T, path string, busyTimeout time.Duration) *Store {
	t.Helper()
	store, err := Open(path, busyTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// serveStore serves a store until the test ends, and returns the server's URL.
func serveStore(t *testing.T, store *Store) string {
	t.Helper()
	srv := httptest.NewServer(routes(store, 5*time.Second))
	t.Cleanup(srv.Close)
	return srv.URL
}

// openShell opens the database beside the Store, as the sqlite3 shell does: with one connection,
// and without foreign keys. It runs a statement that prepares the test.
func openShell(t *testing.T, path, statement string) *sql.DB {
	t.Helper()
	db := newPool(path, 1)
	t.Cleanup(func() { db.Close() })
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
	return db
}

// send sends a request and returns the response with its body. header holds names and values in
// turn. A body is sent as JSON, with a charset that must not matter, unless header says otherwise.
//
// send, poll and write report failures with t.Error, so that goroutines may call them, and return
// zero values.
func send(t *testing.T, method, target, body string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, _ := http.NewRequest(method, target, strings.NewReader(body))
	for pair := range slices.Chunk(header, 2) {
		req.Header.Add(pair[0], pair[1])
	}
	if body != "" && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return &http.Response{}, nil
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s %s: reading the body: %v", method, target, err)
	}
	return resp, got
}

// poll polls board-1, which must succeed, and returns what the response holds.
func poll(t *testing.T, origin, since string) (tasks []Task, timestamp string) {
	t.Helper()
	resp, body := send(t, "GET", origin+"/boards/board-1/updates?since="+since, "")
	got := response{Data: &tasks}
	err := json.Unmarshal(body, &got)
	if err != nil || resp.StatusCode != http.StatusOK || tasks == nil { // null becomes nil, and [] does not
		t.Errorf("poll since %q: status %d, body %.300q; want 200 with a list as data", since, resp.StatusCode, body)
	}
	return tasks, got.Timestamp
}

// write sends a write, which must succeed, and returns the task in the response.
func write(t *testing.T, method, target, body string) Task {
	t.Helper()
	resp, respBody := send(t, method, target, body)
	var got struct{ Data Task }
	want := map[string]int{"POST": 201, "PATCH": 200, "DELETE": 200}[method]
	if err := json.Unmarshal(respBody, &got); err != nil || resp.StatusCode != want {
		t.Errorf("%s %s %.99s: status %d, body %.300s; want %d with a task",
			method, target, body, resp.StatusCode, respBody, want)
	}
	return got.Data
}

// ids returns the ids of tasks in their order.
func ids(tasks []Task) string {
	var list []string
	for _, task := range tasks {
		list = append(list, task.ID)
	}
	return strings.Join(list, " ")
}

// TestFreshBoard compares whole responses on a database that no client has written to.
func TestFreshBoard(t *testing.T) {
	origin, path := newServer(t)
	openShell(t, path, `
		INSERT INTO boards (id, name) VALUES ('empty', 'Empty'), ('small', 'Small');
		INSERT INTO lists (id, board_id, name, position) VALUES ('b', 'small', 'First', 0), ('a', 'small', 'Second', 1);
		INSERT INTO tasks (id, list_id, title) VALUES ('y', 'b', 'One'), ('x', 'a', 'Two')`)
	const small = `{"data":[` +
		`{"id":"y","list_id":"b","title":"One","description":"","position":0,"created_at":T,"updated_at":T},` +
		`{"id":"x","list_id":"a","title":"Two","description":"","position":0,"created_at":T,"updated_at":T}` +
		`],"timestamp":T}`
	const nothing = `{"data":[],"timestamp":T}`
	for _, test := range []struct {
		name, path string
		want       string // every instant is written T
	}{
		{name: "lists", path: "board-1", want: `{"data":{"id":"board-1","name":"Demo board","lists":[` +
			`{"id":"list-1","name":"To do","position":0},{"id":"list-2","name":"In progress","position":1},` +
			`{"id":"list-3","name":"Done","position":2}]}}`},
		{name: "lists in their order", path: "small", want: `{"data":{"id":"small","name":"Small","lists":[` +
			`{"id":"b","name":"First","position":0},{"id":"a","name":"Second","position":1}]}}`},
		{name: "no lists", path: "empty", want: `{"data":{"id":"empty","name":"Empty","lists":[]}}`},
		{name: "whole board", path: "small/updates", want: small},
		{name: "empty since", path: "small/updates?since=", want: small},
		{name: "all since 1970", path: "small/updates?since=1970-01-01T00:00:00Z", want: small},
		{name: "nothing since 2099", path: "small/updates?since=2099-01-01T00:00:00Z", want: nothing},
		{name: "no tasks", path: "empty/updates", want: nothing},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := send(t, "GET", origin+"/boards/"+test.path, "")
			instant := regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)
			got := strings.TrimSpace(instant.ReplaceAllString(string(body), "T"))
			if resp.StatusCode != http.StatusOK || got != test.want {
				t.Errorf("GET /boards/%s: status %d, body\n%s\nwant 200\n%s",
					test.path, resp.StatusCode, got, test.want)
			}
			isPoll, header := strings.Contains(test.path, "updates"), resp.Header
			if header.Get("Content-Type") != "application/json" || !isPoll && header.Get("Cache-Control") != "no-cache" {
				t.Errorf("GET /boards/%s: header %v, want application/json and, but for polls, no-cache", test.path, header)
			}
		})
	}
}

// TestWrites makes one change after the other. The response to each must be the task as the next
// poll shows it, and that poll must show nothing else.
func TestWrites(t *testing.T) {
	origin, _ := newServer(t)
	_, since := poll(t, origin, "")
	title, description := strings.Repeat("ü", 200), strings.Repeat("😀", 10_000) // the longest
	escaped := strings.Repeat(`\ud83d\ude00`, 10_000)
	for _, test := range []struct {
		name, method, path, body string
		want                     Task // without its instants
	}{
		{name: "delete", method: "DELETE", path: "/tasks/task-4",
			want: Task{ID: "task-4", ListID: "list-2", Title: "Watch polls that bring nothing"}},
		{name: "create in an empty list", method: "POST", path: "/tasks",
			body: `{"list_id":"list-2","title":"<b>Tea</b> & ☕","description":"two\nlines"}`,
			want: Task{ListID: "list-2", Title: "<b>Tea</b> & ☕", Description: "two\nlines"}},
		{name: "another list with a position", method: "PATCH", path: "/tasks/task-5",
			body: `{"list_id":"list-1","position":7,"description":"Why"}`,
			want: Task{ID: "task-5", ListID: "list-1", Title: "Start the server", Description: "Why", Position: 7}},
		{name: "another list, an empty one", method: "PATCH", path: "/tasks/task-1", body: `{"list_id":"list-3"}`,
			want: Task{ID: "task-1", ListID: "list-3", Title: "See a change arrive"}},
		{name: "rename, in the same list", method: "PATCH", path: "/tasks/task-5", body: `{"list_id":"list-1","title":"New"}`,
			want: Task{ID: "task-5", ListID: "list-1", Title: "New", Description: "Why", Position: 7}},
		{name: "create with the most characters, in escapes: last", method: "POST", path: "/tasks",
			body: `{"list_id":"list-1","title":"` + title + `","description":"` + escaped + `"}`,
			want: Task{ListID: "list-1", Title: title, Description: description, Position: 8}},
		{name: "another list: last", method: "PATCH", path: "/tasks/task-1", body: `{"list_id":"list-1"}`,
			want: Task{ID: "task-1", ListID: "list-1", Title: "See a change arrive", Position: 9}},
		{name: "move and empty", method: "PATCH", path: "/tasks/task-5", body: `{"position":0,"description":""}`,
			want: Task{ID: "task-5", ListID: "list-1", Title: "New"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := write(t, test.method, origin+test.path, test.body)
			tasks, timestamp := poll(t, origin, since)
			if !slices.Equal(tasks, []Task{got}) {
				t.Errorf("%s %s: response\n%.200s\nnext poll\n%.200s\nwant just the same task",
					test.method, test.path, fmt.Sprint(got), fmt.Sprint(tasks))
			}
			if got.UpdatedAt != timestamp || timestamp <= since {
				t.Errorf("%s %s: updated_at = %s, timestamp = %s; want both equal and after %s",
					test.method, test.path, got.UpdatedAt, timestamp, since)
			}
			want := test.want
			want.CreatedAt, want.UpdatedAt, want.DeletedAt = got.CreatedAt, got.UpdatedAt, got.DeletedAt
			want.ID = cmp.Or(want.ID, got.ID)
			if got != want || (got.DeletedAt != "") != (test.method == "DELETE") {
				t.Errorf("%s %s %.99s: got\n%.200s\nwant\n%.200s\nand deleted_at after DELETE",
					test.method, test.path, test.body, fmt.Sprint(got), fmt.Sprint(want))
			}
			since = timestamp
		})
	}
}

// TestOrder has two tasks in one place, and changes tasks in another order than that of the board.
func TestOrder(t *testing.T) {
	origin, path := newServer(t)
	openShell(t, path, `INSERT INTO tasks (id, list_id, title, position) VALUES
		('y', 'list-1', 'x', 1), ('x', 'list-1', 'x', 1)`)
	board, since := poll(t, origin, "")
	if got, want := ids(board), "task-1 task-2 x y task-3 task-4 task-5"; got != want {
		t.Errorf("whole board = %q, want %q, by list, position and id", got, want)
	}
	write(t, "DELETE", origin+"/tasks/task-5", "")
	write(t, "PATCH", origin+"/tasks/task-1", `{"title":"x"}`)
	if got, _ := poll(t, origin, since); ids(got) != "task-5 task-1" {
		t.Errorf("poll after changes of task-5 and task-1 = %q, want them in this order", ids(got))
	}
	if got, _ := poll(t, origin, ""); ids(got) != "task-1 task-2 x y task-3 task-4" {
		t.Errorf("whole board = %q, want it without the deleted task-5", ids(got))
	}
}

// TestSince polls with one instant written in several ways. FuzzParseSince has the others.
func TestSince(t *testing.T) {
	origin, _ := newServer(t)
	changed := write(t, "PATCH", origin+"/tasks/task-5", `{"title":"Latest"}`)
	instant, _ := time.Parse(time.RFC3339, changed.UpdatedAt)
	before := instant.Add(-time.Millisecond)
	ahead := before.Add(999_999).In(time.FixedZone("", 19800)).Format(time.RFC3339Nano)
	for _, test := range []struct {
		name, since string
		want        string // ids of the tasks
	}{
		{name: "the instant itself", since: changed.UpdatedAt, want: ""},
		{name: "a millisecond before", since: before.Format(timestampLayout), want: "task-5"},
		{name: "floored, ahead of UTC", since: strings.Replace(ahead, "+", "%2B", 1), want: "task-5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tasks, timestamp := poll(t, origin, test.since)
			if got := ids(tasks); got != test.want || timestamp != changed.UpdatedAt {
				t.Errorf("poll since %s = %q, timestamp %s; want %q, %s",
					test.since, got, timestamp, test.want, changed.UpdatedAt)
			}
		})
	}
}

// FuzzParseSince checks that parseSince refuses what time.Parse refuses, and turns all else into
// timestampLayout, rounded down to the millisecond.
func FuzzParseSince(f *testing.F) {
	for _, since := range []string{
		"%", "yesterday", "2026-11-24T10:45:00.123Z", "2026-11-24T10:45:00.9999999Z", "2026-11-24T10:45:00+01:00",
		"9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00", "2026-02-30T10:45:00Z", "2026-12-31T23:59:60Z",
		"2026-11-24 10:45:00", "2026-11-24T10:45:00",
	} {
		f.Add(since)
	}
	f.Fuzz(func(t *testing.T, since string) {
		got, err := parseSince("since=" + url.QueryEscape(since))
		instant, wantErr := time.Parse(time.RFC3339, since)
		if since == "" || wantErr != nil {
			if got != "" || since != "" && err == nil {
				t.Errorf("parseSince(%q) = %q, %v; want an error, or nothing for nothing", since, got, err)
			}
			return
		}
		if year := instant.UTC().Year(); year < 0 || year > 9999 {
			return // an offset can lead out of the years that have four digits
		}
		want := instant.Truncate(time.Millisecond)
		if back, err := time.Parse(timestampLayout, got); !back.Equal(want) || len(got) != 24 {
			t.Errorf("parseSince(%q) = %q, read back as %v, %v; want %v", since, got, back, err, want)
		}
	})
}

// TestConditionalPoll polls with ETags, as browsers and caches do by themselves.
func TestConditionalPoll(t *testing.T) {
	origin, path := newServer(t)
	board := origin + "/boards/board-1/updates"
	first, _ := send(t, "GET", board, "")
	old := first.Header.Get("ETag")
	write(t, "DELETE", origin+"/tasks/task-1", "")
	second, _ := send(t, "GET", board, "")
	now := second.Header.Get("ETag")
	started := second.Header.Get("X-Server-Start")
	at, err := time.Parse(timestampLayout, started)
	if old == now || !strings.HasPrefix(now, `W/"`) || err != nil || time.Since(at) > time.Minute {
		t.Fatalf("ETag = %q, then %q after a change, X-Server-Start = %q; "+
			"want two that begin with W/ and a quote, and an instant of this minute", old, now, started)
	}
	opaque := strings.TrimPrefix(now, "W/")
	for _, test := range []struct {
		name, method, ifNoneMatch string
		want                      int
	}{
		{name: "same", method: "GET", ifNoneMatch: now, want: 304},
		{name: "same, HEAD", method: "HEAD", ifNoneMatch: now, want: 304},
		{name: "same, strong", method: "GET", ifNoneMatch: opaque, want: 304},
		{name: "in a list", method: "GET", ifNoneMatch: `"x, y" ,` + old + ",\t" + now, want: 304},
		{name: "any", method: "GET", ifNoneMatch: "*", want: 304},
		{name: "old", method: "GET", ifNoneMatch: old, want: 200},
		{name: "any, inside another", method: "GET", ifNoneMatch: `"a,*,b"`, want: 200},
		{name: "inside another", method: "GET", ifNoneMatch: `"a,` + opaque[1:], want: 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, _ := send(t, test.method, board, "", "If-None-Match", test.ifNoneMatch)
			if resp.StatusCode != test.want {
				t.Errorf("If-None-Match: %s: status %d, want %d", test.ifNoneMatch, resp.StatusCode, test.want)
			}
			for name, want := range map[string]string{
				"ETag":            now,
				"Cache-Control":   "public, max-age=0, must-revalidate, s-maxage=1, stale-while-revalidate=2",
				"X-Server-Start":  started,
				"X-Poll-Interval": "5",
			} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("If-None-Match: %s: %s = %q, want %q", test.ifNoneMatch, name, got, want)
				}
			}
		})
	}

	// Two header fields of a name are one list.
	if resp, _ := send(t, "GET", board, "", "If-None-Match", old, "If-None-Match", now); resp.StatusCode != 304 {
		t.Errorf("If-None-Match: %s and %s: status %d, want 304", old, now, resp.StatusCode)
	}

	// After a restart the database may be another one, so no ETag of before may be right.
	for time.Now().UTC().Format(timestampLayout) <= started {
	}
	restarted := serveStore(t, newStore(t, path, time.Minute)) + "/boards/board-1/updates"
	resp, _ := send(t, "GET", restarted, "", "If-None-Match", now)
	if again := resp.Header.Get("X-Server-Start"); resp.StatusCode != 200 || again <= started {
		t.Errorf("with the ETag of server %s: status %d from server %s; want 200", started, resp.StatusCode, again)
	}
}

// TestErrors sends what the server must refuse with a sentence that says why.
func TestErrors(t *testing.T) {
	origin, path := newServer(t)
	openShell(t, path, `
		INSERT INTO boards (id, name) VALUES ('board-2', 'Other');
		INSERT INTO lists (id, board_id, name, position) VALUES ('list-9', 'board-2', 'Other', 0);
		UPDATE tasks SET deleted_at = '2026-11-24T10:45:00.123Z' WHERE id = 'task-5'`)
	_, before := send(t, "GET", origin+"/boards/board-1/updates", "")
	longTitle, longDescription := strings.Repeat("ü", 201), strings.Repeat("ü", 10_001)
	for _, test := range []struct {
		name, request, body string
		contentType         string // empty means JSON
		status              int    // 0 means 400
		want, wantLog       string
	}{
		{name: "no board", request: "GET /boards/none", status: 404, want: "no such board"},
		{name: "no board to poll", request: "GET /boards/none/updates", status: 404, want: "no such board"},
		{name: "query", request: "GET /boards/board-1/updates?utm=a;b", want: "the query string"},
		{name: "since, + as a space", request: "GET /boards/board-1/updates?since=2026-11-24T10:45:00+01:00",
			want: "since must be a time like 2026-11-24T10:45:00.123Z (RFC 3339), with + written as %2B"},
		{name: "half of a body", request: "POST /tasks", body: `{"list_id"`, want: "one JSON object"},
		{name: "no object", request: "POST /tasks", body: `["list-1"]`, want: "one JSON object"},
		{name: "something behind", request: "POST /tasks", body: `{} {}`, want: "nothing behind"},
		{name: "wrong type", request: "POST /tasks", body: `{"title":1}`, want: "title must be of type string"},
		{name: "unknown field", request: "POST /tasks", body: `{"colour":"red"}`, want: `a field "colour"`},
		{name: "blank title", request: "POST /tasks", body: `{"title":" \n\u00a0"}`, want: "title must not be blank"},
		{name: "long title", request: "POST /tasks", body: `{"title":"` + longTitle + `"}`, want: "200 characters"},
		{name: "long description", request: "POST /tasks",
			body: `{"title":"x","description":"` + longDescription + `"}`, want: "10,000 characters"},
		{name: "unknown list", request: "POST /tasks", body: `{"list_id":"none","title":"x"}`,
			want: "list_id must name", wantLog: `method=POST path=/tasks error="schema.sql refused the write: no such list"`},
		{name: "large body", request: "POST /tasks", body: `{}` + strings.Repeat(" ", 128<<10), status: 413, want: "128 KiB"},
		{name: "form", request: "POST /tasks", body: "title=x", contentType: "application/x-www-form-urlencoded",
			status: 415, want: "application/json"},
		{name: "nothing to change", request: "PATCH /tasks/task-1", body: `{}`, want: "at least one field"},
		{name: "negative position", request: "PATCH /tasks/task-1", body: `{"position":-1}`, want: "must be a whole number"},
		{name: "huge position", request: "PATCH /tasks/task-1", body: `{"position":2147483648}`, want: "must be of type"},
		{name: "fractional position", request: "PATCH /tasks/task-1", body: `{"position":1.5}`, want: "must be of type"},
		{name: "position as text", request: "PATCH /tasks/task-1", body: `{"position":"1"}`, want: "must be of type"},
		{name: "another board's list", request: "PATCH /tasks/task-1", body: `{"list_id":"list-9"}`,
			want: "list_id must name", wantLog: "a task keeps its id and its board"},
		{name: "no task", request: "PATCH /tasks/none", body: `{"title":"x"}`, status: 404, want: "no such task"},
		{name: "deleted task", request: "PATCH /tasks/task-5", body: `{"title":"x"}`, status: 404, want: "no such task"},
		{name: "deleted task", request: "DELETE /tasks/task-5", status: 404, want: "no such task"},
	} {
		method, target, _ := strings.Cut(test.request, " ")
		t.Run(method+" "+test.name, func(t *testing.T) {
			sent := fmt.Sprintf("%s %.80q", test.request, test.body)
			logged := captureLog(t)
			resp, body := send(t, method, origin+target, test.body, "Content-Type", test.contentType)
			var got struct{ Error string }
			if err := json.Unmarshal(body, &got); err != nil {
				t.Errorf("%s: %v in %q", sent, err, body)
			}
			if want := cmp.Or(test.status, 400); resp.StatusCode != want || !strings.Contains(got.Error, test.want) {
				t.Errorf("%s: status %d, %.200s; want %d, %q", sent, resp.StatusCode, body, want, test.want)
			}
			header := resp.Header
			if header.Get("Cache-Control") != "no-store" || header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: header %v, want no-store and application/json", sent, header)
			}
			if got := logged.String(); !strings.Contains(got, test.wantLog) || test.wantLog == "" && got != "" {
				t.Errorf("%s: log %q, want %q", sent, got, test.wantLog)
			}
			if _, after := send(t, "GET", origin+"/boards/board-1/updates", ""); !bytes.Equal(after, before) {
				t.Errorf("%s changed the board from\n%s\nto\n%s", sent, before, after)
			}
		})
	}
}

// TestOtherSites sends a write as a browser sends it for a page of another site.
func TestOtherSites(t *testing.T) {
	origin, _ := newServer(t)
	resp, _ := send(t, "DELETE", origin+"/tasks/task-1", "", "Sec-Fetch-Site", "cross-site")
	if tasks, _ := poll(t, origin, ""); resp.StatusCode != http.StatusForbidden || len(tasks) != 5 {
		t.Errorf("DELETE from another site: status %d, then %d tasks; want 403 and 5", resp.StatusCode, len(tasks))
	}
}

// TestPage asks for the page and the files that it loads.
func TestPage(t *testing.T) {
	origin, _ := newServer(t)
	for _, test := range []struct {
		path     string
		want     int
		wantType string
	}{
		{path: "/", want: 200, wantType: "text/html; charset=utf-8"},
		{path: "/client/poll.js", want: 200, wantType: "text/javascript; charset=utf-8"},
		{path: "/client/page.css", want: 200, wantType: "text/css; charset=utf-8"},
		{path: "/client/icon.svg", want: 200, wantType: "image/svg+xml"},
		{path: "/client/README.md", want: 404, wantType: "text/plain; charset=utf-8"},
	} {
		t.Run(test.path, func(t *testing.T) {
			resp, _ := send(t, "GET", origin+test.path, "")
			got := resp.Header
			if resp.StatusCode != test.want || got.Get("Content-Type") != test.wantType {
				t.Errorf("GET %s: status %d, Content-Type %q; want %d, %q",
					test.path, resp.StatusCode, got.Get("Content-Type"), test.want, test.wantType)
			}
			const policy = "default-src 'self'; frame-ancestors 'none'"
			if got.Get("X-Content-Type-Options") != "nosniff" || got.Get("Content-Security-Policy") != policy ||
				test.want == 200 && got.Get("Cache-Control") != "no-cache" {
				t.Errorf("GET %s: header %v, want nosniff, %s and, with 200, no-cache", test.path, got, policy)
			}
		})
	}
}

// captureLog returns what is logged from now on, until the test ends.
func captureLog(t *testing.T) *bytes.Buffer {
	captured, previous := new(bytes.Buffer), log.Writer()
	log.SetOutput(captured) // slog's default logger writes there, too
	t.Cleanup(func() { log.SetOutput(previous) })
	return captured
}

// TestInternalError breaks the table of tasks under the server. Idle polls, which read none, must not notice.
func TestInternalError(t *testing.T) {
	origin, path := newServer(t)
	_, timestamp := poll(t, origin, "")
	openShell(t, path, `ALTER TABLE tasks RENAME COLUMN title TO name`)
	board := origin + "/boards/board-1/updates"
	if resp, _ := send(t, "GET", board, "", "If-None-Match", "*"); resp.StatusCode != 304 {
		t.Errorf("poll with If-None-Match: status %d, want 304 without a query of the broken table", resp.StatusCode)
	}
	if resp, _ := send(t, "GET", board+"?since="+timestamp, ""); resp.StatusCode != 200 {
		t.Errorf("poll since the last change: status %d, want 200 without a query of the broken table", resp.StatusCode)
	}

	logged := captureLog(t)
	before := polls.Value()
	resp, body := send(t, "GET", board, "")
	want := `{"error":"internal error"}` + "\n"
	if resp.StatusCode != 500 || string(body) != want || polls.Value() != before {
		t.Errorf("poll of a broken database: %d %s; want 500 %s, not counted in polls", resp.StatusCode, body, want)
	}
	if got := resp.Header; got.Get("ETag")+got.Get("X-Server-Start")+got.Get("X-Poll-Interval") != "" {
		t.Errorf("poll of a broken database: header %v, want none of those that a poll has", got)
	}
	if got := logged.String(); !strings.Contains(got, `method=GET path=/boards/board-1/updates error="no such column`) {
		t.Errorf("log = %q, want the method, the path and SQLite's words", got)
	}
}

// TestBusy writes while another write, or another process, keeps the database for too long.
func TestBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "taskboard.db")
	store := newStore(t, path, time.Millisecond)
	origin := serveStore(t, store)
	for _, test := range []struct {
		name string
		db   *sql.DB // has the lock
		want string  // in the log
	}{
		{name: "another write", db: store.writer, want: "the database stayed busy: context deadline exceeded"},
		{name: "another process", db: openShell(t, path, ""), want: "the database stayed busy: database is locked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, err := test.db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.ExecContext(t.Context(), "BEGIN EXCLUSIVE")
			defer conn.ExecContext(t.Context(), "ROLLBACK")
			poll(t, origin, "") // reads go on
			logged := captureLog(t)
			resp, body := send(t, "DELETE", origin+"/tasks/task-1", "")
			const want = `{"error":"the database is busy; try again"}` + "\n"
			if resp.StatusCode != 503 || string(body) != want || resp.Header.Get("Retry-After") != "1" {
				t.Errorf("DELETE: status %d, Retry-After %q, %s; want 503, 1, %s",
					resp.StatusCode, resp.Header.Get("Retry-After"), body, want)
			}
			if got := logged.String(); !strings.Contains(got, `method=DELETE path=/tasks/task-1 error="`+test.want) {
				t.Errorf("log = %q, want the method, the path and %q", got, test.want)
			}
		})
	}
}

// hold takes all connections of a pool, so that whoever needs one waits until they are released.
// await returns when somebody waits, or when ended is closed.
func hold(t *testing.T, pool *sql.DB) (release func(), await func(ended <-chan struct{})) {
	t.Helper()
	var connections []*sql.Conn
	for range pool.Stats().MaxOpenConnections {
		connection, err := pool.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		connections = append(connections, connection)
	}
	release = func() {
		for _, connection := range connections {
			connection.Close()
		}
	}
	before := pool.Stats().WaitCount
	return release, func(ended <-chan struct{}) {
		for pool.Stats().WaitCount == before {
			select {
			case <-ended:
				return
			default:
				runtime.Gosched()
			}
		}
	}
}

// TestClientGone has a client leave while its request waits. What is read for it stops, without a
// response, and is neither logged nor counted. What it wrote is done.
func TestClientGone(t *testing.T) {
	store := newStore(t, filepath.Join(t.TempDir(), "taskboard.db"), time.Minute)
	for _, test := range []struct {
		name, request string
		pool          *sql.DB
		want          string // the beginning of the response
	}{
		{name: "whole board", request: "GET /boards/board-1/updates", pool: store.reader},
		{name: "changes", request: "GET /boards/board-1/updates?since=1970-01-01T00:00:00Z", pool: store.reader},
		{name: "lists", request: "GET /boards/board-1", pool: store.reader},
		{name: "write", request: "DELETE /tasks/task-1", pool: store.writer, want: "HTTP/1.1 200 OK"},
	} {
		t.Run(test.name, func(t *testing.T) {
			left, ended := make(chan struct{}), make(chan struct{})
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(ended)
				context.AfterFunc(r.Context(), func() { close(left) })
				routes(store, 5*time.Second).ServeHTTP(w, r)
			}))
			defer srv.Close()
			logged := captureLog(t)
			counts := func() string { return fmt.Sprint(polls, pollsEmpty, pollsNotModified, pollsFailed) }
			before := counts()
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			release, await := hold(t, test.pool)
			io.WriteString(conn, test.request+" HTTP/1.1\r\nHost: x\r\n\r\n")
			await(ended)
			conn.(*net.TCPConn).CloseWrite() // to the origin, the client has gone, but the test can see what it sends
			<-left
			release()
			<-ended
			response, err := io.ReadAll(conn)
			if got := string(response); err != nil || !strings.HasPrefix(got, test.want) || test.want == "" && got != "" {
				t.Errorf("%s by a client that left: response %q, %v; want %q", test.request, got, err, test.want)
			}
			if after := counts(); after != before || logged.String() != "" {
				t.Errorf("%s by a client that left: counters %s, then %s, log %q; want no difference and no log",
					test.request, before, after, logged)
			}
			if n := test.pool.Stats().InUse; n > 0 {
				t.Errorf("%s by a client that left: %d connections in use, want none", test.request, n)
			}
		})
	}
}

// TestShell writes past the server, as someone with the sqlite3 shell or another program does, also
// one that turns recursive triggers on. What succeeds must reach the next poll, and what would leave
// a ghost in a client must not succeed.
func TestShell(t *testing.T) {
	for _, recursive := range []string{"off", "on"} {
		origin, path := newServer(t)
		shell := openShell(t, path+"?_recursive_triggers="+recursive, `
			INSERT INTO boards (id, name, updated_at) VALUES ('board-2', 'Other', '2016-02-29T12:00:00.000Z');
			INSERT INTO lists (id, board_id, name, position) VALUES ('list-9', 'board-2', 'Other', 0)`)
		const replace = `REPLACE INTO tasks (rowid, id, list_id, title) VALUES `
		for _, test := range []struct {
			name, sql string
			want      string // ids in the next poll, sorted
			wantErr   string
			wantOn    string // the error with recursive triggers, if it is another one
		}{
			{name: "insert", sql: `INSERT INTO tasks (id, list_id, title) VALUES ('new', 'list-1', 'x')`, want: "new"},
			{name: "update", sql: `UPDATE tasks SET title = 'Typed' WHERE _rowid_ = 2`, want: "task-2"},
			{name: "stamp", sql: `UPDATE tasks SET updated_at = datetime('now') WHERE id = 'task-3'`, want: "task-3"},
			{name: "stamp of the board", want: "task-3", sql: `UPDATE tasks SET title = 'Written by an ORM',
				updated_at = (SELECT updated_at FROM boards WHERE id = 'board-1') WHERE id = 'task-3'`},
			{name: "no stamp", sql: `UPDATE tasks SET updated_at = '' WHERE id = 'task-2'`, want: "task-2"},
			{name: "transaction", sql: `BEGIN; UPDATE tasks SET position = position + 1 WHERE list_id = 'list-1';
				UPDATE tasks SET title = 'x' WHERE id = 'task-4'; COMMIT`, want: "new task-1 task-2 task-3 task-4"},
			{name: "delete", sql: `DELETE FROM tasks WHERE id = 'task-2'`, wantErr: "set tasks.deleted_at"},
			{name: "upsert", want: "task-3", sql: `INSERT INTO tasks (id, list_id, title) VALUES ('task-3', 'list-1', 'x')
				ON CONFLICT (id) DO UPDATE SET title = 'Upserted'`},
			{name: "upsert in two steps", want: "task-3", sql: `INSERT OR IGNORE INTO tasks (id) VALUES ('task-3');
				UPDATE tasks SET title = 'Upserted' WHERE id = 'task-3'`},
			{name: "replace", sql: replace + `(NULL, 'task-3', 'list-2', 'x')`, want: "task-3", wantOn: "set tasks.deleted_at"},
			{name: "replace, same rowid", sql: replace + `(4, 'task-4', 'list-2', 'x')`, want: "task-4",
				wantOn: "set tasks.deleted_at"},
			{name: "to another board", sql: `UPDATE tasks SET list_id = 'list-9' WHERE rowid = 2`, wantErr: "keeps its id and"},
			{name: "to no list", sql: `UPDATE OR REPLACE tasks SET list_id = 'x' WHERE rowid = 2`, wantErr: "no such list"},
			{name: "another id", sql: `UPDATE tasks SET id = 'x' WHERE rowid = 2`, wantErr: "keeps its id and"},
			{name: "another's rowid", sql: `UPDATE OR REPLACE tasks SET rowid = 4 WHERE rowid = 2`, wantErr: "keeps its id and"},
			{name: "replace elsewhere", sql: replace + `(NULL, 'task-2', 'list-9', 'x')`, wantErr: "a task keeps its board"},
			{name: "replace by rowid", sql: replace + `(2, 'x', 'list-1', 'x')`, wantErr: "another task has this rowid"},
			{name: "no list", sql: `INSERT INTO tasks (id, list_id, title) VALUES ('x', 'x', 'x')`, wantErr: "no such list"},
			{name: "position", sql: `UPDATE tasks SET position = -1`, wantErr: "CHECK constraint failed"},
			{name: "deleted_at", sql: `UPDATE tasks SET deleted_at = datetime('now')`, wantErr: "CHECK constraint failed"},
			{name: "created_at", sql: `UPDATE tasks SET created_at = datetime('now')`, wantErr: "CHECK constraint failed"},
			{name: "cursor", sql: `UPDATE boards SET updated_at = '2099-01-01 00:00:00'`, wantErr: "CHECK constraint failed"},
			{name: "board", sql: `UPDATE boards SET created_at = datetime('now')`, wantErr: "CHECK constraint failed"},
			{name: "board renamed", sql: `UPDATE boards SET name = 'Renamed', updated_at = updated_at`},
			{name: "cursor back", sql: `UPDATE boards SET updated_at = '2016-02-28T12:00:00.000Z'`, wantErr: "never goes back"},
			{name: "cursor back by delete", sql: `DELETE FROM boards WHERE id = 'board-1'`, wantErr: "keep it"},
			{name: "cursor back by replace", wantErr: "never goes back",
				sql: `REPLACE INTO boards (id, name, updated_at) VALUES ('board-1', 'x', '2016-02-29T12:00:00.000Z')`},
		} {
			t.Run(test.name+", recursive triggers "+recursive, func(t *testing.T) {
				want, wantErr := test.want, test.wantErr
				if recursive == "on" && test.wantOn != "" {
					want, wantErr = "", test.wantOn
				}
				_, since := poll(t, origin, "")
				_, err := shell.Exec(test.sql)
				if (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
					t.Errorf("%s: error %v, want %q", test.sql, err, wantErr)
				}
				tasks, timestamp := poll(t, origin, since)
				slices.SortFunc(tasks, func(a, b Task) int { return strings.Compare(a.ID, b.ID) })
				if got := ids(tasks); got != want {
					t.Errorf("%s: next poll = %q, want %q", test.sql, got, want)
				}
				if again, _ := poll(t, origin, timestamp); len(again) > 0 {
					t.Errorf("%s: second poll = %q, want nothing", test.sql, ids(again))
				}
			})
		}
		// No change above may reach another board.
		_, body := send(t, "GET", origin+"/boards/board-2/updates", "")
		if got, want := string(body), `{"data":[],"timestamp":"2016-02-29T12:00:00.000Z"}`+"\n"; got != want {
			t.Errorf("poll of another board, recursive triggers %s = %s, want %s", recursive, got, want)
		}
	}
}

// TestSchema opens a database after other programs, such as migration tools, have changed it. All that
// schema.sql makes must be in it.
func TestSchema(t *testing.T) {
	for _, test := range []struct {
		name, sql string
		want      string // in the error
	}{
		{name: "nothing", sql: ``},
		{name: "statistics", sql: `ANALYZE`},
		{name: "no trigger", sql: `DROP TRIGGER task_updated`, want: "trigger task_updated is missing"},
		{name: "another trigger", want: "trigger task_updated is missing", sql: `DROP TRIGGER task_updated;
			CREATE TRIGGER task_updated AFTER UPDATE ON tasks BEGIN SELECT 1; END`},
		{name: "no index", sql: `DROP INDEX tasks_live`, want: "index tasks_live is missing"},
		{name: "another column", sql: `ALTER TABLE lists ADD COLUMN colour TEXT`, want: "table lists is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, path := newServer(t)
			openShell(t, path, test.sql)
			store, err := Open(path, time.Minute)
			if err == nil {
				store.Close()
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open after %s: error %v, want %q", test.sql, err, test.want)
			}
		})
	}
}

// TestSettings asks SQLite for what no other test can see: that a change survives a power cut
// (synchronous is FULL, 2), that reads go on while a write commits (wal), that tables are STRICT.
func TestSettings(t *testing.T) {
	store := newStore(t, filepath.Join(t.TempDir(), "taskboard.db"), time.Minute)
	for i, pool := range []*sql.DB{store.writer, store.stampReader, store.reader} {
		var got string
		err := pool.QueryRow(`SELECT format('%s, synchronous %d, foreign keys %d, timeout %d, strict %d',
				journal_mode, synchronous, foreign_keys, timeout, (SELECT sum(strict) FROM pragma_table_list))
			FROM pragma_journal_mode, pragma_synchronous, pragma_foreign_keys, pragma_busy_timeout`).Scan(&got)
		if want := "wal, synchronous 2, foreign keys 1, timeout 60000, strict 3"; got != want {
			t.Errorf("settings of pool %d = %q, %v; want %q", i, got, err, want)
		}
	}
}

// TestClock has a board whose last change lies years behind the clock, then years ahead of it.
func TestClock(t *testing.T) {
	origin, path := newServer(t)
	openShell(t, path, `
		INSERT INTO boards (id, name, updated_at) VALUES ('old', 'Old', '2016-02-28T23:59:59.999Z');
		INSERT INTO lists (id, board_id, name, position) VALUES ('list-9', 'old', 'Old', 0)`)
	now := time.Now().UTC().Format(timestampLayout)
	if task := write(t, "POST", origin+"/tasks", `{"list_id":"list-9","title":"x"}`); task.UpdatedAt < now {
		t.Errorf("updated_at = %s, want no earlier than %s", task.UpdatedAt, now)
	}

	since := "2996-02-29T23:59:59.999Z"
	openShell(t, path, `UPDATE boards SET updated_at = '`+since+`'`)
	// The step is 0.002: one of 0.001 would be lost in the sqlite3 shells that schema.sql names.
	for _, want := range []string{"2996-03-01T00:00:00.001Z", "2996-03-01T00:00:00.003Z", "2996-03-01T00:00:00.005Z"} {
		write(t, "PATCH", origin+"/tasks/task-1", `{"title":"x"}`)
		tasks, timestamp := poll(t, origin, since)
		if got := ids(tasks); got != "task-1" || timestamp != want {
			t.Errorf("poll since %s = %q, %s; want task-1, %s", since, got, timestamp, want)
		}
		since = timestamp
	}
}

// TestLostUpdate makes the two changes that a wrong cursor loses. Each must be in the response to the
// poll that runs meanwhile, or in the response to the next one.
func TestLostUpdate(t *testing.T) {
	t.Run("committed between the two reads of a poll", func(t *testing.T) {
		store := newStore(t, filepath.Join(t.TempDir(), "taskboard.db"), time.Minute)
		origin := serveStore(t, store)
		_, since := poll(t, origin, "")
		write(t, "PATCH", origin+"/tasks/task-1", `{"title":"The poll has to read this"}`)

		// The poll stops where it needs tasks, and stops again if it then still needs the timestamp.
		releaseReader, awaitReader := hold(t, store.reader)
		var tasks []Task
		var timestamp string
		ended := make(chan struct{})
		go func() {
			tasks, timestamp = poll(t, origin, since)
			close(ended)
		}()
		awaitReader(ended)
		releaseTimestamps, awaitTimestamps := hold(t, store.stampReader)
		releaseReader()
		awaitTimestamps(ended)
		created := write(t, "POST", origin+"/tasks", `{"list_id":"list-1","title":"Between"}`)
		releaseTimestamps()
		<-ended

		next, _ := poll(t, origin, timestamp)
		if !slices.Contains(tasks, created) && !slices.Contains(next, created) {
			t.Errorf("the task created at %s is neither in the poll that ran, with timestamp %s, nor in the next one. "+
				"Which does a poll read first, the timestamp or the tasks?", created.UpdatedAt, timestamp)
		}
	})
	t.Run("stamped before a poll and committed after it", func(t *testing.T) {
		origin, path := newServer(t)
		shell := openShell(t, path, `BEGIN; INSERT INTO tasks (id, list_id, title) VALUES ('slow', 'list-1', 'Slow')`)
		var stamp string
		if err := shell.QueryRow(`SELECT updated_at FROM tasks WHERE id = 'slow'`).Scan(&stamp); err != nil {
			t.Fatal(err)
		}
		for time.Now().UTC().Format(timestampLayout) <= stamp { // until the clock would be a wrong timestamp
		}
		_, timestamp := poll(t, origin, "")
		shell.Exec(`COMMIT`)
		if next, _ := poll(t, origin, timestamp); ids(next) != "slow" {
			t.Errorf("a poll since %s = %q, want the task slow, which was committed after that timestamp was sent. "+
				"Is the timestamp the board's, or the clock's?", timestamp, ids(next))
		}
	})
}

// TestRace lets writers and pollers (Updates) run at once. At the end their views must be the board.
func TestRace(t *testing.T) {
	origin, _ := newServer(t)
	var writers, pollers sync.WaitGroup
	var written atomic.Bool
	for range 4 {
		writers.Go(func() {
			for i := range 40 {
				task := write(t, "POST", origin+"/tasks", `{"list_id":"list-1","title":"New"}`)
				switch i % 4 {
				case 1:
					write(t, "PATCH", origin+"/tasks/"+task.ID, `{"title":"Renamed"}`)
				case 2:
					write(t, "PATCH", origin+"/tasks/"+task.ID, `{"list_id":"list-2"}`)
				case 3:
					write(t, "DELETE", origin+"/tasks/"+task.ID, "")
				}
			}
		})
	}
	views := make([]map[string]Task, 4)
	for i := range views {
		pollers.Go(func() {
			last := false
			for update, err := range Updates(t.Context(), origin+"/boards/board-1/updates", time.Microsecond) {
				if err != nil {
					t.Errorf("poller %d: %v", i, err)
				}
				if update.Board {
					views[i] = map[string]Task{}
				}
				for _, task := range update.Tasks {
					if views[i][task.ID] = task; task.DeletedAt != "" {
						delete(views[i], task.ID)
					}
				}
				if last {
					return
				}
				last = written.Load() // the next poll begins when all is written
			}
		})
	}
	writers.Wait()
	written.Store(true)
	pollers.Wait()

	board, _ := poll(t, origin, "")
	for i, view := range views {
		if len(view) != len(board) {
			t.Errorf("poller %d has %d tasks, the board has %d", i, len(view), len(board))
		}
		for _, task := range board {
			if view[task.ID] != task {
				t.Errorf("poller %d never received task %s, as it changed at %s. Did the change fall between the two "+
					"reads of a poll? Which comes first? Is the timestamp the board's?", i, task.ID, task.UpdatedAt)
				break
			}
		}
	}
}

// TestVars asks /debug/vars what a request counts as.
func TestVars(t *testing.T) {
	origin, _ := newServer(t)
	for _, test := range []struct {
		name, path, ifNoneMatch           string
		polls, empty, failed, notModified int
	}{
		{name: "rows", path: "board-1/updates", polls: 1},
		{name: "no rows", path: "board-1/updates?since=2099-01-01T00:00:00Z", polls: 1, empty: 1},
		{name: "not modified", path: "board-1/updates", ifNoneMatch: "*", polls: 1, notModified: 1},
		{name: "no board to poll", path: "none/updates", failed: 1},
		{name: "no poll", path: "none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, counter := range []*expvar.Int{polls, pollsEmpty, pollsFailed, pollsNotModified} {
				counter.Set(0)
			}
			send(t, "GET", origin+"/boards/"+test.path, "", "If-None-Match", test.ifNoneMatch)
			resp, body := send(t, "GET", origin+"/debug/vars", "")
			_, got, _ := strings.Cut(string(body), `"polls": `)
			want := fmt.Sprintf("%d,\n\"polls_empty\": %d,\n\"polls_failed\": %d,\n\"polls_not_modified\": %d\n}\n",
				test.polls, test.empty, test.failed, test.notModified)
			if got != want || resp.Header.Get("Cache-Control") != "no-cache" {
				t.Errorf("GET /boards/%s, then GET /debug/vars: header %v, polls %s; want no-cache, %s",
					test.path, resp.Header, got, want)
			}
		})
	}
}

// TestQueryPlans asks SQLite how it reads tasks: from the index made for it, without a sort.
func TestQueryPlans(t *testing.T) {
	_, path := newServer(t)
	shell := openShell(t, path, "")
	for _, test := range []struct{ name, query, want, not string }{
		{name: "board", query: boardTasksQuery, want: "INDEX tasks_live (list_id=?)", not: "TEMP B-TREE"},
		{name: "changes", query: changedTasksQuery, want: "tasks_changed (list_id=? AND updated_at>?)", not: "SCAN t"},
	} {
		t.Run(test.name, func(t *testing.T) {
			rows, err := shell.Query(strings.ReplaceAll("EXPLAIN QUERY PLAN "+test.query, "?", "''"))
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			var plan, step string
			for rows.Next() {
				rows.Scan(new(int), new(int), new(int), &step)
				plan += step + "\n"
			}
			if !strings.Contains(plan, test.want) || strings.Contains(plan, test.not) {
				t.Errorf("plan of %s:\n%swant %q and no %q", test.query, plan, test.want, test.not)
			}
		})
	}
}

// usePipes lets Updates reach a handler over pipes in memory, until the test ends. In a synctest
// bubble, time goes on only while all of them wait.
func usePipes(t *testing.T, handler http.HandlerFunc) {
	conns := make(pipes)
	srv := &http.Server{Handler: handler}
	go srv.Serve(conns)
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		conns <- far
		return near, nil
	}}
	pollClient.Transport = transport
	t.Cleanup(func() {
		pollClient.Transport = nil
		srv.Close()
		transport.CloseIdleConnections()
	})
}

// pipes is a net.Listener.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// TestUpdates has Updates poll servers of all kinds. In a synctest bubble, its waits take no time.
func TestUpdates(t *testing.T) {
	const none, started1, started2 = `{"data":[],"timestamp":"A"}`, "X-Server-Start: 1", "X-Server-Start: 2"
	const task1B = `{"data":[{"id":"1"}],"timestamp":"B+"}` // in a URL, + means a space
	const failed, otherData = "error: the server responded with status 503", "error: the server has other data"
	type exchange struct {
		wait    time.Duration // in seconds, since the poll before, with a tenth more or less
		request string        // since and If-None-Match
		status  int           // 0 means 200
		header  string        // of the response: "name: value", one a line
		body    string
		want    string // what Updates yields: the ids of the tasks, or the beginning of an error
	}
	varied := false
	for _, test := range []struct {
		name     string
		interval time.Duration // in seconds
		polls    []exchange
	}{
		{name: "as often as the server advises", polls: []exchange{
			{wait: 0, request: "", body: none, want: "board"},
			{wait: 5, request: "A", header: "X-Poll-Interval: 30", body: none, want: "nothing"},
			{wait: 30, request: "A", body: task1B, want: "1"},
			{wait: 30, request: "B+", body: `{"data":[],"timestamp":"B+"}`, want: "nothing"},
		}},
		{name: "as often as the caller wants", interval: 3600, polls: []exchange{
			{wait: 0, request: "", status: 503, header: "X-Poll-Interval: 30", want: failed},
			{wait: 3600, request: "", body: none, want: "board"},
		}},
		{name: "back-off, and back again", polls: []exchange{
			{wait: 0, request: "", status: 503, want: failed},
			{wait: 10, request: "", status: 503, header: "Retry-After: 1", want: failed},
			{wait: 20, request: "", body: `<html>`, want: "error: invalid character"},
			{wait: 40, request: "", body: `{"data":[]}`, want: "error: the response has no timestamp"},
			{wait: 60, request: "", status: 304, want: "error: the server responded with status 304"},
			{wait: 60, request: "", body: none, want: "board"},
			{wait: 5, request: "A", body: `{"timestamp":"B"}`, want: "error: the response has no timestamp"},
			{wait: 10, request: "A", body: none, want: "nothing"},
		}},
		{name: "back-off for half an hour", interval: 30, polls: append([]exchange{{wait: 0, status: 503, want: failed}},
			slices.Repeat([]exchange{{wait: 60, status: 503, want: failed}}, 30)...)},
		{name: "Retry-After", polls: []exchange{
			{wait: 0, request: "", status: 503, header: "Retry-After: 40", want: failed},
			{wait: 40, request: "", status: 503, want: failed,
				header: "Date: Sat, 28 Nov 2026 10:00:00 GMT\nRetry-After: Sat, 28 Nov 2026 10:01:10 GMT"},
			// A date without one to count it from is counted by this clock, now 110 s into the year 2000.
			{wait: 70, request: "", status: 503, want: failed,
				header: "Date: none\nRetry-After: Sat, 01 Jan 2000 00:03:30 GMT"},
			{wait: 100, request: "", body: none, want: "board"},
			{wait: 5, request: "A", body: none, want: "nothing"},
		}},
		{name: "an ETag goes to the URL that it came from", polls: []exchange{
			{wait: 0, request: "", header: started1 + "\nETag: 1", body: none, want: "board"},
			{wait: 5, request: "A", header: started1 + "\nETag: 1", body: none, want: "nothing"},
			{wait: 5, request: "A 1", status: 304, want: "nothing"},
			{wait: 5, request: "A 1", header: "ETag: 1", body: `{"data":[],"timestamp":"an older body"}`, want: "nothing"},
			{wait: 5, request: "A 1", header: started1 + "\nETag: 2", body: task1B, want: "1"},
			{wait: 5, request: "B+", header: started1 + "\nETag: 2", body: `{"data":[],"timestamp":"B+"}`, want: "nothing"},
			{wait: 5, request: "B+ 2", status: 304, header: started2, want: otherData},
			{wait: 1, request: "", header: started2, body: none, want: "board"},
		}},
		{name: "another start, and a cache with the old board", polls: []exchange{
			{wait: 0, request: "", header: started1, body: none, want: "board"},
			{wait: 5, request: "A", header: started2, body: task1B, want: otherData},
			{wait: 1, request: "", header: started1, body: none, want: otherData},
			{wait: 1, request: "", header: started2, body: task1B, want: "board 1"},
			{wait: 5, request: "B+", header: started1, body: none, want: otherData}, // no cache would keep it for 5 s
			{wait: 1, request: "", header: started2 + "\nRetry-After: 6", body: task1B, want: otherData},
			{wait: 6, request: "", header: started2, body: task1B, want: "board 1"},
		}},
		{name: "a backup was restored", polls: []exchange{
			{wait: 0, request: "", header: started1, body: task1B, want: "board 1"},
			{wait: 5, request: "B+", header: started1, body: none, want: otherData},
			{wait: 1, request: "", header: started1, body: none, want: "board"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, request := 0, ""
				usePipes(t, func(w http.ResponseWriter, r *http.Request) {
					request = strings.TrimSpace(r.FormValue("since") + " " + r.Header.Get("If-None-Match"))
					for line := range strings.Lines(test.polls[n].header) {
						name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
						w.Header().Set(name, value)
					}
					w.WriteHeader(cmp.Or(test.polls[n].status, http.StatusOK))
					io.WriteString(w, test.polls[n].body)
				})
				ended := time.Now()
				for update, err := range Updates(t.Context(), "http://x/updates", test.interval*time.Second) {
					got := ids(update.Tasks)
					if update.Board {
						got = strings.TrimSpace("board " + got)
					}
					if err != nil {
						got += "error: " + err.Error()
					}
					got = cmp.Or(got, "nothing")
					want, waited := test.polls[n], time.Since(ended)
					varied = varied || waited != want.wait*time.Second
					if request != want.request || !strings.HasPrefix(got, want.want) || err == nil && got != want.want ||
						waited < want.wait*time.Second*9/10 || waited > want.wait*time.Second*11/10 {
						t.Errorf("poll %d, after %v, since and ETag %q: %q; want %+v", n, waited, request, got, want)
					}
					if n++; n == len(test.polls) {
						break
					}
					ended = time.Now()
				}
			})
		})
	}
	if !varied {
		t.Error("each wait was exactly as told, so clients stay in step and all ask at once")
	}
}

// TestUpdatesHang has a server that does not respond, and a caller that leaves: while Updates waits,
// or in the second poll, which begins after 9 to 11 seconds.
func TestUpdatesHang(t *testing.T) {
	for _, leaves := range []time.Duration{5 * time.Second, 15 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			usePipes(t, func(w http.ResponseWriter, r *http.Request) {
				http.NewResponseController(w).Flush() // the headers come in time, the body does not
				<-r.Context().Done()
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			start := time.Now()
			for _, err := range Updates(ctx, "http://x/updates", 0) {
				if took := time.Since(start); err == nil || took != 20*time.Second {
					t.Errorf("a server that hangs: %v after %v, want an error after 20 s", err, took)
				}
				time.AfterFunc(leaves, cancel)
			}
			if took := time.Since(start); took != 20*time.Second+leaves {
				t.Errorf("the loop ended after %v, want %v after the first poll, when it was cancelled", took, leaves)
			}
		})
	}
}

// Example is the picture at the beginning of README.md.
func Example() {
	dir, err := os.MkdirTemp("", "shortpoll")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	store, err := Open(filepath.Join(dir, "taskboard.db"), time.Minute)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	srv := httptest.NewServer(routes(store, 5*time.Second))
	defer srv.Close()

	n := 0
	for update, err := range Updates(context.Background(), srv.URL+"/boards/board-1/updates", time.Millisecond) {
		switch {
		case err != nil:
			fmt.Println(err)
		case update.Board:
			fmt.Println("the whole board:", len(update.Tasks), "tasks")
		case len(update.Tasks) == 0:
			fmt.Println("nothing")
			store.CreateTask(context.Background(), NewTask{ListID: "list-1", Title: "Water the plants"})
		default:
			fmt.Println("that task:", update.Tasks[0].Title)
		}
		if n++; n == 3 {
			break
		}
	}
	// Output:
	// the whole board: 5 tasks
	// nothing
	// that task: Water the plants
}
