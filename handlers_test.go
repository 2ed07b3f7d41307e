package main

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
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
	"testing"
	"testing/synctest"
	"time"
)

// newServer serves a fresh demo board. It returns the server's URL and the path of its database.
func newServer(t *testing.T) (origin, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "taskboard.db")
	return serveStore(t, newStore(t, path)), path
}

// newStore opens the database at path until the test ends.
func newStore(t *testing.T, path string) *Store {
	t.Helper()
	store, err := Open(path, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return store
}

// serveStore serves a store until the test ends, and returns the server's URL.
func serveStore(t *testing.T, store *Store) string {
	t.Helper()
	srv := httptest.NewServer(routes(store, 5*time.Second))
	t.Cleanup(srv.Close)
	return srv.URL
}

// openShell opens the database beside the Store, as the sqlite3 shell does: without foreign keys, and with
// transactions of its own. It runs a statement that prepares the test, if there is one.
func openShell(t *testing.T, path, statement string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	if err == nil {
		t.Cleanup(func() { db.Close() })
		_, err = db.Exec(statement)
	}
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// The functions below report failures with t.Error, so that goroutines may call them, and return zero values.

// send sends a request and returns the response with its body. header holds names and values in turn. A body is sent as
// JSON, with a charset that must not matter, unless header says otherwise.
func send(t *testing.T, method, target, body string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return &http.Response{}, nil
	}
	if body != "" && !slices.Contains(header, "Content-Type") {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	for pair := range slices.Chunk(header, 2) {
		req.Header.Add(pair[0], pair[1])
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
	return pollBoard(t, origin, "board-1", since)
}

// pollBoard is poll with another board.
func pollBoard(t *testing.T, origin, board, since string) (tasks []Task, timestamp string) {
	t.Helper()
	resp, body := send(t, "GET", origin+"/boards/"+board+"/updates?since="+since, "")
	var got struct {
		Data      []Task
		Timestamp string
	}
	err := json.Unmarshal(body, &got)
	if err != nil || resp.StatusCode != http.StatusOK || got.Data == nil { // null becomes nil, and [] does not
		t.Errorf("poll since %q: status %d, body %.300q; want 200 with a list as data", since, resp.StatusCode, body)
	}
	return got.Data, got.Timestamp
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
	var ids []string
	for _, t := range tasks {
		ids = append(ids, t.ID)
	}
	return strings.Join(ids, " ")
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
		{name: "no tasks since 1970", path: "empty/updates?since=1970-01-01T00:00:00Z", want: nothing},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := send(t, "GET", origin+"/boards/"+test.path, "", "Origin", "https://example.com")
			instant := regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)
			got := strings.TrimSpace(instant.ReplaceAllString(string(body), "T"))
			if resp.StatusCode != http.StatusOK || got != test.want {
				t.Errorf("GET /boards/%s: status %d, body\n%s\nwant 200\n%s",
					test.path, resp.StatusCode, got, test.want)
			}
			if got := resp.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("GET /boards/%s: Content-Type = %q, want application/json", test.path, got)
			}
			if got := resp.Header.Get("Cache-Control"); got != "no-cache" && !strings.Contains(test.path, "updates") {
				t.Errorf("GET /boards/%s: Cache-Control = %q, want no-cache", test.path, got)
			}
			if got := resp.Header.Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("GET /boards/%s: Access-Control-Allow-Origin = %q, want none", test.path, got)
			}
		})
	}
	if got, _ := poll(t, origin, ""); ids(got) != "task-1 task-2 task-3 task-4 task-5" {
		t.Errorf("demo board = %q, want task-1 to task-5", ids(got))
	}
}

// TestWrites makes one change after the other. The response to each must be the task as the next poll shows it, and
// that poll must show nothing else.
func TestWrites(t *testing.T) {
	origin, _ := newServer(t)
	_, since := poll(t, origin, "")
	title, description := strings.Repeat("ü", 200), strings.Repeat("😀", 10_000) // the longest
	for _, test := range []struct {
		name, method, path, body string
		want                     Task // without its instants
	}{
		{name: "create", method: "POST", path: "/tasks",
			body: `{"list_id":"list-2","title":"<b>Tea</b> & ☕","description":"two\nlines"}`,
			want: Task{ListID: "list-2", Title: "<b>Tea</b> & ☕", Description: "two\nlines", Position: 1}},
		{name: "create with the most characters, in escapes", method: "POST", path: "/tasks",
			body: `{"list_id":"list-2","title":"` + title + `","description":"` +
				strings.Repeat(`\ud83d\ude00`, 10_000) + `"}`,
			want: Task{ListID: "list-2", Title: title, Description: description, Position: 2}},
		{name: "rename", method: "PATCH", path: "/tasks/task-1", body: `{"title":"New"}`,
			want: Task{ID: "task-1", ListID: "list-1", Title: "New"}},
		{name: "describe", method: "PATCH", path: "/tasks/task-1", body: `{"description":"Why"}`,
			want: Task{ID: "task-1", ListID: "list-1", Title: "New", Description: "Why"}},
		{name: "move within the list", method: "PATCH", path: "/tasks/task-1", body: `{"position":7}`,
			want: Task{ID: "task-1", ListID: "list-1", Title: "New", Description: "Why", Position: 7}},
		{name: "same list keeps the position", method: "PATCH", path: "/tasks/task-1", body: `{"list_id":"list-1"}`,
			want: Task{ID: "task-1", ListID: "list-1", Title: "New", Description: "Why", Position: 7}},
		{name: "another list: last", method: "PATCH", path: "/tasks/task-1", body: `{"list_id":"list-2"}`,
			want: Task{ID: "task-1", ListID: "list-2", Title: "New", Description: "Why", Position: 3}},
		{name: "another list with a position", method: "PATCH", path: "/tasks/task-1",
			body: `{"list_id":"list-3","position":5,"description":""}`,
			want: Task{ID: "task-1", ListID: "list-3", Title: "New", Position: 5}},
		{name: "create behind it", method: "POST", path: "/tasks", body: `{"list_id":"list-3","title":"Last"}`,
			want: Task{ListID: "list-3", Title: "Last", Position: 6}},
		{name: "same position", method: "PATCH", path: "/tasks/task-1", body: `{"position":6}`,
			want: Task{ID: "task-1", ListID: "list-3", Title: "New", Position: 6}},
		{name: "delete", method: "DELETE", path: "/tasks/task-1",
			want: Task{ID: "task-1", ListID: "list-3", Title: "New", Position: 6}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := write(t, test.method, origin+test.path, test.body)
			tasks, timestamp := poll(t, origin, since)
			if !slices.Equal(tasks, []Task{got}) {
				t.Errorf("%s %s: response\n%.200s\nnext poll\n%.200s\nwant just the same task",
					test.method, test.path, fmt.Sprint(got), fmt.Sprint(tasks))
			}
			if deleted := got.DeletedAt != ""; deleted != (test.method == "DELETE") {
				t.Errorf("%s %s: deleted_at = %q", test.method, test.path, got.DeletedAt)
			}
			if got.UpdatedAt != timestamp || timestamp <= since {
				t.Errorf("%s %s: updated_at = %s, timestamp = %s; want both equal and after %s",
					test.method, test.path, got.UpdatedAt, timestamp, since)
			}
			want := test.want
			want.CreatedAt, want.UpdatedAt, want.DeletedAt = got.CreatedAt, got.UpdatedAt, got.DeletedAt
			if test.method == "POST" {
				want.ID = got.ID
			}
			if got != want {
				t.Errorf("%s %s %.99s: got\n%.200s\nwant\n%.200s",
					test.method, test.path, test.body, fmt.Sprint(got), fmt.Sprint(want))
			}
			since = timestamp
		})
	}

	tasks, _ := poll(t, origin, "")
	order := func(t Task) string { return fmt.Sprintf("%s %020d %s", t.ListID, t.Position, t.ID) }
	inOrder := slices.IsSortedFunc(tasks, func(a, b Task) int { return strings.Compare(order(a), order(b)) })
	if got := ids(tasks); !inOrder || len(tasks) != 7 || strings.Contains(got, "task-1 ") {
		t.Errorf("whole board = %q, want 7 tasks by list, position and id, without task-1", got)
	}
}

// TestChangeOrder changes tasks in another order than that of their places on the board.
func TestChangeOrder(t *testing.T) {
	origin, _ := newServer(t)
	_, since := poll(t, origin, "")
	for _, id := range []string{"task-5", "task-1", "task-4"} {
		write(t, "PATCH", origin+"/tasks/"+id, `{"title":"x"}`)
	}
	if got, _ := poll(t, origin, since); ids(got) != "task-5 task-1 task-4" {
		t.Errorf("poll after changes of task-5, task-1 and task-4 = %q, want them in this order", ids(got))
	}
}

// TestOtherBoard changes a task. Whoever polls another board must not notice.
func TestOtherBoard(t *testing.T) {
	origin, path := newServer(t)
	openShell(t, path, `INSERT INTO boards (id, name, updated_at) VALUES ('other', 'Other', '2016-02-29T12:00:00.000Z')`)
	write(t, "PATCH", origin+"/tasks/task-1", `{"title":"x"}`)
	_, body := send(t, "GET", origin+"/boards/other/updates", "")
	if got, want := string(body), `{"data":[],"timestamp":"2016-02-29T12:00:00.000Z"}`+"\n"; got != want {
		t.Errorf("poll of another board after a change = %s, want %s", got, want)
	}
}

// TestSince polls with one instant written in many ways.
func TestSince(t *testing.T) {
	origin, _ := newServer(t)
	changed := write(t, "PATCH", origin+"/tasks/task-5", `{"title":"Latest"}`)
	instant, err := time.Parse(time.RFC3339, changed.UpdatedAt)
	if err != nil {
		t.Fatal(err)
	}
	before := instant.Add(-time.Millisecond)
	ahead, behind := time.FixedZone("", 19800), time.FixedZone("", -28800)
	const offset, all = "2006-01-02T15:04:05.000-07:00", "task-1 task-2 task-3 task-4 task-5"
	for _, test := range []struct {
		name, since string
		want        string // ids of the tasks
	}{
		{name: "the instant itself", since: changed.UpdatedAt, want: ""},
		{name: "a millisecond before", since: before.Format(timestampLayout), want: "task-5"},
		{name: "more decimals are floored", since: before.Add(999_999).Format(time.RFC3339Nano), want: "task-5"},
		{name: "no decimals", since: instant.Add(time.Second).UTC().Format("2006-01-02T15:04:05Z"), want: ""},
		{name: "ahead of UTC", since: strings.Replace(before.In(ahead).Format(offset), "+", "%2B", 1), want: "task-5"},
		{name: "behind UTC", since: instant.In(behind).Format(offset), want: ""},
		{name: "long ago", since: "1970-01-01T00:00:00Z", want: all},
		{name: "far ahead", since: "9999-12-31T23:59:59Z", want: ""},
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

// FuzzParseSince checks that parseSince refuses what time.Parse refuses, and turns all else into timestampLayout, rounded
// down to the millisecond.
func FuzzParseSince(f *testing.F) {
	for _, since := range []string{
		"%", "yesterday", "2026-11-24T10:45:00.123Z", "2026-11-24T10:45:00.9999999Z", "2026-11-24T10:45:00+01:00",
		"9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00", "2026-02-30T10:45:00Z", "2026-12-31T23:59:60Z",
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
	if old == now || !strings.HasPrefix(now, `W/"`) {
		t.Fatalf("ETag = %q, then %q after a change; want two that begin with W/ and a quote", old, now)
	}
	if at, err := time.Parse(timestampLayout, started); err != nil || time.Since(at) > time.Minute {
		t.Fatalf("X-Server-Start = %q, want an instant of this minute", started)
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
		{name: "without quotes", method: "GET", ifNoneMatch: strings.Trim(opaque, `"`), want: 200},
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
	restarted := serveStore(t, newStore(t, path)) + "/boards/board-1/updates"
	resp, _ := send(t, "GET", restarted, "", "If-None-Match", now)
	if again := resp.Header.Get("X-Server-Start"); resp.StatusCode != 200 || again <= started {
		t.Errorf("with the ETag of server %s: status %d from server %s; want 200", started, resp.StatusCode, again)
	}
}

// TestErrors sends, route by route, what the server must refuse with a sentence that says why.
func TestErrors(t *testing.T) {
	origin, path := newServer(t)
	openShell(t, path, `
		INSERT INTO boards (id, name) VALUES ('board-2', 'Other');
		INSERT INTO lists (id, board_id, name, position) VALUES ('list-9', 'board-2', 'Other', 0);
		UPDATE tasks SET deleted_at = '2026-11-24T10:45:00.123Z' WHERE id = 'task-5'`)
	_, before := send(t, "GET", origin+"/boards/board-1/updates", "")

	type request struct {
		name   string
		path   string // behind the route's
		body   string
		header []string
		status int // 0 means 400
		want   string
	}
	task := func(fields string) string { return `{"list_id":"list-1",` + fields + `}` }
	for _, route := range []struct {
		method, path string
		requests     []request
	}{
		{method: "GET", path: "/boards/", requests: []request{
			{name: "no board", path: "none", status: 404, want: "no such board"},
			{name: "no board to poll", path: "none/updates", status: 404, want: "no such board"},
			{name: "query: semicolon", path: "board-1/updates?utm=a;b", want: "the query string"},
			{name: "query: broken escape", path: "board-1/updates?x=%zz", want: "the query string"},
		}},
		{method: "GET", path: "/boards/board-1/updates?since=", requests: []request{
			{name: "no time", path: "yesterday", want: "since must be"},
			{name: "SQLite's layout", path: "2026-11-24%2010:45:00", want: "since must be"},
			{name: "no zone", path: "2026-11-24T10:45:00", want: "since must be"},
			{name: "30 February", path: "2026-02-30T10:45:00Z", want: "since must be"},
			{name: "leap second", path: "2016-12-31T23:59:60Z", want: "since must be"},
			{name: "+ as a space", path: "2026-11-24T10:45:00+01:00", want: "%2B"},
		}},
		{method: "POST", path: "/tasks", requests: []request{
			{name: "no JSON", body: `{list_id}`, want: "one JSON object"},
			{name: "half of a body", body: `{"list_id"`, want: "one JSON object"},
			{name: "no object", body: `["list-1"]`, want: "one JSON object"},
			{name: "something behind", body: task(`"title":"x"`) + " {}", want: "nothing behind"},
			{name: "null", body: `null`, want: "title must not be blank"},
			{name: "wrong type", body: task(`"title":1`), want: "title must be of type string"},
			{name: "unknown field", body: task(`"title":"x","colour":"red"`), want: `a field "colour"`},
			{name: "position", body: task(`"title":"x","position":1`), want: `a field "position"`},
			{name: "no title", body: `{"list_id":"list-1"}`, want: "title must not be blank"},
			{name: "blank title", body: task(`"title":" \n\u00a0"`), want: "title must not be blank"},
			{name: "long title", body: task(`"title":"` + strings.Repeat("ü", 201) + `"`), want: "200 characters"},
			{name: "long description", body: task(`"title":"x","description":"` + strings.Repeat("ü", 10_001) + `"`),
				want: "10,000 characters"},
			{name: "no list", body: `{"title":"x"}`, want: "list_id must name"},
			{name: "unknown list", body: `{"list_id":"none","title":"x"}`, want: "list_id must name"},
			{name: "large body", body: task(`"title":"x"`) + strings.Repeat(" ", 128<<10),
				status: 413, want: "128 KiB"},
			{name: "form", body: "title=x", header: []string{"Content-Type", "application/x-www-form-urlencoded"},
				status: 415, want: "application/json"},
		}},
		{method: "PATCH", path: "/tasks/", requests: []request{
			{name: "nothing to change", path: "task-1", body: `{}`, want: "at least one field"},
			{name: "blank title", path: "task-1", body: `{"title":""}`, want: "title must not be blank"},
			{name: "long title", path: "task-1", body: `{"title":"` + strings.Repeat("ü", 201) + `"}`,
				want: "200 characters"},
			{name: "long description", path: "task-1", body: `{"description":"` + strings.Repeat("ü", 10_001) + `"}`,
				want: "10,000 characters"},
			{name: "negative position", path: "task-1", body: `{"position":-1}`, want: "position must be a whole"},
			{name: "huge position", path: "task-1", body: `{"position":2147483648}`, want: "position must be of type"},
			{name: "fractional position", path: "task-1", body: `{"position":1.5}`, want: "position must be of type"},
			{name: "position as text", path: "task-1", body: `{"position":"1"}`, want: "position must be of type"},
			{name: "unknown list", path: "task-1", body: `{"list_id":"none"}`, want: "list_id must name"},
			{name: "another board's list", path: "task-1", body: `{"list_id":"list-9"}`, want: "list_id must name"},
			{name: "no task", path: "none", body: `{"title":"x"}`, status: 404, want: "no such task"},
			{name: "deleted task", path: "task-5", body: `{"title":"x"}`, status: 404, want: "no such task"},
			{name: "no type", path: "task-1", body: `{"title":"x"}`, header: []string{"Content-Type", ""},
				status: 415, want: "application/json"},
		}},
		{method: "DELETE", path: "/tasks/", requests: []request{
			{name: "no task", path: "none", status: 404, want: "no such task"},
			{name: "deleted task", path: "task-5", status: 404, want: "no such task"},
		}},
	} {
		for _, test := range route.requests {
			t.Run(route.method+" "+test.name, func(t *testing.T) {
				sent := fmt.Sprintf("%s %s%s %.80q", route.method, route.path, test.path, test.body)
				resp, body := send(t, route.method, origin+route.path+test.path, test.body, test.header...)
				var got struct{ Error string }
				if err := json.Unmarshal(body, &got); err != nil {
					t.Errorf("%s: %v in %q", sent, err, body)
				}
				status := max(test.status, 400)
				if resp.StatusCode != status || !strings.Contains(got.Error, test.want) {
					t.Errorf("%s: status %d, %.200s; want %d, %q", sent, resp.StatusCode, body, status, test.want)
				}
				header := resp.Header
				if header.Get("Cache-Control") != "no-store" || header.Get("Content-Type") != "application/json" {
					t.Errorf("%s: header %v, want no-store and application/json", sent, header)
				}
				if _, after := send(t, "GET", origin+"/boards/board-1/updates", ""); !bytes.Equal(after, before) {
					t.Errorf("%s changed the board from\n%s\nto\n%s", sent, before, after)
				}
			})
		}
	}
}

// TestOtherSites sends writes as a browser sends them for a page of another site.
func TestOtherSites(t *testing.T) {
	origin, _ := newServer(t)
	for _, test := range []struct{ name, header, value string }{
		{name: "browser of today", header: "Sec-Fetch-Site", value: "cross-site"},
		{name: "older browser", header: "Origin", value: "https://example.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, _ := send(t, "DELETE", origin+"/tasks/task-1", "", test.header, test.value)
			if tasks, _ := poll(t, origin, ""); resp.StatusCode != http.StatusForbidden || len(tasks) != 5 {
				t.Errorf("DELETE with %s: %s: status %d, then %d tasks; want 403 and 5",
					test.header, test.value, resp.StatusCode, len(tasks))
			}
		})
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
		{path: "/client/none.js", want: 404, wantType: "text/plain; charset=utf-8"},
		{path: "/client/README.md", want: 404, wantType: "text/plain; charset=utf-8"},
		{path: "/none", want: 404, wantType: "text/plain; charset=utf-8"},
	} {
		t.Run(test.path, func(t *testing.T) {
			resp, _ := send(t, "GET", origin+test.path, "")
			got := resp.Header
			if resp.StatusCode != test.want || got.Get("Content-Type") != test.wantType {
				t.Errorf("GET %s: status %d, Content-Type %q; want %d, %q",
					test.path, resp.StatusCode, got.Get("Content-Type"), test.want, test.wantType)
			}
			if got.Get("X-Content-Type-Options") != "nosniff" || test.want == 200 && got.Get("Cache-Control") != "no-cache" {
				t.Errorf("GET %s: header %v, want nosniff and, with 200, no-cache", test.path, got)
			}
			const policy = "default-src 'self'; frame-ancestors 'none'"
			if got := got.Get("Content-Security-Policy"); test.path != "/none" && got != policy {
				t.Errorf("GET %s: Content-Security-Policy = %q, want %q", test.path, got, policy)
			}
		})
	}
}

// captureLog returns what is logged from now on, until the test ends.
func captureLog(t *testing.T) *bytes.Buffer {
	var captured bytes.Buffer
	previous := log.Writer()
	log.SetOutput(&captured) // slog's default logger writes there, too
	t.Cleanup(func() { log.SetOutput(previous) })
	return &captured
}

// TestInternalError breaks the table of tasks under the server. An idle poll, which reads no task, must not notice.
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
	if got := resp.Header; got.Get("ETag") != "" || got.Get("X-Server-Start") != "" || got.Get("Cache-Control") != "no-store" {
		t.Errorf("poll of a broken database: header %v, want no-store, without those of a poll", got)
	}
	if got := logged.String(); !strings.Contains(got, "method=GET path=/boards/board-1/updates error=\"no such column") {
		t.Errorf("log = %q, want the method, the path and SQLite's words", got)
	}
}

// TestRefusedBySchema sends what only schema.sql refuses. The log must say which of its rules did.
func TestRefusedBySchema(t *testing.T) {
	origin, _ := newServer(t)
	logged := captureLog(t)
	send(t, "PATCH", origin+"/tasks/task-1", `{"list_id":"none"}`)
	if got, want := logged.String(), "no such list"; !strings.Contains(got, want) {
		t.Errorf("log of a PATCH to an unknown list = %q, want %q in it", got, want)
	}
}

// TestBusy writes while another write, or another process, keeps the database for longer than the timeout.
func TestBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "taskboard.db")
	store, err := Open(path, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	origin := serveStore(t, store)
	for _, test := range []struct {
		name string
		hold func() (release func())
		want string // in the log
	}{
		{name: "another write", hold: func() func() { return hold(t, store.writer) }, want: "the database stayed busy: context deadline exceeded"},
		{name: "another process", want: "the database stayed busy: database is locked", hold: func() func() {
			shell := openShell(t, path+"?_txlock=immediate", "")
			lock, err := shell.Begin()
			if err != nil {
				t.Fatal(err)
			}
			return func() { lock.Rollback() }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			logged := captureLog(t)
			release := test.hold()
			resp, body := send(t, "DELETE", origin+"/tasks/task-1", "")
			release()
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
func hold(t *testing.T, pool *sql.DB) (release func()) {
	t.Helper()
	var connections []*sql.Conn
	for range pool.Stats().MaxOpenConnections {
		connection, err := pool.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		connections = append(connections, connection)
	}
	return func() {
		for _, connection := range connections {
			connection.Close()
		}
	}
}

// waitFor waits until somebody waits for a connection of a pool, or until ended is closed.
func waitFor(pool *sql.DB, before int64, ended <-chan struct{}) {
	for pool.Stats().WaitCount == before {
		select {
		case <-ended:
			return
		default:
			runtime.Gosched()
		}
	}
}

// TestClientGone has a client leave while its request waits. It may not be answered, logged or counted.
func TestClientGone(t *testing.T) {
	for _, test := range []struct{ name, path string }{
		{name: "whole board", path: "/updates"},
		{name: "changes", path: "/updates?since=1970-01-01T00:00:00Z"},
		{name: "lists", path: ""},
	} {
		t.Run(test.name, func(t *testing.T) { clientGone(t, test.path) })
	}
}

// clientGone does the work of TestClientGone with one request, for a path behind the board's.
func clientGone(t *testing.T, path string) {
	store := newStore(t, filepath.Join(t.TempDir(), "taskboard.db"))
	handler := routes(store, 5*time.Second)
	left, ended := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		context.AfterFunc(r.Context(), func() { close(left) })
		handler.ServeHTTP(w, r)
	}))
	defer srv.Close()
	logged := captureLog(t)
	counts := func() [4]int64 {
		return [4]int64{polls.Value(), pollsEmpty.Value(), pollsNotModified.Value(), pollsFailed.Value()}
	}
	before, waits := counts(), store.reader.Stats().WaitCount
	release := hold(t, store.reader)
	defer release()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /boards/board-1"+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
	waitFor(store.reader, waits, ended)
	conn.(*net.TCPConn).CloseWrite() // to the origin, the client has gone, but the test can see what it sends
	<-left
	release()
	<-ended
	if response, err := io.ReadAll(conn); err != nil || len(response) > 0 {
		t.Errorf("a client that left received %q, %v; want nothing", response, err)
	}
	if after := counts(); after != before || logged.String() != "" {
		t.Errorf("a client that left: counters %v, then %v, log %q; want no difference and no log", before, after, logged)
	}
	if n := store.reader.Stats().InUse; n > 0 {
		t.Errorf("after a client left: %d connections in use, want none", n)
	}
}

// TestShell writes past the server, as someone with the sqlite3 shell or another program does, also one that turns
// recursive triggers on. What succeeds must reach the next poll, and what would leave a ghost in a client must not
// succeed.
func TestShell(t *testing.T) {
	for _, recursive := range []string{"off", "on"} {
		t.Run("recursive triggers "+recursive, func(t *testing.T) { writeInShell(t, recursive) })
	}
}

// writeInShell does the work of TestShell with recursive triggers on or off.
func writeInShell(t *testing.T, recursive string) {
	origin, path := newServer(t)
	shell := openShell(t, path+"?_recursive_triggers="+recursive, `
		INSERT INTO boards (id, name) VALUES ('board-2', 'Other');
		INSERT INTO lists (id, board_id, name, position) VALUES ('list-9', 'board-2', 'Other', 0)`)
	for _, test := range []struct {
		name, sql string
		want      string // ids in the next poll, sorted
		wantErr   string
		wantOn    string // the error with recursive triggers, if it is another one
	}{
		{name: "insert", sql: `INSERT INTO tasks (id, list_id, title) VALUES ('new', 'list-1', 'Typed')`, want: "new"},
		{name: "update", sql: `UPDATE tasks SET title = 'Typed' WHERE id = 'task-2'`, want: "task-2"},
		{name: "update the same again", sql: `UPDATE tasks SET title = 'x' WHERE _rowid_ = 2`, want: "task-2"},
		{name: "stamp", sql: `UPDATE tasks SET updated_at = datetime('now') WHERE id = 'task-3'`, want: "task-3"},
		{name: "stamp of the board", want: "task-2", sql: `UPDATE tasks SET title = 'Written by an ORM',
			updated_at = (SELECT updated_at FROM boards WHERE id = 'board-1') WHERE id = 'task-2'`},
		{name: "no stamp", sql: `UPDATE tasks SET updated_at = '' WHERE id = 'task-2'`, want: "task-2"},
		{name: "transaction", sql: `BEGIN; UPDATE tasks SET position = position + 1 WHERE list_id = 'list-1';
			UPDATE tasks SET title = 'x' WHERE id = 'task-4'; COMMIT`, want: "new task-1 task-2 task-3 task-4"},
		{name: "soft delete", sql: `UPDATE tasks SET deleted_at = updated_at WHERE id = 'task-1'`, want: "task-1"},
		{name: "undelete", sql: `UPDATE tasks SET deleted_at = NULL WHERE id = 'task-1'`, want: "task-1"},
		{name: "delete", sql: `DELETE FROM tasks WHERE id = 'task-2'`, wantErr: "set tasks.deleted_at instead"},
		{name: "upsert", want: "task-3", sql: `INSERT INTO tasks (id, list_id, title) VALUES ('task-3', 'list-1', 'x')
			ON CONFLICT (id) DO UPDATE SET title = 'Upserted'`},
		{name: "upsert in two steps", want: "task-3", sql: `INSERT OR IGNORE INTO tasks (id) VALUES ('task-3');
			UPDATE tasks SET title = 'Upserted' WHERE id = 'task-3'`},
		{name: "replace", sql: `REPLACE INTO tasks (id, list_id, title) VALUES ('task-3', 'list-2', 'x')`, want: "task-3",
			wantOn: "set tasks.deleted_at instead"},
		{name: "ignore", sql: `INSERT OR IGNORE INTO tasks (id, list_id, title) VALUES ('task-3', 'list-1', 'x')`},
		{name: "rollback", sql: `BEGIN; UPDATE tasks SET title = 'x'; ROLLBACK`},
		{name: "to another board", sql: `UPDATE tasks SET list_id = 'list-9' WHERE id = 'task-2'`,
			wantErr: "insert a new task instead"},
		{name: "to no list", sql: `UPDATE OR REPLACE tasks SET list_id = 'none' WHERE id = 'task-2'`, wantErr: "no such list"},
		{name: "another id", sql: `UPDATE tasks SET id = 'x' WHERE id = 'task-2'`, wantErr: "a task keeps its id"},
		{name: "another task's rowid", sql: `UPDATE OR REPLACE tasks SET rowid = 4 WHERE id = 'task-2'`,
			wantErr: "a task keeps its id"},
		{name: "replace on another board", sql: `REPLACE INTO tasks (id, list_id, title) VALUES ('task-2', 'list-9', 'x')`,
			wantErr: "a task keeps its board"},
		{name: "replace on no list", sql: `REPLACE INTO tasks (id, list_id, title) VALUES ('task-2', 'none', 'x')`,
			wantErr: "no such list"},
		{name: "replace by rowid", sql: `REPLACE INTO tasks (rowid, id, list_id, title) VALUES (2, 'x', 'list-1', 'x')`,
			wantErr: "another task has this rowid"},
		{name: "no list", sql: `INSERT INTO tasks (id, list_id, title) VALUES ('x', 'x', 'x')`, wantErr: "no such list"},
		{name: "position", sql: `UPDATE tasks SET position = -1`, wantErr: "CHECK constraint failed"},
		{name: "deleted_at", sql: `UPDATE tasks SET deleted_at = datetime('now')`, wantErr: "CHECK constraint failed"},
		{name: "created_at", sql: `UPDATE tasks SET created_at = datetime('now')`, wantErr: "CHECK constraint failed"},
		{name: "cursor", sql: `UPDATE boards SET updated_at = '2099-01-01 00:00:00'`, wantErr: "CHECK constraint failed"},
		{name: "board", sql: `UPDATE boards SET created_at = datetime('now')`, wantErr: "CHECK constraint failed"},
		{name: "board renamed", sql: `UPDATE boards SET name = 'Renamed', updated_at = updated_at`},
		{name: "cursor back", sql: `UPDATE boards SET name = 'x', updated_at = '2016-02-29T12:00:00.000Z'`,
			wantErr: "never goes back"},
		{name: "cursor back by delete", sql: `DELETE FROM boards WHERE id = 'board-1'`, wantErr: "keep it"},
		{name: "cursor back by replace", wantErr: "never goes back",
			sql: `REPLACE INTO boards (id, name, updated_at) VALUES ('board-1', 'x', '2016-02-29T12:00:00.000Z')`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if recursive == "on" && test.wantOn != "" {
				test.want, test.wantErr = "", test.wantOn
			}
			_, since := poll(t, origin, "")
			_, err := shell.Exec(test.sql)
			if (err == nil) != (test.wantErr == "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("%s: error %v, want %q", test.sql, err, test.wantErr)
			}
			tasks, timestamp := poll(t, origin, since)
			slices.SortFunc(tasks, func(a, b Task) int { return strings.Compare(a.ID, b.ID) })
			if got := ids(tasks); got != test.want {
				t.Errorf("%s: next poll = %q, want %q", test.sql, got, test.want)
			}
			if again, _ := poll(t, origin, timestamp); len(again) > 0 {
				t.Errorf("%s: second poll = %q, want nothing", test.sql, ids(again))
			}
		})
	}
}

// TestSchema changes a database while no server runs, as migration tools do. A Store may open it only if all that
// schema.sql makes is in it.
func TestSchema(t *testing.T) {
	for _, test := range []struct {
		name, sql string
		want      string // in the error
	}{
		{name: "nothing", sql: ``},
		{name: "statistics", sql: `ANALYZE`},
		{name: "another table", sql: `CREATE TABLE backups (id INTEGER PRIMARY KEY, at TEXT)`},
		{name: "the table made again, without triggers", want: "table tasks is missing, or is not as in schema.sql",
			sql: `CREATE TABLE n (id, list_id, title, description, position, created_at, updated_at, deleted_at);
			INSERT INTO n SELECT * FROM tasks; DROP TABLE tasks; ALTER TABLE n RENAME TO tasks`},
		{name: "no trigger", sql: `DROP TRIGGER task_updated`, want: "trigger task_updated is missing"},
		{name: "another trigger", want: "trigger task_updated is missing", sql: `DROP TRIGGER task_updated;
			CREATE TRIGGER task_updated AFTER UPDATE ON tasks BEGIN SELECT 1; END`},
		{name: "no index", sql: `DROP INDEX tasks_live`, want: "index tasks_live is missing"},
		{name: "another column", sql: `ALTER TABLE lists ADD COLUMN colour TEXT`, want: "table lists is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "taskboard.db")
			store, err := Open(path, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			store.Close()
			openShell(t, path, test.sql)
			store, err = Open(path, time.Minute)
			if err == nil {
				store.Close()
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open after %s: error %v, want %q", test.sql, err, test.want)
			}
		})
	}
}

// TestClock has a board whose last change lies years behind the clock, then years ahead of it.
func TestClock(t *testing.T) {
	origin, path := newServer(t)
	shell := openShell(t, path, `
		INSERT INTO boards (id, name, updated_at) VALUES ('old', 'Old', '2016-02-28T23:59:59.999Z');
		INSERT INTO lists (id, board_id, name, position) VALUES ('list-9', 'old', 'Old', 0)`)
	now := time.Now().UTC().Format(timestampLayout)
	if task := write(t, "POST", origin+"/tasks", `{"list_id":"list-9","title":"x"}`); task.UpdatedAt < now {
		t.Errorf("updated_at = %s, want no earlier than %s", task.UpdatedAt, now)
	}

	since := "2996-02-29T23:59:59.999Z"
	if _, err := shell.Exec(`UPDATE boards SET updated_at = ?`, since); err != nil {
		t.Fatal(err)
	}
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

// TestLostUpdate makes the two changes that a wrong cursor loses. Each must be in the response to the poll that runs
// meanwhile, or in the response to the next one.
func TestLostUpdate(t *testing.T) {
	t.Run("committed between the two reads of a poll", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "taskboard.db")
		store := newStore(t, path)
		origin := serveStore(t, store)
		_, since := poll(t, origin, "")
		write(t, "PATCH", origin+"/tasks/task-1", `{"title":"The poll has to read this"}`)

		// The poll stops where it needs tasks, and stops again if it then still needs the timestamp.
		readerWaits, timestampWaits := store.reader.Stats().WaitCount, store.idlePolls.Stats().WaitCount
		releaseReader := hold(t, store.reader)
		defer releaseReader()
		var tasks []Task
		var timestamp string
		ended := make(chan struct{})
		go func() {
			tasks, timestamp = poll(t, origin, since)
			close(ended)
		}()
		waitFor(store.reader, readerWaits, ended)
		releaseTimestamps := hold(t, store.idlePolls)
		releaseReader()
		waitFor(store.idlePolls, timestampWaits, ended)
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
		// With this instant of the board, the next stamp comes from the clock.
		shell := openShell(t, path, `
			INSERT INTO boards (id, name, updated_at) VALUES ('old', 'Old', '2016-02-29T12:00:00.000Z');
			INSERT INTO lists (id, board_id, name, position) VALUES ('list-9', 'old', 'Old', 0)`)
		change, err := shell.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := change.Exec(`INSERT INTO tasks (id, list_id, title) VALUES ('slow', 'list-9', 'Slow')`); err != nil {
			t.Fatal(err)
		}
		_, timestamp := pollBoard(t, origin, "old", "")
		if err := change.Commit(); err != nil {
			t.Fatal(err)
		}
		next, _ := pollBoard(t, origin, "old", timestamp)
		if ids(next) != "slow" {
			t.Errorf("a poll since %s = %q, want the task slow, which was committed after that timestamp was sent. "+
				"Is the timestamp the board's, or the clock's?", timestamp, ids(next))
		}
	})
}

// TestRace lets writers run at once with pollers, which use Updates. At the end their views must be the board.
func TestRace(t *testing.T) {
	for _, test := range []struct{ name, sql string }{
		{name: "at the time of the clock", sql: ``},
		// Here only the added millisecond moves the board's instant.
		{name: "ahead of the clock", sql: `UPDATE boards SET updated_at = '2099-01-01T00:00:00.000Z'`},
	} {
		t.Run(test.name, func(t *testing.T) {
			origin, path := newServer(t)
			openShell(t, path, test.sql)
			race(t, origin)
		})
	}
}

// race does the work of TestRace on one board.
func race(t *testing.T, origin string) {
	var writers, pollers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		writers.Go(func() {
			for i := range 60 {
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
	// Each poller stops after the first poll that began when all was written.
	views := make([]map[string]Task, 4)
	for i := range views {
		pollers.Go(func() {
			last, latest := false, ""
			for update, err := range Updates(t.Context(), origin+"/boards/board-1/updates", time.Microsecond) {
				if err != nil {
					t.Errorf("poller %d: %v", i, err)
				}
				if update.Board {
					views[i] = map[string]Task{}
				}
				for _, task := range update.Tasks {
					if task.UpdatedAt <= latest && !update.Board {
						t.Errorf("poller %d received the change of %s again", i, task.UpdatedAt)
					}
					if views[i][task.ID] = task; task.DeletedAt != "" {
						delete(views[i], task.ID)
					}
				}
				latest = update.since
				if last {
					return
				}
				select {
				case <-done:
					last = true
				default:
				}
			}
		})
	}
	writers.Wait()
	close(done)
	pollers.Wait()

	board, _ := poll(t, origin, "")
	if want := 5 + 4*45; len(board) != want {
		t.Errorf("the board has %d tasks, want %d", len(board), want)
	}
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

// TestVars compares the counters at /debug/vars before and after a request.
func TestVars(t *testing.T) {
	origin, _ := newServer(t)
	type counters struct {
		Polls       int `json:"polls"`
		Empty       int `json:"polls_empty"`
		NotModified int `json:"polls_not_modified"`
		Failed      int `json:"polls_failed"`
	}
	read := func() (c counters) {
		resp, body := send(t, "GET", origin+"/debug/vars", "")
		if got := resp.Header.Get("Cache-Control"); got != "no-cache" {
			t.Errorf("/debug/vars: Cache-Control = %q, want no-cache", got)
		}
		if err := json.Unmarshal(body, &c); err != nil {
			t.Errorf("/debug/vars: %v in %s", err, body)
		}
		return c
	}
	for _, test := range []struct {
		name, path, ifNoneMatch string
		want                    counters
	}{
		{name: "rows", path: "board-1/updates", want: counters{Polls: 1}},
		{name: "no rows", path: "board-1/updates?since=2099-01-01T00:00:00Z", want: counters{Polls: 1, Empty: 1}},
		{name: "not modified", path: "board-1/updates", ifNoneMatch: "*", want: counters{Polls: 1, NotModified: 1}},
		{name: "bad since", path: "board-1/updates?since=x", want: counters{Failed: 1}},
		{name: "no board to poll", path: "none/updates", want: counters{Failed: 1}},
		{name: "no poll", path: "none", want: counters{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := read()
			send(t, "GET", origin+"/boards/"+test.path, "", "If-None-Match", test.ifNoneMatch)
			got := read()
			got.Polls -= before.Polls
			got.Empty -= before.Empty
			got.NotModified -= before.NotModified
			got.Failed -= before.Failed
			if got != test.want {
				t.Errorf("GET /boards/%s counted %+v, want %+v", test.path, got, test.want)
			}
		})
	}
}

// TestQueryPlans asks SQLite how it reads tasks: from the index made for it, without a whole table, without a sort.
func TestQueryPlans(t *testing.T) {
	_, path := newServer(t)
	shell := openShell(t, path, "")
	for _, test := range []struct{ name, query, want, not string }{
		{name: "board", query: boardTasksQuery, want: "INDEX tasks_live (list_id=?)", not: "TEMP B-TREE"},
		{name: "changes", query: changedTasksQuery, want: "tasks_changed (list_id=? AND updated_at>?)", not: "SCAN t"},
	} {
		t.Run(test.name, func(t *testing.T) {
			query := strings.ReplaceAll("EXPLAIN QUERY PLAN "+test.query, "?", "''")
			rows, err := shell.Query(query)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			var plan, step string
			for rows.Next() {
				if err := rows.Scan(new(int), new(int), new(int), &step); err != nil {
					t.Fatal(err)
				}
				plan += step + "\n"
			}
			if !strings.Contains(plan, test.want) || strings.Contains(plan, test.not) {
				t.Errorf("plan of %s:\n%swant %q and no %q", test.query, plan, test.want, test.not)
			}
		})
	}
}

// usePipes lets http.DefaultClient reach a handler over pipes in memory, until the test ends. In a synctest bubble,
// time goes on only while all of them wait.
func usePipes(t *testing.T, handler http.HandlerFunc) {
	conns := make(pipes)
	srv := &http.Server{Handler: handler}
	go srv.Serve(conns)
	previous := http.DefaultTransport
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		conns <- server
		return client, nil
	}}
	http.DefaultTransport = transport
	t.Cleanup(func() {
		http.DefaultTransport = previous
		close(conns)
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

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// TestUpdates has Updates poll servers of all kinds. In a synctest bubble, its waits take no time.
func TestUpdates(t *testing.T) {
	const none, started1, started2 = `{"data":[],"timestamp":"A"}`, "X-Server-Start: 1", "X-Server-Start: 2"
	const task1B = `{"data":[{"id":"1"}],"timestamp":"B"}`
	const failed, otherData = "error: the server responded with status 503", "error: the server has other data"
	type exchange struct {
		wait    time.Duration // in seconds, since the poll before, with a tenth more or less
		request string        // since and If-None-Match
		status  int           // 0 means 200
		header  string        // of the response: "name: value", one a line
		body    string
		want    string // what Updates yields: the ids of the tasks, or the beginning of an error
	}
	for _, test := range []struct {
		name     string
		interval time.Duration // in seconds
		polls    []exchange
	}{
		{name: "as often as the server advises", polls: []exchange{
			{wait: 0, request: "", body: none, want: "board"},
			{wait: 5, request: "A", header: "X-Poll-Interval: 30", body: none, want: "nothing"},
			{wait: 30, request: "A", body: task1B, want: "1"},
			{wait: 30, request: "B", body: `{"data":[],"timestamp":"B"}`, want: "nothing"},
		}},
		{name: "as often as the caller wants", interval: 2, polls: []exchange{
			{wait: 0, request: "", header: "X-Poll-Interval: 30", body: none, want: "board"},
			{wait: 2, request: "A", body: none, want: "nothing"},
		}},
		{name: "back-off, and back again", polls: []exchange{
			{wait: 0, request: "", status: 503, want: failed},
			{wait: 10, request: "", status: 503, want: failed},
			{wait: 20, request: "", body: `<html>`, want: "error: invalid character"},
			{wait: 40, request: "", body: `{"data":[]}`, want: "error: the response has no timestamp"},
			{wait: 60, request: "", status: 304, want: "error: the server responded with status 304"},
			{wait: 60, request: "", body: none, want: "board"},
			{wait: 5, request: "A", body: none, want: "nothing"},
		}},
		{name: "back-off from a long interval", interval: 3600, polls: []exchange{
			{wait: 0, request: "", status: 503, want: failed},
			{wait: 3600, request: "", body: none, want: "board"},
		}},
		{name: "Retry-After", polls: []exchange{
			{wait: 0, request: "", status: 503, header: "Retry-After: 40", want: failed},
			{wait: 40, request: "", status: 503, want: failed,
				header: "Date: Sat, 28 Nov 2026 10:00:00 GMT\nRetry-After: Sat, 28 Nov 2026 10:01:10 GMT"},
			{wait: 70, request: "", body: none, want: "board"},
			{wait: 5, request: "A", body: none, want: "nothing"},
		}},
		{name: "an ETag goes to the URL that it came from", polls: []exchange{
			{wait: 0, request: "", header: `ETag: "1"`, body: none, want: "board"},
			{wait: 5, request: "A", header: `ETag: "1"`, body: none, want: "nothing"},
			{wait: 5, request: `A "1"`, status: 304, want: "nothing"},
			{wait: 5, request: `A "1"`, header: `ETag: "1"`, body: `{"data":[],"timestamp":"an older body"}`, want: "nothing"},
			{wait: 5, request: `A "1"`, header: `ETag: "2"`, body: task1B, want: "1"},
			{wait: 5, request: `B`, header: `ETag: "2"`, body: `{"data":[],"timestamp":"B"}`, want: "nothing"},
		}},
		{name: "another start, and a cache with the old board", polls: []exchange{
			{wait: 0, request: "", header: started1, body: none, want: "board"},
			{wait: 5, request: "A", header: started2, body: task1B, want: otherData},
			{wait: 1, request: "", header: started1, body: none, want: otherData},
			{wait: 1, request: "", header: started2, body: task1B, want: "board 1"},
		}},
		{name: "no start in a 304, then another one", polls: []exchange{
			{wait: 0, request: "", header: started1, body: none, want: "board"},
			{wait: 5, request: "A", header: started1 + "\nETag: \"1\"", body: none, want: "nothing"},
			{wait: 5, request: `A "1"`, status: 304, want: "nothing"},
			{wait: 5, request: `A "1"`, status: 304, header: started2, want: otherData},
		}},
		{name: "a backup was restored", polls: []exchange{
			{wait: 0, request: "", header: started1, body: task1B, want: "board 1"},
			{wait: 5, request: "B", header: started1, body: none, want: otherData},
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
					got := cmp.Or(ids(update.Tasks), "nothing")
					if update.Board {
						got = strings.TrimSpace("board " + ids(update.Tasks))
					}
					if err != nil {
						got = "error: " + err.Error()
					}
					want, waited := test.polls[n], time.Since(ended)
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
}

// TestUpdatesHang has a server that does not respond, and a caller that leaves.
func TestUpdatesHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		usePipes(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		start := time.Now()
		for _, err := range Updates(ctx, "http://x/updates", 0) {
			if took := time.Since(start); err == nil || took != 20*time.Second {
				t.Errorf("a server that hangs: %v after %v, want an error after 20 s", err, took)
			}
			time.AfterFunc(15*time.Second, cancel) // the next poll begins after 9 to 11 s
		}
		if took := time.Since(start); took != 35*time.Second {
			t.Errorf("the loop ended after %v, want 35 s, when it was cancelled in a poll", took)
		}
	})
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

	polls := 0
	for update, err := range Updates(context.Background(), srv.URL+"/boards/board-1/updates", time.Millisecond) {
		polls++
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
		if polls == 3 {
			break
		}
	}
	// Output:
	// the whole board: 5 tasks
	// nothing
	// that task: Water the plants
}
