package e2e_test

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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

const busyTimeout = 5 * time.Second // as in main.go

// lockDatabase locks a database as strictly as another process can, until unlock is called.
func lockDatabase(t *testing.T, path string) (unlock func()) {
	t.Helper()
	db, err := sql.Open("sqlite3", path+"?_txlock=exclusive")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	lock, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := lock.Rollback(); err != nil {
			t.Error(err)
		}
	}
}

// TestLockedDatabase locks the database for longer than a write may wait. With a write-ahead log that keeps no poll out.
func TestLockedDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "taskboard.db")
	url, _ := start(t, path)
	unlock := lockDatabase(t, path)
	var writers sync.WaitGroup
	done := make(chan struct{})
	for range 8 { // more than there are connections: a write may not keep one from a poll
		writers.Go(func() {
			start := time.Now()
			if status, retryAfter, _, err := create(url); status != 503 || retryAfter != "1" {
				t.Errorf("write: status %d, Retry-After %q, %v; want 503, 1", status, retryAfter, err)
			}
			if took := time.Since(start); took < busyTimeout {
				t.Errorf("write: took %v, want at least %v", took, busyTimeout)
			}
		})
	}
	go func() { writers.Wait(); close(done) }()
	polls := 0
	for waiting := true; waiting; polls++ {
		tasks(t, url)
		select {
		case <-done:
			waiting = false
		default:
		}
	}
	if polls < 20 { // if a poll waited for a write, there would be time for two or three
		t.Errorf("%d polls while writers waited, want at least 20", polls)
	}
	unlock()
	if status, _, _, err := create(url); status != http.StatusCreated {
		t.Errorf("write after the lock: status %d, %v; want 201", status, err)
	}
}

// TestTwoWaits locks the database until a write has waited for the one before it, and then for the lock: each wait for
// less than the timeout, and both together for longer.
func TestTwoWaits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "taskboard.db")
	url, _ := start(t, path)
	unlock := lockDatabase(t, path)
	statuses := make(chan int)
	write := func() {
		status, _, _, err := create(url)
		if err != nil {
			t.Error(err)
		}
		statuses <- status
	}
	go write()
	<-time.After(busyTimeout * 2 / 5)
	go write()
	if status := <-statuses; status != http.StatusServiceUnavailable { // after busyTimeout
		t.Errorf("the first write: status %d, want 503", status)
	}
	<-time.After(busyTimeout / 2)
	unlock()
	if status := <-statuses; status != http.StatusCreated {
		t.Errorf("the second write: status %d, want 201", status)
	}
}

// TestSlowClients sends half a header and half a body. The program must close the connections.
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
	for _, conn := range slow {
		conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("a slow client's connection: %v, want it closed", err)
		}
	}
}

// TestIdleConnection keeps a connection open between two polls for longer than the program waits for a slow client.
func TestIdleConnection(t *testing.T) {
	t.Parallel()
	conn, err := net.Dial("tcp", strings.TrimPrefix(startServer(t), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	responses := bufio.NewReader(conn)
	poll := func() {
		t.Helper()
		io.WriteString(conn, "HEAD /boards/board-1/updates HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, err := http.ReadResponse(responses, nil); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("poll on a connection that stays open: %v, %v; want 200", resp, err)
		}
	}
	poll()
	conn.SetReadDeadline(time.Now().Add(6 * time.Second)) // ReadTimeout and a second
	if _, err := responses.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("reading from an idle connection: %v, want it to stay open", err)
	}
	conn.SetReadDeadline(time.Time{})
	poll()
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

// TestFlags asks for the defaults of the flags. The address must stay one that only this machine can reach.
func TestFlags(t *testing.T) {
	t.Parallel()
	openSources(t)
	output, err := exec.Command(program, "-help").CombinedOutput()
	if err != nil {
		t.Errorf("shortpoll -help: %v", err)
	}
	for _, want := range []string{`(default "localhost:3000")`, `(default "taskboard.db")`, `(default 5s)`} {
		if !strings.Contains(string(output), want) {
			t.Errorf("shortpoll -help printed\n%s\nwant %s", output, want)
		}
	}
	for interval, want := range map[string]string{"1s": "1", "1h": "3600"} {
		resp, err := http.Get(startServer(t, "-interval", interval) + "/boards/board-1/updates")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("X-Poll-Interval"); got != want {
			t.Errorf("with -interval %s, X-Poll-Interval = %q, want %s", interval, got, want)
		}
	}
}

// TestStartErrors starts the program where it cannot run.
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
	_, cmd := start(t, path("older.db"))
	stop(cmd)
	execute("older.db", `UPDATE schema_checksum SET sha256 = 'the checksum of another schema.sql'`)
	for _, test := range []struct {
		name, flag, value, want string
	}{
		{name: "port in use", flag: "-addr", value: listener.Addr().String(), want: "listen tcp 127.0.0.1:"},
		{name: "no such folder", flag: "-db", value: path("none/x.db"), want: "unable to open database file"},
		{name: "a folder", flag: "-db", value: dir, want: "unable to open database file"},
		{name: "no database", flag: "-db", value: path("text.db"), want: "not a database"},
		{name: "another program's", flag: "-db", value: path("other.db"), want: "name another file with -db"},
		{name: "another schema.sql", flag: "-db", value: path("older.db"), want: "older.db: another schema.sql"},
		{name: "interval too short", flag: "-interval", value: "0s", want: "whole seconds, from 1s to 1h"},
		{name: "interval too long", flag: "-interval", value: "61m", want: "whole seconds, from 1s to 1h"},
		{name: "interval with a fraction", flag: "-interval", value: "1500ms", want: "whole seconds"},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := []string{"-addr", "localhost:0", "-db", path("new.db"), test.flag, test.value}
			checkStartError(t, exec.Command(program, args...), test.value, test.want)
		})
	}
	if _, err := os.Stat(path("new.db")); !os.IsNotExist(err) {
		t.Errorf("new.db is there (%v), although no start with it came as far as the database", err)
	}
}

// checkStartError runs a program that cannot run. It must say why in one line, with exit code 1, and leave the file at
// path, if there is one, as it was.
func checkStartError(t *testing.T, cmd *exec.Cmd, path, want string) {
	t.Helper()
	before, _ := os.ReadFile(path)
	stopWaiting := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer stopWaiting.Stop()
	output, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("%q: exit code %d, want 1", cmd.Args, code)
	}
	if got := string(output); strings.Count(got, "\n") != 1 || !strings.Contains(got, want) {
		t.Errorf("%q printed %q, want one line with %q", cmd.Args, got, want)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
		t.Errorf("%q changed the file", cmd.Args)
	}
}
