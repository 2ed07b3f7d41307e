package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// send is another client's request. It returns the data of the response.
func send(t *testing.T, method, url, body string) json.RawMessage {
	t.Helper()
	req, _ := http.NewRequest(method, url, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var response struct{ Data json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&response); err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%s %s %s: status %d, %v", method, url, body, resp.StatusCode, err)
	}
	return response.Data
}

// The tasks of a fresh database, as waitForLists has them: task-1 to task-3, task-4, and task-5.
const demoTasks = "See a change arrive, Open this board in a second window, " +
	"Try polling every 30 seconds | Watch polls that bring nothing | Start the server"

// set moves a slider.
func (b *browser) set(selector string, value int) {
	b.run(fmt.Sprintf(`const slider = document.querySelector(%q); slider.value = %d;
		for (const type of ["input", "change"]) slider.dispatchEvent(new Event(type, { bubbles: true }))`, selector, value))
}

// openPage opens the page and waits until each user has the board. Its scripts find meter.js as meter.
func openPage(t *testing.T, url string, users, seconds int) *browser {
	b := openBrowser(t, url)
	b.run(`return import("/client/meter.js").then((meter) => { window.meter = meter; })`)
	b.set("#users", users)
	b.set("#seconds", seconds)
	b.wait("meter.users.every((marks) => marks.length > 0)")
	return b
}

// TestBoard changes the board as other clients do. No card may come under a click that was aimed at another one, and
// a card that stays where it is takes its click.
func TestBoard(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := openPage(t, server, 1, 1)
	b.wait(`getComputedStyle(document.querySelector("[data-id=task-2]")).pointerEvents === "auto"`)
	b.run(`document.querySelector("[data-id=task-2]").scrollIntoView();
		const { x, y } = document.querySelector("[data-id=task-2] .delete").getBoundingClientRect();
		window.aimed = () => document.elementFromPoint(x + 5, y + 5).closest(".task")?.dataset.id;
		new MutationObserver((changes) => Object.assign(window, { clicked: aimed(), changes }))
			.observe(document.querySelector("#board"), { childList: true, subtree: true })`)
	const markup, theirs = `<img src=x onerror="document.title='bad'"> & "q"`, "Somebody’s task"
	const todo = "Open this board in a second window, Try polling every 30 seconds"
	const doing, done = " | Watch polls that bring nothing", " | Renamed, " + markup
	for _, test := range []struct{ name, method, path, body, lists, news, check string }{
		{name: "add", method: "POST", path: "/tasks", body: fmt.Sprintf(`{"list_id":"list-3","title":%q}`, markup),
			lists: demoTasks + ", " + markup, news: `“<img.*onerror.*…”.? was added\. You learned of it \d\.\d s later\.$`,
			check: `clicked === "task-2"`},
		{name: "rename", method: "PATCH", path: "/tasks/task-5", body: `{"title":"Renamed"}`,
			lists: strings.Replace(demoTasks, " | Start the server", done, 1), news: "“Renamed”.? was renamed",
			// A card that is pressed must stay in the document, or the browser makes no click of it.
			check: `clicked === "task-2" && !changes.some(({ removedNodes: [node] }) => node?.nodeType === 1) &&
				document.querySelector("[data-id=task-5]").getAnimations().length === 1 // it is lit`},
		{name: "move", method: "PATCH", path: "/tasks/task-1", body: `{"list_id":"list-2","position":0}`,
			lists: todo + " | See a change arrive, Watch polls that bring nothing" + done, check: "clicked === undefined"},
		{name: "delete", method: "DELETE", path: "/tasks/task-1", lists: todo + doing + done, news: "was deleted"},
		{name: "somebody adds", lists: todo + doing + ", " + theirs + done, news: theirs + "”.? was added"},
		{name: "somebody renames", lists: todo + doing + ", " + theirs + ", renamed" + done, news: "was renamed"},
		{name: "somebody moves", lists: todo + doing + done + ", " + theirs + ", renamed", news: "was moved"},
		{name: "somebody deletes", lists: todo + doing + done, news: "was deleted"},
	} {
		if test.method == "" {
			b.click("#somebody")
		} else {
			send(t, test.method, server+test.path, test.body)
		}
		b.waitForLists(test.lists)
		b.waitForText("#news", test.news)
		if test.check != "" {
			b.check(test.check, test.name)
		}
	}
	b.wait(`aimed() === "task-3"`)
}

// TestOwnChanges makes changes by hand. The page must show what a poll brings, not the response to the write. Then the
// server fails, and starts again with another database.
func TestOwnChanges(t *testing.T) {
	t.Parallel()
	other := startServer(t)
	p := newProxy(t, startServer(t))
	b := openPage(t, p.URL, 1, 1)
	b.click("#pause")
	p.poll.Store(fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) { <-r.Context().Done() }))
	const field, problem = ".list:nth-child(2) input", ".list:nth-child(2) form .problem"
	b.press(field, "By keyboard"+enterKey)
	b.wait(`document.querySelectorAll("form input")[1].value === ""`)
	b.waitForLists(demoTasks)
	p.works()
	b.click("#poll-now")
	lists := strings.Replace(demoTasks, " | Start", ", By keyboard | Start", 1)
	b.waitForLists(lists)
	b.press(`[data-id="task-5"] .left`, enterKey)
	lists = strings.Replace(lists, " | Start", ", Start", 1) + " | "
	b.waitForLists(lists)
	b.check(`document.activeElement.matches("[data-id=task-5] .left")`, "the focus")
	b.press(`[data-id="task-5"] .delete`, enterKey)
	b.waitForLists(strings.Replace(lists, ", Start the server", "", 1))
	b.click("#pause")

	// What was not saved stays in its field, with the reason beside it.
	b.press(field, " "+enterKey)
	b.waitForText(problem, `^Not saved: title must not be blank\.$`)
	b.run(`const { fetch } = window;
		window.fetch = async (url, init) => init?.body ? new Response("<html>", { status: 502 }) : fetch(url, init)`)
	b.press(field, "Kept"+enterKey)
	b.waitForText(problem, `^It is not known whether this was saved: .* status 502\.$`)
	b.click("#somebody")
	b.waitForText("#now .problem", `status 502\.$`)
	p.poll.Store(cut)
	b.waitForText("#state", `^The server can’t be reached\. Your last good poll .*, next in \d s\.$`)
	send(t, "DELETE", other+"/tasks/task-4", "")
	p.target.Store(other)
	p.works()
	b.waitForLists(strings.Replace(demoTasks, "Watch polls that bring nothing", "", 1))
	b.waitForText("#news", `^The server started again, so the board was loaded again\.$`)
	b.waitForText("#requests", "thrown away: the server started again")
	b.check(`document.querySelectorAll("form input")[1].value === " Kept" && meter.counts.changes === 3`, "the field, and the changes")
}

// TestLayout looks at the page in many widths.
func TestLayout(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	send(t, "PATCH", server+"/tasks/task-1", `{"title":"`+strings.Repeat("W", 200)+`"}`)
	b := openPage(t, server, 10, 5)
	for _, size := range [][2]int{{1280, 800}, {390, 844}, {320, 800}, {600, 800}, {820, 800}} {
		b.cdp("Emulation.setDeviceMetricsOverride",
			object{"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": false})
		b.check(`document.querySelector(".legend").getBoundingClientRect().top < innerHeight &&
			document.documentElement.scrollWidth === document.documentElement.clientWidth`,
			fmt.Sprint("the picture on the first screen, and no sideways scrolling, at ", size))
	}
	b.check(`document.querySelector(".list form input").ariaLabel === "New task in To do" &&
		document.querySelector("[data-id=task-4] .right").ariaLabel === "Move “Watch polls that bring nothing” to Done" &&
		document.querySelector("#news").textContent === "No change has arrived yet."`, "what screen readers say")
	b.check(`document.querySelectorAll(".list:first-child .left[hidden]").length === 3`, "arrows to no list")
}

// TestMeter compares what the page counts and draws with what the server counts and another client did.
func TestMeter(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	b := openPage(t, server, 50, 2)
	b.wait("meter.counts.nothing > 60")
	b.check(`meter.users.map((marks) => marks.find((mark) => mark.kind === "nothing")?.at ?? 0).sort()
		.filter((at, i, polls) => at > polls[i - 1] + 10).length > 25`, "the users' polls must be spread over the interval")
	b.set("#seconds", 60) // now few polls are under way at any time
	b.wait(`fetch("/debug/vars").then((response) => response.json()).then((vars) => {
		const { nothing, changes, first, failed } = meter.counts, brought = vars.polls_empty + vars.polls_not_modified;
		return failed === 0 && first === 50 && nothing === brought && nothing + changes + first === vars.polls &&
			document.querySelector("#figures p").textContent === "100 % of " + nothing + " polls for changes brought nothing";
	})`)

	b.set("#seconds", 2)
	b.click("#pause")
	b.click("#somebody")
	b.waitForText("#delay", `^– \(0 of 50 so far\)$`)
	b.wait(`dispatchEvent(new Event("online")) && fetch("").then(() => fetch("")).then(() => // a paused page has not polled
		meter.users.every((marks, user) => { // a wait grows to the right edge
		const canvas = document.querySelector("#picture"), x = canvas.clientWidth - 14, y = 36 + 4.8 * (user + 0.5);
		const colour = getComputedStyle(document.querySelector(".legend .waited")).color.match(/\d+/g).join();
		return [...canvas.getContext("2d").getImageData(x, y, 1, 1).data].slice(0, 3).join() === colour;
	}))`)
	b.click("#pause")
	b.waitForText("#delay", `^\d\.\d s on average, \d\.\d s at most$`)
	b.check(`[...meter.changes.values()].every(({ at, waits }) => waits.length === 50 && meter.idleTimes.length === 1 &&
		Math.max(...waits) > 1000 + Math.min(...waits) &&
		meter.users.every((marks) => marks.filter((mark) => mark.made === at).length === 1))`, "the change")
	b.set("#users", 1)
	b.run("const { now } = Date; Date.now = () => now() - 3_600_000") // the server's stamps are still to come
	send(t, "DELETE", server+"/tasks/task-1", "")
	b.wait(`dispatchEvent(new Event("online")) && meter.counts.changes > 50`)
	b.waitForText("#news", "was deleted.$")
	b.check("meter.changes.size === 1 && meter.counts.changes === 51", "changes whose wait is known, and by one user")
}

// TestKnobs moves the knobs of a page that is below a path, as behind a proxy, with a name and password in its URL.
func TestKnobs(t *testing.T) {
	t.Parallel()
	b := openBrowser(t, startBelow(t, "-interval", "1h")+"/")
	b.waitForText("#wait", "^1,800 s on average, 3,960 s at most$")
	b.waitForText("#times", `^Your last poll \d\d:\d\d:\d\d, next in 3[2-9]\d\d s\.$`)
	b.press(".list input", " Added "+enterKey)
	b.waitForLists(strings.Replace(demoTasks, " |", ", Added |", 1))
	b.set("#users", 50)
	b.set("#seconds", 5)
	b.waitForText("#trade", `^This costs 600 requests a minute\. A user waits for a change 2\.5 s on average, 5\.5 s at most`)
	b.set("#users", 1)
	b.set("#seconds", 60)
	b.waitForText("body", `next in [56]\d s\.[^]*This costs 1 request a minute\. A user waits for a change 30 s on average, 66 s at most`)
	b.click("#pause")
	b.waitForText("#trade", "^This costs 0 requests a minute. A user waits for a change until you resume")
	b.waitForText("#state", "^Paused: no automatic polls")
}
