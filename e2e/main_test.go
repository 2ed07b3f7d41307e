// Package e2e_test tests the program from outside: as a process that is stopped, killed and started where it cannot
// run, and with the page, poll.js and loop.js in a real browser.
package e2e_test

import (
	"bufio"
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
)

const patience = 60 * time.Second // with what should happen soon

// TestMain sets these: the path of the built program, and the URL of ChromeDriver, or "" where there is none.
var program, driverURL string

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "4") // the tests mostly wait; -parallel, parsed later, comes before this
	dir, err := os.MkdirTemp("", "shortpoll")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755)                          // TestReadOnly runs the program as another user
	program = filepath.Join(dir, "shortpoll.exe") // Windows starts no file without this ending
	// Without -buildvcs=false, the build fails in a folder whose owner git does not trust.
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "..").CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		log.Fatalf("go build: %v\n%s", err, out)
	}
	driver := exec.Command("chromedriver", "--port=0")
	if stdout, err := driver.StdoutPipe(); err == nil && driver.Start() == nil {
		port := firstMatch(stdout, `on port (\d+)\.`)
		if port == "" {
			os.RemoveAll(dir)
			log.Fatal("chromedriver does not say where it listens")
		}
		driverURL = "http://localhost:" + port
		defer driver.Wait()
		defer http.Get(driverURL + "/shutdown") // ends the browsers, too
	}
	m.Run()
}

// firstMatch reads lines until the pattern matches one, and returns its group, or "" if there is no such line.
func firstMatch(r io.Reader, pattern string) string {
	re := regexp.MustCompile(pattern)
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if match := re.FindStringSubmatch(lines.Text()); match != nil {
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
	cmd, stderr := launch(t, path, args...)
	return waitForURL(t, stderr), cmd
}

// launch does not wait until the program serves.
func launch(t *testing.T, path string, args ...string) (cmd *exec.Cmd, stderr io.Reader) {
	openSources(t)
	cmd = exec.Command(program, append([]string{"-addr", "localhost:0", "-db", path}, args...)...)
	stderr, _ = cmd.StderrPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, stderr
}

func waitForURL(t *testing.T, stderr io.Reader) string {
	url := firstMatch(stderr, `(http://localhost:\d+)`)
	if url == "" {
		t.Fatal("the program does not say where it listens")
	}
	return url
}

// stop ends the program as Ctrl-C does, and waits until it has ended. Windows cannot send Ctrl-C to one process.
func stop(cmd *exec.Cmd) {
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		cmd.Process.Kill()
	}
	cmd.Wait()
}
