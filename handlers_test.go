package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestMain lets the test binary stand in for the program, so that tests can
// start and kill it as a process of its own; see startProgram.
func TestMain(m *testing.M) {
	if os.Getenv("SHORTPOLL_PROGRAM") != "" {
		main()
		return
	}
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 100
	os.Exit(m.Run())
}

// testBusyTimeout is how long writes wait for a locked database in tests.
const testBusyTimeout = time.Second

// newServer serves a fresh demo board. It returns the server's URL and the
// path of its database.
func newServer(t testing.TB) (url, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "taskboard.db")
	store, err := Open(path, testBusyTimeout)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(newHandler(store, 5*time.Second))
	t.Cleanup(func() {
		srv.Close()
		if err := store.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return srv.URL, path
}

// openShell opens the database beside the Store, as the sqlite3 shell does:
// without foreign keys, and with transactions of its own.
func openShell(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// The three below report what goes wrong with t.Error, so that goroutines may
// call them, and then return zero values.

// send sends a request; header holds names and values in turn. A body is sent
// as JSON, with a charset that must not matter, unless header says otherwise.
func send(t testing.TB, method, url, body string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return &http.Response{}, nil
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	for pair := range slices.Chunk(header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return &http.Response{}, nil
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s %s: reading the answer: %v", method, url, err)
	}
	return resp, got
}

// poll polls board-1, which must succeed, and returns what the answer holds.
func poll(t testing.TB, url, since string) (tasks []Task, timestamp string) {
	t.Helper()
	resp, body := send(t, "GET", url+"/boards/board-1/updates?since="+since, "")
	var got struct {
		Data      []Task
		Timestamp string
	}
	if err := json.Unmarshal(body, &got); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("poll since %q: status %d, body %s", since, resp.StatusCode, body)
	}
	return got.Data, got.Timestamp
}

// write sends a write, which must succeed, and returns the task of the answer.
func write(t testing.TB, method, url, body string) Task {
	t.Helper()
	resp, answer := send(t, method, url, body)
	var got struct{ Data Task }
	err := json.Unmarshal(answer, &got)
	if resp.StatusCode != http.StatusNoContent && (err != nil || resp.StatusCode/100 != 2) {
		t.Errorf("%s %s %s: status %d, body %s", method, url, body, resp.StatusCode, answer)
	}
	return got.Data
}

// ids returns the tasks' ids in order, for messages and comparisons.
func ids(tasks []Task) string {
	var ids []string
	for _, t := range tasks {
		ids = append(ids, t.ID)
	}
	return strings.Join(ids, " ")
}

func TestFreshBoard(t *testing.T) {
	url, path := newServer(t)
	if _, err := openShell(t, path).Exec(`INSERT INTO boards (id, name) VALUES ('empty', 'Empty')`); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, path, want string
	}{
		{
			name: "lists by position",
			path: "/boards/board-1",
			want: `{"data":{"id":"board-1","name":"Demo board","lists":[{"id":"list-1","name":"To do","position":0},{"id":"list-2","name":"In progress","position":1},{"id":"list-3","name":"Done","position":2}]}}`,
		},
		{
			name: "whole board",
			path: "/boards/board-1/updates",
			want: `{"data":[` +
				`{"id":"task-1","list_id":"list-1","title":"Open this board in a second window","description":"","position":0,"created_at":"T","updated_at":"T"},` +
				`{"id":"task-2","list_id":"list-1","title":"Add a task there and wait for it here","description":"","position":1,"created_at":"T","updated_at":"T"},` +
				`{"id":"task-3","list_id":"list-1","title":"Count the polls that bring nothing","description":"","position":2,"created_at":"T","updated_at":"T"},` +
				`{"id":"task-4","list_id":"list-2","title":"Read schema.sql and store.go","description":"","position":0,"created_at":"T","updated_at":"T"},` +
				`{"id":"task-5","list_id":"list-3","title":"Start the server","description":"","position":0,"created_at":"T","updated_at":"T"}` +
				`],"timestamp":"T"}`,
		},
		{
			name: "empty since is none",
			path: "/boards/board-1/updates?since=",
			want: `"id":"task-1"`,
		},
		{
			name: "nothing since 2099",
			path: "/boards/board-1/updates?since=2099-01-01T00:00:00Z",
			want: `{"data":[],"timestamp":"T"}`,
		},
		{
			name: "no tasks",
			path: "/boards/empty/updates",
			want: `{"data":[],"timestamp":"T"}`,
		},
		{
			name: "no tasks since 1970",
			path: "/boards/empty/updates?since=1970-01-01T00:00:00Z",
			want: `{"data":[],"timestamp":"T"}`,
		},
		{
			name: "no lists",
			path: "/boards/empty",
			want: `{"data":{"id":"empty","name":"Empty","lists":[]}}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := send(t, "GET", url+test.path, "")
			// Every instant must have the one form; its value does not matter here.
			got := regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`).ReplaceAllString(string(body), `"T"`)
			if resp.StatusCode != http.StatusOK || !strings.Contains(got, test.want) {
				t.Errorf("GET %s: status %d, body\n%s\nwant\n%s", test.path, resp.StatusCode, got, test.want)
			}
		})
	}
}

// TestWrites makes one change after the other. Each must be answered with the
// task as the next poll shows it, and that poll must show nothing else.
func TestWrites(t *testing.T) {
	url, _ := newServer(t)
	_, since := poll(t, url, "")
	for _, test := range []struct {
		name, method, path, body string

		want Task // but for what is stamped
	}{
		{
			name: "create", method: "POST", path: "/tasks",
			body: `{"list_id":"list-2","title":"<b>Tea</b> & ☕","description":"two\nlines"}`,
			want: Task{ListID: "list-2", Title: "<b>Tea</b> & ☕", Description: "two\nlines", Position: 1},
		},
		{
			name: "create with the most characters", method: "POST", path: "/tasks",
			body: `{"list_id":"list-2","title":"` + strings.Repeat("ü", 200) + `","description":"` + strings.Repeat("ü", 10_000) + `"}`,
			want: Task{ListID: "list-2", Title: strings.Repeat("ü", 200), Description: strings.Repeat("ü", 10_000), Position: 2},
		},
		{
			name: "rename", method: "PATCH", path: "/tasks/task-1",
			body: `{"title":"Renamed"}`,
			want: Task{ID: "task-1", ListID: "list-1", Title: "Renamed"},
		},
		{
			name: "describe", method: "PATCH", path: "/tasks/task-1",
			body: `{"description":"Why"}`,
			want: Task{ID: "task-1", ListID: "list-1", Title: "Renamed", Description: "Why"},
		},
		{
			name: "move within the list", method: "PATCH", path: "/tasks/task-1",
			body: `{"position":7}`,
			want: Task{ID: "task-1", ListID: "list-1", Title: "Renamed", Description: "Why", Position: 7},
		},
		{
			name: "same list keeps the position", method: "PATCH", path: "/tasks/task-2",
			body: `{"list_id":"list-1"}`,
			want: Task{ID: "task-2", ListID: "list-1", Title: "Add a task there and wait for it here", Position: 1},
		},
		{
			name: "another list: last", method: "PATCH", path: "/tasks/task-1",
			body: `{"list_id":"list-2","description":""}`,
			want: Task{ID: "task-1", ListID: "list-2", Title: "Renamed", Position: 3},
		},
		{
			name: "another list with a position", method: "PATCH", path: "/tasks/task-1",
			body: `{"list_id":"list-3","position":1000000000}`,
			want: Task{ID: "task-1", ListID: "list-3", Title: "Renamed", Position: 1000000000},
		},
		{
			name: "create behind the last position", method: "POST", path: "/tasks",
			body: `{"list_id":"list-3","title":"Last"}`,
			want: Task{ListID: "list-3", Title: "Last", Position: 1000000001},
		},
		{
			name: "delete", method: "DELETE", path: "/tasks/task-1",
			want: Task{ID: "task-1", ListID: "list-3", Title: "Renamed", Position: 1000000000},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := write(t, test.method, url+test.path, test.body)
			tasks, timestamp := poll(t, url, since)
			if len(tasks) != 1 {
				t.Fatalf("poll after %s %s: tasks %q, want 1", test.method, test.path, ids(tasks))
			}
			polled := tasks[0]
			if test.method != "DELETE" && answer != polled {
				t.Errorf("%s %s answered\n%+v, the next poll\n%+v", test.method, test.path, answer, polled)
			}
			if deleted := polled.DeletedAt != ""; deleted != (test.method == "DELETE") {
				t.Errorf("deleted_at = %q after %s", polled.DeletedAt, test.method)
			}
			if polled.UpdatedAt != timestamp || timestamp <= since {
				t.Errorf("updated_at = %s, timestamp %s; want them equal and after %s", polled.UpdatedAt, timestamp, since)
			}
			want := test.want
			want.CreatedAt, want.UpdatedAt, want.DeletedAt = polled.CreatedAt, polled.UpdatedAt, polled.DeletedAt
			if want.ID == "" {
				want.ID = polled.ID
			}
			if polled != want {
				t.Errorf("%s %s %s: got\n%+v, want\n%+v", test.method, test.path, test.body, polled, want)
			}
			since = timestamp
		})
	}

	tasks, _ := poll(t, url, "")
	order := func(t Task) string { return fmt.Sprintf("%s %020d %s", t.ListID, t.Position, t.ID) }
	if got := ids(tasks); !slices.IsSortedFunc(tasks, func(a, b Task) int {
		return strings.Compare(order(a), order(b))
	}) || len(tasks) != 7 || strings.Contains(got, "task-1 ") {
		t.Errorf("whole board = %q, want 7 tasks by list, position and id, without task-1", got)
	}
}

// TestSince polls with one instant written in many ways.
func TestSince(t *testing.T) {
	url, _ := newServer(t)
	changed := write(t, "PATCH", url+"/tasks/task-5", `{"title":"Latest"}`)
	instant, err := time.Parse(time.RFC3339, changed.UpdatedAt)
	if err != nil {
		t.Fatal(err)
	}
	before := instant.Add(-time.Millisecond)
	for _, test := range []struct {
		name, since string
		want        string // ids of the tasks
	}{
		{name: "the instant itself", since: changed.UpdatedAt, want: ""},
		{name: "a millisecond before", since: before.Format(timestampForm), want: "task-5"},
		{name: "more decimals are floored", since: before.Add(999_999).Format(time.RFC3339Nano), want: "task-5"},
		{name: "no decimals", since: instant.Add(time.Second).Format("2006-01-02T15:04:05Z"), want: ""},
		{name: "offset ahead of UTC", since: strings.ReplaceAll(before.In(time.FixedZone("", 19800)).Format("2006-01-02T15:04:05.000-07:00"), "+", "%2B"), want: "task-5"},
		{name: "offset behind UTC", since: instant.In(time.FixedZone("", -28800)).Format("2006-01-02T15:04:05.000-07:00"), want: ""},
		{name: "lower case", since: strings.ToLower(before.Format(timestampForm)), want: "task-5"},
		{name: "long ago", since: "1970-01-01T00:00:00Z", want: "task-1 task-2 task-3 task-4 task-5"},
		{name: "before the year 0", since: "0000-01-01T00:00:00%2B01:00", want: "task-1 task-2 task-3 task-4 task-5"},
		{name: "after the year 9999", since: "9999-12-31T23:59:59-01:00", want: ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			tasks, timestamp := poll(t, url, test.since)
			if got := ids(tasks); got != test.want || timestamp != changed.UpdatedAt {
				t.Errorf("poll since %s = %q, %s; want %q, %s", test.since, got, timestamp, test.want, changed.UpdatedAt)
			}
		})
	}
}

// TestConditionalPoll polls with ETags, as browsers and caches do unasked.
func TestConditionalPoll(t *testing.T) {
	url, _ := newServer(t)
	path := url + "/boards/board-1/updates"
	first, _ := send(t, "GET", path, "")
	old := first.Header.Get("ETag")
	write(t, "DELETE", url+"/tasks/task-1", "")
	second, _ := send(t, "GET", path, "")
	now := second.Header.Get("ETag")
	if old == now || !strings.HasPrefix(now, `W/"`) {
		t.Errorf("ETag = %s, then %s after a change; want two weak ones", old, now)
	}
	for _, test := range []struct {
		name, method, ifNoneMatch string
		want                      int
	}{
		{name: "same", method: "GET", ifNoneMatch: now, want: 304},
		{name: "same, HEAD", method: "HEAD", ifNoneMatch: now, want: 304},
		{name: "strong form of it", method: "GET", ifNoneMatch: strings.TrimPrefix(now, "W/"), want: 304},
		{name: "in a list", method: "GET", ifNoneMatch: `"x, y" ,` + old + ",\t" + now, want: 304},
		{name: "any", method: "GET", ifNoneMatch: "*", want: 304},
		{name: "old", method: "GET", ifNoneMatch: old, want: 200},
		{name: "old, HEAD", method: "HEAD", ifNoneMatch: old, want: 200},
		{name: "without quotes", method: "GET", ifNoneMatch: strings.Trim(now, `W/"`), want: 200},
		{name: "any inside another", method: "GET", ifNoneMatch: `"a,*,b"`, want: 200},
		{name: "inside another", method: "GET", ifNoneMatch: `"a` + strings.Trim(now, `W/`) + `"`, want: 200},
		{name: "another form of the JSON", method: "GET", ifNoneMatch: strings.Replace(now, `W/"1`, `W/"0`, 1), want: 200},
		{name: "none", method: "GET", ifNoneMatch: "", want: 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := send(t, test.method, path, "", "If-None-Match", test.ifNoneMatch)
			if resp.StatusCode != test.want {
				t.Errorf("If-None-Match: %s: status %d, want %d", test.ifNoneMatch, resp.StatusCode, test.want)
			}
			if hasBody := len(body) > 0; hasBody != (test.want == 200 && test.method == "GET") {
				t.Errorf("If-None-Match: %s: %s has the body %q", test.ifNoneMatch, test.method, body)
			}
			for name, want := range map[string]string{
				"ETag":            now,
				"Cache-Control":   "public, max-age=0, s-maxage=1",
				"X-Poll-Interval": "5",
			} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("If-None-Match: %s: %s = %q, want %q", test.ifNoneMatch, name, got, want)
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	url, path := newServer(t)
	if _, err := openShell(t, path).Exec(`
		INSERT INTO boards (id, name) VALUES ('board-2', 'Other');
		INSERT INTO lists (id, board_id, name, position) VALUES ('list-9', 'board-2', 'Other', 0);
		UPDATE tasks SET deleted_at = '2026-11-24T10:45:00.123Z' WHERE id = 'task-5'`); err != nil {
		t.Fatal(err)
	}
	_, before := send(t, "GET", url+"/boards/board-1/updates", "")
	const updates = "/boards/board-1/updates?since="
	for _, test := range []struct {
		name, method, path, body string
		header                   []string

		status int
		want   string // in the message
	}{
		{name: "since: no time", method: "GET", path: updates + "yesterday", status: 400, want: "since must be"},
		{name: "since: SQLite's form", method: "GET", path: updates + "2026-11-24%2010:45:00", status: 400, want: "since must be"},
		{name: "since: no offset", method: "GET", path: updates + "2026-11-24T10:45:00", status: 400, want: "since must be"},
		{name: "since: decimal comma", method: "GET", path: updates + "2026-11-24T10:45:00,5Z", status: 400, want: "since must be"},
		{name: "since: one-digit hour", method: "GET", path: updates + "2026-11-24T1:45:00Z", status: 400, want: "since must be"},
		{name: "since: 30 February", method: "GET", path: updates + "2026-02-30T10:45:00Z", status: 400, want: "since must be"},
		{name: "since: + as a space", method: "GET", path: updates + "2026-11-24T10:45:00+01:00", status: 400, want: "%2B"},
		{name: "since: broken escape", method: "GET", path: updates + "2026%zz", status: 400, want: "since must be"},
		{name: "no board to poll", method: "GET", path: "/boards/none/updates", status: 404, want: "no such board"},
		{name: "no board", method: "GET", path: "/boards/none", status: 404, want: "no such board"},
		{name: "no board, HEAD", method: "HEAD", path: "/boards/none", status: 404},

		{name: "no JSON", method: "POST", path: "/tasks", body: `{"list_id"`, status: 400, want: "valid JSON"},
		{name: "broken JSON", method: "POST", path: "/tasks", body: `{list_id}`, status: 400, want: "valid JSON"},
		{name: "no object", method: "POST", path: "/tasks", body: `["list-1"]`, status: 400, want: "JSON object"},
		{name: "null", method: "POST", path: "/tasks", body: `null`, status: 400, want: "title"},
		{name: "wrong type", method: "POST", path: "/tasks", body: `{"list_id":"list-1","title":1}`, status: 400, want: "title must be text"},
		{name: "unknown field", method: "POST", path: "/tasks", body: `{"list_id":"list-1","title":"x","colour":"red"}`, status: 400, want: "does not exist"},
		{name: "something behind", method: "POST", path: "/tasks", body: `{"list_id":"list-1","title":"x"} {}`, status: 400, want: "nothing behind"},
		{name: "no title", method: "POST", path: "/tasks", body: `{"list_id":"list-1"}`, status: 400, want: "title must not be blank"},
		{name: "blank title", method: "POST", path: "/tasks", body: `{"list_id":"list-1","title":" \n\u00a0"}`, status: 400, want: "title must not be blank"},
		{name: "long title", method: "POST", path: "/tasks", body: `{"list_id":"list-1","title":"` + strings.Repeat("ü", 201) + `"}`, status: 400, want: "200 characters"},
		{name: "long description", method: "POST", path: "/tasks", body: `{"list_id":"list-1","title":"x","description":"` + strings.Repeat("ü", 10001) + `"}`, status: 400, want: "10000 characters"},
		{name: "no list", method: "POST", path: "/tasks", body: `{"title":"x"}`, status: 400, want: "list_id"},
		{name: "unknown list", method: "POST", path: "/tasks", body: `{"list_id":"none","title":"x"}`, status: 400, want: "list_id"},
		{name: "position is not for POST", method: "POST", path: "/tasks", body: `{"list_id":"list-1","title":"x","position":1}`, status: 400, want: "does not exist"},

		{name: "nothing to change", method: "PATCH", path: "/tasks/task-1", body: `{}`, status: 400, want: "nothing to change"},
		{name: "blank new title", method: "PATCH", path: "/tasks/task-1", body: `{"title":""}`, status: 400, want: "title must not be blank"},
		{name: "long new description", method: "PATCH", path: "/tasks/task-1", body: `{"description":"` + strings.Repeat("x", 10001) + `"}`, status: 400, want: "10000 characters"},
		{name: "negative position", method: "PATCH", path: "/tasks/task-1", body: `{"position":-1}`, status: 400, want: "whole number"},
		{name: "fractional position", method: "PATCH", path: "/tasks/task-1", body: `{"position":1.5}`, status: 400, want: "whole number"},
		{name: "position as text", method: "PATCH", path: "/tasks/task-1", body: `{"position":"1"}`, status: 400, want: "whole number"},
		{name: "position beyond the limit", method: "PATCH", path: "/tasks/task-1", body: `{"position":1000000001}`, status: 400, want: "whole number"},
		{name: "position beyond int64", method: "PATCH", path: "/tasks/task-1", body: `{"position":9223372036854775808}`, status: 400, want: "whole number"},
		{name: "to an unknown list", method: "PATCH", path: "/tasks/task-1", body: `{"list_id":"none"}`, status: 400, want: "list_id"},
		{name: "to another board's list", method: "PATCH", path: "/tasks/task-1", body: `{"list_id":"list-9"}`, status: 400, want: "list_id"},
		{name: "change no task", method: "PATCH", path: "/tasks/none", body: `{"title":"x"}`, status: 404, want: "no such task"},
		{name: "change a deleted task", method: "PATCH", path: "/tasks/task-5", body: `{"title":"x"}`, status: 404, want: "no such task"},
		{name: "delete no task", method: "DELETE", path: "/tasks/none", status: 404, want: "no such task"},
		{name: "delete a deleted task", method: "DELETE", path: "/tasks/task-5", status: 404, want: "no such task"},

		{name: "large body", method: "POST", path: "/tasks", body: `{"list_id":"list-1","title":"x"}` + strings.Repeat(" ", maxBodyBytes), status: 413, want: "64 KiB"},
		{name: "form", method: "POST", path: "/tasks", body: `title=x`, header: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, want: "application/json"},
		{name: "no type", method: "PATCH", path: "/tasks/task-1", body: `{"title":"x"}`, header: []string{"Content-Type", ""}, status: 415, want: "application/json"},
		{name: "another site's page", method: "DELETE", path: "/tasks/task-1", header: []string{"Sec-Fetch-Site", "cross-site"}, status: 403, want: "another site"},
		{name: "another site's page, old browser", method: "DELETE", path: "/tasks/task-1", header: []string{"Origin", "https://example.com"}, status: 403, want: "another site"},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := send(t, test.method, url+test.path, test.body, test.header...)
			var got struct{ Error string }
			if err := json.Unmarshal(body, &got); err != nil && test.method != "HEAD" {
				t.Errorf("%s %s: %v in %q", test.method, test.path, err, body)
			}
			if resp.StatusCode != test.status || !strings.Contains(got.Error, test.want) {
				t.Errorf("%s %s %.80s: status %d, error %q; want %d, %q", test.method, test.path, test.body, resp.StatusCode, got.Error, test.status, test.want)
			}
			for name, want := range map[string]string{
				"Content-Type": "application/json", "Cache-Control": "no-store", "ETag": "",
			} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s %s: %s = %q, want %q", test.method, test.path, name, got, want)
				}
			}
			if _, after := send(t, "GET", url+"/boards/board-1/updates", ""); !bytes.Equal(after, before) {
				t.Errorf("%s %s %.80s changed the board from\n%s to\n%s", test.method, test.path, test.body, before, after)
			}
		})
	}
}

// TestInternalError breaks the table of tasks under the server. The client
// learns nothing of how, and an idle poll, which reads no task, does not notice.
func TestInternalError(t *testing.T) {
	url, path := newServer(t)
	if _, err := openShell(t, path).Exec(`ALTER TABLE tasks RENAME COLUMN title TO name`); err != nil {
		t.Fatal(err)
	}
	if resp, _ := send(t, "GET", url+"/boards/board-1/updates", "", "If-None-Match", "*"); resp.StatusCode != 304 {
		t.Errorf("poll with If-None-Match: status %d, want 304 without reading tasks", resp.StatusCode)
	}
	if tasks, _ := poll(t, url, "2099-01-01T00:00:00Z"); len(tasks) > 0 {
		t.Errorf("poll since 2099 = %q, want nothing", ids(tasks))
	}

	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	resp, body := send(t, "GET", url+"/boards/board-1/updates", "")
	if want := `{"error":"internal error"}` + "\n"; resp.StatusCode != 500 || string(body) != want {
		t.Errorf("poll of a broken database: status %d, body %s; want 500, %s", resp.StatusCode, body, want)
	}
	if got := resp.Header; got.Get("ETag") != "" || got.Get("Cache-Control") != "no-store" {
		t.Errorf("poll of a broken database: header %v, want no ETag and no-store", got)
	}
	if got := log.String(); !strings.Contains(got, "method=GET path=/boards/board-1/updates") || !strings.Contains(got, "title") {
		t.Errorf("log = %q, want the method, the path and SQLite's words", got)
	}
}

// TestShell writes past the server. What succeeds must reach the next poll, and
// what would leave a ghost there must not succeed.
func TestShell(t *testing.T) {
	url, path := newServer(t)
	shell := openShell(t, path)
	if _, err := shell.Exec(`
		INSERT INTO boards (id, name) VALUES ('board-2', 'Other');
		INSERT INTO lists (id, board_id, name, position) VALUES ('list-9', 'board-2', 'Other', 0)`); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, statement string

		want    string // ids in the next poll
		wantErr string
	}{
		{name: "insert", statement: `INSERT INTO tasks (id, list_id, title) VALUES ('new', 'list-1', 'Typed')`, want: "new"},
		{name: "update", statement: `UPDATE tasks SET title = 'Typed' WHERE id = 'task-2'`, want: "task-2"},
		{name: "update of the stamp", statement: `UPDATE tasks SET updated_at = datetime('now') WHERE id = 'task-3'`, want: "task-3"},
		{name: "many in one transaction", statement: `BEGIN; UPDATE tasks SET position = position + 1 WHERE list_id = 'list-1'; UPDATE tasks SET title = 'x' WHERE id = 'task-4'; COMMIT`, want: "new task-1 task-2 task-3 task-4"},
		{name: "soft delete", statement: `UPDATE tasks SET deleted_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id = 'task-1'`, want: "task-1"},
		{name: "undelete", statement: `UPDATE tasks SET deleted_at = NULL WHERE id = 'task-1'`, want: "task-1"},
		{name: "schema.sql again", statement: schema, want: ""},
		{name: "rollback", statement: `BEGIN; UPDATE tasks SET title = 'x' WHERE id = 'task-4'; ROLLBACK`, want: ""},
		{name: "hard delete", statement: `DELETE FROM tasks WHERE id = 'task-2'`, wantErr: "set tasks.deleted_at instead"},
		{name: "replace", statement: `REPLACE INTO tasks (id, list_id, title) VALUES ('task-2', 'list-9', 'x')`, wantErr: "UPDATE a task that is there instead"},
		{name: "another board", statement: `UPDATE tasks SET list_id = 'list-9' WHERE id = 'task-2'`, wantErr: "insert a new task instead"},
		{name: "another id", statement: `UPDATE tasks SET id = 'task-0' WHERE id = 'task-2'`, wantErr: "insert a new task instead"},
		{name: "no list", statement: `INSERT INTO tasks (id, list_id, title) VALUES ('lost', 'none', 'x')`, wantErr: "existing list"},
		{name: "list to another board", statement: `UPDATE lists SET board_id = 'board-2', position = 1 WHERE id = 'list-1'`, wantErr: "insert a new list instead"},
		{name: "list replaced", statement: `REPLACE INTO lists (id, board_id, name, position) VALUES ('list-1', 'board-2', 'x', 1)`, wantErr: "new id"},
		{name: "list added in another's place", statement: `REPLACE INTO lists (id, board_id, name, position) VALUES ('list-4', 'board-1', 'New', 0)`},
		{name: "position beyond JavaScript", statement: `UPDATE tasks SET position = 9007199254740992 WHERE id = 'task-2'`, wantErr: "CHECK constraint failed"},
		{name: "list with tasks goes", statement: `DELETE FROM lists WHERE id = 'list-1'`, wantErr: "set deleted_at on its tasks instead"},
		{name: "instant of another form", statement: `UPDATE tasks SET deleted_at = datetime('now') WHERE id = 'task-2'`, wantErr: "CHECK constraint failed"},
		{name: "cursor of another form", statement: `UPDATE boards SET updated_at = datetime('now') WHERE id = 'board-1'`, wantErr: "CHECK constraint failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, since := poll(t, url, "")
			_, err := shell.Exec(test.statement)
			if (err == nil) != (test.wantErr == "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("%s: error %v, want %q", test.statement, err, test.wantErr)
			}
			tasks, timestamp := poll(t, url, since)
			slices.SortFunc(tasks, func(a, b Task) int { return strings.Compare(a.ID, b.ID) })
			if got := ids(tasks); got != test.want {
				t.Errorf("%s: next poll = %q, want %q", test.statement, got, test.want)
			}
			if again, _ := poll(t, url, timestamp); len(again) > 0 {
				t.Errorf("%s: second poll = %q, want nothing", test.statement, ids(again))
			}
		})
	}
}

// TestClock has a board whose last change lies years behind the clock, then
// years ahead of it.
func TestClock(t *testing.T) {
	url, path := newServer(t)
	shell := openShell(t, path)
	setStamp := func(stamp string) {
		if _, err := shell.Exec(`UPDATE boards SET updated_at = ?`, stamp); err != nil {
			t.Fatal(err)
		}
	}
	setStamp("2016-02-28T23:59:59.999Z")
	now := time.Now().UTC().Format(timestampForm)
	if task := write(t, "PATCH", url+"/tasks/task-1", `{"title":"x"}`); task.UpdatedAt < now {
		t.Errorf("updated_at = %s, want no earlier than %s", task.UpdatedAt, now)
	}

	since := "2036-02-29T23:59:59.999Z"
	setStamp(since)
	for _, want := range []string{"2036-03-01T00:00:00.000Z", "2036-03-01T00:00:00.001Z", "2036-03-01T00:00:00.002Z"} {
		write(t, "PATCH", url+"/tasks/task-1", `{"title":"x"}`)
		tasks, timestamp := poll(t, url, since)
		if got := ids(tasks); got != "task-1" || timestamp != want {
			t.Errorf("poll since %s = %q, %s; want task-1, %s", since, got, timestamp, want)
		}
		since = timestamp
	}
}

// TestRace lets writers and pollers run at once. A poller knows nothing but its
// cursor; at the end its copy must be the board.
func TestRace(t *testing.T) {
	url, path := newServer(t)
	// With the stamp ahead of the clock only max(now, old + 1 ms) moves it.
	if _, err := openShell(t, path).Exec(`
		UPDATE boards SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+1 hour')`); err != nil {
		t.Fatal(err)
	}
	var writers, pollers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		writers.Go(func() {
			for i := range 60 {
				task := write(t, "POST", url+"/tasks", `{"list_id":"list-1","title":"New"}`)
				switch i % 4 {
				case 1:
					write(t, "PATCH", url+"/tasks/"+task.ID, `{"title":"Renamed"}`)
				case 2:
					write(t, "PATCH", url+"/tasks/"+task.ID, `{"list_id":"list-2"}`)
				case 3:
					write(t, "DELETE", url+"/tasks/"+task.ID, "")
				}
			}
		})
	}
	copies := make([]map[string]Task, 4)
	for i := range copies {
		copies[i] = map[string]Task{}
		pollers.Go(func() {
			since := ""
			for last := false; !last; {
				select {
				case <-done:
					last = true // one more poll, to fetch the rest
				default:
				}
				tasks, timestamp := poll(t, url, since)
				for _, task := range tasks {
					if task.UpdatedAt <= since {
						t.Errorf("poll since %s brought a change of %s again", since, task.UpdatedAt)
					}
					if task.DeletedAt != "" {
						delete(copies[i], task.ID)
					} else {
						copies[i][task.ID] = task
					}
				}
				since = timestamp
			}
		})
	}
	writers.Wait()
	close(done)
	pollers.Wait()

	board := map[string]Task{}
	tasks, _ := poll(t, url, "")
	for _, task := range tasks {
		board[task.ID] = task
	}
	if want := 5 + 4*45; len(board) != want {
		t.Errorf("the board has %d tasks, want %d", len(board), want)
	}
	for i, copy := range copies {
		if !maps.Equal(copy, board) {
			t.Errorf("poller %d ends with %d tasks, of which %d differ from the board's %d", i, len(copy), differences(copy, board), len(board))
		}
	}
}

// differences counts the keys under which a and b differ.
func differences(a, b map[string]Task) (n int) {
	for id := range b {
		if a[id] != b[id] {
			n++
		}
	}
	for id := range a {
		if _, ok := b[id]; !ok {
			n++
		}
	}
	return n
}

// TestLockedDatabase holds the strictest lock there is, as another process would.
// With a write-ahead log it does not keep readers out.
func TestLockedDatabase(t *testing.T) {
	url, path := newServer(t)
	lock, err := openShell(t, path).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.ExecContext(t.Context(), `BEGIN EXCLUSIVE`); err != nil {
		t.Fatal(err)
	}
	// More writers than connections, none of which may be kept from a poll.
	var writers sync.WaitGroup
	var done atomic.Bool
	for range 2 * readConnections {
		writers.Go(func() {
			resp, body := send(t, "POST", url+"/tasks", `{"list_id":"list-1","title":"x"}`)
			if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || !strings.Contains(string(body), "busy") {
				t.Errorf("write to a locked database: status %d, header %v, body %s; want 503 with Retry-After: 1", resp.StatusCode, resp.Header, body)
			}
		})
	}
	go func() { writers.Wait(); done.Store(true) }()
	for !done.Load() {
		start := time.Now()
		poll(t, url, "")
		if took := time.Since(start); took > testBusyTimeout/2 {
			t.Errorf("a poll took %v while writers waited", took)
		}
	}
	if _, err := lock.ExecContext(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	write(t, "POST", url+"/tasks", `{"list_id":"list-1","title":"x"}`)
}

// counters is what /debug/vars says of polls.
type counters struct {
	Polls            int `json:"polls"`
	PollsEmpty       int `json:"polls_empty"`
	PollsNotModified int `json:"polls_not_modified"`
	PollsFailed      int `json:"polls_failed"`
}

// readCounters returns by how much the server's counters are above before.
func readCounters(t testing.TB, url string, before counters) (c counters) {
	t.Helper()
	_, body := send(t, "GET", url+"/debug/vars", "")
	if err := json.Unmarshal(body, &c); err != nil {
		t.Errorf("/debug/vars: %v in %s", err, body)
	}
	c.Polls -= before.Polls
	c.PollsEmpty -= before.PollsEmpty
	c.PollsNotModified -= before.PollsNotModified
	c.PollsFailed -= before.PollsFailed
	return c
}

func TestVars(t *testing.T) {
	url, _ := newServer(t)
	for _, test := range []struct {
		name, path, ifNoneMatch string
		want                    counters
	}{
		{name: "rows", path: "/boards/board-1/updates", want: counters{Polls: 1}},
		{name: "no rows", path: "/boards/board-1/updates?since=2099-01-01T00:00:00Z", want: counters{Polls: 1, PollsEmpty: 1}},
		{name: "not modified", path: "/boards/board-1/updates", ifNoneMatch: "*", want: counters{Polls: 1, PollsNotModified: 1}},
		{name: "bad since", path: "/boards/board-1/updates?since=x", want: counters{PollsFailed: 1}},
		{name: "no board", path: "/boards/none/updates", want: counters{PollsFailed: 1}},
		{name: "no poll", path: "/boards/board-1", want: counters{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := readCounters(t, url, counters{})
			send(t, "GET", url+test.path, "", "If-None-Match", test.ifNoneMatch)
			if got := readCounters(t, url, before); got != test.want {
				t.Errorf("GET %s counted %+v, want %+v", test.path, got, test.want)
			}
		})
	}
}

// pollClient polls over one connection that stays open, as browsers do. It has
// no goroutine of its own, which leaves benchmarks to the server and lets a
// synctest bubble hold it.
type pollClient struct {
	conn    net.Conn
	answers *bufio.Reader
	bytes   int // received so far
}

// Read counts what arrives for answers.
func (c *pollClient) Read(p []byte) (n int, err error) {
	n, err = c.conn.Read(p)
	c.bytes += n
	return n, err
}

func newPollClient(t testing.TB, url string) *pollClient {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &pollClient{conn: conn}
	c.answers = bufio.NewReader(c)
	return c
}

// get sends a GET for path and returns the answer, its body read.
func (c *pollClient) get(path, ifNoneMatch string) (*http.Response, []byte, error) {
	request := "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n"
	if ifNoneMatch != "" {
		request += "If-None-Match: " + ifNoneMatch + "\r\n"
	}
	if _, err := io.WriteString(c.conn, request+"\r\n"); err != nil {
		return nil, nil, err
	}
	resp, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// TestIdleHour lets the lesson's 50 users poll every 5 seconds for an hour in
// which nothing changes. In a synctest bubble the hour is over as soon as all
// polls are answered.
func TestIdleHour(t *testing.T) {
	url, _ := newServer(t)
	resp, body := send(t, "GET", url+"/boards/board-1/updates", "")
	var answer struct{ Timestamp string }
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, ifNoneMatch string
		want              counters
		wantBytes         int
	}{
		{name: "200 as in the lesson", want: counters{Polls: 36_000, PollsEmpty: 36_000}, wantBytes: 36_000 * 263},
		{name: "304", ifNoneMatch: resp.Header.Get("ETag"), want: counters{Polls: 36_000, PollsNotModified: 36_000}, wantBytes: 36_000 * 170},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := readCounters(t, url, counters{})
			clients := make([]*pollClient, 50)
			for i := range clients {
				clients[i] = newPollClient(t, url)
			}
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var users sync.WaitGroup
				for _, client := range clients {
					users.Go(func() {
						for range 720 {
							if _, _, err := client.get("/boards/board-1/updates?since="+answer.Timestamp, test.ifNoneMatch); err != nil {
								t.Error(err)
							}
							time.Sleep(5 * time.Second)
						}
					})
				}
				users.Wait()
				if took := time.Since(start); took != time.Hour {
					t.Errorf("the polls took %v, want an hour", took)
				}
			})
			if got := readCounters(t, url, before); got != test.want {
				t.Errorf("the hour counted %+v, want %+v", got, test.want)
			}
			bytes := 0
			for _, client := range clients {
				bytes += client.bytes
			}
			if bytes != test.wantBytes {
				t.Errorf("the hour's answers have %d bytes, want %d", bytes, test.wantBytes)
			}
		})
	}
}

// TestQueryPlans looks at how SQLite answers the two polls: from the indexes
// that are meant for them, without reading a whole table, and without sorting
// the full board.
func TestQueryPlans(t *testing.T) {
	_, path := newServer(t)
	shell := openShell(t, path)
	for _, test := range []struct {
		name, query string
		args        []any
		want, not   string
	}{
		{name: "full board", query: boardTasksQuery, args: []any{"board-1"}, want: "INDEX tasks_live (list_id=?)", not: "TEMP B-TREE"},
		{name: "changed tasks", query: changedTasksQuery, args: []any{"board-1", ""}, want: "INDEX tasks_changed (list_id=? AND updated_at>?)", not: "SCAN t"},
	} {
		t.Run(test.name, func(t *testing.T) {
			rows, err := shell.Query("EXPLAIN QUERY PLAN "+test.query, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			var plan string
			for rows.Next() {
				var id, parent, unused int
				var step string
				if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
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

// startProgram starts the program on a free port and returns its URL. It is
// killed at the end of the test if it has not ended before.
func startProgram(t testing.TB, path string) (url string, program *exec.Cmd) {
	t.Helper()
	program = exec.Command(os.Args[0], "-addr", "localhost:0", "-db", path)
	program.Env = append(os.Environ(), "SHORTPOLL_PROGRAM=1")
	stderr, err := program.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Process.Kill() })
	line, err := bufio.NewReader(stderr).ReadString('\n')
	url = regexp.MustCompile(`http://localhost:\d+`).FindString(line)
	if url == "" {
		t.Fatalf("first line = %q, %v; want it to have a URL", line, err)
	}
	return url, program
}

// TestStop ends the program while a request is half-sent. The request must be
// answered, and nothing may be left open.
func TestStop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "taskboard.db")
	url, program := startProgram(t, path)
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const body = `{"list_id":"list-1","title":"Late"}`
	fmt.Fprintf(conn, "POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	answer := bufio.NewReader(conn)
	// The handler asks for the body, so the request is running.
	if line, err := answer.ReadString('\n'); !strings.Contains(line, "100 Continue") {
		t.Fatalf("first line = %q, %v; want 100 Continue", line, err)
	}
	answer.ReadString('\n')
	program.Process.Signal(syscall.SIGTERM)
	for { // until it has stopped to accept connections
		c, err := net.Dial("tcp", conn.RemoteAddr().String())
		if err != nil {
			break
		}
		c.Close()
	}
	io.WriteString(conn, body)
	resp, err := http.ReadResponse(answer, nil)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Errorf("a request that ran at the stop: %v, %v; want 201", resp, err)
	}
	if err := program.Wait(); err != nil {
		t.Errorf("the program ended with %v, want exit code 0", err)
	}
	// SQLite removes this file when the last connection closes, unless a
	// statement is still open on it.
	if _, err := os.Stat(path + "-wal"); !os.IsNotExist(err) {
		t.Errorf("the write-ahead log is still there (%v), want the database closed", err)
	}
}

// TestKill ends the program with SIGKILL while clients write. Every write that
// was answered must be there when it runs again, and nothing come back.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "taskboard.db")
	url, program := startProgram(t, path)
	write(t, "DELETE", url+"/tasks/task-1", "")
	write(t, "PATCH", url+"/tasks/task-2", `{"title":"Changed"}`)

	answered := make(chan string) // ids
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for { // until the program is gone
				resp, err := http.Post(url+"/tasks", "application/json", strings.NewReader(`{"list_id":"list-1","title":"x"}`))
				if err != nil {
					return
				}
				var got struct{ Data Task }
				err = json.NewDecoder(resp.Body).Decode(&got)
				resp.Body.Close()
				if err != nil {
					return
				}
				answered <- got.Data.ID
			}
		})
	}
	go func() { writers.Wait(); close(answered) }()
	var want []string
	for id := range answered {
		if want = append(want, id); len(want) == 100 {
			program.Process.Kill()
		}
	}
	program.Wait()

	url, _ = startProgram(t, path)
	tasks, _ := poll(t, url, "")
	got := map[string]Task{}
	for _, task := range tasks {
		got[task.ID] = task
	}
	for _, id := range want {
		if _, ok := got[id]; !ok {
			t.Errorf("the answered write of %s is lost", id)
		}
	}
	if _, ok := got["task-1"]; ok || got["task-2"].Title != "Changed" {
		t.Errorf("after a restart: %+v, want task-1 deleted and task-2 changed", got)
	}
}

// TestSlowClients sends two hundred requests by half. An honest one must not
// wait for them, and they must not stay for ever.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	url, _ := startProgram(t, filepath.Join(t.TempDir(), "taskboard.db"))
	var slow []net.Conn
	for i := range 200 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, "POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n")
		if i%2 == 0 {
			io.WriteString(conn, "\r\n{")
		}
		slow = append(slow, conn)
	}
	poll(t, url, "")
	write(t, "POST", url+"/tasks", `{"list_id":"list-1","title":"x"}`)
	for _, conn := range slow {
		conn.SetReadDeadline(time.Now().Add(time.Nanosecond))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a slow client read %v before the honest one had its answer, want nothing yet", err)
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for _, conn := range slow {
		conn.SetReadDeadline(deadline)
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Fatalf("a slow client's connection: %v, want it closed", err)
		}
	}
}

// TestStartErrors starts the program where it can't run. It must say why in one
// line, with exit code 1.
func TestStartErrors(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := os.WriteFile(filepath.Join(dir, "text.db"), []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openShell(t, filepath.Join(dir, "other.db")).Exec(`CREATE TABLE tasks (id INTEGER PRIMARY KEY, name TEXT)`); err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(filepath.Join(dir, "other.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{name: "port in use", args: []string{"-addr", listener.Addr().String()}, want: "address already in use"},
		{name: "no such folder", args: []string{"-db", filepath.Join(dir, "none", "x.db")}, want: "unable to open database file"},
		{name: "a folder", args: []string{"-db", dir}, want: "unable to open database file"},
		{name: "no database", args: []string{"-db", filepath.Join(dir, "text.db")}, want: "not a database"},
		{name: "another schema", args: []string{"-db", filepath.Join(dir, "other.db")}, want: "another program"},
		{name: "stray argument", args: []string{"other.db"}, want: "unexpected argument"},
		{name: "interval too short", args: []string{"-interval", "500ms"}, want: "whole seconds"},
		{name: "interval with a fraction", args: []string{"-interval", "1500ms"}, want: "whole seconds"},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"-addr", "localhost:0", "-db", filepath.Join(dir, "new.db")}, test.args...)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			program := exec.CommandContext(ctx, os.Args[0], args...)
			program.Env = append(os.Environ(), "SHORTPOLL_PROGRAM=1")
			output, _ := program.CombinedOutput()
			if code := program.ProcessState.ExitCode(); code != 1 {
				t.Errorf("shortpoll %q: exit code %d, want 1", args, code)
			}
			if got := string(output); strings.Count(got, "\n") != 1 || !strings.Contains(got, test.want) {
				t.Errorf("shortpoll %q printed %q, want one line with %q", args, got, test.want)
			}
		})
	}
	if after, err := os.ReadFile(filepath.Join(dir, "other.db")); err != nil || !bytes.Equal(after, other) {
		t.Errorf("the other program's database was changed (%v)", err)
	}
}

// FuzzSince compares the text that SQLite compares with times that Go compares.
func FuzzSince(f *testing.F) {
	url, _ := newServer(f)
	board, _ := poll(f, url, "")
	for _, since := range []string{
		"2026-11-24T10:45:00.123Z", "2026-11-24t10:45:00.9999999z", "2026-11-24T10:45:00+01:00",
		"9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00", "2099-01-01T00:00:00Z",
		"2026-11-24 10:45:00", "2026-11-24T10:45:00,5Z", "2026-11-24T1:45:00Z", "2026-02-30T10:45:00Z",
		"2026-11-24T24:00:00Z", "2026-12-31T23:59:60Z", "2026-11-24T10:45:00+24:00", "", "%", board[2].UpdatedAt,
	} {
		f.Add(since)
	}
	rfc3339 := regexp.MustCompile(`(?i)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)
	f.Fuzz(func(t *testing.T, since string) {
		resp, body := send(t, "GET", url+"/boards/board-1/updates?since="+neturl.QueryEscape(since), "")
		instant, err := time.Parse(time.RFC3339, strings.ToUpper(since))
		if since != "" && (err != nil || !rfc3339.MatchString(since)) {
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("since=%q: status %d, want 400", since, resp.StatusCode)
			}
			return
		}
		var want []Task
		for _, task := range board {
			updated, _ := time.Parse(time.RFC3339, task.UpdatedAt)
			if since == "" || updated.After(instant.Truncate(time.Millisecond)) {
				want = append(want, task)
			}
		}
		var got struct{ Data []Task }
		if err := json.Unmarshal(body, &got); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("since=%q: status %d, body %s; want 200", since, resp.StatusCode, body)
		}
		if !slices.Equal(got.Data, want) {
			t.Errorf("since=%q: %q, want %q", since, ids(got.Data), ids(want))
		}
	})
}

// fillBoard adds tasks to board-1 until it has size of them, and returns the
// path of a poll that finds one change, and one that finds none.
func fillBoard(b *testing.B, path string, size int) (oneChange, idle string) {
	b.Helper()
	shell := openShell(b, path)
	if _, err := shell.Exec(`
		INSERT INTO tasks (id, list_id, title, description, position)
		WITH RECURSIVE n (i) AS (SELECT 6 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		SELECT 'task-' || i, 'list-' || (i % 3 + 1), 'Title of a task', 'A line that describes it', i FROM n`, size); err != nil {
		b.Fatal(err)
	}
	var last, previous string
	if err := shell.QueryRow(`
		SELECT max(updated_at), strftime('%Y-%m-%dT%H:%M:%fZ', max(updated_at), '-0.001 seconds') FROM tasks`).Scan(&last, &previous); err != nil {
		b.Fatal(err)
	}
	return "/boards/board-1/updates?since=" + previous, "/boards/board-1/updates?since=" + last
}

// BenchmarkPoll polls over four connections that stay open, on boards of several
// sizes. In turn with each round it asks a handler that answers the same bytes
// from memory: what a poll costs beyond net/http shows in of-constant, the
// server's rate divided by that handler's.
func BenchmarkPoll(b *testing.B) {
	for _, size := range []int{20, 1_000, 100_000} {
		url, path := newServer(b)
		oneChange, idle := fillBoard(b, path, size)
		resp, _ := send(b, "GET", url+idle, "")
		etag := resp.Header.Get("ETag")
		for _, test := range []struct {
			name, path, ifNoneMatch string
			wantStatus              int
		}{
			{name: "idle-304", path: idle, ifNoneMatch: etag, wantStatus: 304},
			{name: "idle-200", path: idle, wantStatus: 200},
			{name: "one-change", path: oneChange, wantStatus: 200},
			{name: "full-board", path: "/boards/board-1/updates", wantStatus: 200},
		} {
			if test.name == "full-board" && size > 1_000 {
				continue // nobody should poll a whole board of that size
			}
			b.Run(fmt.Sprintf("tasks=%d/%s", size, test.name), func(b *testing.B) {
				resp, body, err := newPollClient(b, url).get(test.path, test.ifNoneMatch)
				if err != nil || resp.StatusCode != test.wantStatus {
					b.Fatalf("GET %s: %v, %v; want %d", test.path, resp, err, test.wantStatus)
				}
				constant := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					maps.Copy(w.Header(), resp.Header)
					w.WriteHeader(resp.StatusCode)
					w.Write(body)
				}))
				defer constant.Close()

				// round polls n times and returns how long that took.
				round := func(clients []*pollClient, n int) time.Duration {
					start := time.Now()
					var wg sync.WaitGroup
					for i, client := range clients {
						wg.Go(func() {
							for range (n + i) / len(clients) { // adds up to n
								if _, _, err := client.get(test.path, test.ifNoneMatch); err != nil {
									b.Error(err)
								}
							}
						})
					}
					wg.Wait()
					return time.Since(start)
				}
				clients, constantClients := make([]*pollClient, 4), make([]*pollClient, 4)
				for i := range clients {
					clients[i] = newPollClient(b, url)
					constantClients[i] = newPollClient(b, constant.URL)
				}
				var took, constantTook time.Duration
				b.ReportAllocs()
				b.ResetTimer()
				for left := b.N; left > 0; left -= 1_000 {
					n := min(left, 1_000)
					took += round(clients, n)
					b.StopTimer()
					constantTook += round(constantClients, n)
					b.StartTimer()
				}
				bytes := 0
				for _, client := range clients {
					bytes += client.bytes
				}
				b.ReportMetric(float64(b.N)/took.Seconds(), "polls/s")
				b.ReportMetric(float64(bytes)/float64(b.N), "wire-B/poll")
				b.ReportMetric(constantTook.Seconds()/took.Seconds(), "of-constant")
			})
		}
	}
}

// BenchmarkIdleHour runs the program as a process of its own through the polls
// of TestIdleHour, without the pauses, and reports its CPU time.
func BenchmarkIdleHour(b *testing.B) {
	for _, test := range []struct {
		name        string
		conditional bool
	}{
		{name: "200-as-in-the-lesson"},
		{name: "304", conditional: true},
	} {
		b.Run(test.name, func(b *testing.B) {
			var cpu time.Duration
			for range b.N {
				url, program := startProgram(b, filepath.Join(b.TempDir(), "taskboard.db"))
				_, timestamp := poll(b, url, "")
				ifNoneMatch := ""
				if test.conditional {
					resp, _ := send(b, "GET", url+"/boards/board-1/updates", "")
					ifNoneMatch = resp.Header.Get("ETag")
				}
				var users sync.WaitGroup
				for range 50 {
					client := newPollClient(b, url)
					users.Go(func() {
						for range 720 {
							if _, _, err := client.get("/boards/board-1/updates?since="+timestamp, ifNoneMatch); err != nil {
								b.Error(err)
							}
						}
					})
				}
				users.Wait()
				http.DefaultClient.CloseIdleConnections()
				program.Process.Kill() // a stop would wait for the clients' connections
				program.Wait()
				cpu += program.ProcessState.UserTime() + program.ProcessState.SystemTime()
			}
			b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/hour")
		})
	}
}

// BenchmarkQuery asks SQLite for one change on a board of 1,000 tasks: with the
// lesson's join, written into each request or prepared once, and with ours.
func BenchmarkQuery(b *testing.B) {
	_, path := newServer(b)
	oneChange, _ := fillBoard(b, path, 1_000)
	_, since, _ := strings.Cut(oneChange, "=")
	shell := openShell(b, path)
	lesson := strings.Replace(changedTasksQuery, "(SELECT ?)", "?", 1)
	prepare := func(query string) func(...any) (*sql.Rows, error) {
		statement, err := shell.Prepare(query)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { statement.Close() })
		return statement.Query
	}
	for _, test := range []struct {
		name  string
		query func(...any) (*sql.Rows, error)
	}{
		{name: "lesson", query: func(args ...any) (*sql.Rows, error) { return shell.Query(lesson, args...) }},
		{name: "lesson-prepared", query: prepare(lesson)},
		{name: "ours-prepared", query: prepare(changedTasksQuery)},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rows, err := test.query("board-1", since)
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for ; rows.Next(); n++ {
				}
				if err := errors.Join(rows.Err(), rows.Close()); err != nil || n != 1 {
					b.Fatalf("%d rows, %v; want 1", n, err)
				}
			}
		})
	}
}

// BenchmarkWrite creates tasks, one after the other.
func BenchmarkWrite(b *testing.B) {
	url, _ := newServer(b)
	b.ReportAllocs()
	for b.Loop() {
		write(b, "POST", url+"/tasks", `{"list_id":"list-1","title":"x"}`)
	}
}
