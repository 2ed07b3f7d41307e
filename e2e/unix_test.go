//go:build unix

package e2e_test

import (
	"bufio"
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
)

// TestStop ends the program while a request is half-sent. The request must have its response, and nothing may be left
// open.
func TestStop(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			stopBy(t, signal)
		})
	}
}

// stopBy does the work of TestStop with one signal.
func stopBy(t *testing.T, signal syscall.Signal) {
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
	cmd.Process.Signal(signal)
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

// TestReadOnly starts the program with a file that it may not write, in a folder that it may.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "taskboard.db")
	_, cmd := start(t, path)
	stop(cmd)
	for name, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o777, path: 0o444} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	cmd = exec.Command(program, "-addr", "localhost:0", "-db", path)
	if os.Getuid() == 0 { // root may write any file
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	checkStartError(t, cmd, path, "readonly database")
}
