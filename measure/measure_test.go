// Package measure_test measures what polling costs. README.md beside it says what the figures mean.
package measure_test

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/mattn/go-sqlite3"
)

// program is the path of the built program. TestMain removes its folder.
var program string

func TestMain(m *testing.M) {
	if os.Getenv("COMPARE_RESPONSE") != "" {
		panic(compare(os.Getenv("COMPARE_RESPONSE"), os.Getenv("COMPARE_DB")))
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "shortpoll")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "shortpoll")
		if output, err := exec.Command("go", "build", "-o", program, "..").CombinedOutput(); err != nil {
			panic(fmt.Sprintf("go build: %v\n%s", err, output))
		}
		return m.Run()
	}())
}

// TestSources reads what the program is built from. go test repeats an earlier result without running the tests as long
// as the files that they read are the same, and it does not see what go build reads.
func TestSources(t *testing.T) {
	for _, pattern := range []string{"../go.*", "../*.go", "../*.sql", "../client/*"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Errorf("%s: %q, %v; want files", pattern, names, err)
		}
		for _, name := range names {
			if _, err := os.ReadFile(name); err != nil {
				t.Error(err)
			}
		}
	}
}

// compare is the server that BenchmarkPoll compares the program with. It sends the same bytes for each request: those
// of the response in the file responsePath. If dbPath is not empty, it first asks for the board's timestamp with a
// prepared query. It runs in a process of its own, as the program does.
func compare(responsePath, dbPath string) error {
	file, err := os.Open(responsePath)
	if err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(file), nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	query := func() error { return nil }
	if dbPath != "" {
		db, err := sql.Open("sqlite3", dbPath)
		if err != nil {
			return err
		}
		db.SetMaxOpenConns(1) // as the program's pool for this query
		statement, err := db.Prepare(`SELECT updated_at FROM boards WHERE id = ?`)
		if err != nil {
			return err
		}
		query = func() error { return statement.QueryRow("board-1").Scan(new(string)) }
	}
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "http://localhost:%d\n", listener.Addr().(*net.TCPAddr).Port)
	srv := &http.Server{
		// As in main.go: net/http sets these times anew for each request, which is not free.
		ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := query(); err != nil {
				panic(err)
			}
			maps.Copy(w.Header(), resp.Header)
			w.WriteHeader(resp.StatusCode)
			w.Write(body)
		}),
	}
	return srv.Serve(listener)
}

// start starts a server as a process and returns the URL that its first line names. The test's end kills it.
func start(t testing.TB, cmd *exec.Cmd, env ...string) (url string) {
	t.Helper()
	cmd.Env = append(os.Environ(), env...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	line, err := bufio.NewReader(stderr).ReadString('\n')
	url = regexp.MustCompile(`http://localhost:\d+`).FindString(line)
	if url == "" {
		t.Fatalf("first line = %q, %v; want it to have a URL", line, err)
	}
	return url
}

// startProgram starts the program with a fresh database.
func startProgram(t testing.TB, env ...string) (url, path string, cmd *exec.Cmd) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "taskboard.db")
	cmd = exec.Command(program, "-addr", "localhost:0", "-db", path)
	return start(t, cmd, env...), path, cmd
}

// pollClient polls over one connection that stays open, as browsers do. It has no goroutine of its own, which lets a
// synctest bubble hold it.
type pollClient struct {
	conn      net.Conn
	responses *bufio.Reader
	bytes     int // received so far
}

// Read counts the bytes that arrive for responses.
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
	c.responses = bufio.NewReader(c)
	return c
}

// get sends a GET for path and reads the whole response.
func (c *pollClient) get(path, ifNoneMatch string) (*http.Response, error) {
	request := "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n"
	if ifNoneMatch != "" {
		request += "If-None-Match: " + ifNoneMatch + "\r\n"
	}
	if _, err := io.WriteString(c.conn, request+"\r\n"); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(c.responses, nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp, err
}

// idlePoll returns the path of a poll that finds nothing new, and the ETag that goes with it.
func idlePoll(t testing.TB, url string) (path, etag string) {
	t.Helper()
	resp, err := newPollClient(t, url).get("/boards/board-1/updates", "")
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Timestamp string }
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Timestamp == "" {
		t.Fatalf("first poll: %v, %v; want a timestamp", resp.Status, err)
	}
	return "/boards/board-1/updates?since=" + got.Timestamp, resp.Header.Get("ETag")
}

// counters is what /debug/vars says of polls.
type counters struct {
	Polls       int `json:"polls"`
	Empty       int `json:"polls_empty"`
	NotModified int `json:"polls_not_modified"`
	Failed      int `json:"polls_failed"`
}

func readCounters(t testing.TB, url string) (c counters) {
	t.Helper()
	resp, err := http.Get(url + "/debug/vars")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestIdleHour lets the lesson's 50 users poll every 5 seconds for an hour in which nothing changes. In a synctest
// bubble the hour is over as soon as all polls have their response.
func TestIdleHour(t *testing.T) {
	for _, test := range []struct {
		name        string
		conditional bool
		want        counters
		wantBytes   int // of each response
	}{
		{name: "200 as in the lesson", want: counters{Polls: 36_001, Empty: 36_000}, wantBytes: 328},
		{name: "304", conditional: true, want: counters{Polls: 36_001, NotModified: 36_000}, wantBytes: 235},
	} {
		t.Run(test.name, func(t *testing.T) {
			url, _, _ := startProgram(t)
			path, etag := idlePoll(t, url) // the first poll, which brings the board
			if !test.conditional {
				etag = ""
			}
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
							if _, err := client.get(path, etag); err != nil {
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
			got := readCounters(t, url)
			if got != test.want {
				t.Errorf("the hour counted %+v, want %+v", got, test.want)
			}
			bytes := 0
			for _, client := range clients {
				bytes += client.bytes
			}
			if want := 36_000 * test.wantBytes; bytes != want {
				t.Errorf("the hour's responses have %d bytes, want %d", bytes, want)
			}
			t.Logf("an idle hour of 50 users: %d polls for nothing, %d bytes", got.Empty+got.NotModified, bytes)
		})
	}
}

// fillBoard adds tasks to board-1 until it has size of them, and returns the path of a poll that finds one change.
func fillBoard(b *testing.B, path string, size int) (oneChange string) {
	b.Helper()
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`
		INSERT INTO tasks (id, list_id, title, description, position)
		WITH RECURSIVE n (i) AS (SELECT 6 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		SELECT 'task-' || i, 'list-' || (i % 3 + 1), 'Title of a task', 'A line that describes it', i FROM n`,
		size); err != nil {
		b.Fatal(err)
	}
	var previous string
	if err := db.QueryRow(`
		SELECT strftime('%Y-%m-%dT%H:%M:%fZ', max(updated_at), '-0.001 seconds') FROM tasks`).Scan(&previous); err != nil {
		b.Fatal(err)
	}
	return "/boards/board-1/updates?since=" + previous
}

// round sends n polls over the clients' connections at once and returns how long that took.
func round(b *testing.B, clients []*pollClient, path, etag string, n int) time.Duration {
	start := time.Now()
	var wg sync.WaitGroup
	for i, client := range clients {
		wg.Go(func() {
			for range (n + i) / len(clients) { // adds up to n
				if _, err := client.get(path, etag); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// BenchmarkPoll polls over four connections that stay open, on boards of several sizes. In turn with each round it asks
// the two servers of compare: of-constant is the program's rate divided by that of net/http with the same bytes, and
// of-query by that of net/http with one prepared query and the same bytes, which is the least that a server must do
// that is right when others write to its database.
func BenchmarkPoll(b *testing.B) {
	for _, size := range []int{20, 1_000, 100_000} {
		url, dbPath, _ := startProgram(b)
		oneChange := fillBoard(b, dbPath, size)
		idle, etag := idlePoll(b, url)
		for _, test := range []struct {
			name, path, etag string
			wantStatus       int
		}{
			{name: "idle-304", path: idle, etag: etag, wantStatus: 304},
			{name: "idle-200", path: idle, wantStatus: 200},
			{name: "one-change", path: oneChange, wantStatus: 200},
			{name: "whole-board", path: "/boards/board-1/updates", wantStatus: 200},
		} {
			if test.name == "whole-board" && size > 1_000 {
				continue // nobody should poll a whole board of that size
			}
			b.Run(fmt.Sprintf("tasks=%d/%s", size, test.name), func(b *testing.B) {
				resp, err := newPollClient(b, url).get(test.path, test.etag)
				if err != nil || resp.StatusCode != test.wantStatus {
					b.Fatalf("GET %s: %v, %v; want %d", test.path, resp, err, test.wantStatus)
				}
				responsePath := filepath.Join(b.TempDir(), "response")
				file, err := os.Create(responsePath)
				if err != nil {
					b.Fatal(err)
				}
				if err := errors.Join(resp.Write(file), file.Close()); err != nil {
					b.Fatal(err)
				}
				constant, query := exec.Command(os.Args[0]), exec.Command(os.Args[0])
				servers := []string{url, start(b, constant, "COMPARE_RESPONSE="+responsePath),
					start(b, query, "COMPARE_RESPONSE="+responsePath, "COMPARE_DB="+dbPath)}
				clients := make([][]*pollClient, len(servers))
				for i, server := range servers {
					for range 4 {
						clients[i] = append(clients[i], newPollClient(b, server))
					}
				}
				took := make([]time.Duration, len(servers))
				for b.Loop() {
					for i := range servers {
						took[i] += round(b, clients[i], test.path, test.etag, 1_000)
					}
				}
				bytes := 0
				for _, client := range clients[0] {
					bytes += client.bytes
				}
				b.ReportMetric(0, "ns/op") // an operation is 3,000 polls, which says nothing
				b.ReportMetric(1_000*float64(b.N)/took[0].Seconds(), "polls/s")
				b.ReportMetric(float64(bytes)/float64(1_000*b.N), "bytes/poll")
				b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "of-constant")
				b.ReportMetric(took[2].Seconds()/took[0].Seconds(), "of-query")
			})
		}
	}
}

// cpu returns the CPU time of a process that has ended.
func cpu(cmd *exec.Cmd) time.Duration {
	cmd.Process.Kill() // a stop would wait for the clients' connections
	cmd.Wait()
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// BenchmarkIdleHour sends the polls of TestIdleHour without the pauses, and reports the CPU time of the program.
func BenchmarkIdleHour(b *testing.B) {
	for _, conditional := range []bool{false, true} {
		b.Run(fmt.Sprintf("conditional=%t", conditional), func(b *testing.B) {
			var used time.Duration
			for range b.N {
				url, _, cmd := startProgram(b)
				path, etag := idlePoll(b, url)
				if !conditional {
					etag = ""
				}
				clients := make([]*pollClient, 50)
				for i := range clients {
					clients[i] = newPollClient(b, url)
				}
				round(b, clients, path, etag, 36_000)
				used += cpu(cmd)
			}
			b.ReportMetric(used.Seconds()/float64(b.N), "cpu-s/hour")
		})
	}
}

// BenchmarkRestart lets each client load the whole board once, as all of them do after the server was started anew.
// GOGC is the garbage collector's knob: https://go.dev/doc/gc-guide.
func BenchmarkRestart(b *testing.B) {
	for _, size := range []int{20, 1_000} {
		for _, users := range []int{50, 5_000} {
			for _, gogc := range []string{"100", "400"} {
				b.Run(fmt.Sprintf("tasks=%d/users=%d/GOGC=%s", size, users, gogc), func(b *testing.B) {
					var used, took time.Duration
					var peak int
					for range b.N {
						url, dbPath, cmd := startProgram(b, "GOGC="+gogc)
						fillBoard(b, dbPath, size)
						clients := make([]*pollClient, 50)
						for i := range clients {
							clients[i] = newPollClient(b, url)
						}
						took += round(b, clients, "/boards/board-1/updates", "", users)
						peak = max(peak, peakMemory(b, cmd))
						used += cpu(cmd)
					}
					b.ReportMetric(took.Seconds()/float64(b.N), "s")
					b.ReportMetric(used.Seconds()/float64(b.N), "cpu-s")
					b.ReportMetric(float64(peak), "peak-kB")
				})
			}
		}
	}
}

// peakMemory returns the most memory that a process has used so far, in kB, or 0 where there is no /proc.
func peakMemory(b *testing.B, cmd *exec.Cmd) (kB int) {
	b.Helper()
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if _, after, ok := strings.Cut(string(status), "VmHWM:"); ok {
		fmt.Sscan(after, &kB)
	}
	return kB
}

// BenchmarkQuery asks SQLite for one change on a board of 1,000 tasks: with the lesson's join, written into each
// request or prepared once, and with the (SELECT ?) that store.go explains.
func BenchmarkQuery(b *testing.B) {
	_, dbPath, _ := startProgram(b)
	_, since, _ := strings.Cut(fillBoard(b, dbPath, 1_000), "=")
	db, err := sql.Open("sqlite3", dbPath)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	const lesson = `
		SELECT t.* FROM tasks t JOIN lists l ON t.list_id = l.id
		WHERE l.board_id = ? AND t.updated_at > ? ORDER BY t.updated_at`
	prepare := func(query string) func(...any) (*sql.Rows, error) {
		statement, err := db.Prepare(query)
		if err != nil {
			b.Fatal(err)
		}
		return statement.Query
	}
	for _, test := range []struct {
		name  string
		query func(...any) (*sql.Rows, error)
	}{
		{name: "lesson", query: func(args ...any) (*sql.Rows, error) { return db.Query(lesson, args...) }},
		{name: "lesson-prepared", query: prepare(lesson)},
		{name: "select-prepared", query: prepare(strings.Replace(lesson, "?", "(SELECT ?)", 1))},
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
	base, _, _ := startProgram(b)
	target, err := url.JoinPath(base, "tasks")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		resp, err := http.Post(target, "application/json", strings.NewReader(`{"list_id":"list-1","title":"x"}`))
		if err != nil || resp.StatusCode != http.StatusCreated {
			b.Fatalf("POST %s: %v, %v; want 201", target, resp, err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}
