// Package e2e_test tests the program from outside: as a process that is stopped, killed and started where it cannot
// run, and with the page, poll.js and loop.js in a real browser.
package e2e_test

import (
	"bufio"
	"flag"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
)

// patience is how long to wait for something that should happen soon.
const patience = 60 * time.Second

// TestMain sets these: the path of the built program, and the URL of chromedriver, or "" where there is none.
var program, driverURL string

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "4") // the tests mostly wait; -parallel, parsed later, comes before this
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "shortpoll")
		if err != nil {
			log.Print(err)
			return 1
		}
		defer os.RemoveAll(dir)
		os.Chmod(dir, 0o755)                          // TestReadOnly runs the program as another user
		program = filepath.Join(dir, "shortpoll.exe") // Windows starts no file without this ending
		if out, err := exec.Command("go", "build", "-o", program, "..").CombinedOutput(); err != nil {
			log.Printf("go build: %v\n%s", err, out)
			return 1
		}
		driver := exec.Command("chromedriver", "--port=0")
		stdout, err := driver.StdoutPipe()
		if err == nil {
			err = driver.Start()
		}
		if err == nil {
			defer driver.Wait()
			defer driver.Process.Kill()
			port := firstMatch(stdout, `on port (\d+)\.`)
			if port == "" {
				log.Print("chromedriver does not say where it listens")
				return 1
			}
			driverURL = "http://localhost:" + port
		}
		return m.Run()
	}())
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

// openSources reads what the program is built from. go test repeats an earlier result without running the tests as long
// as the files that they read are the same. It does not see what go build reads, nor what TestMain does.
func openSources(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"../go.*", "../*.go", "../*.sql", "../client/*"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %q, %v; want files", pattern, names, err)
		}
		for _, name := range names {
			if _, err := os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// startServer starts the program with a fresh database and returns its URL.
func startServer(t *testing.T, args ...string) string {
	t.Helper()
	url, _ := start(t, filepath.Join(t.TempDir(), "taskboard.db"), args...)
	return url
}

// start starts the program with the database at path and returns its URL. The test's end kills it.
func start(t *testing.T, path string, args ...string) (url string, cmd *exec.Cmd) {
	t.Helper()
	cmd, stderr := launch(t, path, args...)
	return waitForURL(t, stderr), cmd
}

// launch starts the program on a free port and does not wait until it serves.
func launch(t *testing.T, path string, args ...string) (cmd *exec.Cmd, stderr io.Reader) {
	t.Helper()
	openSources(t)
	cmd = exec.Command(program, append([]string{"-addr", "localhost:0", "-db", path}, args...)...)
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, stderr
}

// waitForURL returns the URL that the program prints when it serves.
func waitForURL(t *testing.T, stderr io.Reader) string {
	t.Helper()
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
