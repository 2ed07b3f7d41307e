package e2e_test

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

// pollPage has a clock that stands still until fire sets it to the time of the next timer. In trace it writes down each
// request with its time and If-None-Match, each call of onChange with its source and the ids of the rows, and each poll
// that has ended, with its status and its error.
const pollPage = `<!doctype html><title>A page with poll.js</title><script type="module">
	import { startPolling } from "/client/poll.js";
	window.wait = setTimeout;
	let now = 0, timers = [], ids = 0, sent, ended = () => {};
	Date.now = () => Date.parse("2026-01-01T12:00:00Z") + now;
	performance.now = () => now;
	Math.random = () => 0.5;
	setTimeout = (f, ms) => timers.push({ id: ++ids, at: now + ms, f }) && ids;
	clearTimeout = (id) => timers = timers.filter((timer) => timer.id !== id);
	console.error = (error) => trace.push("console: " + error.message);
	window.send = fetch;
	fetch = (url, init) => {
		sent = { url, startTime: now };
		trace.push(now + ":" + url.replace(location.origin, "") + Object.values(init.headers).map((etag) => etag || "none"));
		return send(url, init);
	};
	window.trace = [];
	window.advance = (ms) => now += ms;
	window.plannedAt = () => Math.min(...timers.map((timer) => timer.at));
	window.until = async (condition) => { while (!condition()) await new Promise((resolve) => wait(resolve)); };
	window.fire = () => {
		const timer = timers.sort((a, b) => a.at - b.at).shift();
		if (!timer) return trace.push("nothing planned");
		now = Math.max(now, timer.at);
		timer.f();
	};
	window.step = () => fire() ?? new Promise((resolve) => ended = resolve);
	` + defineHide + `
	window.start = (url) => window.poller = startPolling(url, (rows, source) => {
		trace.push(source + JSON.stringify(rows.map((row) => row.id)));
		return window.onChange?.();
	}, ({ url, startTime, status, restarted, error }) => {
		const why = !error ? "" : error.name === "Error" ? " " + error.message : " " + error.name;
		trace.push(status + (restarted ? " restarted" : "") + why);
		if (url !== sent.url || startTime !== sent.startTime) trace.push("another url or startTime");
		ended();
	});
</script>`

// TestPollJS has a page of one's own use poll.js, with a server that is none of ours.
func TestPollJS(t *testing.T) {
	t.Parallel()
	browser := openBrowser(t, "about:blank")
	for name, test := range map[string]struct {
		page, url string // the page's URL, if not http://HOST/, and what it polls, if not u
		responses string // status | headers | body; the last one is repeated. A[1] is short for a timestamp and an id
		script    string // what the page does, if not a step for each poll
		want      string // the trace
	}{
		// What to ask, and what to make of the response.
		"changes": {responses: `200 | ETag: "A" | A[1]; 200 | ETag: "B" | B[2]; 200 | ETag: "B" | B[]; 304; 200 | ETag: "D" | B[]; 200 | ETag: "C" | C[0]`,
			want: `0:/u board[1] 200 5000:/u?since=A poll[2] 200 10000:/u?since=B 200 15000:/u?since=B"B" 304 ` +
				`20000:/u?since=B"B" 200 25000:/u?since=B"D" poll[0] 200 30000:/u?since=C poll[0] 200`},
		"old body with the ETag that was sent": {responses: `200 | A[]; 200 | ETag: "A" | A[]; 200 | ETag: "A" | Z[1]; 500 | ETag: "A"`,
			want: `0:/u board[] 200 5000:/u?since=A 200 10000:/u?since=A"A" 200 ` +
				`15000:/u?since=A"A" 500 the server responded with status 500`},
		"empty timestamp": {responses: `200 | ETag: "A" | {"timestamp":"","data":[{"id":1}]}`,
			want: `0:/u board[1] 200 5000:/u board[1] 200`},
		"304 without being asked": {responses: `304 | ETag: "A"; 200 | A[]`,
			want: `0:/u 304 the server responded with status 304 10000:/u board[] 200`},
		"response that the browser would keep": {responses: `200 | A[]; 200 | Cache-Control: max-age=3600 | A[1]; 200 | A[2]`,
			want: `0:/u board[] 200 5000:/u?since=A poll[1] 200 10000:/u?since=A poll[2] 200`},
		"relative URL, a query, and a password": {page: "http://user:password@HOST/one/", url: "u?a=1", responses: `200 | A+&[]`,
			script: `await step(); history.pushState(null, "", "/two/"); await step()`,
			want:   `0:/one/u?a=1 board[] 200 5000:/one/u?a=1&since=A%2B%26 200`},
		"no response of the contract": {responses: `200 | {"data":[],"timestamp":1}; 200 | {"data":{},"timestamp":"A"}; 200 | {"data":[null],"timestamp":"A"}; ` +
			`200 | {"data":[{}],"timestamp":"A"}; 200 | <html>`,
			script: `for (let i = 0; i < 5; i++) await step(); trace = trace.filter((text) => !text.includes(":"))`,
			want: `200 the timestamp is no string 200 data is no list of rows with id 200 data is no list of rows with id ` +
				`200 data is no list of rows with id 200 SyntaxError`},
		// Using the rows.
		"onChange throws": {responses: `200 | A[1]; 200 | A[1]; 200 | B[2]`,
			script: `const fail = () => { onChange = null; throw new Error("thrown"); };
				window.onChange = fail; await step(); await step(); onChange = fail; await step(); await step()`,
			want: `0:/u board[1] 200 thrown 10000:/u board[1] 200 15000:/u?since=A poll[2] 200 thrown ` +
				`25000:/u?since=A poll[2] 200`},
		"wanted twice while onChange works, which then throws": {responses: `200 | A[1]; 200 | A[2]`,
			script: `let end; window.onChange = () => new Promise((resolve, reject) => end = reject);
				fire(); await until(() => end); for (let i = 0; i < 2; i++) { poller.pollNow(); fire(); }
				onChange = null; end(new Error("thrown")); await until(() => trace.length === 6)`,
			want: `0:/u board[1] 200 thrown 0:/u board[2] 200`},
		"paused while onChange works, which then throws": {responses: `200 | A[1]`,
			script: `window.onChange = () => { poller.pause(); throw new Error("thrown"); }; await step(); fire()`,
			want:   `0:/u board[1] 200 thrown nothing planned`},
		"restart, and restored backup": {
			responses: `200 | X-Server-Start: 1 | A[1]; 200 | X-Server-Start: 2 | B[2]; 200 | X-Server-Start: 2 | C[3]; 200 | B[]; ` +
				`200 | X-Server-Start: 2 | B[4]`,
			want: `0:/u board[1] 200 5000:/u?since=A 200 restarted 5000:/u board[3] 200 10000:/u?since=C 200 restarted ` +
				`10000:/u board[4] 200`},
		"304 without the start, and with another one": {responses: `200 | X-Server-Start: 1 | A[1]; 200 | X-Server-Start: 1 | ETag: "A" | A[]; 304; 304 | X-Server-Start: 2; ` +
			`200 | X-Server-Start: 2 | A[2]`,
			want: `0:/u board[1] 200 5000:/u?since=A 200 10000:/u?since=A"A" 304 15000:/u?since=A"A" 304 restarted ` +
				`15000:/u board[2] 200`},
		"one poll that came to another server": {responses: `200 | X-Server-Start: 1 | A[1]; 200 | X-Server-Start: 2 | A[]; 200 | X-Server-Start: 1 | A[1]`,
			want: `0:/u board[1] 200 5000:/u?since=A 200 restarted 5000:/u 200 restarted 6000:/u 200 restarted ` +
				`7000:/u 200 restarted 8000:/u 200 restarted 9000:/u 200 restarted 10000:/u board[1] 200`},
		// When to poll.
		"jitter": {responses: `200 | A[]`,
			script: `Math.random = () => 0; await step(); Math.random = () => 1; await step(); await step()`,
			want:   `0:/u board[] 200 4500:/u?since=A 200 10000:/u?since=A 200`},
		"advised": { // setTimeout takes no wait that is longer than the last one
			responses: `200 | X-Poll-Interval: 10 | A[]; 200 | A[]; 200 | X-Poll-Interval: 0.1 | A[]; 200 | X-Poll-Interval: 1e9 | A[]`,
			want:      `0:/u board[] 200 10000:/u?since=A 200 20000:/u?since=A 200 21000:/u?since=A 200 2147504647:/u?since=A 200`},
		"chosen, and online": {responses: `200 | A[]`,
			script: `await step(); poller.every(3); await step(); poller.every(0, 500); await step();
				dispatchEvent(new Event("online")); await step(); trace.push(poller.state().nextAt);
				advance(100); poller.every(0); trace.push(poller.state().nextAt)`,
			want: `0:/u board[] 200 3000:/u?since=A 200 3500:/u?since=A 200 3500:/u?since=A 200 8500 8600`},
		"failures": {responses: `500; 503; 404; 401; 502; 200 | A[]; 500 | X-Poll-Interval: 100`,
			script: `for (let i = 0; i < 8; i++) await step(); trace = trace.filter((text) => text.includes(":"))`,
			want:   `0:/u 10000:/u 30000:/u 70000:/u 130000:/u 190000:/u 195000:/u?since=A 295000:/u?since=A`},
		"Retry-After": {responses: `503 | Retry-After: 30; 429 | Retry-After: 99999999; 200 | A[]`,
			script: `await step(); dispatchEvent(new Event("online")); hide(true); hide(false); poller.resume(); poller.every(1);
				await step(); trace.push(plannedAt()); poller.pollNow(); await step(); trace.push(plannedAt())`,
			want: `0:/u 503 the server responded with status 503 31500:/u 429 the server responded with status 429 ` +
				`2147515147 31500:/u board[] 200 32500`},
		"Retry-After is a date": {responses: `503 | Retry-After: Thu, 01 Jan 2026 12:00:30 GMT; ` +
			`503 | Retry-After: Thu, 01 Jan 2026 10:01:00 GMT | Date: Thu, 01 Jan 2026 10:00:00 GMT`,
			script: `await step(); await step(); await step(); trace = trace.filter((text) => text.includes(":"))`,
			want:   `0:/u 31500:/u 94500:/u`},
		"wanted now while the server hangs": {responses: `hang; 200 | A[]`,
			script: `fire(); await send("/arrived"); poller.pollNow(); await step()`, want: `0:/u 0:/u board[] 200`},
		"hang": {responses: `hang; 200 | A[]`,
			script: `const first = step(); await send("/arrived"); poller.every(3, 0);
				trace.push(poller.state().underWay.status, plannedAt()); fire(); await first; await step()`,
			want: `0:/u 0 20000 0 TimeoutError 26000:/u board[] 200`},
		"slow response, which then stops": {responses: `slow; 200 | A[]`,
			script: `const first = step(); await send("/arrived"); advance(15000); await send("/more");
				await until(() => plannedAt() === 35000); fire(); await first; await step()`,
			want: `0:/u 200 TimeoutError 45000:/u board[] 200`},
		"bytes that are counted late": {responses: `200 | A[]`,
			script: `const Stream = WritableStream; let write;
				WritableStream = function (sink) { return new Stream({ ...sink, write: () => write = sink.write }); };
				await step(); await until(() => write); write(); await step()`,
			want: `0:/u board[] 200 5000:/u?since=A 200`},
		"paused": {responses: `hang; 200 | A[]`,
			script: `fire(); await send("/arrived"); poller.pause(); advance(300); dispatchEvent(new Event("online")); hide(true); hide(false);
				trace.push(poller.state().nextAt); // a poller that was paused does not hear of these
				poller.every(1); fire(); poller.pollNow(); await step(); fire(); poller.resume(700); await step()`,
			want: `0:/u 0 nothing planned 300:/u board[] 200 nothing planned 1000:/u?since=A 200`},
		"paused when all bytes are there": {responses: `200 | A[1]`,
			script: `const { text } = Response.prototype; let all;
				Response.prototype.text = async function () { all = await text.call(this); poller.pause(); return all; };
				fire(); await until(() => all); fire()`,
			want: `0:/u nothing planned`},
		"hidden": {responses: `200 | A[]; hang; 200 | A[]`,
			script: `poller.pause(); hide(true); start("u"); fire(); hide(false); await step();
				fire(); await send("/arrived"); await send("/arrived"); hide(true); fire(); hide(false); await step()`,
			want: `nothing planned 0:/u board[] 200 5000:/u?since=A nothing planned 5000:/u?since=A 200`},
		"no onPoll": {responses: `200 | A[]; 500`,
			script: `poller.pause(); (await import("/client/poll.js")).startPolling("u", () => {});
				fire(); await until(() => plannedAt() === 5000); fire(); await until(() => trace[2])`,
			want: `0:/u 5000:/u?since=A console: the server responded with status 500`},
	} {
		t.Run(name, func(t *testing.T) {
			var polls atomic.Int32
			arrived, more := make(chan bool, 100), make(chan bool, 100)
			responses := strings.Split(test.responses, "; ")
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/", "/one/":
					io.WriteString(w, pollPage)
				case "/client/poll.js":
					http.ServeFile(w, r, "../client/poll.js")
				case "/arrived":
					<-arrived
				case "/more":
					more <- true
				case "/u", "/one/u":
					n := int(polls.Add(1))
					arrived <- true
					respond(w, r, responses[min(n, len(responses))-1], more)
				}
			}))
			defer srv.Close()
			defer srv.CloseClientConnections() // or Close would wait for handlers that hang
			defer close(more)
			defer close(arrived)
			b := *browser
			b.t = t
			page := strings.Replace(cmp.Or(test.page, "http://HOST/"), "HOST", srv.Listener.Addr().String(), 1)
			b.do("POST", "/url", map[string]any{"url": page}, nil)
			b.wait("window.start")
			steps := strings.Repeat("await step(); ", strings.Count(test.want, ":/"))
			got := b.run(fmt.Sprintf(`const run = async () => { start(%q); %s; poller.pause(); };
				return Promise.race([run(), new Promise((end) => wait(end, 20_000))]).then(() => trace.join(" "))`,
				cmp.Or(test.url, "u"), cmp.Or(test.script, steps)))
			if got != test.want {
				t.Errorf("the trace is\n%s, want\n%s", got, test.want)
			}
		})
	}
}

// respond sends a response as the table has it. Of a slow one, a byte comes at once, and one more when the page says so.
func respond(w http.ResponseWriter, r *http.Request, response string, more chan bool) {
	if response == "slow" {
		io.WriteString(w, " ")
		w.(http.Flusher).Flush()
		<-more
		io.WriteString(w, " ")
		w.(http.Flusher).Flush()
		response = "hang"
	}
	if response == "hang" {
		<-r.Context().Done()
		return
	}
	w.Header()["Date"] = nil // no Date, unless the table has one
	parts, body, status := strings.Split(response, " | "), "", 0
	for _, part := range parts[1:] {
		if name, value, ok := strings.Cut(part, ": "); ok {
			w.Header().Set(name, value)
		} else {
			body = regexp.MustCompile(`^(\S+)\[(\d?)\]$`).ReplaceAllString(part, `{"timestamp":"$1","data":[{"id":$2}]}`)
		}
	}
	fmt.Sscan(parts[0], &status)
	w.WriteHeader(status)
	io.WriteString(w, strings.Replace(body, `{"id":}`, "", 1))
}
