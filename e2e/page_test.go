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
	"sync/atomic"
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

// hold returns a channel that responses can wait for, and the function that lets them go.
func hold() (until <-chan bool, release func()) {
	c := make(chan bool)
	return c, sync.OnceFunc(func() { close(c) })
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

// The tasks of a fresh database, as waitForLists has them: task-1 to task-3, task-4, and task-5.
const demoTasks = "See a change arrive, Open this board in a second window, " +
	"Try polling every 30 seconds | Watch polls that bring nothing | Start the server"

// demoTitle returns the title of task-1 for 1, and so on.
func demoTitle(task int) string {
	return regexp.MustCompile(`, | \| `).Split(demoTasks, -1)[task-1]
}

// edit returns lists, as waitForLists has them, with other titles in place of some, or without the task for "".
func edit(lists string, titles ...string) string {
	pairs := map[string]string{}
	for i := 0; i < len(titles); i += 2 {
		pairs[titles[i]] = titles[i+1]
	}
	sections := strings.Split(lists, " | ")
	for i, section := range sections {
		var kept []string
		for _, title := range strings.Split(section, ", ") {
			if other, ok := pairs[title]; ok {
				title = other
			}
			if title != "" {
				kept = append(kept, title)
			}
		}
		sections[i] = strings.Join(kept, ", ")
	}
	return strings.Join(sections, " | ")
}

// TestOthersChanges has another client write. The page learns by polling alone.
func TestOthersChanges(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)

	send(t, "DELETE", server+"/tasks/task-2", "")
	send(t, "DELETE", server+"/tasks/task-3", "")
	lists := edit(demoTasks, demoTitle(2), "", demoTitle(3), "")
	b.waitForLists(lists)

	var task struct{ ID string }
	const markup = `<img src=x onerror="document.title='bad'"> & "quotes"`
	body := fmt.Sprintf(`{"list_id":"list-2","title":%q,"description":"<b>bold</b>"}`, markup)
	added := send(t, "POST", server+"/tasks", body)
	if err := json.Unmarshal(added, &task); err != nil {
		t.Fatal(err)
	}
	b.waitForLists(edit(lists, demoTitle(4), demoTitle(4)+", "+markup))
	b.check(`lit.map((card) => card.querySelector(".description").textContent).join() === "<b>bold</b>"`, "what was lit")
	b.waitForText("#news", `^“<img src=x onerror="document.title='bad'.*…” reached you \d+\.\d s after it was made`)

	send(t, "PATCH", server+"/tasks/"+task.ID, `{"title":"Renamed"}`)
	b.waitForLists(edit(lists, demoTitle(4), demoTitle(4)+", Renamed"))
	b.waitForText("#news", `^The change of “Renamed” reached you \d+\.\d s after it was made`)
	send(t, "PATCH", server+"/tasks/"+task.ID, `{"list_id":"list-3","position":0}`)
	b.waitForLists(edit(lists, demoTitle(5), "Renamed, "+demoTitle(5)))
	send(t, "DELETE", server+"/tasks/task-4", "")
	b.waitForLists(edit(lists, demoTitle(4), "", demoTitle(5), "Renamed, "+demoTitle(5)))
	b.waitForText("#news", `^The deletion of “`+regexp.QuoteMeta(demoTitle(4))+`” reached you \d+\.\d s after`)
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
	waitForServer(t, server, `"title":"`+regexp.QuoteMeta(demoTitle(4))+` twice"`)
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
	lists := edit(demoTasks, demoTitle(4), "") + ", By keyboard, By mouse"
	b.waitForLists(lists)
	b.wait(`document.activeElement.textContent === "In progress"`)
	b.click("#pause")
	b.run("meter.reset()")
	b.wait("meter.counts.nothing > 2")
	b.waitForLists(lists)
}

// TestFastTyping types two titles before the first is saved. The second write must not overtake the first.
func TestFastTyping(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	p := newProxy(t, server)
	b := open(t, p.url)
	typed, release := hold()
	defer release()
	p.write.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		<-typed
		next.ServeHTTP(w, r)
	}))
	const field = ".list:nth-child(1) .add input"
	b.press(field, "Buy milk"+enterKey+"Call Ada"+enterKey+"Not yet")
	b.check(fmt.Sprintf(`document.querySelector(%q).value === "Not yet"`, field), "the field")
	release()
	b.waitForLists(edit(demoTasks, demoTitle(3), demoTitle(3)+", Buy milk, Call Ada"))
	b.check(fmt.Sprintf(`document.querySelector(%q).value === "Not yet"`, field), "the field")
	b.waitForText("#news", "^You added “Call Ada”\\.$")
	b.check(`document.querySelector("#news").role === "status"`, "screen readers hear of an added task: the role")
}

// TestWhoseNews has user 1 of ten users write. That is news to the other nine and none to user 1, also when a poll
// brings it long before the response to the write.
func TestWhoseNews(t *testing.T) {
	t.Parallel()
	p := newProxy(t, startServer(t))
	b := open(t, p.url)
	b.set("#users", 10)
	b.wait("meter.users.length === 10 && meter.users.every((marks) => marks.length > 0)")
	polled, release := hold()
	defer release()
	p.write.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		passOn(w, r, next, func([]byte) { <-polled })
	}))
	b.press(".list:nth-child(1) .add input", "Mine"+enterKey)
	b.wait(`meter.changes.size === 1 && [...meter.changes.values()][0].waits.length === 9`)
	b.waitForText("#times", "waiting for a response for [1-9] s$") // user 1, until the write has its response
	release()
	b.waitForLists(edit(demoTasks, demoTitle(3), demoTitle(3)+", Mine"))

	// Each of many moves is remembered, not only the last of a task.
	for range 4 {
		b.press(`[data-id="task-4"] .right`, enterKey)
		b.wait(`document.querySelector('.list:nth-child(3) [data-id="task-4"]')`)
		b.press(`[data-id="task-4"] .left`, enterKey)
		b.wait(`document.querySelector('.list:nth-child(2) [data-id="task-4"]')`)
	}
	b.run("window.since = Date.now()")
	b.wait("meter.users.every((marks) => marks.filter((mark) => mark.at > since).length >= 2)")
	b.wait("[...meter.changes.values()].at(-1).waits.length === 9")
	b.check(`meter.users.slice(1).every((marks) => marks.some((mark) => mark.made))`, "the waits of the others")
	b.check(`meter.users[0].some((mark) => mark.kind === "changes") && !meter.users[0].some((mark) => mark.made)`,
		"a poll of user 1 that brings what user 1 wrote, without a wait")
	b.check(`document.querySelector("#news").textContent === "You added “Mine”."`, "the news")
	b.check(`lit.length === 0`, "what was lit")
	b.wait(`document.querySelector("#delay").textContent.endsWith(" at most")`) // nobody waits any more
	b.wait(`[...document.querySelectorAll("#requests tr")].some((row) => row.textContent.endsWith("no news to user 1"))`)

	b.set("#seconds", 60) // so that the other users wait
	b.waitForText("#times", `next in [2-9]\d s$`)
	b.press(".list:nth-child(1) .add input", "Mine, too"+enterKey)
	b.waitForText("#delay", `^– \(0 of 9 so far\)$`)
}

// TestSomebody has another client change something, by the button. It is news to all users, user 1 among them.
func TestSomebody(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)
	b.set("#users", 3)
	b.wait("meter.users.length === 3 && meter.users.every((marks) => marks.length > 0)")
	steps := []struct{ name, lists, news string }{
		{name: "added", lists: edit(demoTasks, demoTitle(3), demoTitle(3)+", Somebody’s task"),
			news: "^“Somebody’s task” reached you"},
		{name: "renamed", lists: edit(demoTasks, demoTitle(3), demoTitle(3)+", Somebody’s task, renamed"),
			news: "^The change of “Somebody’s task, renamed” reached you"},
		{name: "moved", lists: edit(demoTasks, demoTitle(4), demoTitle(4)+", Somebody’s task, renamed"),
			news: "^The change of “Somebody’s task, renamed” reached you"},
		{name: "deleted", lists: demoTasks, news: "^The deletion of “Somebody’s task, renamed” reached you"},
		{name: "added again", lists: edit(demoTasks, demoTitle(3), demoTitle(3)+", Somebody’s task"),
			news: "^“Somebody’s task” reached you"},
	}
	for i, step := range steps {
		b.click("#somebody")
		b.waitForLists(step.lists)
		b.waitForText("#news", step.news)
		b.wait(fmt.Sprintf(`[...meter.changes.values()].filter((change) => change.waits.length === 3).length === %d`, i+1))
	}
	b.check(`meter.users.every((marks) => marks.filter((mark) => mark.made).length === 5)`, "the waits of all users")

	// The user deletes somebody's task. At the next click, somebody begins again.
	b.click(".list:nth-child(1) li:nth-child(4) .delete")
	b.waitForLists(demoTasks)
	b.click("#somebody")
	b.waitForLists(steps[0].lists)
	b.check(`document.querySelector("#problem").textContent === ""`, "the message")
}

// TestLatePoll deletes a task while a poll is under way whose response has it.
func TestLatePoll(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	p := newProxy(t, server)
	b := open(t, p.url)
	held := make(chan bool, 1)
	deleted, release := hold()
	defer release()
	p.poll.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		passOn(w, r, next, func(body []byte) {
			if bytes.Contains(body, []byte("Theirs")) {
				p.works()
				held <- true
				<-deleted
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
	release()
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
	tooLong := "Not saved: title must not be longer than 200 characters (“" + strings.Repeat("x", 40) + "…”)."
	const addField = ".list:nth-child(1) .add input"

	top := b.run(`return document.querySelector("#board").getBoundingClientRect().top`)
	b.press(addField, long+enterKey)
	problem(tooLong)
	b.check(`document.querySelector("#board").getBoundingClientRect().top === `+top, "a message moves the board")
	b.check(fmt.Sprintf(`document.querySelector(%q).value === %q`, addField, long), "the field")
	b.press(addField, "\ue003") // Backspace
	problem("")
	b.run(fmt.Sprintf(`document.querySelector(%q).value = " "`, addField))
	b.press(addField, enterKey)
	problem("Not saved: title must not be blank.")
	b.run(fmt.Sprintf(`document.querySelector(%q).value = ""`, addField))
	b.press(addField, "Twice"+enterKey+enterKey)
	b.waitForLists(edit(demoTasks, demoTitle(3), demoTitle(3)+", Twice"))
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

	// What is said stays, also when good polls come and the card has gone.
	p.write.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.WriteHeader(http.StatusBadGateway)
		io.WriteString(w, "<html>Bad gateway</html>")
	}))
	b.click(`[data-id="task-1"] .delete`)
	const badGateway = "It is not known whether the change was saved: the server responded with status 502."
	problem(badGateway)
	send(t, "DELETE", server+"/tasks/task-1", "")
	b.wait(`!document.querySelector('[data-id="task-1"]')`)
	b.run(`window.polls = meter.counts.nothing`)
	b.wait(`meter.counts.nothing > polls + 6`)
	problem(badGateway)
	b.click("#reset")
	problem("")

	// A server that knows no tasks, such as another program on the port, is asked once.
	p.write.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) { http.NotFound(w, r) }))
	b.click("#somebody")
	problem("It is not known whether the change was saved: the server responded with status 404.")

	// A title that was not saved is not lost when another one is being typed.
	typed, release := hold()
	defer release()
	p.write.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		<-typed
		cut(w, r, next)
	}))
	b.press(addField, "Lost?"+enterKey+"Next")
	release()
	problem("It is not known whether “Lost?” was saved: the server did not respond.")
	b.check(fmt.Sprintf(`document.querySelector(%q).value === "Next"`, addField), "the field")
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

	// Rename and Save without typing must not change a title, neither by the line break that the field drops, nor by
	// a translation that the browser puts into the page.
	send(t, "PATCH", server+"/tasks/task-4", `{"title":"Two\nlines"}`)
	b.wait(`document.querySelector('[data-id="task-4"] .title').textContent === "Two\nlines"`)
	b.run(`document.querySelector('[data-id="task-4"] .title').innerHTML = "<font>Zwei\nZeilen</font>"`)
	b.click(`[data-id="task-4"] .edit`)
	b.check(`document.querySelector('[data-id="task-4"] input').value === "Twolines"`, "the field")
	b.press(`[data-id="task-4"] input`, enterKey)
	b.wait(`document.querySelector('[data-id="task-4"] .title').checkVisibility()`)
	b.check(`document.querySelectorAll(".title, .description, h2, #name").length > 9 &&
		[...document.querySelectorAll(".title, .description, h2, #name")].every((element) => !element.translate)`,
		"what people wrote is not for translation")
	waitForServer(t, server, `"title":"Two\\nlines"`)

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

	// A card that leaves must not move the cards below it: a moved field loses the focus.
	b.click(`[data-id="task-3"] .edit`)
	b.run("window.lost = 0")
	send(t, "PATCH", server+"/tasks/task-2", `{"list_id":"list-3"}`)
	b.wait(`document.querySelector('.list:nth-child(4) [data-id="task-2"]')`)
	b.check("window.lost === 0", "the focus")
	send(t, "DELETE", server+"/tasks/task-3", "") // nothing was typed, so there is nothing to keep
	b.wait(`!document.querySelector('[data-id="task-3"]')`)
	b.wait(`document.activeElement.textContent === "To do"`)
}

// TestClicks clicks while cards move. No click may act on another task than the one aimed at, and no other is lost.
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
		b.rest(selector)
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
		b.wait(`meter.users[0].length >= window.polls + 2`)
	}

	mouse(moveTo(`[data-id="task-1"] .delete`), down, up, pause, down, up)
	twoPolls()
	lists := edit(demoTasks, demoTitle(1), "")
	b.waitForLists(lists)

	mouse(moveTo(`[data-id="task-2"] .right`), down, up, pause, down, up)
	twoPolls()
	lists = edit(lists, demoTitle(2), "", demoTitle(4), demoTitle(4)+", "+demoTitle(2))
	b.waitForLists(lists)

	// While the write is under way, a second click is not sent.
	p.write.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		<-time.After(400 * time.Millisecond)
		next.ServeHTTP(w, r)
	}))
	mouse(moveTo(`[data-id="task-5"] .delete`), down, up, pause, down, up)
	twoPolls()
	b.waitForLists(edit(lists, demoTitle(5), ""))
	b.check(`document.querySelector("#problem").textContent === ""`, "the message")

	// A poll that brings a change while the pointer is pressed: task-2 comes under the pointer.
	mouse(moveTo(`[data-id="task-4"] .delete`), down)
	send(t, "DELETE", server+"/tasks/task-4", "")
	b.wait(`!document.querySelector('[data-id="task-4"]')`)
	mouse(up)
	twoPolls()
	b.waitForLists(edit(lists, demoTitle(4), "", demoTitle(5), ""))

	// Changes that move no card take no click. Each click comes right behind one.
	b.run(`window.clicked = 0; document.querySelector('[data-id="task-2"] .edit').addEventListener("click", () => {
		window.clicked++;
	});
	document.querySelector('[data-id="task-3"] .description').textContent = "A line"`)
	for i := range 5 {
		b.rest(`[data-id="task-2"] .edit`)
		send(t, "PATCH", server+"/tasks/task-3", fmt.Sprintf(`{"description":"Line %d"}`, i))
		b.wait(fmt.Sprintf(`document.querySelector('[data-id="task-3"] .description').textContent === "Line %d"`, i))
		b.do("POST", b.find(`[data-id="task-2"] .edit`)+"/click", map[string]any{}, nil)
		b.click(`[data-id="task-2"] .cancel`)
	}
	b.check(`window.clicked === 5`, "clicks on Rename")
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
		{name: "left", selector: `[data-id="task-4"] .left`, want: "Move “" + demoTitle(4) + "” to To do"},
		{name: "right", selector: `[data-id="task-4"] .right`, want: "Move “" + demoTitle(4) + "” to Done"},
		{name: "no list", selector: `[data-id="task-1"] .left`, want: "There is no list to the left"},
		{name: "rename", selector: `[data-id="task-4"] .edit`, want: "Rename “" + demoTitle(4) + "”"},
		{name: "new title", selector: `[data-id="task-5"] input`, want: "New title of “" + demoTitle(5) + "”"},
		{name: "delete", selector: `[data-id="task-4"] .delete`, want: "Delete “" + demoTitle(4) + "”"},
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

// TestWidths looks for sideways scrolling and text that is cut off, with a task being renamed, and for the board.
func TestWidths(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)
	boardTop := `document.querySelector("#board").getBoundingClientRect().top + scrollY`
	b.resize(1280, 800)
	b.check(`document.querySelector(".task .title").getBoundingClientRect().bottom < 800`, "the first cards, in view")
	b.check(boardTop+` < document.querySelector("#requests").getBoundingClientRect().top`, "the board, before the table")
	b.resize(390, 844)
	b.check(boardTop+" < 2 * 844", "the board, on the second screen")
	for _, task := range []string{"task-1", "task-2"} {
		send(t, "PATCH", server+"/tasks/"+task, `{"title":"`+strings.Repeat("W", 200)+`"}`)
		b.wait(fmt.Sprintf(`document.querySelector('[data-id=%q] .title').textContent.startsWith("WW")`, task))
	}
	b.click(`[data-id="task-1"] .edit`)
	b.set("#users", 50)
	b.wait("meter.users.length === 50 && meter.users.every((marks) => marks.length > 0)")
	b.click("#somebody")
	b.wait("[...meter.changes.values()].at(-1).waits.length === 50")
	b.run(`window.texts = [];
		const { fillText } = CanvasRenderingContext2D.prototype;
		CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
			const width = this.measureText(text).width;
			texts.push({ text, start: x, end: x + width, width: this.canvas.clientWidth });
			fillText.call(this, text, x, y);
		}`)
	for _, width := range []int{320, 390, 600, 820, 1280, 1600} {
		t.Run(strconv.Itoa(width), func(t *testing.T) {
			b.resize(width, 800)
			b.check("document.documentElement.scrollWidth === document.documentElement.clientWidth", "sideways scrolling")
			b.run("window.texts = []; meter.show()")
			if texts := b.run("return texts.map(({ text }) => text).join()"); !strings.Contains(texts, "reached 50 users") {
				t.Errorf("texts in the picture: %s", texts)
			}
			cut := b.run("return JSON.stringify(texts.filter(({ start, end, width }) => start < 0 || end > width))")
			if cut != "[]" {
				t.Errorf("texts that are cut off: %s", cut)
			}
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

// TestColours compares the colours of the picture's marks with its background, in each colour scheme.
func TestColours(t *testing.T) {
	t.Parallel()
	b := open(t, startServer(t))
	for _, test := range []struct{ name, feature, value string }{
		{name: "light", feature: "prefers-color-scheme", value: "light"},
		{name: "dark", feature: "prefers-color-scheme", value: "dark"},
		{name: "forced", feature: "forced-colors", value: "active"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b.media(test.feature, test.value)
			weak := b.run(`
				const light = (colour) => {
					const [r, g, b] = colour.match(/[\d.]+/g).map((n) => n / 255)
						.map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
					return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
				};
				const style = (selector) => getComputedStyle(document.querySelector(selector));
				const back = light(style("#picture").backgroundColor);
				return JSON.stringify(["first", "nothing", "made", "waited", "changes", "mean", "failed"].map((mark) => {
					const ratios = [light(style(".legend ." + mark).color) / back];
					return { mark, ratio: Math.max(ratios[0], 1 / ratios[0]) };
				}).filter(({ ratio }) => ratio < 3))`)
			if weak != "[]" {
				t.Errorf("contrast with the background below 3: %s", weak)
			}
		})
	}
}

// pollCounts returns what the server counted: polls that brought nothing, and polls that brought something.
func pollCounts(t *testing.T, server string) (nothing, something int) {
	t.Helper()
	resp, err := http.Get(server + "/debug/vars")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var vars struct {
		Polls       int
		Empty       int `json:"polls_empty"`
		NotModified int `json:"polls_not_modified"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&vars); err != nil {
		t.Fatal(err)
	}
	return vars.Empty + vars.NotModified, vars.Polls - vars.Empty - vars.NotModified
}

// TestMeter compares what the page counts with what the server counts, poll by poll, while 50 users poll every second
// and there are changes by the page, by somebody and by another client.
func TestMeter(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := openPage(t, server)
	b.set("#seconds", 1)
	b.set("#users", 50)
	b.wait("meter.users.length === 50 && meter.users.every((marks) => marks.length > 2)")
	b.press(".list:nth-child(1) .add input", "By the page"+enterKey)
	b.click("#somebody")
	send(t, "POST", server+"/tasks", `{"list_id":"list-1","title":"By another client"}`)
	b.wait("meter.changes.size === 3 && [...meter.changes.values()].every((change) => change.waits.length >= 49)")
	b.wait("meter.counts.nothing > 200")

	// Now few polls are under way at any time. What was counted wrongly before would stay so.
	b.set("#seconds", 60)
	var page, got string
	for start := time.Now(); time.Since(start) < patience; {
		page = b.run(`const { nothing, changes, first, failed } = meter.counts;
			return [nothing, changes + first, failed].join(" ")`)
		nothing, something := pollCounts(t, server)
		if got = fmt.Sprint(nothing, something, 0); got == page {
			break
		}
	}
	if got != page {
		t.Errorf("the server counted %s, the page %s (polls for nothing, others, failed)", got, page)
	}
	b.waitForText("#lead", `^\d+ % of \d+ polls for changes brought nothing$`)
	b.check(`(() => {
		meter.show();
		const { nothing, changes, first } = meter.counts;
		const [share, asked] = document.querySelector("#lead").textContent.match(/\d+/g).map(Number);
		return first === 50 && asked === nothing + changes && share === Math.round(100 * nothing / asked);
	})()`, "the large figure")
	b.wait(`parseFloat(document.querySelector("#bytes").textContent) > 60`) // 200 polls of 300 bytes

	b.click("#reset")
	b.set("#users", 1)
	b.set("#seconds", 1)
	b.wait("meter.users.length === 1")
	b.waitForText("#lead", `^((\d+) of \2|100 % of \d+) polls for changes brought nothing$`) // 100 % from 20 polls on
	send(t, "DELETE", server+"/tasks/task-1", "")
	b.waitForText("#lead", `^((\d+) of (?!\2 )\d+|\d\d % of \d+) polls for changes brought nothing$`)
}

// TestKnobs moves the knobs. What they cost and buy is said at once. Polls follow when they are at rest.
func TestKnobs(t *testing.T) {
	t.Parallel()
	b := open(t, startServer(t))
	for _, test := range []struct {
		users, seconds int
		rate, wait     string
	}{
		{users: 10, seconds: 5, rate: "120 requests a minute", wait: "2.5 s on average, 5.5 s at most"},
		{users: 50, seconds: 5, rate: "600 requests a minute", wait: "2.5 s on average, 5.5 s at most"},
		{users: 1, seconds: 60, rate: "1 request a minute", wait: "30 s on average, 66 s at most"},
	} {
		b.set("#users", test.users)
		b.set("#seconds", test.seconds)
		b.check(fmt.Sprintf(`document.querySelector("#rate").textContent === %q`, test.rate), "the cost")
		b.check(fmt.Sprintf(`document.querySelector("#wait").textContent === %q`, test.wait), "the wait")
	}
	b.run(`window.polls = [];
		const isPoll = ({ name }) => name.includes("/updates");
		new PerformanceObserver((list) => polls.push(...list.getEntries().filter(isPoll))).observe({ type: "resource" })`)
	b.press("#seconds", leftKey)
	b.check(`document.querySelector("#seconds").value === "59"`, "the knob")
	b.wait(`polls.length > 0`)
	b.run(`polls.length = 0;
		return (async () => { // an arrow key that is held
			const slider = document.querySelector("#seconds");
			for (let i = 0; i < 8; i++) {
				slider.value--;
				slider.dispatchEvent(new Event("input", { bubbles: true }));
				await new Promise((done) => setTimeout(done, 50));
			}
		})()`)
	b.wait(`polls.length > 0`)
	b.check(`polls.length < 5`, "polls after eight moves of the knob")

	b.click("#pause")
	b.waitForText("#rate", "^0 requests a minute$")
	b.waitForText("#wait", "^until you resume$")
	b.waitForText("#state", "Paused: no change arrives")
}

// TestAdvisedInterval has the server advise more than the slider usually reaches.
func TestAdvisedInterval(t *testing.T) {
	t.Parallel()
	b := openBrowser(t, startServer(t, "-interval", "120s"))
	b.waitForLists(demoTasks)
	b.waitForText("#seconds-shown", "^120 s$")
	b.check(`document.querySelector("#seconds").value === "120"`, "the slider")
	b.set("#users", 1)
	b.waitForText("#rate", "^30 requests an hour$")
	b.waitForText("#wait", "^60 s on average, 132 s at most$")
	b.waitForText("#times", `^Last good poll \d\d:\d\d:\d\d, next in 1[0-3]\d s$`)
	b.run(`window.polls = document.querySelectorAll("#requests tr").length`)
	b.click("#poll-now")
	b.wait(`document.querySelectorAll("#requests tr").length > polls`)
}

// TestFirstScreen opens the page and does nothing: ten users load the board and poll, spread over the interval.
func TestFirstScreen(t *testing.T) {
	t.Parallel()
	b := openPage(t, startServer(t))
	shown := `[...document.querySelectorAll(".legend > :not([hidden]) .mark")].map((mark) => mark.textContent).join("")`
	b.wait(shown + ` === "■"`)
	b.check(`meter.users.length === 10 && document.querySelector("#users").value === "10"`, "users")
	b.waitForText("#news", "^No change has arrived yet\\.$")
	b.waitForText("#span", "^The last 20 s, with a row for each user:$") // so that it is not empty
	b.wait(`meter.counts.nothing > 3 && meter.counts.first === 10`)
	b.check(spread(5000, 0), "the users' first polls must be spread over the interval")
	b.wait(shown + ` === "■○"`)
	b.waitForText("#lead", `^\d+ of \d+ polls for changes brought nothing$`)
	b.waitForText("#span", "^The last 2[1-9] s")
	b.run("const { now } = Date; Date.now = () => now() + 100_000; meter.show()")
	b.check(`document.querySelector("#span").textContent.startsWith("The last 60 s")`, "the longest span")
}

// spread returns an expression: whether the users' polls, the nth of each since window.since, are spread over ms.
func spread(ms, nth int) string {
	return fmt.Sprintf(`(() => {
		const polls = meter.users.map((marks) => marks.filter((mark) => mark.at > (window.since ?? 0))[%d].at);
		polls.sort((a, b) => a - b);
		const steps = polls.slice(1).map((at, i) => at - polls[i]);
		return polls.at(-1) - polls[0] > %d && steps.filter((step) => step > %d).length >= polls.length / 2;
	})()`, nth, ms*7/10, ms/40)
}

// TestSpread brings the users into step: after an outage of the network, and of the whole computer.
func TestSpread(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, script string }{
		{name: "offline", script: `dispatchEvent(new Event("online"))`},
		// All timers that were due in sleep fire at once. This event has all users poll at once, and no other effect.
		{name: "sleep", script: `document.dispatchEvent(new Event("visibilitychange"));
			const { now } = Date; Date.now = () => now() + 600_000; window.since += 600_000`},
		{name: "hidden", script: `dispatchEvent(new Event("visibilitychange"))`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := openPage(t, startServer(t))
			b.set("#seconds", 6)
			b.run("window.since = Date.now() + 400")
			b.wait(`meter.users.every((marks) => marks.some((mark) => mark.at > since))`)
			b.check(spread(6000, 0), "the users' polls must be spread over the interval")
			b.run("window.since = Date.now(); " + test.script)
			b.wait(`meter.users.every((marks) => marks.filter((mark) => mark.at > since).length > 1)`)
			b.check(spread(6000, 1), "the users' polls must be spread over the interval")
		})
	}
}

// TestPicture compares the data that is drawn, and some of what is drawn, with what another client did.
func TestPicture(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)
	b.set("#users", 10)
	b.wait("meter.users.length === 10 && meter.users.every((marks) => marks.length > 0)")
	b.set("#seconds", 6)
	b.run("window.since = Date.now() + 400")
	b.wait(`meter.users.every((marks) => marks.some((mark) => mark.at > since))`)
	b.run("meter.reset()")

	// A wait is drawn while it grows, up to the right edge. While no user polls, all wait.
	b.click("#pause")
	b.check("meter.idleTimes.length === 1 && meter.idleTimes[0].to === Infinity", "shaded time")
	b.click("#somebody")
	b.waitForText("#delay", `^– \(0 of 10 so far\)$`)
	b.wait(`(() => {
		meter.show();
		const canvas = document.querySelector("#picture");
		const colour = getComputedStyle(document.querySelector(".legend .waited")).color;
		return meter.users.every((marks, user) => {
			const y = 36 + 22 * (user + 0.5), x = canvas.clientWidth - 12 - 3;
			const [r, g, b] = canvas.getContext("2d").getImageData(x, y, 1, 1).data;
			return colour === "rgb(" + [r, g, b].join(", ") + ")";
		});
	})()`)
	b.click("#pause")
	b.check("meter.idleTimes.length === 1 && meter.idleTimes[0].from <= meter.idleTimes[0].to", "shaded time")
	b.wait(`[...meter.changes.values()][0]?.waits.length === 10`)
	var tasks []struct {
		UpdatedAt string `json:"updated_at"`
	}
	changed := send(t, "GET", server+"/boards/board-1/updates?since=1970-01-01T00:00:00Z", "")
	if err := json.Unmarshal(changed, &tasks); err != nil {
		t.Fatal(err)
	}
	b.run(`window.change = [...meter.changes.values()][0];
		window.made = Date.parse("` + tasks[len(tasks)-1].UpdatedAt + `")`)
	b.check("meter.changes.size === 1 && change.at === made", "the upright line")
	b.check("Math.min(...change.waits) >= 0", "the waits")
	b.check("Math.max(...change.waits) - Math.min(...change.waits) > 1000", "the waits must differ")
	b.check(`meter.users.every((marks) => {
		const brought = marks.filter((mark) => mark.kind === "changes");
		return brought.length === 1 && Math.abs(brought[0].made - made) < 50 && brought[0].at >= made;
	})`, "the marks of the change")
	b.wait(`document.querySelector("#delay").textContent === (() => {
		const [mean, most] = [change.waits.reduce((a, b) => a + b) / 10, Math.max(...change.waits)];
		return (mean / 1000).toFixed(1) + " s on average, " + (most / 1000).toFixed(1) + " s at most";
	})()`)
	b.wait(`/^The polls of 10 users in the last \d+ s: \d+ brought nothing, 10 a change, 0 the whole board, /
		.test(document.querySelector("#picture").ariaLabel)`)

	// A user who was changed twice between two polls has waited since the first change.
	b.run("meter.reset(); window.since = Date.now()")
	send(t, "PATCH", server+"/tasks/task-1", `{"title":"Once"}`)
	b.wait(`meter.changes.size === 1`)
	send(t, "PATCH", server+"/tasks/task-1", `{"title":"Twice"}`)
	b.wait(`meter.users.every((marks) => marks.some((mark) => mark.made))`)
	b.waitForText("#delay", `\d s at most$`)
	b.check(`(() => {
		const [once, twice] = [...meter.changes.values()].map((change) => change.at);
		return meter.users.every((marks) => marks.filter((mark) => mark.made).length === 2 ||
			Math.abs(marks.find((mark) => mark.made).made - once) < 50);
	})()`, "the start of the waits")

	b.run(`meter.users[0].unshift({ at: Date.now() - 61_000, kind: "nothing" }); meter.show()`)
	b.check("meter.users[0][0].at > Date.now() - 60_000", "what the picture does not show is forgotten")
}

// TestQuote has the picture show titles that could break its sentence.
func TestQuote(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)
	b.run(`window.texts = [];
		const { fillText } = CanvasRenderingContext2D.prototype;
		CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
			texts.push(text);
			fillText.call(this, text, x, y);
		}`)
	const family = "👩‍👩‍👧" // five code points, one character
	for _, test := range []struct{ name, title, want string }{
		{name: "long", title: strings.Repeat("x", 41), want: "“" + strings.Repeat("x", 40) + "…”"},
		{name: "emoji", title: strings.Repeat(family, 38), want: "“" + strings.Repeat(family, 38) + "”"},
		{name: "long with emoji", title: strings.Repeat("x", 39) + family + "y",
			want: "“" + strings.Repeat("x", 39) + family + "…”"},
		{name: "override", title: "\u202eabc", want: "“abc”"},
		{name: "override out of isolation", title: "\u2069\u202eabc", want: "“abc”"},
		{name: "right to left", title: "שלום", want: "“שלום”"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b.t = t
			send(t, "POST", server+"/tasks", fmt.Sprintf(`{"list_id":"list-1","title":%s}`, jsonText(test.title)))
			b.wait(fmt.Sprintf(`texts.includes("\u2068" + %q + "\u2069 is added; it reached 1 user " +
				document.querySelector("#delay").textContent.replace(/ on average.*/, " later"))`, test.want))
			b.waitForText("#news", regexp.QuoteMeta(test.want))
		})
	}
}

// jsonText returns text as JSON.
func jsonText(text string) []byte {
	encoded, _ := json.Marshal(text)
	return encoded
}

// TestManyChanges has 500 of 1,000 tasks change at once. The page must not lay itself out for each of them.
func TestManyChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "taskboard.db")
	server, _ := start(t, path)
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 995)
		INSERT INTO tasks (id, list_id, title, position) SELECT 'n' || i, 'list-1', 'Task ' || i, i FROM n`)
	if err != nil {
		t.Fatal(err)
	}
	b := openPage(t, server)
	b.set("#users", 1)
	b.set("#seconds", 1)
	b.wait(`document.querySelectorAll(".task").length === 1000`)
	layouts := func() (n int) {
		b.cdp("Performance.enable", map[string]any{})
		var got struct {
			Metrics []struct {
				Name  string
				Value float64
			}
		}
		b.do("POST", "/goog/cdp/execute", map[string]any{"cmd": "Performance.getMetrics", "params": map[string]any{}}, &got)
		for _, metric := range got.Metrics {
			if metric.Name == "LayoutCount" {
				return int(metric.Value)
			}
		}
		t.Fatalf("no LayoutCount in %v", got)
		return 0
	}
	b.run("meter.reset()")
	before := layouts()
	_, err = db.Exec(`UPDATE tasks SET title = title || '!' WHERE id LIKE 'n%' AND position % 2 = 0`)
	if err != nil {
		t.Fatal(err)
	}
	b.wait(`[...document.querySelectorAll(".title")].filter((title) => title.textContent.endsWith("!")).length === 497`)
	b.wait(`meter.counts.changes === 1`)
	b.waitForText("#news", `^497 changes`)
	if n := layouts() - before; n > 250 {
		t.Errorf("the page was laid out %d times, want less often than once for two changes", n)
	}
	b.check(`lit.length === 497`, "what was lit")
}

// TestRequests compares the list of requests with what came through a proxy.
func TestRequests(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := open(t, server)
	cells := `[...document.querySelectorAll("#requests tr")].map((row) => [...row.cells].map((cell) => cell.textContent))`
	b.wait(cells + `.length === 6 && ` + cells + `.every((row) => Number(row[3]) > 0)`)
	b.check(`new Set(`+cells+`.slice(0, 4).map((row) => row[1])).size === 1`, "nothing new must ask for the same URL")
	b.check(`/^GET \/boards\/board-1\/updates\?since=2\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(`+cells+`[0][1])`,
		"the request")
	b.check(cells+`[0][2] === "304" && `+cells+`[0][4] === "nothing"`, "the response to it")
	b.run(`window.url = ` + cells + `[0][1]`)
	send(t, "DELETE", server+"/tasks/task-1", "")
	send(t, "DELETE", server+"/tasks/task-2", "")
	b.wait(cells + `.some((row, i) => row[1] === url && row[2] === "200" && /^\d tasks?$/.test(row[4]))`)
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
	b.wait(`meter.counts.nothing > window.polls`)
	b.waitForText("#status", `^No poll for \d+ s: this page was hidden or paused\.$`)
	b.check(`meter.idleTimes.length === 1 && meter.idleTimes[0].to - meter.idleTimes[0].from >= 3500`, "shaded time")
}

// TestFaults puts a proxy between browser and server, and has it misbehave.
func TestFaults(t *testing.T) {
	t.Parallel()
	t.Run("slow responses", func(t *testing.T) {
		t.Parallel()
		p := newProxy(t, startServer(t))
		b := open(t, p.url)
		var running, most atomic.Int32
		p.poll.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			<-time.After(2500 * time.Millisecond) // the interval is 1 s
			next.ServeHTTP(w, r)
		}))
		b.run(`window.said = [];
			new MutationObserver(() => said.push(document.querySelector("#status").textContent))
				.observe(document.querySelector("#status"), { childList: true, characterData: true, subtree: true })`)
		b.waitForText("#state", `waiting for a response for \d s`)
		b.run("meter.reset()")
		b.wait(`meter.counts.nothing >= 2`)
		if most.Load() != 1 {
			t.Errorf("%d polls at once, want 1", most.Load())
		}
		b.check("said.length === 0", "what screen readers heard")
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
		if waited := (<-came).Sub(<-refused); waited < 4*time.Second {
			t.Errorf("the page came back after %v, want at least 4 s", waited)
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
		b.waitForLists(edit(demoTasks, demoTitle(1), "Cut off"))
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
		b.waitForLists(edit(demoTasks, demoTitle(4), "", demoTitle(5), "Restart the server"))
		b.wait(`window.sameDocument && !document.querySelector("#state.bad")`)
	})
}

// TestRestart starts the server anew under an open page in which a person types.
func TestRestart(t *testing.T) {
	t.Parallel()
	lists := func(first, last string) string {
		return edit(demoTasks, demoTitle(1), first, demoTitle(3), demoTitle(3)+last)
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
			b.check(`meter.counts.first === 1`, "loads of the whole board since the figures began")
			b.wait(`[...document.querySelectorAll("#requests tr")].some((row) =>
				row.textContent.endsWith("thrown away: the server was started anew"))`)
			send(t, "DELETE", server+"/tasks/task-5", "")
			b.waitForLists(edit(test.want, demoTitle(5), ""))
		})
	}
}
