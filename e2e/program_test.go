//go:build unix

package e2e_test

import (
	"bufio"
	"bytes"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFlags asks for the defaults of the flags. The address must stay one that only this machine can reach.
func TestFlags(t *testing.T) {
	t.Parallel()
	output, _ := exec.Command(program, "-help").CombinedOutput()
	addr, db := `(default "localhost:3000")`, `(default "taskboard.db")`
	if help := string(output); !strings.Contains(help, addr) || !strings.Contains(help, db) {
		t.Errorf("shortpoll -help printed\n%s\nwant %s and %s", help, addr, db)
	}
}

// stop ends the program as Ctrl-C does, and waits until it has ended.
func stop(cmd *exec.Cmd) {
	cmd.Process.Signal(os.Interrupt)
	cmd.Wait()
}

// TestStartErrors starts the program where it cannot run. It must say why in one line, with exit code 1, and leave the
// file as it was.
func TestStartErrors(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	path := filepath.Join(t.TempDir(), "taskboard.db")
	_, cmd := start(t, path)
	stop(cmd)
	readOnly, _ := os.ReadFile(path)
	readOnly[18] = 3 // only a later SQLite may write it; whatever a file's mode is, root may
	for _, test := range []struct {
		name string
		file []byte // the database
		sql  string // run on it before
		args []string
		want string
	}{
		{name: "port in use", args: []string{"-addr", listener.Addr().String()}, want: "listen tcp 127.0.0.1:"},
		{name: "no such folder", args: []string{"-db", path + ".none/x.db"}, want: "unable to open database file"},
		{name: "interval too short", args: []string{"-interval", "500ms"}, want: "whole seconds, from 1s to 1h"},
		{name: "interval too long", args: []string{"-interval", "61m"}, want: "whole seconds, from 1s to 1h"},
		{name: "behind the flags", args: []string{"extra", "-db", "other.db"}, want: "extra"},
		{name: "no database", file: bytes.Repeat([]byte("no database "), 100), want: "not a database"},
		{name: "may not be written", file: readOnly, want: "readonly database"},
		{name: "another program's", sql: `CREATE TABLE tasks (id INTEGER PRIMARY KEY)`, want: "boards is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "taskboard.db")
			if test.file != nil {
				os.WriteFile(path, test.file, 0o600)
			}
			if test.sql != "" {
				db, _ := sql.Open("sqlite3", path)
				db.Exec(test.sql)
				db.Close()
			}
			before, _ := os.ReadFile(path)
			cmd := exec.Command(program, append([]string{"-addr", "localhost:0", "-db", path}, test.args...)...)
			defer time.AfterFunc(patience, func() { cmd.Process.Kill() }).Stop()
			output, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != 1 {
				t.Errorf("%q: exit code %d, want 1", cmd.Args, got)
			}
			if got := string(output); strings.Count(got, "\n") != 1 || !strings.Contains(got, test.want) {
				t.Errorf("%q printed %q, want one line with %q", cmd.Args, got, test.want)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
				t.Errorf("%q changed the file, or made one", cmd.Args)
			}
		})
	}
}

// TestStop ends the program while a request is half-sent. The request must have its response, nothing may be left open,
// and the next start must show the board as it was left.
func TestStop(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "taskboard.db")
			url, cmd := start(t, path)
			send(t, "DELETE", url+"/tasks/task-1", "")
			conn, responses := dial(t, url)
			const body = `{"list_id":"list-1","title":"Late"}`
			fmt.Fprintf(conn, "POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
				"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
			// The handler asks for the body, so the request is running.
			if line, err := responses.ReadString('\n'); !strings.Contains(line, "100 Continue") {
				t.Fatalf("first line = %q, %v; want 100 Continue", line, err)
			}
			responses.ReadString('\n')
			cmd.Process.Signal(signal)
			addr := conn.RemoteAddr().String()
			for c, err := net.Dial("tcp", addr); err == nil; c, err = net.Dial("tcp", addr) {
				c.Close() // until the program accepts no more connections
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
			url, _ = start(t, path)
			board := string(send(t, "GET", url+"/boards/board-1/updates", ""))
			if strings.Contains(board, "task-1") || !strings.Contains(board, "Late") {
				t.Errorf("after a restart the board has the tasks %s; want no task-1, but one that is called Late", board)
			}
		})
	}
}

// dial opens a connection to a server, which the test's end closes.
func dial(t *testing.T, url string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(patience))
	return conn, bufio.NewReader(conn)
}

// TestSlowClient sends half a body. The program must close the connection.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	conn, responses := dial(t, startServer(t))
	io.WriteString(conn, "POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
	if _, err := io.Copy(io.Discard, responses); err != nil {
		t.Errorf("a slow client's connection: %v, want it closed", err)
	}
}

// TestWatch watches a board until Ctrl-C. Each poll must print what it brought, or why it failed.
func TestWatch(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "taskboard.db")
	server, serving := start(t, path)
	p := newProxy(t, server)
	cmd := exec.Command(program, "-watch", p.URL+"/boards/board-1/updates", "-interval", "1s")
	stdout, _ := cmd.StdoutPipe()
	cmd.Start()
	defer time.AfterFunc(patience, func() { cmd.Process.Kill() }).Stop()
	lines := bufio.NewScanner(stdout)
	polls, nothing := 0, 0
	// see reads lines up to one that says this.
	see := func(want string) {
		t.Helper()
		for lines.Scan() {
			polls++
			_, line, _ := strings.Cut(strings.ReplaceAll(lines.Text(), `"`, ""), " ") // behind the time
			if line == "nothing" {
				nothing++
			}
			if strings.HasPrefix(line, want) {
				return
			}
		}
		t.Fatalf("-watch printed no line with %q", want)
	}
	see("the whole board: See a change arrive")
	see("nothing")
	send(t, "POST", server+"/tasks", `{"list_id":"list-1","title":"Water the plants"}`)
	see("Water the plants")
	send(t, "DELETE", server+"/tasks/task-1", "")
	see("deleted: See a change arrive")
	stop(serving)
	see("error: the server responded with status 502")
	server, _ = start(t, path)
	p.target.Store(server)
	see("the whole board: Open")
	cmd.Process.Signal(os.Interrupt)
	want := fmt.Sprintf("%d polls, %d of them for nothing", polls, nothing)
	if lines.Scan(); lines.Text() != want || cmd.Wait() != nil {
		t.Errorf("the last line = %q, %v; want %q and exit code 0", lines.Text(), cmd.ProcessState, want)
	}
}
