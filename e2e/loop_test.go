package e2e_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// openLoop opens client/loop.html. There, a wait of 5 seconds takes a fiftieth of that.
func openLoop(t *testing.T, url string) *browser {
	t.Helper()
	b := openBrowser(t, "about:blank")
	var script struct{ Identifier string }
	b.do("POST", "/goog/cdp/execute", map[string]any{
		"cmd": "Page.addScriptToEvaluateOnNewDocument", "params": map[string]any{"source": `
			const wait = setTimeout, send = fetch;
			window.polls = []; // the URLs
			window.waits = []; // one for each round of the loop
			window.errors = [];
			window.underWay = 0;
			window.fetch = (url) => {
				if (String(url).includes("/updates")) {
					polls.push(url);
					window.waitsAtPoll = waits.length;
				}
				underWay++;
				return send(url).finally(() => { underWay--; });
			};
			window.setTimeout = (f, ms) => {
				waits.push(ms);
				return wait(f, ms / 50);
			};
			console.error = (error) => { errors.push(String(error)); }`},
	}, &script)
	t.Cleanup(func() {
		b.cdp("Page.removeScriptToEvaluateOnNewDocument", map[string]any{"identifier": script.Identifier})
	})
	b.do("POST", "/url", map[string]any{"url": url + "/client/loop.html"}, nil)
	return b
}

// rounds waits until the loop has been around three times. Then two polls have begun and ended in the meantime.
func (b *browser) rounds() {
	b.t.Helper()
	b.run("window.goal = waits.length + 3")
	b.wait("waits.length >= goal && underWay === 0")
}

// loopShows reports when loop.html does not show these tasks after some rounds. The tasks of each list are in one text.
func (b *browser) loopShows(want ...string) {
	b.t.Helper()
	b.rounds()
	got := b.run(`return [...document.querySelectorAll("ul")].map((ul) =>
		[...ul.children].map((li) => li.textContent).join(", ")).join(" | ")`)
	if want := strings.Join(want, " | "); got != want {
		b.t.Errorf("loop.html shows %q, want %q", got, want)
	}
}

// TestLoopChanges has another client add, rename and move tasks. The page was opened with a password in its URL, and it
// is not at the top of its host.
func TestLoopChanges(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	below := httptest.NewServer(http.StripPrefix("/some/path", httputil.NewSingleHostReverseProxy(target)))
	defer below.Close()
	b := openLoop(t, strings.Replace(below.URL, "//", "//user:password@", 1)+"/some/path")
	lists := strings.Split(demoTasks, " | ")
	b.loopShows(lists...)
	b.check(`document.body.innerText.startsWith("To do\n")`, "the name of the first list")

	const markup = `<img src=x onerror="document.title='bad'"> & "quotes"`
	send(t, "POST", server+"/tasks", fmt.Sprintf(`{"list_id":"list-3","title":%q}`, markup))
	send(t, "PATCH", server+"/tasks/task-5", `{"title":"Renamed"}`)
	b.loopShows(lists[0], lists[1], "Renamed, "+markup)
	send(t, "PATCH", server+"/tasks/task-5", `{"list_id":"list-2","position":0}`)
	send(t, "PATCH", server+"/tasks/task-4", `{"position":1}`)
	b.loopShows(lists[0], "Renamed, "+lists[1], markup)

	b.check(`/\/boards\/board-1\/updates$/.test(polls[0])`, "the first poll")
	b.check(`/\?since=2[^:]*%3A[^:]*Z$/.test(polls.at(-1))`, "the last poll")
	b.check("waits.every((ms) => ms === 5000)", "the waits")
	b.check("errors.length === 0", "the errors")
}

// TestLoopDeletes has another client delete the only task of a list.
func TestLoopDeletes(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := openLoop(t, server)
	lists := strings.Split(demoTasks, " | ")
	b.loopShows(lists...)
	send(t, "DELETE", server+"/tasks/task-4", "")
	b.loopShows(lists[0], "", lists[2])
}

// TestLoopRestart puts another database under an open page. No task of the old one may stay in view.
func TestLoopRestart(t *testing.T) {
	t.Parallel()
	other := startServer(t) // its timestamp is the earlier one
	server := startServer(t)
	send(t, "POST", server+"/tasks", `{"list_id":"list-1","title":"In one database alone"}`)
	p := newProxy(t, server)
	b := openLoop(t, p.url)
	lists := strings.Split(demoTasks, " | ")
	b.loopShows(lists[0]+", In one database alone", lists[1], lists[2])

	// A backup was restored into the file of the running server: the start is the same, the timestamp an earlier one.
	p.poll.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		maps.Copy(w.Header(), rec.Header())
		w.Header().Set("X-Server-Start", "the same")
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes())
	}))
	b.rounds()
	p.target.Store(other)
	b.loopShows(lists...)

	// The server has started again, and the timestamp is a later one.
	p.target.Store(server)
	p.works()
	b.loopShows(lists[0]+", In one database alone", lists[1], lists[2])
	b.check("errors.length === 0", "the errors")
}

// TestLoopSlowServer has the server hold a poll. The loop must not wait for its next poll meanwhile.
func TestLoopSlowServer(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	p := newProxy(t, server)
	b := openLoop(t, p.url)
	lists := strings.Split(demoTasks, " | ")
	b.loopShows(lists...)

	held, release := make(chan bool, 100), make(chan bool)
	p.poll.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		held <- true
		<-release
		next.ServeHTTP(w, r)
	}))
	<-held
	b.check("underWay === 1 && waits.length === waitsAtPoll", "a wait had begun before the poll had ended")
	close(release)
	send(t, "PATCH", server+"/tasks/task-4", `{"title":"Renamed"}`)
	b.loopShows(lists[0], "Renamed", lists[2])
}

// TestLoopFailure has a poll fail. The error must be logged, and a change must be shown once polls work again.
func TestLoopFailure(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	p := newProxy(t, server)
	b := openLoop(t, p.url)
	lists := strings.Split(demoTasks, " | ")
	b.loopShows(lists...)
	for _, test := range []struct {
		name   string
		poll   fault  // what becomes of polls
		script string // run in the page
	}{
		{name: "no response", poll: cut},
		{
			name: "status 503",
			poll: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				w.WriteHeader(http.StatusServiceUnavailable)
				io.WriteString(w, `{"data":[],"timestamp":"3000-01-01T00:00:00.000Z"}`)
			},
		}, {
			name: "no JSON",
			poll: func(w http.ResponseWriter, r *http.Request, next http.Handler) { io.WriteString(w, "<html>") },
		}, {
			name:   "an error while the response is used",
			script: `document.createElement = () => { delete document.createElement; throw new Error("thrown"); }`,
		},
	} {
		b.run("errors = []; " + test.script)
		if test.poll != nil {
			p.poll.Store(test.poll)
		}
		send(t, "PATCH", server+"/tasks/task-4", fmt.Sprintf(`{"title":"After %s"}`, test.name))
		b.wait("errors.length > 0")
		p.works()
		b.loopShows(lists[0], "After "+test.name, lists[2])
	}
	b.check(`polls.filter((url) => !url.includes("since")).length === 1`, "the polls for the whole board")
}

// TestLoopHidden hides the page. It must not poll until it is shown again.
func TestLoopHidden(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := openLoop(t, server)
	lists := strings.Split(demoTasks, " | ")
	b.loopShows(lists...)

	b.hide(true)
	b.rounds()
	b.run("window.before = polls.length")
	b.rounds()
	b.check("polls.length === before", "the polls of a hidden page")
	send(t, "PATCH", server+"/tasks/task-4", `{"title":"Renamed"}`)
	b.hide(false)
	b.loopShows(lists[0], "Renamed", lists[2])
}
