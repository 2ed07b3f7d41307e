package e2e_test

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// TestPollJS has a page of one's own use poll.js, with a server that is none of ours.
func TestPollJS(t *testing.T) {
	t.Parallel()
	const nothing = `{"data":[],"timestamp":"A"}`
	const oneTask = `{"data":[{"id":"1","title":"T","updated_at":"2026-01-01T00:00:00.000Z"}],"timestamp":"A"}`
	// text responds to each poll with the same.
	text := func(body string) func(http.ResponseWriter, int) {
		return func(w http.ResponseWriter, n int) { io.WriteString(w, body) }
	}
	for _, test := range []struct {
		name    string
		url     string                             // what to poll, if not /updates
		respond func(w http.ResponseWriter, n int) // to the nth poll
		script  string                             // what the page does with its poller
		until   string                             // what to wait for, of the page's variables
		atLeast time.Duration                      // how long that takes
		want    []string                           // the queries of the requests
	}{
		{
			name: "huge Retry-After",
			respond: func(w http.ResponseWriter, n int) {
				w.Header().Set("Retry-After", "99999999")
				w.WriteHeader(http.StatusServiceUnavailable)
			},
			until: "Date.now() > started + 1500",
			want:  []string{""},
		}, {
			name: "huge interval",
			respond: func(w http.ResponseWriter, n int) {
				w.Header().Set("X-Poll-Interval", "2520000")
				io.WriteString(w, nothing)
			},
			until: "Date.now() > started + 1500",
			want:  []string{""},
		}, {
			name: "Retry-After is a date",
			respond: func(w http.ResponseWriter, n int) {
				if n == 1 {
					w.Header().Set("Retry-After", time.Now().Add(5*time.Second).UTC().Format(http.TimeFormat))
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				io.WriteString(w, nothing)
			},
			until:   "polls.length === 2",
			atLeast: 4 * time.Second, // backing off by itself it would wait 2
			want:    []string{"", ""},
		}, {
			name:    "no timestamp",
			respond: text(`{"data":[]}`),
			until:   `polls.length === 3 && polls.every((poll) => /not a board's/.test(poll.error.message))`,
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
			until:   `polls.length === 2 && polls.every((poll) => poll.error.name === "SyntaxError")`,
			want:    []string{"", ""},
		}, {
			name:    "onChange throws",
			respond: text(oneTask),
			script:  "throwOnce = true",
			until:   `polls.length === 3 && polls[0].error.message === "thrown" && !polls[1].error && calls === 2`,
			want:    []string{"", "", "since=A"},
		}, {
			name:    "URL with a query",
			url:     "/updates?token=1",
			respond: text(`{"data":[],"timestamp":"A+&"}`),
			until:   "polls.length === 2",
			want:    []string{"token=1", "token=1&since=A%2B%26"},
		}, {
			name: "paused while the server hangs",
			respond: func(w http.ResponseWriter, n int) {
				if n == 1 {
					<-time.After(5 * time.Second)
				}
				io.WriteString(w, nothing)
			},
			script: "setTimeout(() => { poller.pause(); poller.resume(); }, 500)",
			until:  "polls.length === 1 && !polls[0].error && Date.now() < started + 4000",
			want:   []string{"", ""},
		}, {
			name: "online",
			respond: func(w http.ResponseWriter, n int) {
				w.Header().Set("X-Poll-Interval", "60")
				if n == 1 {
					w.WriteHeader(http.StatusBadGateway)
				}
				io.WriteString(w, nothing)
			},
			script: `setTimeout(() => dispatchEvent(new Event("online")), 500)`,
			until:  "polls.length === 2",
			want:   []string{"", ""},
		}, {
			name: "the server hangs",
			respond: func(w http.ResponseWriter, n int) {
				<-time.After(3 * time.Second)
				io.WriteString(w, nothing)
			},
			script: `const { setTimeout } = window; window.setTimeout = (f, ms) => setTimeout(f, ms / 20);`,
			until:  `polls.length === 1 && polls[0].error?.name === "TimeoutError"`,
			want:   []string{""},
		}, {
			name: "jitter",
			respond: func(w http.ResponseWriter, n int) {
				w.Header().Set("X-Poll-Interval", "10")
				io.WriteString(w, nothing)
			},
			script: "Math.random = () => 0; const from = performance.now(); window.next = () => poller.state().nextAt - from",
			until:  "polls.length === 1 && next() >= 9000 && next() < 9900",
			want:   []string{""},
		}, {
			name: "another server start",
			respond: func(w http.ResponseWriter, n int) {
				w.Header().Set("X-Server-Start", strconv.FormatBool(n > 1))
				io.WriteString(w, nothing)
			},
			until: "polls.length === 5",
			want:  []string{"", "since=A", "", "since=A", "since=A"},
		}, {
			// Each poll comes to another server. They must not end in a loop without a wait.
			name: "two servers behind one address",
			respond: func(w http.ResponseWriter, n int) {
				w.Header().Set("X-Server-Start", strconv.Itoa(n))
				io.WriteString(w, nothing)
			},
			until:   "polls.length === 5",
			atLeast: 1500 * time.Millisecond, // two waits
			want:    []string{"", "since=A", "", "since=A", ""},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			openSources(t)
			var mu sync.Mutex
			var queries []string
			mux := http.NewServeMux()
			mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, "<!doctype html><title>A page of one's own</title>")
			})
			mux.HandleFunc("GET /client/poll.js", func(w http.ResponseWriter, r *http.Request) {
				http.ServeFile(w, r, "../client/poll.js")
			})
			mux.HandleFunc("GET /updates", func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				queries = append(queries, r.URL.RawQuery)
				n := len(queries)
				mu.Unlock()
				w.Header().Set("Cache-Control", "no-store")
				w.Header().Set("X-Poll-Interval", "1")
				test.respond(w, n)
			})
			srv := httptest.NewServer(mux)
			defer srv.Close()
			b := openBrowser(t, srv.URL)
			start := time.Now()
			b.run(fmt.Sprintf(`window.polls = []; window.calls = 0; window.throwOnce = false; window.started = Date.now();
				return import("/client/poll.js").then(({ startPolling }) => {
					const poller = startPolling(%q, () => {
						calls++;
						if (!throwOnce) return;
						throwOnce = false;
						throw new Error("thrown");
					}, (poll) => polls.push(poll));
					%s
				})`, cmp.Or(test.url, "/updates"), test.script))
			b.wait(test.until)
			if took := time.Since(start); took < test.atLeast {
				t.Errorf("it took %v, want at least %v", took, test.atLeast)
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(queries, test.want) {
				t.Errorf("the queries were %q, want %q", queries, test.want)
			}
		})
	}
}
