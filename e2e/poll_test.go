package e2e_test

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPollJS has a page of one's own use poll.js, with a server that is none of ours.
func TestPollJS(t *testing.T) {
	t.Parallel()
	const nothing = `{"data":[],"timestamp":"A"}`
	const oneTask = `{"data":[{"id":"1","title":"T","updated_at":"2026-01-01T00:00:00.000Z"}],"timestamp":"A"}`
	type respond = func(w http.ResponseWriter, r *http.Request, n int)
	// text responds to the first poll with the first body, and so on. It repeats the last one.
	text := func(bodies ...string) respond {
		return func(w http.ResponseWriter, r *http.Request, n int) { io.WriteString(w, bodies[min(n, len(bodies))-1]) }
	}
	// hang does not respond to the first polls.
	hang := func(polls int) respond {
		return func(w http.ResponseWriter, r *http.Request, n int) {
			if n <= polls {
				<-r.Context().Done()
			}
			io.WriteString(w, nothing)
		}
	}
	// retryAfter responds to the first poll that the client must wait.
	retryAfter := func(wait string) respond {
		return func(w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				w.Header().Set("Retry-After", wait)
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			io.WriteString(w, nothing)
		}
	}
	// retryAtDate is the same, with a date, from a server whose clock is off, and which may tell it.
	retryAtDate := func(wait, off time.Duration, tells bool) respond {
		return func(w http.ResponseWriter, r *http.Request, n int) {
			now := time.Now().Add(off).UTC()
			w.Header()["Date"] = nil
			if tells {
				w.Header().Set("Date", now.Format(http.TimeFormat))
			}
			retryAfter(now.Add(wait).Format(http.TimeFormat))(w, r, n)
		}
	}
	// tagged responds with these ETags, and with 304 if the client has the right one.
	tagged := func(etags ...string) respond {
		return func(w http.ResponseWriter, r *http.Request, n int) {
			etag := etags[min(n, len(etags))-1]
			w.Header().Set("ETag", etag)
			if r.Header.Get("If-None-Match") == etag {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			fmt.Fprintf(w, `{"data":[{"id":"1","updated_at":%q}],"timestamp":%q}`, etag, strings.Trim(etag, `"`))
		}
	}
	// started is a server that says it started at these times.
	started := func(next respond, starts ...string) respond {
		return func(w http.ResponseWriter, r *http.Request, n int) {
			if start := starts[min(n, len(starts))-1]; start != "" {
				w.Header().Set("X-Server-Start", start)
			}
			next(w, r, n)
		}
	}
	every := func(seconds string, next respond) respond {
		return func(w http.ResponseWriter, r *http.Request, n int) {
			w.Header().Set("X-Poll-Interval", seconds)
			next(w, r, n)
		}
	}
	allFour := make(chan bool)

	for _, test := range []struct {
		name    string
		url     string // what to poll, if not /updates
		respond respond
		hidden  bool          // the page is in a background tab at first
		script  string        // what the page does with its poller
		until   string        // what to wait for, of the page's variables; then the poller is paused
		atLeast time.Duration // how long that takes
		want    []string      // the requests: query and If-None-Match
	}{
		// What to ask, and what to make of the response.
		{
			name:    "URL with a query",
			url:     "/updates?token=1",
			respond: text(`{"data":[],"timestamp":"A+&"}`),
			until:   "polls.length === 2",
			want:    []string{"token=1", "token=1&since=A%2B%26"},
		}, {
			name:    "ETag",
			respond: tagged(`"A"`, `"A"`, `"B"`),
			until: `polls.map(({ status, rows, tasks }) => [status, rows, tasks.length].join()).join(" ") ===
				"200,1,1 304,0,0 200,1,1 304,0,0" && calls === 2`,
			want: []string{"", `since=A "A"`, `since=A "A"`, `since=B "B"`},
		}, {
			name: "response that the browser would keep",
			respond: func(w http.ResponseWriter, r *http.Request, n int) {
				w.Header().Set("Cache-Control", "max-age=3600")
				io.WriteString(w, nothing)
			},
			until: "polls.length === 3",
			want:  []string{"", "since=A", "since=A"},
		}, {
			// The browser's cache would let them in one after the other.
			name: "equal polls at the same time",
			respond: every("60", func(w http.ResponseWriter, r *http.Request, n int) {
				if n == 4 {
					close(allFour)
				}
				select {
				case <-allFour:
				case <-r.Context().Done():
				}
				io.WriteString(w, nothing)
			}),
			script: `for (let i = 0; i < 3; i++) startPolling("/updates", () => {})`,
			until:  "polls.length === 1 && !polls[0].error",
			want:   []string{"", "", "", ""},
		}, {
			name: "304 without being asked",
			respond: func(w http.ResponseWriter, r *http.Request, n int) {
				w.Header().Set("ETag", `"A"`)
				w.WriteHeader(http.StatusNotModified)
			},
			until: "polls.length === 2 && polls.every((poll) => /status 304/.test(poll.error?.message)) && calls === 0",
			want:  []string{"", ""},
		}, {
			name:    "no timestamp",
			respond: text(`{"data":[]}`),
			until:   `polls.length === 3 && polls.every((poll) => /not a board's/.test(poll.error?.message))`,
			atLeast: 5 * time.Second, // waits of about 2 and 4
			want:    []string{"", "", ""},
		}, {
			name:    "no data",
			respond: text(`{"timestamp":"A"}`),
			until:   "polls.length === 2 && polls.every((poll) => poll.error) && calls === 0",
			want:    []string{"", ""},
		}, {
			name:    "no JSON",
			respond: text("<html>"),
			until:   `polls.length === 2 && polls.every((poll) => poll.error?.name === "SyntaxError")`,
			want:    []string{"", ""},
		}, {
			name:    "rows without id or updated_at",
			respond: text(`{"data":[{"id":"1"}],"timestamp":"A"}`, `{"data":[{"updated_at":"1"}],"timestamp":"A"}`),
			until:   "polls.length === 2 && polls.every((poll) => /no id or/.test(poll.error?.message)) && calls === 0",
			want:    []string{"", ""},
		}, {
			name: "rows that are not newer",
			respond: text(`{"data":[{"id":"1","updated_at":"2"}],"timestamp":"2"}`,
				`{"data":[{"id":"1","updated_at":"1"}],"timestamp":"3"}`,
				`{"data":[{"id":"1","updated_at":"2"}],"timestamp":"4"}`),
			until: `polls.map(({ rows, tasks }) => [rows, tasks.length].join()).join(" ") === "1,1 1,0 1,0" && calls === 1`,
			want:  []string{"", "since=2", "since=3"},
		}, {
			name:    "onChange throws",
			respond: tagged(`"A"`, `"B"`),
			script:  `await first; onChange = () => { onChange = null; throw new Error("thrown"); }`,
			until: `polls.length === 4 && polls[1].error?.message === "thrown" && !polls[2].error && calls === 3 &&
				polls[1].next > 1500 && polls[2].next <= 1100`,
			want: []string{"", `since=A "A"`, `since=A "A"`, `since=B "B"`},
		}, {
			name:    "onChange pauses and throws",
			respond: text(oneTask),
			script:  `onChange = () => { poller.pause(); throw new Error("thrown"); }`,
			until:   `polls.length === 1 && polls[0].error?.message === "thrown"`,
			want:    []string{""},
		}, {
			name:    "write",
			respond: text(`{"data":[{"id":"1","updated_at":"1"}],"timestamp":"1"}`),
			script:  `await first; await poller.apply([{ id: "1", updated_at: "2" }], "write")`,
			until:   `polls.length === 2 && calls === 2 && polls[1].tasks.length === 0`,
			want:    []string{"", "since=1"},
		}, {
			name:    "write while the whole board, which may be older, is under way",
			respond: hang(1),
			script:  `await next(1); await poller.apply([{ id: "1", updated_at: "2" }], "write")`,
			until:   `polls.length === 1 && !polls[0].error`,
			want:    []string{"", ""},
		},

		// Other data on the server.
		{
			name:    "another server start",
			respond: started(tagged(`"A"`, `"B"`, `"C"`), "1", "2"),
			until: `polls.length === 4 && polls.map((poll) => poll.restarted).join() === "false,true,false,false" &&
				polls[1].rows === 1 && polls[1].tasks.length === 0 && polls[1].next < 500 && calls === 2`,
			want: []string{"", `since=A "A"`, "", `since=C "C"`},
		}, {
			name:    "304 without the server's start",
			respond: started(tagged(`"A"`), "1", ""),
			until:   `polls.length === 3 && polls.every((poll) => !poll.restarted)`,
			want:    []string{"", `since=A "A"`, `since=A "A"`},
		}, {
			name:    "timestamp before since",
			respond: tagged(`"B"`, `"A"`),
			until: `polls.length === 4 && polls.map((poll) => poll.restarted).join() === "false,true,false,false" &&
				polls[2].tasks.length === 1`,
			want: []string{"", `since=B "B"`, "", `since=A "A"`},
		}, {
			// Each poll comes to another server. They must not end in a loop without a wait.
			name:    "two servers behind one address",
			respond: started(text(nothing), "1", "2", "1", "2", "1"),
			until:   "polls.length === 5 && calls === 3",
			atLeast: 1500 * time.Millisecond, // two waits
			want:    []string{"", "since=A", "", "since=A", ""},
		},

		// When to poll.
		{
			name:    "jitter",
			respond: every("10", text(nothing)),
			script:  "Math.random = () => 0",
			until:   "polls.length === 1 && polls[0].next > 8000 && polls[0].next <= 9000",
			want:    []string{""},
		}, {
			name:    "jitter of a chosen interval",
			respond: every("10", text(nothing)),
			script:  "Math.random = () => 1; poller.every(20, 0)",
			until:   "polls.length === 1 && polls[0].next > 21000 && polls[0].next <= 22000",
			want:    []string{""},
		}, {
			name:    "huge interval",
			respond: every("2520000", text(nothing)),
			until:   "polls.length === 1 && polls[0].next > 2_000_000_000 && performance.now() > began + 1500",
			want:    []string{""},
		}, {
			name:    "tiny interval",
			respond: every("0.001", text(nothing)),
			until:   "polls.length === 1 && polls[0].next > 500",
			want:    []string{""},
		}, {
			name:    "many failures",
			respond: text("<html>"),
			script:  "const wait = setTimeout; window.setTimeout = (f, ms) => wait(f, ms / 100)",
			until: `polls.length >= 9 && polls.slice(0, 9).every(({ next }, i) =>
				next > 850 * Math.min(60, 2 ** (i + 1)) && next <= 1100 * Math.min(60, 2 ** (i + 1)))`,
		}, {
			name:    "every, without a wait",
			respond: every("60", text(nothing)),
			script:  "await first; poller.every(3)",
			until:   "polls.length === 2",
			atLeast: 3 * time.Second,
			want:    []string{"", "since=A"},
		}, {
			name:    "Retry-After",
			respond: retryAfter("4"),
			script: `await first; poller.pollNow(); dispatchEvent(new Event("online")); poller.pause(); poller.resume();
				document.dispatchEvent(new Event("visibilitychange")); poller.every(1)`,
			until:   "polls.length === 2",
			atLeast: 4 * time.Second,
			want:    []string{"", ""},
		}, {
			name:    "huge Retry-After",
			respond: retryAfter("99999999"),
			until:   "polls.length === 1 && polls[0].next > 2_000_000_000 && performance.now() > began + 1500",
			want:    []string{""},
		}, {
			name:    "Retry-After while the client's clock is set back",
			respond: retryAfter("2"),
			script:  "await first; const { now } = Date; Date.now = () => now() - 3_600_000; poller.pollNow()",
			until:   "polls.length === 2",
			want:    []string{"", ""},
		}, {
			name:    "Retry-After is a date",
			respond: retryAtDate(5*time.Second, 0, false),
			until:   "polls.length === 2",
			atLeast: 4 * time.Second, // backing off by itself it would wait 2
			want:    []string{"", ""},
		}, {
			name:    "Retry-After is a date by a clock that is behind",
			respond: retryAtDate(5*time.Second, -2*time.Hour, true),
			until:   "polls.length === 2",
			atLeast: 4 * time.Second,
			want:    []string{"", ""},
		}, {
			name:    "Retry-After is a date by a clock that is ahead",
			respond: retryAtDate(time.Second, 2*time.Hour, true),
			until:   "polls.length === 2",
			want:    []string{"", ""},
		}, {
			name:    "wanted now",
			respond: every("60", text(nothing)),
			script:  `await first; dispatchEvent(new Event("online"))`,
			until:   "polls.length === 2",
			want:    []string{"", "since=A"},
		}, {
			// The browser has at most six connections to a server, so the polls that hang must be given up.
			name:    "wanted now while the server hangs",
			respond: every("60", hang(9)),
			script: `for (let i = 0; i < 6; i++) { await next(1); poller.pollNow(); }
				await next(1); dispatchEvent(new Event("online"));
				await next(1); poller.resume(); await next(1); poller.pause(); poller.resume()`,
			until: "polls.length === 1 && !polls[0].error",
			want:  []string{"", "", "", "", "", "", "", "", "", ""},
		}, {
			// The end of the first poll must not take the place of the second.
			name: "wanted now while onChange is slow",
			respond: every("60", func(w http.ResponseWriter, r *http.Request, n int) {
				if n == 2 {
					<-time.After(time.Second)
				}
				io.WriteString(w, oneTask)
			}),
			script: "onChange = () => { onChange = null; poller.pollNow(); return next(2); }",
			until:  "polls.length === 2 && calls === 2",
			want:   []string{"", ""},
		}, {
			name:    "the server hangs",
			respond: hang(1),
			script:  "const wait = setTimeout; window.setTimeout = (f, ms) => wait(f, ms / 20)",
			until:   `polls.length === 2 && polls[0].error?.name === "TimeoutError" && !polls[1].error`,
			want:    []string{"", ""},
		}, {
			name:    "no AbortSignal.any",
			respond: text(nothing),
			script:  "delete AbortSignal.any",
			until:   "polls.length === 1 && !polls[0].error",
			want:    []string{""},
		}, {
			name:    "paused",
			respond: text(nothing),
			script: `await first; poller.pause(); poller.pollNow(); dispatchEvent(new Event("online"));
				document.dispatchEvent(new Event("visibilitychange"))`,
			until: "polls.length === 1 && performance.now() > polls[0].startTime + 2500",
			want:  []string{""},
		}, {
			name:    "background tab",
			respond: text(nothing),
			hidden:  true,
			script:  "setTimeout(() => hide(false), 1500)",
			until:   "polls.length === 1 && polls[0].startTime >= began + 1500",
			want:    []string{""},
		}, {
			name:    "hidden, and shown again",
			respond: text(nothing),
			script:  "await first; hide(true); setTimeout(() => { poller.every(60); hide(false) }, 2500)",
			until:   "polls.length === 2 && polls[1].startTime >= polls[0].startTime + 2500",
			want:    []string{"", "since=A"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			openSources(t)
			var mu sync.Mutex
			var requests []string
			came := make(chan bool, 100) // gets a value for each request
			mux := http.NewServeMux()
			mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, "<!doctype html><title>A page of one's own</title>")
			})
			mux.HandleFunc("GET /client/poll.js", func(w http.ResponseWriter, r *http.Request) {
				http.ServeFile(w, r, "../client/poll.js")
			})
			mux.HandleFunc("GET /came", func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-came:
				case <-r.Context().Done():
				}
			})
			mux.HandleFunc("GET /updates", func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				requests = append(requests, strings.TrimSpace(r.URL.RawQuery+" "+r.Header.Get("If-None-Match")))
				n := len(requests)
				mu.Unlock()
				select {
				case came <- true:
				default: // nobody asks
				}
				w.Header().Set("X-Poll-Interval", "1")
				test.respond(w, r, n)
			})
			srv := httptest.NewServer(mux)
			defer srv.Close()
			defer srv.CloseClientConnections() // or Close would wait for handlers that hang
			b := openBrowser(t, srv.URL)
			start := time.Now()
			b.run(fmt.Sprintf(`
				window.hide = (hidden) => {
					Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
					document.dispatchEvent(new Event("visibilitychange"));
				};
				if (%t) hide(true);
				window.next = async (requests) => { for (let i = 0; i < requests; i++) await fetch("/came"); };
				window.until = () => %s;
				window.polls = [], window.calls = 0, window.onChange = null, window.began = performance.now();
				import("/client/poll.js").then(async ({ startPolling }) => {
					let ended;
					const first = new Promise((resolve) => { ended = resolve; });
					const poller = startPolling(%q, () => {
						calls++;
						return onChange?.();
					}, (poll) => {
						polls.push({ ...poll, next: poller.state().nextAt - performance.now() });
						if (until()) poller.pause();
						ended();
					});
					%s
				})`, test.hidden, test.until, cmp.Or(test.url, "/updates"), test.script))
			b.wait("until()")
			if took := time.Since(start); took < test.atLeast {
				t.Errorf("it took %v, want at least %v", took, test.atLeast)
			}
			mu.Lock()
			defer mu.Unlock()
			if test.want != nil && !slices.Equal(requests, test.want) {
				t.Errorf("the requests were %q, want %q", requests, test.want)
			}
		})
	}
}
