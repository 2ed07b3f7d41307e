package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"testing"
)

// browser is a session of the WebDriver protocol, https://www.w3.org/TR/webdriver2/.
type browser struct {
	t       *testing.T
	session string // its URL
}

// open opens the page in a new browser. There, user 1 alone polls, every second, and the figures begin at zero.
func open(t *testing.T, url string) *browser {
	t.Helper()
	b := openPage(t, url)
	b.set("#users", 1)
	b.set("#seconds", 1)
	b.wait("meter.users.length === 1")
	b.waitForLists(demoTasks)
	b.run("meter.reset()")
	return b
}

// openPage opens the page in a new browser, as it is from the start. Its scripts find meter.js as meter, and in lit the
// cards that were lit.
func openPage(t *testing.T, url string) *browser {
	t.Helper()
	b := openBrowser(t, url)
	b.run(`window.sameDocument = true;
		window.lit = [];
		const { animate } = Element.prototype;
		Element.prototype.animate = function (...args) {
			lit.push(this);
			return animate.apply(this, args);
		};
		return import("/client/meter.js").then((meter) => { window.meter = meter; })`)
	return b
}

// openBrowser opens url in a new browser.
func openBrowser(t *testing.T, url string) *browser {
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
	b.wait(fmt.Sprintf(`[...document.querySelectorAll(".list")].map((list) =>
		[...list.querySelectorAll(".title")].map((title) => title.textContent).join(", ")).join(" | ") === %q`, want))
}

// waitForText waits until the text of an element matches a pattern.
func (b *browser) waitForText(selector, pattern string) {
	b.t.Helper()
	b.wait(fmt.Sprintf(`new RegExp(%q).test(document.querySelector(%q)?.innerText.trim())`, pattern, selector))
}

// set drags a slider, and does not let go of it.
func (b *browser) set(selector string, value int) {
	b.t.Helper()
	b.run(fmt.Sprintf(`const slider = document.querySelector(%q); slider.value = %d;
		slider.dispatchEvent(new Event("input", { bubbles: true }))`, selector, value))
}

// cdp sends a command of the Chrome DevTools protocol.
func (b *browser) cdp(command string, params map[string]any) {
	b.t.Helper()
	b.do("POST", "/goog/cdp/execute", map[string]any{"cmd": command, "params": params}, nil)
}

// media has the page believe in a media feature, such as a dark colour scheme.
func (b *browser) media(name, value string) {
	b.t.Helper()
	features := []any{map[string]any{"name": name, "value": value}}
	b.cdp("Emulation.setEmulatedMedia", map[string]any{"features": features})
	b.wait(fmt.Sprintf("matchMedia('(%s: %s)').matches", name, value))
}

// resize sets the size of the page's view.
func (b *browser) resize(width, height int) {
	b.t.Helper()
	b.cdp("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
	})
	b.wait(fmt.Sprintf("innerWidth === %d && innerHeight === %d", width, height))
}

// hide hides the page, or shows it again.
func (b *browser) hide(hidden bool) {
	b.t.Helper()
	b.run(fmt.Sprintf(`Object.defineProperty(document, "hidden", { value: %t, configurable: true });
		document.dispatchEvent(new Event("visibilitychange", { bubbles: true }))`, hidden))
}

// check reports an expression of JavaScript that is not true.
func (b *browser) check(expression, what string) {
	b.t.Helper()
	if got := b.run("return " + expression); got != "true" {
		b.t.Errorf("%s: %s is %s", what, expression, got)
	}
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

// click clicks on an element.
func (b *browser) click(selector string) {
	b.t.Helper()
	b.rest(selector)
	b.do("POST", b.find(selector)+"/click", map[string]any{}, nil)
}

// rest brings an element into view. If it is on the board, it waits until the element has been in one place for more
// than half a second, since the page takes no click for a card that came under the pointer less long ago.
func (b *browser) rest(selector string) {
	b.t.Helper()
	b.run(fmt.Sprintf(`document.querySelector(%q).scrollIntoView({ block: "center" }); window.place = ""`, selector))
	b.wait(fmt.Sprintf(`(() => {
		const element = document.querySelector(%q), { x, y } = element.getBoundingClientRect();
		if (place !== x + " " + y) window.restsSince = performance.now();
		window.place = x + " " + y;
		return !element.closest("#board") || performance.now() > restsSince + 600;
	})()`, selector))
}

// Keys that typing can hold, by the WebDriver protocol.
const (
	enterKey  = "\ue007"
	escapeKey = "\ue00c"
	leftKey   = "\ue012"
)

// press types into an element, or presses keys while it has the focus.
func (b *browser) press(selector, keys string) {
	b.t.Helper()
	b.do("POST", b.find(selector)+"/value", map[string]any{"text": keys}, nil)
}

// retype types into the field for a task's new title, in place of what is in it.
func (b *browser) retype(task, keys string) {
	b.t.Helper()
	field := fmt.Sprintf(`[data-id="%s"] input`, task)
	b.run(fmt.Sprintf(`document.querySelector(%q).select()`, field))
	b.press(field, keys)
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
