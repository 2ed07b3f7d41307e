// Shortpoll is a task board that shows short polling: clients ask again and again what changed,
// and the server keeps nothing about them.
//
//	go run .              serves the board in taskboard.db at http://localhost:3000
//	go run . -watch URL   polls URL and prints what each poll brought
//
// A poll is GET /boards/{boardId}/updates?since=T, where T is the timestamp of the last
// response. Read on with poll in handlers.go and the triggers in schema.sql. Updates, below, is
// a client.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	addr := flag.String("addr", "localhost:3000", "`host:port` to listen on")
	path := flag.String("db", "taskboard.db", "database `file`, made if it is missing")
	interval := flag.Duration("interval", 0, "`time` between polls that clients are advised, 1s to 1h (default 5s)")
	target := flag.String("watch", "", "do not serve, but poll this `URL`, every -interval or as often as its server advises")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	var err error
	switch {
	case flag.NArg() > 0:
		err = fmt.Errorf("%q is not a flag; for another port, write -addr localhost:3001", flag.Arg(0))
	case *interval < 0 || *interval > time.Hour || *interval%time.Second != 0:
		err = fmt.Errorf("-interval is %v; it must be whole seconds, from 1s to 1h", *interval)
	case *target != "":
		watch(ctx, *target, *interval)
	default:
		err = serve(ctx, *addr, *path, cmp.Or(*interval, 5*time.Second))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "shortpoll:", err)
		os.Exit(1)
	}
}

// serve serves until ctx is done. It returns nil when all requests were finished and the
// database was closed.
func serve(ctx context.Context, addr, path string, interval time.Duration) (err error) {
	// The port comes first, so that a second server by mistake does not touch the database of
	// the first.
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	store, err := Open(path, 5*time.Second)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }() // sets the err that serve returns

	srv := &http.Server{
		Handler: routes(store, interval),
		// A client that sends or reads too slowly loses its connection.
		ReadTimeout:  5 * time.Second,
		WriteTimeout: 30 * time.Second,
		// A client that polls within this time keeps its connection.
		IdleTimeout: 2 * time.Minute,
	}
	serveErr := make(chan error, 1)
	go func() { serveErr <- srv.Serve(listener) }()
	host, _, _ := net.SplitHostPort(addr) // empty for an addr like :3000
	port := listener.Addr().(*net.TCPAddr).Port
	fmt.Fprintf(os.Stderr, "task board at http://%s (database %s, stop with Ctrl-C)\n",
		net.JoinHostPort(cmp.Or(host, "localhost"), strconv.Itoa(port)), path)

	select {
	case err := <-serveErr:
		return err
	case <-ctx.Done():
		return srv.Shutdown(context.Background()) // needs no deadline: the timeouts above end slow clients
	}
}

// watch prints a line for each poll of target, and at the end what the polls cost.
func watch(ctx context.Context, target string, interval time.Duration) {
	polls, nothing := 0, 0
	for update, err := range Updates(ctx, target, interval) {
		polls++
		line := time.Now().Format(time.TimeOnly)
		switch {
		case err != nil:
			line += " error: " + err.Error()
		case update.Board:
			line += " the whole board:"
		case len(update.Tasks) == 0:
			line += " nothing"
			nothing++
		}
		for _, task := range update.Tasks {
			if task.DeletedAt != "" {
				line += " deleted:"
			}
			line += " " + strconv.Quote(task.Title)
		}
		fmt.Println(line)
	}
	fmt.Printf("%d polls, %d of them for nothing\n", polls, nothing)
}

// Update is what one poll brought. Without tasks, nothing has changed.
type Update struct {
	Tasks []Task // added, changed or, with a DeletedAt, deleted
	Board bool   // Tasks is the whole board, so all others are gone

	since, start, etag string // what the next poll needs of this response
}

// errOtherData says that the server has started again, or that a backup was restored.
var errOtherData = errors.New("the server has other data now; asking for the whole board")

// Updates polls target, the URL of a board's updates, until ctx is done or the caller leaves the loop. It
// yields what each poll brought, or its error. With an interval of 0, it polls as often as the server
// advises. Tasks count as received when the body of the loop has ended.
func Updates(ctx context.Context, target string, interval time.Duration) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		var last Update
		advised, failures := 5*time.Second, 0
		for {
			update, header, err := ask(ctx, target, last)
			if ctx.Err() != nil || !yield(update, err) {
				return
			}
			last = update

			if d, _ := time.ParseDuration(header.Get("X-Poll-Interval") + "s"); d > 0 {
				advised = d
			}
			wait := cmp.Or(interval, advised)
			switch err {
			case nil:
				failures = 0
			case errOtherData:
				wait = time.Second
			default: // a server that fails is asked less and less often, to let it recover
				failures++
				wait = max(wait, min(time.Minute, wait<<min(failures, 6)))
			}
			wait = time.Duration(float64(wait) * (0.9 + 0.2*rand.Float64())) // so clients do not stay in step
			select {
			case <-ctx.Done():
				return
			case <-time.After(max(wait, retryAfter(header))):
			}
		}
	}
}

// retryAfter returns how long a response asks a client to wait (RFC 9110, section 10.2.3): for so many
// seconds, or until a date, which is counted by the server's clock.
func retryAfter(header http.Header) time.Duration {
	seconds, _ := time.ParseDuration(header.Get("Retry-After") + "s")
	date, _ := http.ParseTime(header.Get("Retry-After"))
	now, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(seconds, date.Sub(now)) // without a date, it is far in the past
}

var pollClient = http.Client{Timeout: 20 * time.Second} // for a whole response

// ask polls once. With an error, the Update has no tasks, only what the next poll needs.
func ask(ctx context.Context, target string, last Update) (Update, http.Header, error) {
	last.Tasks, last.Board = nil, false
	req, err := http.NewRequestWithContext(ctx, "GET", target+"?since="+url.QueryEscape(last.since), nil)
	if err != nil {
		return last, nil, err
	}
	if last.etag != "" {
		req.Header.Set("If-None-Match", last.etag)
	}
	resp, err := pollClient.Do(req)
	if err != nil {
		return last, nil, err
	}
	defer resp.Body.Close()

	var tasks []Task
	body := response{Data: &tasks}
	header, etag, start := resp.Header, resp.Header.Get("ETag"), resp.Header.Get("X-Server-Start")
	switch {
	case last.etag != "" && (resp.StatusCode == http.StatusNotModified || etag == last.etag):
		// Nothing new, also with 200: a cache may put the ETag of a 304 on an older body, and leave out headers.
		body.Timestamp, etag, start = last.since, last.etag, cmp.Or(start, last.start)
	case resp.StatusCode != http.StatusOK:
		return last, header, fmt.Errorf("the server responded with status %d", resp.StatusCode)
	default:
		err = json.NewDecoder(resp.Body).Decode(&body)
	}
	if err == nil && body.Timestamp == "" {
		err = errors.New("the response has no timestamp")
	}
	if err != nil {
		return last, header, err
	}

	switch {
	case last.since != "" && start != last.start, last.since == "" && start == last.start && start != "":
		return Update{start: last.start}, header, errOtherData // a cache may have a board with this old start
	case body.Timestamp < last.since: // a backup was restored
		return Update{}, header, errOtherData
	case body.Timestamp != last.since:
		etag = "" // the next poll asks another URL
	}
	return Update{tasks, last.since == "", body.Timestamp, start, etag}, header, nil
}
