// Package e2e_test tests the program from outside: as a process that is stopped, killed and started where it cannot
// run, and with the page, poll.js and loop.js in a real browser.
package e2e_test

import (
	"bufio"
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
)

const patience = 60 * time.Second // with what should happen soon

// TestMain sets these: the path of the built program, and the URL of ChromeDriver, or "" where there is none.
var program, driverURL string

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "4") // the tests mostly wait; -parallel, parsed later, comes before this
	dir, _ := os.MkdirTemp("", "shortpoll")
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755)                          // TestReadOnly runs the program as another user
	program = filepath.Join(dir, "shortpoll.exe") // Windows starts no file without this ending
	// Without -buildvcs=false, the build fails in a folder whose owner git does not trust.
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "..").CombinedOutput(); err != nil {
		log.Fatalf("go build: %v\n%s", err, out)
	}
	driver := exec.Command("chromedriver", "--port=0")
	if stdout, err := driver.StdoutPipe(); err == nil && driver.Start() == nil {
		driverURL = "http://localhost:" + firstMatch(stdout, `on port (\d+)\.`)
		defer driver.Wait()
		defer http.Get(driverURL + "/shutdown") // ends the browsers, too
	}
	m.Run()
}

// firstMatch reads lines until the pattern matches one, and returns its group.
func firstMatch(r io.Reader, pattern string) string {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if match := regexp.MustCompile(pattern).FindStringSubmatch(lines.Text()); match != nil {
			go io.Copy(io.Discard, r) // or its writer would block one day
			return match[1]
		}
	}
	return ""
}

// openSources has go test run a test again when what the program is built from has changed: go test remembers what
// the tests themselves open.
func openSources(*testing.T) {
	os.ReadDir("..")
	os.ReadDir("../client")
}

// startServer starts the program with a fresh database and returns its URL.
func startServer(t *testing.T, args ...string) string {
	url, _ := start(t, filepath.Join(t.TempDir(), "taskboard.db"), args...)
	return url
}

// start starts the program with the database at path and returns its URL. The test's end kills it.
func start(t *testing.T, path string, args ...string) (url string, cmd *exec.Cmd) {
	openSources(t)
	cmd = exec.Command(program, append([]string{"-addr", "localhost:0", "-db", path}, args...)...)
	stderr, _ := cmd.StderrPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if url = firstMatch(stderr, `(http://localhost:\d+)`); url == "" {
		t.Fatal("the program does not say where it listens")
	}
	return url, cmd
}

// stop ends the program as Ctrl-C does, and waits until it has ended. Windows cannot send Ctrl-C to one process.
func stop(cmd *exec.Cmd) {
	if cmd.Process.Signal(os.Interrupt) != nil {
		cmd.Process.Kill()
	}
	cmd.Wait()
}

// fault does something with a request in place of passing it to next.
type fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

var pass fault = func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }
var cut fault = func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) } // no response

// proxy passes requests on to target, a server's URL, and polls through a fault.
type proxy struct {
	url          string
	target, poll atomic.Value
}

func newProxy(t *testing.T, target string) *proxy {
	p := &proxy{}
	p.target.Store(target)
	p.works()
	next := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		server, _ := url.Parse(p.target.Load().(string))
		r.SetURL(server)
		r.Out.Header.Del("Origin") // it names the proxy
	}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		act := pass
		if strings.HasSuffix(r.URL.Path, "/updates") {
			act = p.poll.Load().(fault)
		}
		act(w, r, next)
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(srv.CloseClientConnections)
	p.url = srv.URL
	return p
}

func (p *proxy) works() { p.poll.Store(pass) }
