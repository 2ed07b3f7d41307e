package e2e_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"
)

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
				"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
				"--disable-background-networking", "--disable-component-update", "--disable-sync",
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
	for start := time.Now(); b.run("return "+expression) != "true"; time.Sleep(30 * time.Millisecond) {
		if time.Since(start) > patience {
			b.t.Fatalf("waited in vain for %s; the page shows\n%s", expression, b.run("return document.body.innerText"))
		}
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

const enterKey = "\ue007"

// press types into the element that a CSS selector names.
func (b *browser) press(selector, keys string) {
	b.t.Helper()
	b.element(selector, "/value", object{"text": keys})
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.element(selector, "/click", object{})
}

func (b *browser) element(selector, command string, body object) {
	b.t.Helper()
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

// hide hides the page, or shows it again.
func (b *browser) hide(hidden bool) {
	b.run(fmt.Sprintf(`Object.defineProperty(document, "hidden", { value: %t, configurable: true });
		document.dispatchEvent(new Event("visibilitychange", { bubbles: true }))`, hidden))
}
