package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// openLoop opens client/loop.html, where a wait takes a fiftieth of its time, and waits until it shows the demo board.
func openLoop(t *testing.T, url string) (b *browser, lists []string) {
	b = openBrowser(t, "about:blank")
	b.cdp("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": `
		const wait = setTimeout, send = fetch;
		window.polls = [], window.errors = [], window.rounds = 0, window.underWay = 0;
		console.error = (error) => errors.push(error);
		window.fetch = async (url) => {
			if (String(url).includes("/updates")) window.roundOfPoll = polls.push(String(url)) && rounds;
			underWay++;
			return send(url).finally(() => underWay--);
		};
		window.setTimeout = (f, ms) => wait(f, ms === 5000 ? ++rounds && 100 : 1e9)`})
	b.do("POST", "/url", map[string]any{"url": url + "/client/loop.html"}, nil)
	lists = strings.Split(demoTasks, " | ")
	b.loopShows(lists...)
	return b, lists
}

// loopShows reports when loop.html does not show these tasks after three rounds. In these, two polls begin and end.
func (b *browser) loopShows(lists ...string) {
	b.t.Helper()
	b.run("window.goal = rounds + 3")
	b.wait("rounds >= goal && underWay === 0")
	got := b.run(`return [...document.querySelectorAll("ul")].map((ul) =>
		[...ul.children].map((li) => li.textContent).join(", ")).join(" | ")`)
	if want := strings.Join(lists, " | "); got != want {
		b.t.Errorf("loop.html shows %q, want %q", got, want)
	}
}

// TestLoopChanges opens the page below a path, with a password in its URL, and has another client change tasks.
func TestLoopChanges(t *testing.T) {
	t.Parallel()
	server := startBelow(t)
	b, lists := openLoop(t, server)
	const markup = `<img src=x onerror="document.title='bad'"> & "quotes"`
	send(t, "POST", server+"/tasks", fmt.Sprintf(`{"list_id":"list-3","title":%q}`, markup))
	send(t, "PATCH", server+"/tasks/task-5", `{"list_id":"list-2","position":0,"title":"Renamed"}`)
	send(t, "PATCH", server+"/tasks/task-4", `{"position":1}`)
	b.loopShows(lists[0], "Renamed, "+lists[1], markup)
	b.check(`document.body.innerText.startsWith("To do\n")`, "the name of the first list")
	b.check(`/updates\?since=2[^:]*%3A[^:]*Z$/.test(polls.at(-1)) && errors.length === 0`, "the last poll, and the errors")
}

// TestLoopDeletes has another client delete the only task of a list.
func TestLoopDeletes(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b, lists := openLoop(t, server)
	send(t, "DELETE", server+"/tasks/task-4", "")
	b.loopShows(lists[0], "", lists[2])
}

// TestLoopRestart puts another database under an open page. No task of the old one may stay in view.
func TestLoopRestart(t *testing.T) {
	t.Parallel()
	before, after := startServer(t), startServer(t)
	p := newProxy(t, before)
	b, lists := openLoop(t, p.URL)
	send(t, "POST", before+"/tasks", `{"list_id":"list-1","title":"Before"}`)
	b.loopShows(lists[0]+", Before", lists[1], lists[2])
	send(t, "PATCH", after+"/tasks/task-4", `{"title":"After"}`)
	p.target.Store(after) // as after a restart: the start is another one, and the timestamp a later one
	b.loopShows(lists[0], "After", lists[2])

	p.poll.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Header.Del("If-None-Match")
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		w.Header().Set("X-Server-Start", "2026-01-01T00:00:00.000Z")
		io.Copy(w, rec.Body)
	}))
	b.loopShows(lists[0], "After", lists[2])
	p.target.Store(before) // as when a backup is restored: the start is the same, and the timestamp an earlier one
	b.loopShows(lists[0]+", Before", lists[1], lists[2])
	b.check("errors.length === 0", "the errors")
}

// TestLoopSlowServer has the server hold a poll. The loop must not go on before that poll has ended.
func TestLoopSlowServer(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	p := newProxy(t, server)
	b, lists := openLoop(t, p.URL)
	held, release := make(chan bool, 100), make(chan bool)
	p.poll.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		held <- true
		<-release
		next.ServeHTTP(w, r)
	}))
	<-held
	b.check("underWay === 1 && rounds === roundOfPoll", "whether the loop waits for the poll alone")
	close(release)
	b.loopShows(lists...)
}

// TestLoopFailure has polls fail. The error must be logged, and a change must be shown once polls work again.
func TestLoopFailure(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	p := newProxy(t, server)
	b, lists := openLoop(t, p.URL)
	fails := func(name, script string, poll fault) {
		b.run("errors = []; " + script)
		p.poll.Store(poll)
		send(t, "PATCH", server+"/tasks/task-4", fmt.Sprintf(`{"title":"After %s"}`, name))
		b.wait("errors.length > 0")
		p.works()
		b.loopShows(lists[0], "After "+name, lists[2])
	}
	fails("no response", "", cut)
	fails("status 503", "", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		http.Error(w, `{"data":[],"timestamp":"3000-01-01T00:00:00.000Z"}`, http.StatusServiceUnavailable)
	})
	fails("an error while the response is used",
		`document.createElement = () => { delete document.createElement; throw new Error("thrown"); }`, pass)
	b.check(`polls.filter((url) => !url.includes("since")).length === 1`, "the polls for the whole board")
}

// TestLoopHidden hides the page. It must not poll until it is shown again.
func TestLoopHidden(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b, lists := openLoop(t, server)
	b.run(defineHide + "hide(true)")
	b.loopShows(lists...)
	b.run("window.before = polls.length")
	send(t, "PATCH", server+"/tasks/task-4", `{"title":"Renamed"}`)
	b.loopShows(lists...)
	b.check("polls.length === before", "the polls of a hidden page")
	b.run("hide(false)")
	b.loopShows(lists[0], "Renamed", lists[2])
}
