package e2e_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// openLoop opens client/loop.html in a new browser. Its waits of 5 seconds are a fiftieth of that there.
func openLoop(t *testing.T, url string) *browser {
	t.Helper()
	b := openBrowser(t, "about:blank")
	b.cdp("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": `
		const wait = setTimeout, send = fetch;
		window.waits = []; // one for each round of the loop
		window.setTimeout = (f, ms) => { waits.push(ms); return wait(f, ms / 50); };
		window.polls = []; // the URLs
		window.underWay = 0;
		window.fetch = async (url) => {
			if (url.includes("/updates")) polls.push(url);
			underWay++;
			return send(url).finally(() => { underWay--; });
		};
		window.errors = [];
		console.error = (error) => { errors.push(String(error)); }`})
	b.do("POST", "/url", map[string]any{"url": url + "/client/loop.html"}, nil)
	return b
}

// rounds waits until the loop has been around twice. Then at least one poll has begun and ended in the meantime.
func (b *browser) rounds() {
	b.t.Helper()
	b.run("window.goal = waits.length + 2")
	b.wait("waits.length >= goal && underWay === 0")
}

// loopShows reports when loop.html does not show these tasks after two rounds. The tasks of each list are in one text.
func (b *browser) loopShows(want ...string) {
	b.t.Helper()
	b.rounds()
	got := b.run(`return [...document.querySelectorAll("ul")].map((ul) =>
		[...ul.children].map((li) => li.textContent).join(", ")).join(" | ")`)
	if want := strings.Join(want, " | "); got != want {
		b.t.Errorf("loop.html shows %q, want %q", got, want)
	}
}

// TestLoopChanges has another client add, rename and move tasks.
func TestLoopChanges(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := openLoop(t, server)
	lists := strings.Split(demoTasks, " | ")
	b.loopShows(lists...)
	b.check(`document.body.innerText.startsWith("To do\n")`, "the name of the first list")

	const markup = `<img src=x onerror="document.title='bad'"> & "quotes"`
	send(t, "POST", server+"/tasks", fmt.Sprintf(`{"list_id":"list-3","title":%q}`, markup))
	b.loopShows(lists[0], lists[1], lists[2]+", "+markup)
	send(t, "PATCH", server+"/tasks/task-5", `{"title":"Renamed"}`)
	b.loopShows(lists[0], lists[1], "Renamed, "+markup)
	send(t, "PATCH", server+"/tasks/task-5", `{"list_id":"list-2","position":0}`)
	send(t, "PATCH", server+"/tasks/task-4", `{"position":1}`)
	b.loopShows(lists[0], "Renamed, "+lists[1], markup)

	b.check(`polls[0] === "/boards/board-1/updates"`, "the first poll")
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
	for _, test := range []struct {
		name     string
		restored bool // a backup was restored into the file of the running server: the start is the same
	}{
		{name: "the server starts with another database, whose timestamp is later"},
		{name: "a backup is restored, whose timestamp is earlier", restored: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			other := startServer(t)
			server := startServer(t)
			p := newProxy(t, server)
			b := openLoop(t, p.url)
			send(t, "POST", server+"/tasks", `{"list_id":"list-1","title":"In the old database alone"}`)
			lists := strings.Split(demoTasks, " | ")
			b.loopShows(lists[0]+", In the old database alone", lists[1], lists[2])

			if test.restored {
				resp, err := http.Head(server + "/boards/board-1/updates")
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				p.poll.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					rec := httptest.NewRecorder()
					next.ServeHTTP(rec, r)
					maps.Copy(w.Header(), rec.Header())
					w.Header().Set("X-Server-Start", resp.Header.Get("X-Server-Start"))
					w.WriteHeader(rec.Code)
					w.Write(rec.Body.Bytes())
				}))
			} else {
				for i := range 5 {
					send(t, "DELETE", fmt.Sprintf("%s/tasks/task-%d", other, i+1), "")
				}
				lists = []string{"", "", ""}
			}
			p.target.Store(other)
			b.loopShows(lists...)
			b.check("errors.length === 0", "the errors")
		})
	}
}

// TestLoopSlowServer has the server hold a poll for as long as twenty waits take. No other poll may be made meanwhile.
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
	b.run("window.before = polls.length; window.from = performance.now()")
	b.wait("performance.now() > from + 2000")
	b.check("polls.length === before", "a poll was made although another one was under way")
	close(release)
	send(t, "PATCH", server+"/tasks/task-4", `{"title":"Renamed"}`)
	b.loopShows(lists[0], "Renamed", lists[2])
}

// TestLoopFailure has a poll fail. The error must be logged, and a change must be shown once polls work again.
func TestLoopFailure(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		poll   fault  // what becomes of polls
		script string // run in the page
	}{
		{name: "no response", poll: cut},
		{
			name: "status 503",
			poll: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusServiceUnavailable)
				io.WriteString(w, `{"error":"the database is busy; try again"}`)
			},
		}, {
			name: "no JSON",
			poll: func(w http.ResponseWriter, r *http.Request, next http.Handler) { io.WriteString(w, "<html>") },
		}, {
			name: "half a response",
			poll: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				rec := httptest.NewRecorder()
				next.ServeHTTP(rec, r)
				maps.Copy(w.Header(), rec.Header())
				w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			},
		}, {
			name: "an error while the response is used",
			script: `const { createElement } = document;
				document.createElement = () => {
					document.createElement = createElement;
					throw new Error("thrown");
				}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := startServer(t)
			p := newProxy(t, server)
			b := openLoop(t, p.url)
			lists := strings.Split(demoTasks, " | ")
			b.loopShows(lists...)
			if test.poll != nil {
				p.poll.Store(test.poll)
			}
			b.run(test.script)
			send(t, "PATCH", server+"/tasks/task-4", `{"title":"Renamed"}`)
			b.wait("errors.length > 0")
			p.works()
			b.loopShows(lists[0], "Renamed", lists[2])
			b.check(`polls.filter((url) => !url.includes("since")).length === 1`, "the polls for the whole board")
		})
	}
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
	send(t, "PATCH", server+"/tasks/task-4", `{"title":"Renamed"}`)
	b.run("window.before = polls.length")
	b.loopShows(lists...)
	b.check("polls.length === before", "the polls of a hidden page")
	b.hide(false)
	b.loopShows(lists[0], "Renamed", lists[2])
}
