// Package measure_test measures what polling costs. README.md beside it says what the figures mean.
package measure_test

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/mattn/go-sqlite3"
)

// program is the path of the program to measure: the one that PROGRAM names, or else a new build.
var program = os.Getenv("PROGRAM")

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "compare" {
		compare(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	}
	dir := must(os.MkdirTemp("", "shortpoll"))
	if program == "" {
		program = filepath.Join(dir, "shortpoll.exe") // Windows starts no file without this ending
		build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "..")
		if output, err := build.CombinedOutput(); err != nil {
			log.Fatalf("go build: %v\n%s", err, output)
		}
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// must returns a value that came without an error. After an error there is nothing to measure.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// compare is the server that BenchmarkPoll compares the program with. It polls the program once, and sends the bytes of
// that response for each request. Asked for /query, it first reads the board's timestamp with a prepared query. It runs
// in a process of its own, as the program does.
func compare(addr, path, etag, dbPath string) {
	resp, body := connect(addr, 1)[0].get(poll{path, etag})
	db := must(sql.Open("sqlite3", dbPath))
	db.SetMaxOpenConns(1) // as the program's pool for this query
	timestamp := must(db.Prepare(`SELECT updated_at FROM boards WHERE id = ?`))
	listener := must(net.Listen("tcp", "localhost:0"))
	log.Printf("http://localhost:%d", listener.Addr().(*net.TCPAddr).Port)
	srv := &http.Server{
		// As in main.go: net/http sets these times again for each request, which is not free.
		ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/query" {
				if err := timestamp.QueryRow("board-1").Scan(new(string)); err != nil {
					panic(err)
				}
			}
			maps.Copy(w.Header(), resp.Header)
			w.WriteHeader(resp.StatusCode)
			w.Write(body)
		}),
	}
	log.Fatal(srv.Serve(listener))
}

// start starts a server as a process and returns its address. The test's end kills it.
func start(t testing.TB, command ...string) (addr string, cmd *exec.Cmd) {
	t.Helper()
	// go test repeats an earlier result as long as what the tests read is the same. It does not see what go build
	// reads, so the folders of the program are read here.
	must(os.ReadDir(".."))
	must(os.ReadDir("../client"))
	cmd = exec.Command(command[0], command[1:]...)
	stderr := bufio.NewReader(must(cmd.StderrPipe()))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := stderr.ReadString('\n')
	addr = regexp.MustCompile(`localhost:\d+`).FindString(line)
	if addr == "" {
		t.Fatalf("first line of %q = %q, %v; want it to have a URL", command, line, err)
	}
	return addr, cmd
}

// board is the program with a board on it, and polls of it by their names.
type board struct {
	addr, dbPath string
	cmd          *exec.Cmd
	polls        map[string]poll
}

type poll struct{ path, etag string }

// newBoard starts the program with so many tasks.
func newBoard(t testing.TB, tasks int) board {
	t.Helper()
	dbPath := filepath.Join(t.TempDir(), "taskboard.db")
	addr, cmd := start(t, program, "-addr", "localhost:0", "-db", dbPath)
	db := must(sql.Open("sqlite3", dbPath))
	defer db.Close()
	must(db.Exec(`
		INSERT INTO tasks (id, list_id, title, description, position)
		WITH RECURSIVE n (i) AS (SELECT 6 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		SELECT 'task-' || i, 'list-' || (i % 3 + 1), 'Title of a task', 'A line that describes it', i FROM n`, tasks))
	var last, before string
	row := db.QueryRow(`SELECT updated_at, strftime('%Y-%m-%dT%H:%M:%fZ', updated_at, '-0.001 seconds') FROM boards`)
	if err := row.Scan(&last, &before); err != nil {
		t.Fatal(err)
	}
	const path = "/boards/board-1/updates"
	resp, _ := connect(addr, 1)[0].get(poll{path + "?since=" + last, ""})
	return board{addr, dbPath, cmd, map[string]poll{
		"idle-304":   {path + "?since=" + last, resp.Header.Get("ETag")},
		"idle-200":   {path + "?since=" + last, ""},
		"one-change": {path + "?since=" + before, ""},
		"whole":      {path, ""},
	}}
}

// client polls over one connection that stays open, as browsers do. It has no goroutine of its own, which lets a
// synctest bubble hold it.
type client struct {
	net.Conn
	responses *bufio.Reader
}

// connect returns so many clients of one server.
func connect(addr string, n int) (clients []client) {
	for range n {
		conn := must(net.Dial("tcp", addr))
		clients = append(clients, client{conn, bufio.NewReader(conn)})
	}
	return clients
}

// get returns the response to a poll, and its body.
func (c client) get(p poll) (*http.Response, []byte) {
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: %s\r\n\r\n", p.path, p.etag)
	resp := must(http.ReadResponse(c.responses, nil))
	return resp, must(io.ReadAll(resp.Body))
}

// TestIdleHour lets the lesson's 50 users poll every 5 seconds for an hour in which nothing changes. In a synctest
// bubble the hour is over as soon as all polls have their response.
func TestIdleHour(t *testing.T) {
	type counters struct {
		Polls       int `json:"polls"`
		Empty       int `json:"polls_empty"`
		NotModified int `json:"polls_not_modified"`
	}
	for name, want := range map[string]counters{
		"idle-200": {Polls: 36_001, Empty: 36_001}, // with the poll of newBoard
		"idle-304": {Polls: 36_001, Empty: 1, NotModified: 36_000},
	} {
		t.Run(name, func(t *testing.T) {
			board := newBoard(t, 20)
			users := connect(board.addr, 50)
			synctest.Test(t, func(t *testing.T) {
				var hour sync.WaitGroup
				for _, user := range users {
					hour.Go(func() {
						for range 720 {
							user.get(board.polls[name])
							time.Sleep(5 * time.Second)
						}
					})
				}
				hour.Wait()
			})
			_, body := connect(board.addr, 1)[0].get(poll{"/debug/vars", ""})
			var got counters
			if err := json.Unmarshal(body, &got); err != nil || got != want {
				t.Errorf("the hour counted %+v, %v; want %+v", got, err, want)
			}
		})
	}
}

// BenchmarkPoll polls over four connections that stay open. In turn with each round it polls the two servers of compare:
// of-constant is the program's rate divided by that of net/http with the same bytes, and of-query by that of net/http
// with one prepared query and the same bytes, which is the least that a server must do that is right when others write
// to its database. cpu-µs/poll is the CPU time of the program, from its start to its end.
func BenchmarkPoll(b *testing.B) {
	for _, test := range []struct {
		name  string
		tasks int
	}{{"idle-304", 1_000}, {"idle-200", 1_000}, {"one-change", 1_000}, {"whole", 20}, {"whole", 1_000}} {
		b.Run(fmt.Sprintf("%s/tasks=%d", test.name, test.tasks), func(b *testing.B) {
			board := newBoard(b, test.tasks)
			own := board.polls[test.name]
			resp, body := connect(board.addr, 1)[0].get(own)
			if (resp.StatusCode == http.StatusNotModified) != (own.etag != "") {
				b.Fatalf("%+v: status %d", own, resp.StatusCode)
			}
			bytes := len(must(httputil.DumpResponse(resp, false))) + len(body)

			compared, _ := start(b, os.Args[0], "compare", board.addr, own.path, own.etag, board.dbPath)
			addrs := []string{board.addr, compared, compared}
			polls := []poll{own, {"/constant", own.etag}, {"/query", own.etag}}
			took := make([]time.Duration, len(polls))
			for b.Loop() {
				for i, poll := range polls {
					clients := connect(addrs[i], 4)
					start := time.Now()
					var round sync.WaitGroup
					for _, client := range clients {
						round.Go(func() {
							for range 250 {
								client.get(poll)
							}
							client.Close()
						})
					}
					round.Wait()
					took[i] += time.Since(start)
				}
			}
			board.cmd.Process.Kill() // a stop would wait for the clients' connections
			board.cmd.Wait()
			state, n := board.cmd.ProcessState, 1_000*float64(b.N)
			b.ReportMetric(0, "ns/op") // an operation is 3,000 polls, which says nothing
			b.ReportMetric(n/took[0].Seconds(), "polls/s")
			b.ReportMetric(float64(bytes), "bytes/poll")
			b.ReportMetric(1e6*(state.UserTime()+state.SystemTime()).Seconds()/n, "cpu-µs/poll")
			b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "of-constant")
			b.ReportMetric(took[2].Seconds()/took[0].Seconds(), "of-query")
		})
	}
}
