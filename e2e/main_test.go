// Package e2e_test tests the program from outside: as a process that is stopped and started again, also where it
// cannot run, and with the page, poll.js and loop.js in a real browser.
package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
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

// startServer starts the program with a fresh database and returns its URL.
func startServer(t *testing.T, args ...string) string {
	url, _ := start(t, filepath.Join(t.TempDir(), "taskboard.db"), args...)
	return url
}

// startBelow starts the program behind a server that knows it below a path alone. The URL has a password, too.
func startBelow(t *testing.T, args ...string) string {
	target, _ := url.Parse(startServer(t, args...))
	srv := httptest.NewServer(http.StripPrefix("/below", httputil.NewSingleHostReverseProxy(target)))
	t.Cleanup(srv.Close)
	return strings.Replace(srv.URL, "//", "//user:password@", 1) + "/below"
}

// start starts the program with the database at path and returns its URL. The test's end kills it.
func start(t *testing.T, path string, args ...string) (url string, cmd *exec.Cmd) {
	os.ReadDir("..") // go test runs a test again when what the test itself has read has changed
	os.ReadDir("../client")
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

// fault does something with a request in place of passing it to next.
type fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

var pass fault = func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }
var cut fault = func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) } // no response

// proxy passes requests on to target, a server's URL, and polls through a fault.
type proxy struct {
	*httptest.Server
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
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		act := pass
		if strings.HasSuffix(r.URL.Path, "/updates") {
			act = p.poll.Load().(fault)
		}
		act(w, r, next)
	}))
	t.Cleanup(p.Close)
	t.Cleanup(p.CloseClientConnections)
	return p
}

func (p *proxy) works() { p.poll.Store(pass) }

// browser is a tab of a browser, led by the WebDriver protocol, https://www.w3.org/TR/webdriver2/.
type browser struct {
	t       *testing.T
	session string // the path of its browser
}

type object = map[string]any

// sessions holds the browsers that no test uses now. To start one takes about a second.
var sessions = make(chan string, 100)

// openBrowser opens url in a new tab. Where there is no ChromeDriver, a test that was asked for by name fails.
func openBrowser(t *testing.T, url string) *browser {
	if driverURL == "" {
		fail := t.Skip
		if os.Getenv("CI") == "true" || flag.Lookup("test.run").Value.String() != "" {
			fail = t.Fatal
		}
		fail("this test needs Chromium and ChromeDriver (Debian: chromium, chromium-driver)")
	}
	b := &browser{t: t}
	select {
	case b.session = <-sessions:
	default:
		var session struct{ SessionID string }
		b.do("POST", "/session", object{"capabilities": object{"alwaysMatch": object{
			"goog:chromeOptions": object{"args": []string{
				"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-component-update",
				"--window-size=1280,1200", // all of the demo board
			}},
		}}}, &session)
		b.session = "/session/" + session.SessionID
	}
	t.Cleanup(func() { // a new tab takes the place of this one, and has nothing of what this test changed
		b.t = t
		var tab struct{ Handle string }
		b.do("POST", "/window/new", object{"type": "tab"}, &tab)
		b.do("DELETE", "/window", object{}, nil)
		b.do("POST", "/window", object{"handle": tab.Handle}, nil)
		sessions <- b.session
	})
	b.do("POST", "/url", object{"url": url}, nil)
	return b
}

// do sends a command and stores the value it returns.
func (b *browser) do(method, path string, body object, value any) {
	b.t.Helper()
	encoded, _ := json.Marshal(body)
	req, _ := http.NewRequest(method, driverURL+b.session+path, bytes.NewReader(encoded))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	response, _ := io.ReadAll(resp.Body)
	err = json.Unmarshal(response, &struct{ Value any }{value})
	if err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s %s %.200s: %v, %.500s", method, path, encoded, err, response)
	}
}

// run runs JavaScript in the page and returns what it returns, as text.
func (b *browser) run(script string) string {
	b.t.Helper()
	var value any
	b.do("POST", "/execute/sync", object{"script": script, "args": []any{}}, &value)
	return fmt.Sprint(value)
}

// check reports an expression of JavaScript that is not true.
func (b *browser) check(expression, what string) {
	b.t.Helper()
	if got := b.run("return " + expression); got != "true" {
		b.t.Errorf("%s: %s is %s", what, expression, got)
	}
}

// wait waits until an expression of JavaScript is true.
func (b *browser) wait(expression string) {
	b.t.Helper()
	script := "return Promise.resolve(" + expression + ").then(Boolean)"
	for start := time.Now(); b.run(script) != "true"; time.Sleep(30 * time.Millisecond) {
		if time.Since(start) > patience {
			b.t.Fatalf("waited in vain for %s; the page shows\n%s", expression, b.run("return document.body.innerText"))
		}
	}
}

// waitForLists waits until the page shows exactly these tasks: a list's between bars.
func (b *browser) waitForLists(want string) {
	b.wait(fmt.Sprintf(`[...document.querySelectorAll(".list")].map((list) =>
		[...list.querySelectorAll(".title")].map((title) => title.textContent).join(", ")).join(" | ") === %q`, want))
}

// waitForText waits until the text of an element matches a pattern.
func (b *browser) waitForText(selector, pattern string) {
	b.wait(fmt.Sprintf(`new RegExp(%q).test(document.querySelector(%q)?.innerText.trim())`, pattern, selector))
}

const enterKey = "\ue007"

// press types into the element that a CSS selector names.
func (b *browser) press(selector, keys string) { b.element(selector, "/value", object{"text": keys}) }
func (b *browser) click(selector string)       { b.element(selector, "/click", object{}) }

func (b *browser) element(selector, command string, body object) {
	var element map[string]string
	b.do("POST", "/element", object{"using": "css selector", "value": selector}, &element)
	for _, id := range element {
		b.do("POST", "/element/"+id+command, body, nil)
	}
}

// cdp sends a command of the Chrome DevTools protocol.
func (b *browser) cdp(command string, params object) {
	b.do("POST", "/goog/cdp/execute", object{"cmd": command, "params": params}, nil)
}

// defineHide is JavaScript. It defines a function that hides the page, or shows it again.
const defineHide = `window.hide = (hidden) => {
	Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
	document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
};`
