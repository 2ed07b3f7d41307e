// Package client_test drives the page in a real browser.
package client_test

import (
	"bufio"
	"bytes"
	"encoding/json"
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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long to wait for something that should happen soon.
const patience = 20 * time.Second

// Set by TestMain: the built program, and where chromedriver listens, or "".
var program, driverURL string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "shortpoll")
		if err != nil {
			log.Print(err)
			return 1
		}
		defer os.RemoveAll(dir)
		// go test must not reuse an old result when the program or the page has
		// changed; it looks at the files that a test has opened.
		for _, pattern := range []string{"../*.go", "../*.sql", "*"} {
			names, _ := filepath.Glob(pattern)
			for _, name := range names {
				os.ReadFile(name)
			}
		}
		program = filepath.Join(dir, "shortpoll")
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
			if driverURL = "http://localhost:" + firstMatch(stdout, `on port (\d+)\.`); driverURL == "http://localhost:" {
				log.Print("chromedriver does not say where it listens")
				return 1
			}
		}
		return m.Run()
	}())
}

// firstMatch reads lines until the pattern matches one, and returns its group.
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

// startServer starts the program with a fresh database and returns its URL.
func startServer(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(program, "-addr", "localhost:0", "-db", filepath.Join(t.TempDir(), "taskboard.db"))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	url := firstMatch(stderr, `(http://localhost:\d+)`)
	if url == "" {
		t.Fatal("the program does not say where it listens")
	}
	return url
}

// send is another client's request. It returns the data of the answer.
func send(t *testing.T, method, url, body string) json.RawMessage {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Data json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil && err != io.EOF || resp.StatusCode >= 300 {
		t.Fatalf("%s %s %s: status %d, %v", method, url, body, resp.StatusCode, err)
	}
	return answer.Data
}

// waitForServer waits until another client's poll contains want.
func waitForServer(t *testing.T, url, want string) {
	t.Helper()
	var got json.RawMessage
	for start := time.Now(); time.Since(start) < patience; {
		if got = send(t, "GET", url+"/boards/board-1/updates?since=1970-01-01T00:00:00Z", ""); regexp.MustCompile(want).Match(got) {
			return
		}
	}
	t.Errorf("the server has %s; want %s", got, want)
}

// browser is a session of the WebDriver protocol, https://www.w3.org/TR/webdriver2/.
type browser struct {
	t       *testing.T
	session string // its URL
}

// open opens url in a new browser and polls every second there.
func open(t *testing.T, url string) *browser {
	t.Helper()
	if driverURL == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("no chromedriver; install chromium and chromium-driver")
		}
		t.Skip("no chromedriver; to run this test, install Chromium and ChromeDriver (Debian: chromium, chromium-driver)")
	}
	b := &browser{t, driverURL}
	var session struct{ SessionID string }
	b.do("POST", "/session", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"timeouts":          map[string]any{"script": patience.Milliseconds()},
		"goog:loggingPrefs": map[string]any{"browser": "ALL", "performance": "ALL"},
		"goog:chromeOptions": map[string]any{"args": []string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync",
			"--window-size=1280,1200", // all of the demo board
			"--user-data-dir=" + t.TempDir(),
		}},
	}}}, &session)
	if session.SessionID == "" {
		t.FailNow()
	}
	b.session = driverURL + "/session/" + session.SessionID
	t.Cleanup(func() { b.do("DELETE", "", nil, nil) })
	b.do("POST", "/url", map[string]any{"url": url}, nil)
	b.run(`window.sameDocument = true`)
	b.set("#seconds", 1)
	return b
}

// do sends a command and stores the value it returns.
func (b *browser) do(method, path string, body, value any) {
	b.t.Helper()
	base := b.session
	if base == "" {
		base = driverURL
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		b.t.Fatal(err)
	}
	if body == nil {
		encoded = nil
	}
	req, err := http.NewRequest(method, base+path, bytes.NewReader(encoded))
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Value json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s %s %.200s: status %d, %v, %.500s", method, path, encoded, resp.StatusCode, err, answer.Value)
	}
	if value != nil {
		if err := json.Unmarshal(answer.Value, value); err != nil {
			b.t.Fatalf("%s %s: %v in %s", method, path, err, answer.Value)
		}
	}
}

// run runs JavaScript in the page and returns what it returns, as text.
func (b *browser) run(script string) string {
	b.t.Helper()
	var value any
	b.do("POST", "/execute/sync", map[string]any{"script": script, "args": []any{}}, &value)
	return fmt.Sprint(value)
}

// wait waits in the page until a JavaScript expression is true.
func (b *browser) wait(expression string) {
	b.t.Helper()
	var got any
	b.do("POST", "/execute/async", map[string]any{"args": []any{}, "script": `
		const done = arguments[0], end = Date.now() + ` + strconv.FormatInt(patience.Milliseconds()-1000, 10) + `;
		(function check() {
			if (` + expression + `) return done(true);
			if (Date.now() > end) return done(document.body.innerText);
			requestAnimationFrame(check);
		})()`}, &got)
	if got != true {
		b.t.Fatalf("waited in vain for %s; the page shows\n%v", expression, got)
	}
}

// waitForLists waits until the page shows exactly these tasks: a list's between bars.
func (b *browser) waitForLists(want string) {
	b.t.Helper()
	b.wait(fmt.Sprintf(`[...document.querySelectorAll(".list")].map(list => [...list.querySelectorAll(".title")].map(title => title.textContent).join(", ")).join(" | ") === %q`, want))
}

// set moves a slider.
func (b *browser) set(selector string, value int) {
	b.t.Helper()
	b.run(fmt.Sprintf(`const slider = document.querySelector(%q); slider.value = %d;
		slider.dispatchEvent(new Event("input")); slider.dispatchEvent(new Event("change"))`, selector, value))
}

// find returns the path of the element that a CSS selector names.
func (b *browser) find(selector string) string {
	b.t.Helper()
	var element map[string]string
	b.do("POST", "/element", map[string]any{"using": "css selector", "value": selector}, &element)
	for _, id := range element {
		return "/element/" + id
	}
	return ""
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do("POST", b.find(selector)+"/click", map[string]any{}, nil)
}

// Keys that typing can hold, by the WebDriver protocol.
const (
	enterKey  = "\ue007"
	escapeKey = "\ue00c"
)

// press types into an element, or presses keys while it has the focus.
func (b *browser) press(selector, keys string) {
	b.t.Helper()
	b.do("POST", b.find(selector)+"/value", map[string]any{"text": keys}, nil)
}

// logs returns what the browser has logged since the last call.
func (b *browser) logs(kind string) (messages []string) {
	b.t.Helper()
	var entries []struct{ Level, Message string }
	b.do("POST", "/se/log", map[string]any{"type": kind}, &entries)
	for _, entry := range entries {
		messages = append(messages, entry.Level+" "+entry.Message)
	}
	return messages
}

const demoTasks = "Open this board in a second window, Add a task there and wait for it here, Count the polls that bring nothing | Read schema.sql and store.go | Start the server"

// TestOthersChanges has another client write. The page learns by polling alone.
func TestOthersChanges(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)
	b.waitForLists(demoTasks)

	send(t, "DELETE", server+"/tasks/task-2", "")
	send(t, "DELETE", server+"/tasks/task-3", "")
	b.waitForLists("Open this board in a second window | Read schema.sql and store.go | Start the server")

	var task struct{ ID string }
	const markup = `<img src=x onerror="document.title='bad'"> & "quotes"`
	json.Unmarshal(send(t, "POST", server+"/tasks", fmt.Sprintf(`{"list_id":"list-2","title":%q,"description":"<b>bold</b>"}`, markup)), &task)
	b.waitForLists("Open this board in a second window | Read schema.sql and store.go, " + markup + " | Start the server")
	b.wait(`document.querySelector(".list:nth-child(2) .lit .description").textContent === "<b>bold</b>"`)
	b.wait(`/^[0-9.]+ s$/.test(document.querySelector("#delay").textContent)`)

	send(t, "PATCH", server+"/tasks/"+task.ID, `{"title":"Renamed"}`)
	b.waitForLists("Open this board in a second window | Read schema.sql and store.go, Renamed | Start the server")
	send(t, "PATCH", server+"/tasks/"+task.ID, `{"list_id":"list-3","position":0}`)
	b.waitForLists("Open this board in a second window | Read schema.sql and store.go | Renamed, Start the server")
	send(t, "DELETE", server+"/tasks/task-4", "")
	b.waitForLists("Open this board in a second window |  | Renamed, Start the server")
	b.wait(`getComputedStyle(document.querySelector(".list:nth-child(2) ol"), "::before").content === '"No tasks"'`)

	for _, message := range b.logs("browser") {
		t.Errorf("console: %s", message)
	}
	requests := 0
	for _, message := range b.logs("performance") {
		if match := regexp.MustCompile(`"Network.requestWillBeSent".*"url":"((?:http|ws)[^"]+)"`).FindStringSubmatch(message); match != nil {
			requests++
			if !strings.HasPrefix(match[1], server+"/") {
				t.Errorf("the page loads %s from another origin", match[1])
			}
		}
	}
	if requests < 5 {
		t.Errorf("%d requests in the log, want those of the page", requests)
	}
}

// TestOwnChanges makes each change on the page, by mouse or by keyboard.
func TestOwnChanges(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)
	b.waitForLists(demoTasks)
	b.click("#pause") // what is shown from here on does not come from a poll

	b.press(".list:nth-child(3) .add input", "By keyboard"+enterKey)
	b.wait(`document.querySelector(".list:nth-child(3) li:nth-child(2) .title")?.textContent === "By keyboard"`)
	waitForServer(t, server, `"list_id":"list-3","title":"By keyboard"`)
	b.wait(`document.querySelector(".list:nth-child(3) .add input").value === ""`)

	b.press(".list:nth-child(3) .add input", "By mouse")
	b.click(".list:nth-child(3) .add button")
	waitForServer(t, server, `"list_id":"list-3","title":"By mouse"`)

	b.click(`[data-id="task-4"] .edit`)
	b.run(`document.querySelector('[data-id="task-4"] input').select()`)
	b.press(`[data-id="task-4"] input`, "Not this"+escapeKey)
	b.press(`[data-id="task-4"] .edit`, enterKey)
	b.press(`[data-id="task-4"] input`, " twice"+enterKey)
	waitForServer(t, server, `"title":"Read schema.sql and store.go twice"`)
	b.wait(`document.querySelector('[data-id="task-4"] .title').checkVisibility()`)

	b.press(`[data-id="task-4"] .right`, enterKey)
	waitForServer(t, server, `"id":"task-4","list_id":"list-3"`)
	b.wait(`document.querySelector('.list:nth-child(3) [data-id="task-4"] .edit') === document.activeElement`) // there is no list further right
	b.click(`[data-id="task-4"] .left`)
	waitForServer(t, server, `"id":"task-4","list_id":"list-2"`)
	b.wait(`document.querySelector('.list:nth-child(2) [data-id="task-4"]')`)

	b.click(`[data-id="task-4"] .delete`)
	waitForServer(t, server, `"id":"task-4"[^}]*"deleted_at"`)
	b.waitForLists(strings.Replace(demoTasks, "Read schema.sql and store.go | Start the server", " | Start the server, By keyboard, By mouse", 1))
	b.click("#pause")
	b.wait(`Number(document.querySelector("#polls").textContent) > 2`)
	b.waitForLists(strings.Replace(demoTasks, "Read schema.sql and store.go | Start the server", " | Start the server, By keyboard, By mouse", 1))
}

// TestRefusedWrites has the server refuse. The page must say why in the
// server's words, and keep what was typed.
func TestRefusedWrites(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)
	b.waitForLists(demoTasks)
	long := strings.Repeat("x", 201)
	const refusal = `document.querySelector("#problem").textContent.includes("title must not be longer than 200 characters")`

	b.press(".list:nth-child(1) .add input", long+enterKey)
	b.wait(refusal)
	b.wait(fmt.Sprintf(`document.querySelector(".list:nth-child(1) .add input").value === %q`, long))

	b.click(`[data-id="task-1"] .edit`)
	b.run(`document.querySelector('[data-id="task-1"] input').select()`)
	b.press(`[data-id="task-1"] input`, "Mine"+enterKey)
	b.wait(`document.querySelector('[data-id="task-1"] .title').textContent === "Mine"`)
	b.wait(`document.querySelector("#problem").textContent === ""`)
	b.click(`[data-id="task-1"] .edit`)
	b.run(`document.querySelector('[data-id="task-1"] input').select()`)
	b.press(`[data-id="task-1"] input`, long+enterKey)
	b.wait(refusal)
	send(t, "PATCH", server+"/tasks/task-1", `{"title":"Theirs"}`)
	b.wait(`document.querySelector('[data-id="task-1"] .title').textContent === "Theirs"`)
	b.wait(fmt.Sprintf(`document.querySelector('[data-id="task-1"] input').value === %q`, long))
}

// TestLabels asks the browser what a screen reader would say.
func TestLabels(t *testing.T) {
	t.Parallel()
	b := open(t, startServer(t))
	b.waitForLists(demoTasks)
	for _, test := range []struct{ name, selector, want string }{
		{name: "add field", selector: ".list:nth-child(1) .add input", want: "New task in To do"},
		{name: "add button", selector: ".list:nth-child(1) .add button", want: "Add to To do"},
		{name: "left", selector: `[data-id="task-4"] .left`, want: "Move “Read schema.sql and store.go” to To do"},
		{name: "right", selector: `[data-id="task-4"] .right`, want: "Move “Read schema.sql and store.go” to Done"},
		{name: "rename", selector: `[data-id="task-4"] .edit`, want: "Rename “Read schema.sql and store.go”"},
		{name: "new title", selector: `[data-id="task-4"] input`, want: "New title of “Read schema.sql and store.go”"},
		{name: "delete", selector: `[data-id="task-4"] .delete`, want: "Delete “Read schema.sql and store.go”"},
		{name: "interval", selector: "#seconds", want: "Poll every 1 s"},
		{name: "users", selector: "#users", want: "Users 1"},
		{name: "pause", selector: "#pause", want: "Pause"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "new title" {
				b.click(`[data-id="task-4"] .edit`)
			}
			var got string
			b.do("GET", b.find(test.selector)+"/computedlabel", nil, &got)
			if got != test.want {
				t.Errorf("label of %s = %q, want %q", test.selector, got, test.want)
			}
		})
	}
}

// TestWidths looks for sideways scrolling.
func TestWidths(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	send(t, "PATCH", server+"/tasks/task-1", `{"title":"`+strings.Repeat("W", 200)+`"}`)
	b := open(t, server)
	b.wait(`document.querySelector(".list")`)
	for _, width := range []int{390, 600, 820, 1280, 1600} {
		t.Run(strconv.Itoa(width), func(t *testing.T) {
			b.do("POST", "/goog/cdp/execute", map[string]any{"cmd": "Emulation.setDeviceMetricsOverride", "params": map[string]any{
				"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false,
			}}, nil)
			b.wait(fmt.Sprintf("innerWidth === %d", width))
			if got := b.run("const root = document.documentElement; return root.scrollWidth - root.clientWidth"); got != "0" {
				t.Errorf("at %d px the page scrolls sideways by %s px", width, got)
			}
		})
	}
}

// TestMeter compares what the page counts in five seconds at one poll a second
// with what the server does.
func TestMeter(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)
	b.waitForLists(demoTasks)
	serverPolls := func() (n int) {
		resp, err := http.Get(server + "/debug/vars")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var vars struct{ Polls int }
		if err := json.NewDecoder(resp.Body).Decode(&vars); err != nil {
			t.Fatal(err)
		}
		return vars.Polls
	}
	b.click("#pause")
	before := serverPolls()
	b.click("#reset")
	b.wait(`document.querySelector("#polls").textContent === "0"`)
	start := time.Now()
	b.click("#pause")
	b.wait(`document.querySelector("#polls").textContent === "6"`) // the first comes at once
	if took := time.Since(start); took < 4500*time.Millisecond || took > 6500*time.Millisecond {
		t.Errorf("five more polls at one a second took %v", took)
	}
	b.click("#pause")
	if got := serverPolls() - before; got != 6 {
		t.Errorf("the server counted %d polls, the page 6", got)
	}
	if got := b.run(`return document.querySelector("#nothing").textContent`); got != "6 (100 %)" {
		t.Errorf("brought nothing: %s, want 6 (100 %%)", got)
	}

	b.set("#users", 50)
	b.set("#seconds", 5)
	b.wait(`document.querySelector("#rate").textContent === "0"`) // while paused
	b.click("#pause")
	b.wait(`document.querySelector("#rate").textContent === "600"`)
	b.wait(`Number(document.querySelector("#polls").textContent) >= 56`)
	b.wait(`parseFloat(document.querySelector("#bytes").textContent) > 10`)
}

// TestHiddenPage hides the page, which must then not poll, and shows it again,
// which must make it poll at once.
func TestHiddenPage(t *testing.T) {
	t.Parallel()
	b := open(t, startServer(t))
	b.waitForLists(demoTasks)
	b.wait(`Number(document.querySelector("#polls").textContent) >= 2`)
	hide := func(hidden bool) {
		b.run(fmt.Sprintf(`Object.defineProperty(document, "hidden", { value: %t, configurable: true });
			document.dispatchEvent(new Event("visibilitychange"))`, hidden))
	}
	hide(true)
	b.run(`window.hiddenAt = Date.now(); window.most = Number(document.querySelector("#polls").textContent) + 1`) // one may be under way
	b.wait(`Date.now() > window.hiddenAt + 3500`)                                                                 // the interval is 1 s
	if got := b.run(`return Number(document.querySelector("#polls").textContent) <= window.most`); got != "true" {
		t.Error("the page polls while it is hidden")
	}
	b.set("#seconds", 60)
	b.click("#reset")
	hide(false)
	b.wait(`document.querySelector("#polls").textContent === "1"`)
}

// TestFaults puts a proxy between browser and server, and has it misbehave.
func TestFaults(t *testing.T) {
	t.Parallel()
	// proxy passes requests on to target, unless fault does something with a poll.
	type proxy struct {
		url    string
		target atomic.Value // URL of a server
		fault  atomic.Value // func(http.ResponseWriter, *http.Request, http.Handler)
	}
	newProxy := func(t *testing.T, target string) *proxy {
		p := &proxy{}
		p.target.Store(target)
		p.fault.Store(func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) })
		reverse := &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				u, err := url.Parse(p.target.Load().(string))
				if err != nil {
					panic(err)
				}
				r.SetURL(u)
			},
			ErrorLog: log.New(io.Discard, "", 0),
		}
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/updates") {
				p.fault.Load().(func(http.ResponseWriter, *http.Request, http.Handler))(w, r, reverse)
			} else {
				reverse.ServeHTTP(w, r)
			}
		}))
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.Start()
		t.Cleanup(srv.CloseClientConnections)
		t.Cleanup(srv.Close)
		p.url = srv.URL
		return p
	}

	t.Run("slow answers", func(t *testing.T) {
		t.Parallel()
		p := newProxy(t, startServer(t))
		b := open(t, p.url)
		b.waitForLists(demoTasks)
		// Counted in the page: the browser's cache lets one request for a URL
		// through at a time, so that the proxy would see no pile-up.
		b.run(`window.running = window.most = 0;
			const original = window.fetch;
			window.fetch = async (...args) => {
				window.most = Math.max(window.most, ++window.running);
				try { return await original(...args); } finally { window.running--; }
			}`)
		p.fault.Store(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			<-time.After(1500 * time.Millisecond) // the interval is 1 s
			next.ServeHTTP(w, r)
		})
		b.click("#reset")
		b.wait(`Number(document.querySelector("#polls").textContent) >= 3`)
		if got := b.run("return window.most"); got != "1" {
			t.Errorf("%s polls ran at once, want 1", got)
		}
	})

	t.Run("503 with Retry-After", func(t *testing.T) {
		t.Parallel()
		p := newProxy(t, startServer(t))
		b := open(t, p.url)
		b.waitForLists(demoTasks)
		refused, came := make(chan time.Time, 1), make(chan time.Time, 1)
		p.fault.Store(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			select {
			case refused <- time.Now():
				w.Header().Set("Retry-After", "4") // backing off by itself it would wait 2
				http.Error(w, `{"error":"busy"}`, http.StatusServiceUnavailable)
			default:
				select {
				case came <- time.Now():
				default:
				}
				next.ServeHTTP(w, r)
			}
		})
		b.wait(`/503; retrying in \d s/.test(document.querySelector("#state").innerText)`)
		b.wait(`document.querySelector("#state").innerText.trim() === "Polling."`)
		if waited := (<-came).Sub(<-refused); waited < 4*time.Second || waited > 6*time.Second {
			t.Errorf("the page came back after %v, want 4 s", waited)
		}
	})

	t.Run("connection cut in a body", func(t *testing.T) {
		t.Parallel()
		server := startServer(t)
		p := newProxy(t, server)
		b := open(t, p.url)
		b.waitForLists(demoTasks)
		var mu sync.Mutex
		var queries []string // of the polls from the one cut on
		p.fault.Store(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			mu.Lock()
			defer mu.Unlock()
			if bytes.Contains(rec.Body.Bytes(), []byte("Cut off")) {
				queries = append(queries, r.URL.RawQuery)
			}
			w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
			if len(queries) == 1 {
				w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			w.Write(rec.Body.Bytes())
		})
		send(t, "PATCH", server+"/tasks/task-1", `{"title":"Cut off"}`)
		b.waitForLists(strings.Replace(demoTasks, "Open this board in a second window", "Cut off", 1))
		mu.Lock()
		defer mu.Unlock()
		if len(queries) < 2 || queries[0] != queries[1] {
			t.Errorf("polls that had the change: %q, want the second to repeat the first", queries)
		}
	})

	t.Run("outage", func(t *testing.T) {
		t.Parallel()
		server := startServer(t)
		p := newProxy(t, server)
		b := open(t, p.url)
		b.waitForLists(demoTasks)
		working := p.fault.Load()
		p.fault.Store(func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) })
		b.wait(`/can't be reached; retrying in \d+ s/.test(document.querySelector("#state").innerText)`)
		send(t, "DELETE", server+"/tasks/task-4", "")
		send(t, "PATCH", server+"/tasks/task-5", `{"title":"Restart the server"}`)
		p.fault.Store(working)
		b.waitForLists(strings.Replace(demoTasks, "Read schema.sql and store.go | Start", " | Restart", 1))
		b.wait(`window.sameDocument && document.querySelector("#state").innerText.trim() === "Polling."`)
	})

	t.Run("older copy", func(t *testing.T) {
		t.Parallel()
		older := startServer(t)
		send(t, "PATCH", older+"/tasks/task-1", `{"title":"Older"}`)
		newer := startServer(t)
		send(t, "PATCH", newer+"/tasks/task-1", `{"title":"Newer"}`)
		send(t, "POST", newer+"/tasks", `{"list_id":"list-1","title":"Not in the older copy"}`)
		p := newProxy(t, newer)
		b := open(t, p.url)
		b.waitForLists(strings.Replace(demoTasks, "Open this board in a second window, Add a task there and wait for it here, Count the polls that bring nothing",
			"Newer, Add a task there and wait for it here, Count the polls that bring nothing, Not in the older copy", 1))
		p.target.Store(older)
		b.waitForLists(strings.Replace(demoTasks, "Open this board in a second window", "Older", 1))
		b.wait(`window.sameDocument && document.querySelector("#state").innerText.includes("older copy")`)
		send(t, "DELETE", older+"/tasks/task-1", "")
		b.waitForLists(strings.Replace(demoTasks, "Open this board in a second window, ", "", 1))
	})
}
