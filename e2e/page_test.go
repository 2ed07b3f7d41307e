package e2e_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

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
		got = send(t, "GET", url+"/boards/board-1/updates?since=1970-01-01T00:00:00Z", "")
		if regexp.MustCompile(want).Match(got) {
			return
		}
	}
	t.Errorf("the server has %s; want %s", got, want)
}

// The tasks of a fresh database, as waitForLists has them.
const demoTasks = "Open this board in a second window, Add a task there and wait for it here, " +
	"Count the polls that bring nothing | Read schema.sql and store.go | Start the server"

// TestOthersChanges has another client write. The page learns by polling alone.
func TestOthersChanges(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)
	const rest = "Open this board in a second window | Read schema.sql and store.go"

	send(t, "DELETE", server+"/tasks/task-2", "")
	send(t, "DELETE", server+"/tasks/task-3", "")
	b.waitForLists(rest + " | Start the server")

	var task struct{ ID string }
	const markup = `<img src=x onerror="document.title='bad'"> & "quotes"`
	body := fmt.Sprintf(`{"list_id":"list-2","title":%q,"description":"<b>bold</b>"}`, markup)
	added := send(t, "POST", server+"/tasks", body)
	if err := json.Unmarshal(added, &task); err != nil {
		t.Fatal(err)
	}
	b.waitForLists(rest + ", " + markup + " | Start the server")
	b.wait(`document.querySelector(".list:nth-child(2) .lit .description").textContent === "<b>bold</b>"`)
	b.waitForText("#news", `^“<img src=x onerror="document.title='bad'.*…” arrived \d+\.\d s after it was made\.$`)

	send(t, "PATCH", server+"/tasks/"+task.ID, `{"title":"Renamed"}`)
	b.waitForLists(rest + ", Renamed | Start the server")
	b.waitForText("#news", `^The change of “Renamed” arrived \d+\.\d s after it was made\.$`)
	send(t, "PATCH", server+"/tasks/"+task.ID, `{"list_id":"list-3","position":0}`)
	b.waitForLists(rest + " | Renamed, Start the server")
	send(t, "DELETE", server+"/tasks/task-4", "")
	b.waitForLists("Open this board in a second window |  | Renamed, Start the server")
	b.waitForText("#news", `^The deletion of “Read schema.sql and store.go” arrived \d+\.\d s after it was made\.$`)
	b.wait(`getComputedStyle(document.querySelector(".list:nth-child(2) ol"), "::before").content === '"No tasks"'`)

	for _, message := range b.logs("browser") {
		t.Errorf("console: %s", message)
	}
	requests := 0
	request := regexp.MustCompile(`"Network.requestWillBeSent".*"url":"((?:http|ws)[^"]+)"`)
	for _, message := range b.logs("performance") {
		if match := request.FindStringSubmatch(message); match != nil {
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
	b.click("#pause") // what is shown from here on does not come from a poll

	b.press(".list:nth-child(3) .add input", "By keyboard"+enterKey)
	b.wait(`document.querySelector(".list:nth-child(3) li:nth-child(2) .title")?.textContent === "By keyboard"`)
	waitForServer(t, server, `"list_id":"list-3","title":"By keyboard"`)
	b.wait(`document.querySelector(".list:nth-child(3) .add input").value === ""`)

	b.press(".list:nth-child(3) .add input", "By mouse")
	b.click(".list:nth-child(3) .add button")
	waitForServer(t, server, `"list_id":"list-3","title":"By mouse"`)

	b.click(`[data-id="task-4"] .edit`)
	b.retype("task-4", "Not this"+escapeKey)
	b.press(`[data-id="task-4"] .edit`, enterKey)
	b.press(`[data-id="task-4"] input`, " twice"+enterKey)
	waitForServer(t, server, `"title":"Read schema.sql and store.go twice"`)
	b.wait(`document.querySelector('[data-id="task-4"] .title').checkVisibility()`)

	b.press(`[data-id="task-4"] .right`, enterKey)
	waitForServer(t, server, `"id":"task-4","list_id":"list-3"`)
	// The arrow had the focus. Now it is disabled, since there is no list further right.
	b.wait(`document.activeElement.matches('.list:nth-child(3) [data-id="task-4"] .edit')`)
	b.click(`[data-id="task-4"] .left`)
	waitForServer(t, server, `"id":"task-4","list_id":"list-2"`)
	b.wait(`document.querySelector('.list:nth-child(2) [data-id="task-4"]')`)

	b.click(`[data-id="task-4"] .delete`)
	waitForServer(t, server, `"id":"task-4"[^}]*"deleted_at"`)
	lists := strings.Replace(demoTasks, "Read schema.sql and store.go", "", 1) + ", By keyboard, By mouse"
	b.waitForLists(lists)
	b.wait(`document.activeElement.textContent === "In progress"`)
	b.click("#pause")
	b.run("meter.reset()")
	b.wait("meter.counts.nothing > 2")
	b.waitForLists(lists)
	b.check("meter.counts.changes === 0", "the page's own writes")
}

// TestOwnWritesAreNoNews has the page of ten users write. None of them may
// count that as a change, also if a poll brings it before the write's response.
func TestOwnWritesAreNoNews(t *testing.T) {
	t.Parallel()
	p := newProxy(t, startServer(t))
	b := open(t, p.url)
	b.set("#users", 10)
	b.wait("meter.users.every((marks) => marks.length > 0) && meter.users.length === 10")
	p.write.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		passOn(w, r, next, func([]byte) {
			<-time.After(300 * time.Millisecond) // some of ten polls in a second fall into this
		})
	}))
	allPolled := func() {
		b.run("window.since = Date.now()")
		b.wait("meter.users.every((marks) => marks.filter((mark) => mark.at > since + 500).length >= 2)")
	}
	b.press(".list:nth-child(1) .add input", "Mine"+enterKey)
	b.waitForLists(strings.Replace(demoTasks, " |", ", Mine |", 1))
	allPolled()
	b.click(`[data-id="task-4"] .right`)
	b.wait(`document.querySelector('.list:nth-child(3) [data-id="task-4"]')`)
	allPolled()
	b.click(`[data-id="task-4"] .delete`)
	b.wait(`!document.querySelector('[data-id="task-4"]')`)
	allPolled()
	b.check("meter.counts.changes === 0", "the page's own writes")
	b.check("meter.changes.size === 0", "the page's own writes")
	b.check(`!document.querySelector(".lit")`, "the page's own writes")
	b.check(`document.querySelector("#news").textContent === "No change has arrived yet."`, "the page's own writes")
}

// TestLatePoll deletes a task while a poll is under way whose response has it.
func TestLatePoll(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	p := newProxy(t, server)
	b := open(t, p.url)
	held, release := make(chan bool, 1), make(chan bool)
	p.poll.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		passOn(w, r, next, func(body []byte) {
			if bytes.Contains(body, []byte("Theirs")) {
				p.works()
				held <- true
				<-release
			}
		})
	}))
	send(t, "PATCH", server+"/tasks/task-4", `{"title":"Theirs"}`)
	<-held
	b.click(`[data-id="task-4"] .delete`)
	b.wait(`!document.querySelector('[data-id="task-4"]')`)
	b.run(`window.back = 0; window.polls = meter.users[0].length;
		new MutationObserver(() => { window.back += document.querySelectorAll('[data-id="task-4"]').length; })
			.observe(document.querySelector("#board"), { childList: true, subtree: true })`)
	close(release)
	b.wait(`meter.users[0].length >= window.polls + 2`)
	b.check("window.back === 0", "the deleted task came back")
}

// TestRefusedWrites has the server refuse, or fail. The page must say what
// happened and keep what was typed, until the cause is gone.
func TestRefusedWrites(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	p := newProxy(t, server)
	b := open(t, p.url)
	long := strings.Repeat("x", 201)
	problem := func(want string) {
		t.Helper()
		b.wait(fmt.Sprintf(`document.querySelector("#problem").textContent === %q`, want))
	}
	const tooLong = "Not saved: title must not be longer than 200 characters."
	const addField = ".list:nth-child(1) .add input"

	top := b.run(`return document.querySelector("#board").getBoundingClientRect().top`)
	b.press(addField, long+enterKey)
	problem(tooLong)
	b.check(`document.querySelector("#board").getBoundingClientRect().top === `+top, "a message moves the board")
	b.check(fmt.Sprintf(`document.querySelector(%q).value === %q`, addField, long), "the field")
	b.press(addField, "\ue003") // Backspace
	problem("")

	b.run(fmt.Sprintf(`document.querySelector(%q).value = " \u200b\u2060"`, addField))
	b.press(addField, enterKey)
	problem("Not saved: a title needs a character that can be seen.")
	b.run(fmt.Sprintf(`document.querySelector(%q).value = ""`, addField))
	b.press(addField, "Twice"+enterKey+enterKey)
	b.waitForLists(strings.Replace(demoTasks, " |", ", Twice |", 1))
	b.wait(fmt.Sprintf(`document.querySelector(%q).value === ""`, addField))
	b.press(addField, enterKey) // there is nothing to save
	b.check(`document.querySelector("#problem").textContent === ""`, "the message")

	b.click(`[data-id="task-1"] .edit`)
	b.retype("task-1", "Mine"+enterKey)
	b.wait(`document.querySelector('[data-id="task-1"] .title').textContent === "Mine"`)
	b.click(`[data-id="task-1"] .edit`)
	b.retype("task-1", long+enterKey)
	problem(tooLong)
	send(t, "PATCH", server+"/tasks/task-1", `{"title":"Theirs"}`)
	b.wait(`document.querySelector('[data-id="task-1"] .title').textContent === "Theirs"`)
	b.check(fmt.Sprintf(`document.querySelector('[data-id="task-1"] input').value === %q`, long), "the field")
	b.click(`[data-id="task-1"] .cancel`)
	problem("")

	p.write.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.WriteHeader(http.StatusBadGateway)
		io.WriteString(w, "<html>Bad gateway</html>")
	}))
	b.click(`[data-id="task-1"] .delete`)
	problem("It is not known whether the change was saved: the server responded with status 502.")
	p.write.Store(fault(cut))
	b.click(`[data-id="task-1"] .delete`)
	problem("It is not known whether the change was saved: the server did not respond.")
	problem("") // polls show what was saved
}

// TestEditsInProgress has another client write while a person types.
func TestEditsInProgress(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "taskboard.db")
	server, _ := start(t, path)
	b := open(t, server)
	const field = `document.querySelector('[data-id="task-1"] input')`
	note := func(want string) {
		t.Helper()
		b.wait(fmt.Sprintf(`document.querySelector('[data-id="task-1"] .note').textContent.includes(%q)`, want))
	}

	// Enter, without typing, must not undo another client's rename.
	b.click(`[data-id="task-1"] .edit`)
	send(t, "PATCH", server+"/tasks/task-1", `{"title":"Theirs"}`)
	note("renamed this task to “Theirs”")
	b.press(`[data-id="task-1"] input`, enterKey)
	b.wait(`document.querySelector('[data-id="task-1"] .title').checkVisibility()`)
	waitForServer(t, server, `"title":"Theirs"`)

	// Rename, pressed again, keeps what was typed, and so does the end of a composition.
	b.click(`[data-id="task-1"] .edit`)
	b.retype("task-1", "Mine")
	b.click(`[data-id="task-1"] .edit`)
	b.run(field + `.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", isComposing: true, bubbles: true }))`)
	b.check(field+`.checkVisibility() && `+field+`.value === "Mine" && document.activeElement === `+field, "the field")

	// What leaves the title as it is does not matter to who types a title.
	send(t, "PATCH", server+"/tasks/task-1", `{"description":"Theirs, too"}`)
	b.wait(`document.querySelector('[data-id="task-1"] .description').textContent === "Theirs, too"`)
	b.check(`document.querySelector('[data-id="task-1"] .note').textContent === ""`, "the note")

	// A list that the page does not know must not take the focus from the field.
	b.run(`window.lost = 0; document.addEventListener("focusout", () => { window.lost++ })`)
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Exec(`INSERT INTO lists (id, board_id, name, position) VALUES ('list-0', 'board-1', 'New', -1)`)
	if err != nil {
		t.Fatal(err)
	}
	send(t, "POST", server+"/tasks", `{"list_id":"list-0","title":"In a new list"}`)
	b.wait(`document.querySelector(".list:first-child .title")?.textContent === "In a new list"`)
	b.check(`window.lost === 0 && document.activeElement === `+field, "the focus")

	// A deletion must not take what was typed.
	send(t, "DELETE", server+"/tasks/task-1", "")
	note("This task was deleted")
	b.check(field+`.value === "Mine" && document.activeElement === `+field, "the field")
	b.check(`document.querySelector(".list:nth-child(2) li").contains(`+field+`)`, "the field's place")
	b.press(`[data-id="task-1"] input`, enterKey)
	waitForServer(t, server, `"list_id":"list-1","title":"Mine"`)
	b.wait(`!document.querySelector('[data-id="task-1"]')`)

	b.click(`[data-id="task-2"] .edit`)
	send(t, "DELETE", server+"/tasks/task-2", "") // nothing was typed, so there is nothing to keep
	b.wait(`!document.querySelector('[data-id="task-2"]')`)
	b.wait(`document.activeElement.textContent === "To do"`)
}

// TestClicks clicks while cards move. Each click must act on one task only, the
// one that was under the pointer when it was pressed.
func TestClicks(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	p := newProxy(t, server)
	b := open(t, p.url)
	mouse := func(actions ...map[string]any) {
		t.Helper()
		b.do("POST", "/actions", map[string]any{"actions": []any{map[string]any{
			"type": "pointer", "id": "mouse", "parameters": map[string]any{"pointerType": "mouse"}, "actions": actions,
		}}}, nil)
	}
	moveTo := func(selector string) map[string]any {
		t.Helper()
		b.wait(`!document.querySelector(".settling")`)
		b.run(fmt.Sprintf(`document.querySelector(%q).scrollIntoView({ block: "center" })`, selector))
		id := strings.TrimPrefix(b.find(selector), "/element/")
		return map[string]any{"type": "pointerMove", "x": 0, "y": 0,
			"origin": map[string]any{"element-6066-11e4-a52e-4f735466cecf": id}}
	}
	down := map[string]any{"type": "pointerDown", "button": 0}
	up := map[string]any{"type": "pointerUp", "button": 0}
	pause := map[string]any{"type": "pause", "duration": 150}
	twoPolls := func() {
		t.Helper()
		b.run(`window.polls = meter.users[0].length`)
		b.wait(`meter.users[0].length >= window.polls + 2 && !document.querySelector(".settling")`)
	}

	mouse(moveTo(`[data-id="task-1"] .delete`), down, up, pause, down, up)
	twoPolls()
	b.waitForLists(strings.Replace(demoTasks, "Open this board in a second window, ", "", 1))

	mouse(moveTo(`[data-id="task-2"] .right`), down, up, pause, down, up)
	twoPolls()
	const afterMove = "Count the polls that bring nothing | " +
		"Read schema.sql and store.go, Add a task there and wait for it here | "
	b.waitForLists(afterMove + "Start the server")

	// While the write is under way, a second click is not sent.
	p.write.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		<-time.After(400 * time.Millisecond)
		next.ServeHTTP(w, r)
	}))
	mouse(moveTo(`[data-id="task-5"] .delete`), down, up, pause, down, up)
	twoPolls()
	b.waitForLists(afterMove)
	b.check(`document.querySelector("#problem").textContent === ""`, "the message")

	// A poll that brings a change while the pointer is pressed.
	brought := make(chan bool, 10)
	p.poll.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		passOn(w, r, next, func(body []byte) {
			if bytes.Contains(body, []byte(`"id":"task-4"`)) {
				brought <- true
			}
		})
	}))
	mouse(moveTo(`[data-id="task-2"] .delete`), down)
	send(t, "DELETE", server+"/tasks/task-4", "")
	<-brought
	mouse(pause, up) // the pause gives the page time to do it wrong
	b.waitForLists("Count the polls that bring nothing |  | ")
	waitForServer(t, server, `"id":"task-2"[^}]*"deleted_at"`)
}

// TestLabels asks the browser what a screen reader would say.
func TestLabels(t *testing.T) {
	t.Parallel()
	b := open(t, startServer(t))
	b.click(`[data-id="task-5"] .edit`)
	for _, test := range []struct{ name, selector, want string }{
		{name: "heading", selector: "h1", want: "Short polling: Demo board"},
		{name: "add field", selector: ".list:nth-child(1) .add input", want: "New task in To do"},
		{name: "add button", selector: ".list:nth-child(1) .add button", want: "Add to To do"},
		{name: "left", selector: `[data-id="task-4"] .left`, want: "Move “Read schema.sql and store.go” to To do"},
		{name: "right", selector: `[data-id="task-4"] .right`, want: "Move “Read schema.sql and store.go” to Done"},
		{name: "no list", selector: `[data-id="task-1"] .left`, want: "There is no list to the left"},
		{name: "rename", selector: `[data-id="task-4"] .edit`, want: "Rename “Read schema.sql and store.go”"},
		{name: "new title", selector: `[data-id="task-5"] input`, want: "New title of “Start the server”"},
		{name: "delete", selector: `[data-id="task-4"] .delete`, want: "Delete “Read schema.sql and store.go”"},
		{name: "interval", selector: "#seconds", want: "Poll every 1 s"},
		{name: "users", selector: "#users", want: "Users 1"},
		{name: "poll now", selector: "#poll-now", want: "Poll now"},
		{name: "pause", selector: "#pause", want: "Pause"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got string
			b.do("GET", b.find(test.selector)+"/computedlabel", nil, &got)
			if got != test.want {
				t.Errorf("label of %s = %q, want %q", test.selector, got, test.want)
			}
		})
	}
}

// TestWidths looks for sideways scrolling, with a task being renamed.
func TestWidths(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)
	for _, task := range []string{"task-1", "task-2"} {
		send(t, "PATCH", server+"/tasks/"+task, `{"title":"`+strings.Repeat("W", 200)+`"}`)
		b.wait(fmt.Sprintf(`document.querySelector('[data-id=%q] .title').textContent.startsWith("WW")`, task))
	}
	b.click(`[data-id="task-1"] .edit`)
	for _, width := range []int{320, 390, 600, 820, 1280, 1600} {
		t.Run(strconv.Itoa(width), func(t *testing.T) {
			b.resize(width, 800)
			b.check("document.documentElement.scrollWidth === document.documentElement.clientWidth", "sideways scrolling")
		})
	}
	// What stays in view must not cover the controls of a page at 400 % zoom.
	b.resize(320, 256)
	b.run(`document.querySelector("#pause").scrollIntoView({ block: "start" })`)
	b.check(`document.querySelector("#now").getBoundingClientRect().bottom <= 0`, "the part that stays in view")
	b.resize(640, 720)
	b.run(`scrollTo(0, 1000)`)
	b.wait(`scrollY > 300 && document.querySelector("#now").getBoundingClientRect().top === 0`)
}

// TestMeter compares what the page counts in five seconds at one poll a second
// with what the server does.
func TestMeter(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)
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
	b.wait("meter.counts.nothing > 0")
	b.click("#pause")
	before := serverPolls()
	b.click("#reset")
	b.waitForText("#lead", "^– of the polls")
	b.waitForText("#polls", "^0: 0")
	start := time.Now()
	b.click("#pause")
	b.wait(`meter.counts.nothing === 6`) // the first comes at once
	if took := time.Since(start); took < 4500*time.Millisecond || took > 6500*time.Millisecond {
		t.Errorf("five more polls at one a second took %v", took)
	}
	b.click("#pause")
	if got := serverPolls() - before; got != 6 {
		t.Errorf("the server counted %d polls, the page 6", got)
	}
	b.waitForText("#lead", "^100 % of the polls brought nothing$")
	b.waitForText("#polls", "^6: 6 brought nothing, 0 a change, 0 the whole board$")
	b.waitForText("#rate", "^0 requests a minute$")
	b.click("#pause")
	for _, test := range []struct {
		users, seconds int
		want           string
	}{
		{users: 50, seconds: 5, want: "600 requests a minute"},
		{users: 1, seconds: 60, want: "1 request a minute"},
	} {
		b.set("#users", test.users)
		b.set("#seconds", test.seconds)
		b.waitForText("#rate", "^"+test.want+"$")
	}
	b.wait(`parseFloat(document.querySelector("#bytes").textContent) > 1`)
}

// TestAdvisedInterval has the server advise more than the slider usually reaches.
func TestAdvisedInterval(t *testing.T) {
	t.Parallel()
	b := openBrowser(t, startServer(t, "-interval", "120s"))
	b.waitForLists(demoTasks)
	b.waitForText("#seconds-shown", "^120 s$")
	b.check(`document.querySelector("#seconds").value === "120"`, "the slider")
	b.waitForText("#rate", "^30 requests an hour$")
	b.waitForText("#times", `^Last good poll \d\d:\d\d:\d\d, next in 1[0-3]\d s$`)
	b.click("#poll-now")
	b.wait(`document.querySelectorAll("#requests tr").length === 2`)
}

// TestPicture compares the data that is drawn with what another client did.
func TestPicture(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)
	// spread checks that the polls since window.since are spread over the interval.
	spread := func(ms int) {
		t.Helper()
		b.wait(`meter.users.every((marks) => marks.some((mark) => mark.at > window.since))`)
		b.check(fmt.Sprintf(`(() => {
			const firsts = meter.users.map((marks) => marks.find((mark) => mark.at > window.since).at);
			firsts.sort((a, b) => a - b);
			const steps = firsts.slice(1).map((at, i) => at - firsts[i]);
			return firsts.at(-1) - firsts[0] > %d && Math.max(...steps) < %d;
		})()`, ms*7/10, ms/2), "the users' polls must be spread over the interval")
	}
	b.set("#seconds", 4)
	b.run("window.since = Date.now()")
	b.set("#users", 10)
	spread(4000)
	b.check(`meter.users.slice(1).every((marks) => marks[0].kind === "first")`, "first loads")
	b.check(`meter.counts.first === 10 && meter.counts.changes === 0`, "first loads")

	var task struct {
		UpdatedAt string `json:"updated_at"`
	}
	added := send(t, "POST", server+"/tasks", `{"list_id":"list-1","title":"Water the plants"}`)
	if err := json.Unmarshal(added, &task); err != nil {
		t.Fatal(err)
	}
	b.wait(`[...meter.changes.values()][0]?.waits.length === 10`)
	b.run(`window.change = [...meter.changes.values()][0]; window.made = Date.parse("` + task.UpdatedAt + `")`)
	b.check("meter.changes.size === 1 && change.at === made", "the upright line")
	b.check("Math.min(...change.waits) >= 0 && Math.max(...change.waits) < 6000", "the waits")
	b.check("Math.max(...change.waits) - Math.min(...change.waits) > 1000", "the waits must differ")
	b.check(`meter.users.every((marks) => {
		const brought = marks.filter((mark) => mark.kind === "changes");
		return brought.length === 1 && Math.abs(brought[0].made - made) < 50 && brought[0].at >= made;
	})`, "the marks of the change")
	b.wait(`document.querySelector("#delay").textContent === (() => {
		const [mean, most] = [change.waits.reduce((a, b) => a + b) / 10, Math.max(...change.waits)];
		return (mean / 1000).toFixed(1) + " s on average, " + (most / 1000).toFixed(1) + " s at most";
	})()`)
	b.wait(`/^The polls of 10 users in the last 60 s: \d+ brought nothing, 10 brought changes, 10 the whole board, /
		.test(document.querySelector("#picture").ariaLabel)`)

	b.run("window.since = Date.now()")
	b.set("#seconds", 5)
	spread(5000)

	b.run(`meter.users[0].unshift({ at: Date.now() - 61_000, kind: "nothing" }); meter.show()`)
	b.check("meter.users[0][0].at > Date.now() - 60_000", "what the picture does not show is forgotten")
	b.check("meter.idleTimes.length === 0", "shaded time")
	b.click("#pause")
	b.click("#pause")
	b.check("meter.idleTimes.length === 1 && meter.idleTimes[0].from <= meter.idleTimes[0].to", "shaded time")
	b.set("#seconds", 30)
	b.waitForText("#span", `^The last 120 s, with a row for each user \(you are user 1, this page plays the others\):$`)
}

// TestRequests compares the list of requests with what came through a proxy.
func TestRequests(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)
	cells := `[...document.querySelectorAll("#requests tr")].map((row) => [...row.cells].map((cell) => cell.textContent))`
	b.wait(cells + `.length === 6 && ` + cells + `.every((row) => Number(row[3]) > 0)`)
	b.check(`new Set(`+cells+`.slice(0, 4).map((row) => row[1])).size === 1`, "nothing new must ask for the same URL")
	b.check(cells+`[0][1].startsWith("GET /boards/board-1/updates?since=2")`, "the request")
	b.wait(cells + `[0][2] === "304" && ` + cells + `[0][4] === "nothing"`) // of the browsers, Chromium tells
	b.run(`window.url = ` + cells + `[0][1]`)
	send(t, "DELETE", server+"/tasks/task-1", "")
	send(t, "DELETE", server+"/tasks/task-2", "")
	b.wait(cells + `.some((row, i) => row[1] === url && row[4].endsWith(" tasks") || row[4] === "1 task")`)
	b.wait(cells + `[0][1] !== url && ` + cells + `[0][4] === "nothing"`)
}

// TestHiddenPage hides the page, which must then not poll, and shows it again,
// which must make it poll at once and say what happened.
func TestHiddenPage(t *testing.T) {
	t.Parallel()
	b := open(t, startServer(t))
	b.wait(`meter.counts.nothing >= 2`)
	b.hide(true)
	b.run(`window.hiddenAt = Date.now(); window.polls = meter.counts.nothing`)
	b.wait(`Date.now() > window.hiddenAt + 3500`) // the interval is 1 s
	b.check(`meter.counts.nothing === window.polls`, "polls of a hidden page")
	b.set("#seconds", 60)
	b.hide(false)
	b.wait(`meter.counts.nothing === window.polls + 1`)
	b.waitForText("#status", `^This page was hidden for \d s\. A hidden page does not poll\.$`)
	b.check(`meter.idleTimes.length === 1 && meter.idleTimes[0].to - meter.idleTimes[0].from >= 3500`, "shaded time")
}

// TestFaults puts a proxy between browser and server, and has it misbehave.
func TestFaults(t *testing.T) {
	t.Parallel()
	t.Run("slow responses", func(t *testing.T) {
		t.Parallel()
		p := newProxy(t, startServer(t))
		b := open(t, p.url)
		// Counted in the page: the browser's cache lets one request for a URL
		// through at a time, so that the proxy would see no pile-up.
		b.run(`window.running = window.most = 0;
			const original = window.fetch;
			window.fetch = async (...args) => {
				window.most = Math.max(window.most, ++window.running);
				try { return await original(...args); } finally { window.running--; }
			}`)
		p.poll.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			<-time.After(2500 * time.Millisecond) // the interval is 1 s
			next.ServeHTTP(w, r)
		}))
		b.waitForText("#state", `Waiting for a response … .*waiting for \d s`)
		b.click("#reset")
		b.wait(`meter.counts.nothing >= 2`)
		b.check("window.most === 1", "polls at once")
	})

	t.Run("503 with Retry-After", func(t *testing.T) {
		t.Parallel()
		p := newProxy(t, startServer(t))
		b := open(t, p.url)
		refused, came := make(chan time.Time, 1), make(chan time.Time, 1)
		p.poll.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
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
		}))
		b.waitForText("#state.bad", `status 503.*next in \d s`)
		b.check(`meter.users[0].at(-1).kind === "failed" && meter.counts.failed === 1`, "the failed poll")
		b.click("#poll-now") // neither of these is a way around Retry-After
		b.set("#seconds", 2)
		b.hide(true)
		b.hide(false)
		b.wait(`meter.users[0].at(-1).kind === "nothing" && document.querySelector("#state.bad") === null`)
		if waited := (<-came).Sub(<-refused); waited < 4*time.Second || waited > 7*time.Second {
			t.Errorf("the page came back after %v, want 4 s", waited)
		}
	})

	t.Run("connection cut in a body", func(t *testing.T) {
		t.Parallel()
		server := startServer(t)
		p := newProxy(t, server)
		b := open(t, p.url)
		var mu sync.Mutex
		var queries []string // of the polls from the one cut on
		p.poll.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			mu.Lock()
			defer mu.Unlock()
			if bytes.Contains(rec.Body.Bytes(), []byte("Cut off")) {
				queries = append(queries, r.URL.RawQuery)
			}
			w.Header().Set("X-Server-Start", rec.Header().Get("X-Server-Start"))
			w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
			w.WriteHeader(rec.Code)
			if len(queries) == 1 {
				w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			w.Write(rec.Body.Bytes())
		}))
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
		p.poll.Store(fault(cut))
		b.waitForText("#state.bad", `can't be reached\. .*next in \d+ s`)
		send(t, "DELETE", server+"/tasks/task-4", "")
		send(t, "PATCH", server+"/tasks/task-5", `{"title":"Restart the server"}`)
		p.works()
		b.waitForLists(strings.Replace(demoTasks, "Read schema.sql and store.go | Start", " | Restart", 1))
		b.wait(`window.sameDocument && !document.querySelector("#state.bad")`)
	})
}

// TestRestart starts the server anew under an open page in which a person types.
func TestRestart(t *testing.T) {
	t.Parallel()
	lists := func(first, last string) string {
		lists := strings.Replace(demoTasks, "Open this board in a second window", first, 1)
		return strings.Replace(lists, " |", last+" |", 1)
	}
	for _, test := range []struct{ name, file, write, want string }{
		{name: "plain", file: "taskboard.db", want: lists("Newer", ", Not in the backup")},
		{name: "fresh database", file: "fresh.db", want: demoTasks},
		// The write makes the server's timestamp later than the page's cursor, as if the data were the same.
		{name: "backup written to", file: "backup.db", write: `{"title":"Newest"}`, want: lists("Newest", "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "taskboard.db")
			_, cmd := start(t, path)
			stop(cmd) // now all is in the one file
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "backup.db"), data, 0o600); err != nil {
				t.Fatal(err)
			}
			server, cmd := start(t, path)
			p := newProxy(t, server)
			b := open(t, p.url)
			send(t, "PATCH", server+"/tasks/task-1", `{"title":"Newer"}`)
			send(t, "POST", server+"/tasks", `{"list_id":"list-1","title":"Not in the backup"}`)
			b.waitForLists(lists("Newer", ", Not in the backup"))
			b.click(`[data-id="task-4"] .edit`)
			b.retype("task-4", "Being renamed")
			b.press(".list:nth-child(1) .add input", "Being typed")

			p.poll.Store(fault(cut))
			stop(cmd)
			server, _ = start(t, filepath.Join(dir, test.file))
			if test.write != "" {
				send(t, "PATCH", server+"/tasks/task-1", test.write)
			}
			p.target.Store(server)
			p.works()
			b.waitForText("#news", `^The server was started anew, so the board was loaded anew\.$`)
			b.waitForLists(test.want)
			b.check(`document.querySelector('[data-id="task-4"] input').value === "Being renamed"`, "the field")
			b.check(`window.sameDocument`, "the document")
			b.check(`document.activeElement.value === "Being typed"`, "the focus")
			b.check(`meter.counts.first === 2`, "loads of the whole board")
			send(t, "DELETE", server+"/tasks/task-5", "")
			b.waitForLists(strings.Replace(test.want, "Start the server", "", 1))
		})
	}
}
