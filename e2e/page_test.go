package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
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

// openPage opens the page as it is from the start. Its scripts find meter.js as meter.
func openPage(t *testing.T, url string) *browser {
	t.Helper()
	b := openBrowser(t, url)
	b.run(`return import("/client/meter.js").then((meter) => { window.meter = meter; })`)
	return b
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
