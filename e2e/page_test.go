package e2e_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// send is another client's request. It returns the data of the response.
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
	var response struct{ Data json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&response); err != nil && err != io.EOF || resp.StatusCode >= 300 {
		t.Fatalf("%s %s %s: status %d, %v", method, url, body, resp.StatusCode, err)
	}
	return response.Data
}

// The tasks of a fresh database, as waitForLists has them: task-1 to task-3, task-4, and task-5.
const demoTasks = "See a change arrive, Open this board in a second window, " +
	"Try polling every 30 seconds | Watch polls that bring nothing | Start the server"

// openPage opens the page. Its scripts find meter.js as meter, and in lit the cards that were lit.
func openPage(t *testing.T, url string, users, seconds int) *browser {
	b := openBrowser(t, url)
	b.run(`window.lit = [];
		const { animate } = Element.prototype;
		Element.prototype.animate = function (...args) {
			if (args[1] === 3000) lit.push(this);
			return animate.apply(this, args);
		};
		return import("/client/meter.js").then((meter) => { window.meter = meter; })`)
	b.set("#users", users)
	b.set("#seconds", seconds)
	b.wait("meter.users.every((marks) => marks.length > 0)")
	return b
}

// TestBoard changes the board as another client, as somebody, and by hand.
func TestBoard(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	p := newProxy(t, server)
	b := openPage(t, p.url, 1, 1)
	const markup, theirs = `<img src=x onerror="document.title='bad'"> & "q"`, "Somebody’s task"
	const todo, doing, done = "Open this board in a second window, Try polling every 30 seconds", "Watch polls that bring nothing", "Renamed"
	for _, test := range []struct{ name, method, path, body, lists, news string }{
		{name: "add", method: "POST", path: "/tasks", body: fmt.Sprintf(`{"list_id":"list-3","title":%q}`, markup),
			lists: demoTasks + ", " + markup, news: "“<img.*onerror.*…”.? was added. You learned of it \\d\\.\\d s later.$"},
		{name: "rename", method: "PATCH", path: "/tasks/task-5", body: `{"title":"Renamed"}`,
			lists: strings.Replace(demoTasks, "Start the server", "Renamed, "+markup, 1), news: "“Renamed”.? was changed"},
		{name: "move", method: "PATCH", path: "/tasks/task-1", body: `{"list_id":"list-2","position":0}`,
			lists: todo + " | See a change arrive, " + doing + " | Renamed, " + markup, news: "“See a change arrive”.? was changed"},
		{name: "delete", method: "DELETE", path: "/tasks/task-1",
			lists: todo + " | " + doing + " | Renamed, " + markup, news: "was deleted"},
		{name: "somebody adds", lists: todo + ", " + theirs + " | " + doing + " | Renamed, " + markup, news: "was added"},
		{name: "somebody renames", lists: todo + ", " + theirs + ", renamed | " + doing + " | Renamed, " + markup},
		{name: "somebody moves", lists: todo + " | " + doing + ", " + theirs + ", renamed | Renamed, " + markup},
		{name: "somebody deletes", lists: todo + " | " + doing + " | Renamed, " + markup, news: "was deleted"},
	} {
		b.run("lit.length = 0")
		if test.method == "" {
			b.click("#somebody")
		} else {
			send(t, test.method, server+test.path, test.body)
		}
		b.waitForLists(test.lists)
		b.waitForText("#news", test.news)
		b.check("lit.length === 1", "cards that were lit")
	}
}

// TestOwnChanges makes changes by hand. The page must show what a poll brings, not the response to the write.
func TestOwnChanges(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	p := newProxy(t, server)
	b := openPage(t, p.url, 1, 1)
	b.waitForLists(demoTasks)
	b.click("#pause")
	held := make(chan bool)
	p.poll.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		<-held
		next.ServeHTTP(w, r)
	}))
	const field, problem = ".list:nth-child(2) input", ".list:nth-child(2) form .problem"
	b.press(field, "By keyboard"+enterKey)
	b.wait(fmt.Sprintf("document.querySelector(%q).value === ''", field))
	b.waitForLists(demoTasks)
	close(held)
	lists := strings.Replace(demoTasks, " | Start", ", By keyboard | Start", 1)
	b.waitForLists(lists)
	b.press(`[data-id="task-5"] .left`, enterKey)
	lists = strings.Replace(lists, " | Start", ", Start", 1) + " | "
	b.waitForLists(lists)
	b.check(`document.activeElement.matches("[data-id=task-5] .left")`, "the focus on a card that was moved")
	b.wait(`getComputedStyle(document.querySelector(".list:nth-child(3) ol"), "::before").content === '"No tasks"'`)
	b.click("#pause")

	// What was not saved stays in its field, with the reason.
	b.press(field, " "+enterKey)
	b.waitForText(problem, `^Not saved: title must not be blank\.$`)
	b.run("const { fetch } = window; window.fetch = async (url, init) => init.method ? window.respond() : fetch(url, init)")
	b.run(`window.respond = () => new Response("<html>Bad gateway</html>", { status: 502 })`)
	b.press(field, "Kept"+enterKey)
	b.waitForText(problem, `^It is not known whether this was saved: the server responded with status 502\.$`)
	b.run("window.respond = () => { throw new TypeError('no connection') }")
	b.click(`[data-id="task-4"] .delete`)
	b.waitForText(`[data-id="task-4"]`, `not known whether this was saved: the server did not respond\.$`)
	b.click("#somebody")
	b.waitForText("#now .problem", `the server did not respond\.$`)
	b.check(fmt.Sprintf("document.querySelector(%q).value === ' Kept'", field), "the field")
}

// TestClicks clicks while cards move: no click may hit another card than the one aimed at, and no other may be lost.
func TestClicks(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := openPage(t, server, 1, 1)
	b.waitForLists(demoTasks)
	aim := func(selector string) { // the clicks come where the element is now, as a person's do
		b.wait(fmt.Sprintf(`(window.target = document.querySelector(%q)) && getComputedStyle(target).pointerEvents === "auto"`,
			selector))
		b.run(`target.scrollIntoView({ block: "center" });
			const { x, y } = target.getBoundingClientRect();
			Object.assign(window, { x: x + 5, y: y + 5 })`)
	}
	click := func() {
		x, y := b.run("return x"), b.run("return y")
		for _, kind := range []string{"mousePressed", "mouseReleased"} {
			b.cdp("Input.dispatchMouseEvent", object{"type": kind, "x": json.Number(x), "y": json.Number(y),
				"button": "left", "clickCount": 1})
		}
	}
	aim(`[data-id="task-1"] .delete`)
	click()
	b.wait(`!document.querySelector("[data-id=task-1]")`)
	click() // on task-2, which has just come here
	aim(`[data-id="task-2"] .delete`)
	send(t, "PATCH", server+"/tasks/task-5", `{"title":"Renamed"}`)
	b.waitForText(`[data-id="task-5"] .title`, "Renamed")
	b.check("document.elementFromPoint(x, y) === target", "the card is still there")
	click() // right behind a change that moves no card
	b.waitForLists("Try polling every 30 seconds | Watch polls that bring nothing | Renamed")
	aim(`[data-id="task-4"] .delete`)
	click()
	click() // a double click: the task that is gone must not be deleted again
	b.waitForLists("Try polling every 30 seconds |  | Renamed")
	b.check(`[...document.querySelectorAll(".problem")].every((problem) => problem.textContent === "")`, "a complaint")
}

// TestLayout looks at the page in many widths, and in each colour scheme.
func TestLayout(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := openPage(t, server, 10, 5)
	b.waitForLists(demoTasks)
	for _, size := range [][]int{{1280, 800}, {390, 844}} {
		b.cdp("Emulation.setDeviceMetricsOverride", object{"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": false})
		b.check(`document.querySelector(".legend").getBoundingClientRect().top < innerHeight`, "the picture, on the first screen")
	}
	for _, task := range []string{"task-1", "task-2"} {
		send(t, "PATCH", server+"/tasks/"+task, `{"title":"`+strings.Repeat("W", 200)+`"}`)
	}
	b.click("#poll-now")
	b.waitForText("#news", "WWW")
	for _, width := range []int{320, 390, 600, 820, 1280, 1600} {
		b.cdp("Emulation.setDeviceMetricsOverride", object{"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false})
		b.check("document.documentElement.scrollWidth === document.documentElement.clientWidth", fmt.Sprintf("sideways scrolling at %d px", width))
	}
	for _, test := range []struct{ selector, label string }{
		{selector: "h1", label: "Short polling: Demo board"},
		{selector: ".list:nth-child(1) input", label: "New task in To do"},
		{selector: ".list:nth-child(1) form button", label: "Add to To do"},
		{selector: `[data-id="task-4"] .right`, label: "Move “Watch polls that bring nothing” to Done"},
		{selector: `[data-id="task-4"] .delete`, label: "Delete “Watch polls that bring nothing”"},
		{selector: "#seconds", label: "Poll every 5 s"},
		{selector: "#users", label: "Users 10"},
	} {
		var element map[string]string
		var got string
		b.do("POST", "/element", object{"using": "css selector", "value": test.selector}, &element)
		for _, id := range element {
			b.do("GET", "/element/"+id+"/computedlabel", object{}, &got)
		}
		if got != test.label {
			t.Errorf("a screen reader says of %s %q, want %q", test.selector, got, test.label)
		}
	}
	for _, feature := range []object{
		{"name": "prefers-color-scheme", "value": "light"},
		{"name": "prefers-color-scheme", "value": "dark"},
		{"name": "forced-colors", "value": "active"},
	} {
		b.cdp("Emulation.setEmulatedMedia", object{"features": []object{feature}})
		b.check(`(() => {
			const light = (colour) => {
				const [r, g, b] = colour.match(/[\d.]+/g).map((n) => n / 255)
					.map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
				return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
			};
			const back = light(getComputedStyle(document.querySelector("#picture")).backgroundColor);
			return [...document.querySelectorAll(".legend .mark")].map((mark) => light(getComputedStyle(mark).color) / back)
				.every((ratio) => Math.max(ratio, 1 / ratio) >= 3);
		})()`, fmt.Sprintf("contrast of the picture's marks with %v", feature))
	}
}

// TestMeter compares what the page counts and draws with what the server counts and another client did.
func TestMeter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "taskboard.db")
	server, _ := start(t, path)
	b := openPage(t, server, 50, 2)
	b.wait("meter.counts.nothing > 60")
	b.check(`(() => { // the first poll for changes of each user
		const polls = meter.users.map((marks) => marks.find((mark) => mark.kind === "nothing")?.at ?? 0).sort();
		return polls.filter((at, i) => at > polls[i - 1] + 10).length > 25;
	})()`, "the users' polls must be spread over the interval")
	b.set("#seconds", 60) // now few polls are under way at any time
	b.wait(`fetch("/debug/vars").then((response) => response.json()).then((vars) => {
		const { nothing, changes, first, failed } = meter.counts, brought = vars.polls_empty + vars.polls_not_modified;
		return failed === 0 && first === 50 && nothing === brought && nothing + changes + first === vars.polls;
	})`)
	b.wait(`(() => {
		const [share, asked] = document.querySelector("#figures p").textContent.match(/\d+/g).map(Number);
		const { nothing, changes } = meter.counts;
		return asked === nothing + changes && share === Math.round(100 * nothing / asked);
	})()`)
	b.set("#seconds", 2)
	b.click("#pause")
	b.click("#somebody")
	b.waitForText("#delay", `^– \(0 of 50 so far\)$`)
	b.check(`(() => { // a wait is drawn while it grows, up to the right edge
		const canvas = document.querySelector("#picture"), pen = canvas.getContext("2d");
		const colour = getComputedStyle(document.querySelector(".legend .waited")).color.match(/\d+/g).join();
		return meter.users.every((marks, user) =>
			[...pen.getImageData(canvas.clientWidth - 14, 36 + 4.8 * (user + 0.5), 1, 1).data].slice(0, 3).join() === colour);
	})()`, "the waits that are drawn")
	b.click("#pause")
	b.waitForText("#delay", `^\d\.\d s on average, \d\.\d s at most$`)
	b.check(`(() => {
		const [{ at, what, waits }] = meter.changes.values();
		return meter.changes.size === 1 && what.includes("Somebody’s task") && waits.length === 50 &&
			Math.max(...waits) > 1000 + Math.min(...waits) && meter.idleTimes.length === 1 &&
			meter.users.every((marks) => marks.filter((mark) => mark.made === at).length === 1);
	})()`, "the change")

	// A stamp that is still to come tells of no wait.
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE boards SET updated_at = '2099-01-01T00:00:00.000Z'"); err != nil {
		t.Fatal(err)
	}
	send(t, "DELETE", server+"/tasks/task-1", "")
	b.waitForText("#news", "was deleted.$")
	b.set("#seconds", 60)
	b.wait("meter.counts.changes === 100")
	b.check("meter.changes.size === 1", "changes whose wait is known")
}

// TestKnobs moves the knobs, hides the page and shows it again.
func TestKnobs(t *testing.T) {
	t.Parallel()
	server := startServer(t, "-interval", "120s")
	b := openBrowser(t, server)
	b.waitForText("#seconds-shown", "^120 s$")
	b.waitForText("#wait", "^60 s on average, 132 s at most$")
	b.waitForText("#times", `^Last good poll \d\d:\d\d:\d\d, next in 1[0-3]\d s\.$`)
	for _, test := range []struct {
		users, seconds int
		rate, wait     string
	}{
		{users: 50, seconds: 5, rate: "600 requests a minute", wait: "2.5 s on average, 5.5 s at most"},
		{users: 1, seconds: 60, rate: "1 request a minute", wait: "30 s on average, 66 s at most"},
	} {
		b.set("#users", test.users)
		b.set("#seconds", test.seconds)
		b.check(fmt.Sprintf("document.querySelector('#rate').textContent === %q", test.rate), "the cost")
		b.check(fmt.Sprintf("document.querySelector('#wait').textContent === %q", test.wait), "the wait")
	}
	b.waitForText("#requests", `GET /boards/board-1/updates\?since=2\S+Z\s+304\s+nothing`)
	b.click("#pause")
	b.waitForText("#rate", "^0 requests a minute$")
	b.waitForText("#wait", "^until you resume$")
	b.waitForText("#state", "^Paused: no change arrives")
}

// TestRestart starts the server with another database under an open page in which a person types.
func TestRestart(t *testing.T) {
	t.Parallel()
	other := startServer(t)
	p := newProxy(t, startServer(t))
	b := openPage(t, p.url, 1, 1)
	p.poll.Store(cut)
	b.waitForText("#state", `^The server can’t be reached\..*next in \d s`)
	send(t, "DELETE", other+"/tasks/task-4", "")
	b.press(".list:nth-child(1) input", "Being typed")
	p.target.Store(other)
	p.works()
	b.waitForLists(strings.Replace(demoTasks, "Watch polls that bring nothing", "", 1))
	b.waitForText("#news", `^The server started again, so the board was loaded again\.$`)
	b.check("document.activeElement.value === 'Being typed'", "the field")
	b.waitForText("#requests", "thrown away: the server started again")
}

// TestElsewhere opens the page below a path, as behind a proxy, and with a name and password in its URL.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	server, err := url.Parse(startServer(t))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.StripPrefix("/below", httputil.NewSingleHostReverseProxy(server)))
	defer srv.Close()
	defer srv.CloseClientConnections()
	b := openBrowser(t, strings.Replace(srv.URL, "://", "://name:password@", 1)+"/below/")
	b.waitForLists(demoTasks)
	b.press(".list:nth-child(1) input", "Added"+enterKey)
	b.waitForLists(strings.Replace(demoTasks, " |", ", Added |", 1))
}
