package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestStartTogether starts several programs at once on one fresh file. One makes the board, the others wait for it.
func TestStartTogether(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "taskboard.db")
	var outputs []io.Reader
	for range 8 {
		_, stderr := launch(t, path)
		outputs = append(outputs, stderr)
	}
	for _, stderr := range outputs {
		if got := tasks(t, waitForURL(t, stderr)); len(got) != 5 {
			t.Errorf("tasks = %v, want the 5 of the demo board", got)
		}
	}
}

// tasks returns the titles of the tasks of board-1 by their ids.
func tasks(t *testing.T, url string) map[string]string {
	t.Helper()
	resp, err := http.Get(url + "/boards/board-1/updates")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct{ Data []struct{ ID, Title string } }
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("poll: %v, %v; want 200", resp.Status, err)
	}
	titles := map[string]string{}
	for _, task := range got.Data {
		titles[task.ID] = task.Title
	}
	return titles
}

// create creates a task and returns the status of the response, its Retry-After and the id of the task.
func create(url string) (status int, retryAfter, id string, err error) {
	body := strings.NewReader(`{"list_id":"list-1","title":"x"}`)
	resp, err := http.Post(url+"/tasks", "application/json", body)
	if err != nil {
		return 0, "", "", err
	}
	defer resp.Body.Close()
	var got struct{ Data struct{ ID string } }
	err = json.NewDecoder(resp.Body).Decode(&got)
	return resp.StatusCode, resp.Header.Get("Retry-After"), got.Data.ID, err
}

// TestStop ends the program while a request is half-sent. The request must have its response, and nothing may be left
// open.
func TestStop(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "taskboard.db")
	url, cmd := start(t, path)
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const body = `{"list_id":"list-1","title":"Late"}`
	fmt.Fprintf(conn, "POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	responses := bufio.NewReader(conn)
	// The handler asks for the body, so the request is running.
	if line, err := responses.ReadString('\n'); !strings.Contains(line, "100 Continue") {
		t.Fatalf("first line = %q, %v; want 100 Continue", line, err)
	}
	responses.ReadString('\n')
	cmd.Process.Signal(syscall.SIGTERM)
	for { // until the program has stopped to accept connections
		c, err := net.Dial("tcp", conn.RemoteAddr().String())
		if err != nil {
			break
		}
		c.Close()
	}
	io.WriteString(conn, body)
	resp, err := http.ReadResponse(responses, nil)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Errorf("a request that ran at the stop: %v, %v; want 201", resp, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the program ended with %v, want exit code 0", err)
	}
	// SQLite removes this file when the last connection closes, unless a statement is still open on it.
	if _, err := os.Stat(path + "-wal"); !os.IsNotExist(err) {
		t.Errorf("the write-ahead log is still there (%v), want the database closed", err)
	}
}

// TestKill ends the program with SIGKILL while clients write. Every write that had its response must be there when the
// program runs again, and nothing may come back.
func TestKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "taskboard.db")
	url, cmd := start(t, path)
	for method, body := range map[string]string{"DELETE": "", "PATCH": `{"title":"Changed"}`} {
		target := url + map[string]string{"DELETE": "/tasks/task-1", "PATCH": "/tasks/task-2"}[method]
		req, err := http.NewRequest(method, target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %v, %v; want 200", method, target, resp, err)
		}
		resp.Body.Close()
	}

	created := make(chan string) // ids
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for { // until the program is gone
				_, _, id, err := create(url)
				if err != nil {
					return
				}
				created <- id
			}
		})
	}
	go func() { writers.Wait(); close(created) }()
	var want []string
	for id := range created {
		if want = append(want, id); len(want) == 100 {
			cmd.Process.Kill()
		}
	}
	cmd.Wait()

	url, _ = start(t, path)
	got := tasks(t, url)
	for _, id := range want {
		if _, ok := got[id]; !ok {
			t.Errorf("task %s is lost, although its client had a response", id)
		}
	}
	if _, ok := got["task-1"]; ok || got["task-2"] != "Changed" {
		t.Errorf("after a restart: %v, want task-1 deleted and task-2 changed", got)
	}
}

// TestLockedDatabase holds the strictest lock that there is, from another process. With a write-ahead log it does not
// keep polls out.
func TestLockedDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "taskboard.db")
	url, _ := start(t, path)
	db, err := sql.Open("sqlite3", path+"?_txlock=exclusive")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	lock, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	const busyTimeout = 5 * time.Second // as in main.go
	var writers sync.WaitGroup
	done := make(chan struct{})
	for range 8 { // more than there are connections: a write may not keep one from a poll
		writers.Go(func() {
			start := time.Now()
			if status, retryAfter, _, err := create(url); status != 503 || retryAfter != "1" {
				t.Errorf("write: status %d, Retry-After %q, %v; want 503, 1", status, retryAfter, err)
			}
			if took := time.Since(start); took > 2*busyTimeout+time.Second {
				t.Errorf("write: took %v, want at most twice %v", took, busyTimeout)
			}
		})
	}
	go func() { writers.Wait(); close(done) }()
	for waiting := true; waiting; {
		start := time.Now()
		tasks(t, url)
		if took := time.Since(start); took > busyTimeout/2 {
			t.Errorf("a poll took %v while writers waited", took)
		}
		select {
		case <-done:
			waiting = false
		default:
		}
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if status, _, _, err := create(url); status != http.StatusCreated {
		t.Errorf("write after the lock: status %d, %v; want 201", status, err)
	}
}

// TestSlowClients sends half a header and half a body. An honest client must not wait for them, and the program must
// close their connections.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	url := startServer(t)
	const header = "POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n"
	var slow []net.Conn
	for _, sent := range []string{header, header + "\r\n{"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, sent)
		slow = append(slow, conn)
	}
	tasks(t, url)
	for _, conn := range slow {
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("a slow client's connection: %v, want it closed", err)
		}
	}
}

// TestCookies sends what a browser sends that has visited many other programs on localhost: cookies are kept for a
// host, whatever its port.
func TestCookies(t *testing.T) {
	t.Parallel()
	url := startServer(t)
	req, err := http.NewRequest("GET", url+"/boards/board-1/updates", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", "other="+strings.Repeat("x", 100_000))
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("poll with 100 kB of cookies: %v, %v; want 200", resp, err)
	}
}

// TestPage asks for the page and the files that it loads.
func TestPage(t *testing.T) {
	t.Parallel()
	url := startServer(t)
	for _, test := range []struct {
		path string
		want int
	}{
		{path: "/", want: 200},
		{path: "/client/index.html", want: 200},
		{path: "/client/poll.js", want: 200},
		{path: "/client/none.js", want: 404},
		{path: "/client/README.md", want: 404},
	} {
		t.Run(test.path, func(t *testing.T) {
			resp, err := http.Get(url + test.path)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			policy := resp.Header.Get("Content-Security-Policy")
			if resp.StatusCode != test.want || policy != "default-src 'self'; frame-ancestors 'none'" {
				t.Errorf("GET %s: status %d, policy %q; want %d", test.path, resp.StatusCode, policy, test.want)
			}
		})
	}
}

// TestStartErrors starts the program where it cannot run. It must say why in one line, with exit code 1, and leave the
// file as it was.
func TestStartErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	path := func(name string) string { return filepath.Join(dir, name) }
	execute := func(name, statement string) {
		db, err := sql.Open("sqlite3", path(name))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path("text.db"), []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	execute("other.db", `CREATE TABLE tasks (id INTEGER PRIMARY KEY, name TEXT)`)
	for _, name := range []string{"older.db", "readonly.db"} {
		_, cmd := start(t, path(name))
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}
	execute("older.db", `UPDATE schema_checksum SET sha256 = 'the checksum of another schema.sql'`)
	// The other user may use the folders, but not write the file.
	for name, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o777, path("readonly.db"): 0o444} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name, flag, value, want string
	}{
		{name: "port in use", flag: "-addr", value: listener.Addr().String(), want: "address already in use"},
		{name: "no such folder", flag: "-db", value: path("none/x.db"), want: "unable to open database file"},
		{name: "a folder", flag: "-db", value: dir, want: "unable to open database file"},
		{name: "no database", flag: "-db", value: path("text.db"), want: "not a database"},
		{name: "another program's", flag: "-db", value: path("other.db"), want: "name another file with -db"},
		{name: "another schema.sql", flag: "-db", value: path("older.db"), want: "older.db: another schema.sql"},
		{name: "read-only", flag: "-db", value: path("readonly.db"), want: "readonly database"},
		{name: "interval too short", flag: "-interval", value: "0s", want: "whole seconds, from 1s to 1h"},
		{name: "interval too long", flag: "-interval", value: "61m", want: "whole seconds, from 1s to 1h"},
		{name: "interval with a fraction", flag: "-interval", value: "1500ms", want: "whole seconds"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, _ := os.ReadFile(test.value)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			args := []string{"-addr", "localhost:0", "-db", path("new.db"), test.flag, test.value}
			cmd := exec.CommandContext(ctx, program, args...)
			if test.name == "read-only" && os.Getuid() == 0 { // root may write any file
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}
			output, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != 1 {
				t.Errorf("shortpoll %q: exit code %d, want 1", args, code)
			}
			if got := string(output); strings.Count(got, "\n") != 1 || !strings.Contains(got, test.want) {
				t.Errorf("shortpoll %q printed %q, want one line with %q", args, got, test.want)
			}
			if after, _ := os.ReadFile(test.value); !bytes.Equal(after, before) {
				t.Errorf("shortpoll %q changed the file", args)
			}
		})
	}
	if _, err := os.Stat(path("new.db")); !os.IsNotExist(err) {
		t.Errorf("new.db is there (%v), although no start with it came as far as the database", err)
	}
}
