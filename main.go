// Shortpoll is a task board that shows short polling: clients ask again and again what changed.
//
//	go run .              serves the board in taskboard.db at http://localhost:3000
//	go run . -watch URL   polls URL and prints what each poll brought
//
// A poll is GET /boards/{boardId}/updates?since=T, T being the timestamp of the last response.
// Read on with poll in handlers.go, the triggers in schema.sql, and Updates below, a client.
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
	target := flag.String("watch", "", "poll this `URL` in place of serving, every -interval or as its server advises")
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

// serve serves until ctx is done, then finishes all requests and closes the database.
func serve(ctx context.Context, addr, path string, interval time.Duration) (err error) {
	// The port comes first, so that a second server by mistake leaves the database alone.
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
		Handler:      routes(store, interval),
		ReadTimeout:  5 * time.Second, // a client that sends or reads too slowly loses its connection
		WriteTimeout: 30 * time.Second,
		IdleTimeout:  2 * time.Minute, // a client that polls within this time keeps its connection
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

// Update is what one poll brought: nothing new, if it has neither Tasks nor Board.
type Update struct {
	Tasks []Task // added, changed or, with a DeletedAt, deleted
	Board bool   // Tasks is the whole board, so all others are gone

	since, start, etag string    // what the next poll needs of this response
	restarted          time.Time // when start ended, while the board is loaded again
}

var errOtherData = errors.New("the server has other data now; asking for the whole board")
var pollClient = http.Client{Timeout: 20 * time.Second} // for a whole response

// Updates polls target, the URL of a board's updates without a query, until ctx is done or the
// caller leaves the loop. It yields what each poll brought, or its error. With an interval of 0, it
// polls as often as the server advises. It asks for later changes when the loop's body has ended.
func Updates(ctx context.Context, target string, interval time.Duration) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		var last Update
		advised, failures := 5*time.Second, 0
		for {
			update, header, err := ask(ctx, target, last)
			if ctx.Err() != nil || !yield(update, err) {
				return
			}

			if d, _ := time.ParseDuration(header.Get("X-Poll-Interval") + "s"); d > 0 {
				advised = min(max(d, time.Second), time.Hour)
			}
			wait := cmp.Or(interval, advised)
			switch err {
			case nil:
				last, failures = update, 0
			case errOtherData:
				last, wait = update, time.Second
			default: // back off, so that a server that fails can recover
				failures++
				wait = max(wait, min(time.Minute, wait<<min(failures, 16)))
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

// retryAfter returns how long a response asks a client to wait (RFC 9110, section 10.2.3): so
// many seconds, or until a date by the server's clock.
func retryAfter(header http.Header) time.Duration {
	seconds, _ := time.ParseDuration(header.Get("Retry-After") + "s")
	date, _ := http.ParseTime(header.Get("Retry-After"))
	now, _ := http.ParseTime(header.Get("Date"))
	return max(seconds, date.Sub(cmp.Or(now, time.Now()))) // without a date, the zero Time is far in the past
}

// ask polls once. After errOtherData, the Update has only what the next poll needs.
func ask(ctx context.Context, target string, last Update) (Update, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", target+"?since="+url.QueryEscape(last.since), nil)
	if err != nil {
		return Update{}, nil, err
	}
	if last.etag != "" {
		req.Header.Set("If-None-Match", last.etag)
	}
	resp, err := pollClient.Do(req)
	if err != nil {
		return Update{}, nil, err
	}
	defer resp.Body.Close()

	var tasks []Task
	body := response{Data: &tasks}
	header, etag, start := resp.Header, resp.Header.Get("ETag"), resp.Header.Get("X-Server-Start")
	switch {
	case last.etag != "" && (resp.StatusCode == 304 || resp.StatusCode == 200 && etag == last.etag):
		// Nothing is new, also with 200: a cache may send the ETag of a 304 with an older body,
		// and leave other headers out.
		tasks, body.Timestamp, etag, start = []Task{}, last.since, last.etag, cmp.Or(start, last.start)
	case resp.StatusCode != http.StatusOK:
		return Update{}, header, fmt.Errorf("the server responded with status %d", resp.StatusCode)
	default:
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			return Update{}, header, err
		}
	}

	board := last.since == ""
	switch {
	case body.Timestamp == "" || tasks == nil:
		return Update{}, header, errors.New("the response has no timestamp or no data")
	case !board && start != last.start: // the server has started again
		return Update{start: last.start, restarted: time.Now()}, header, errOtherData
	case board && start == last.start && time.Since(last.restarted) < 5*time.Second:
		return last, header, errOtherData // a cache still has the board from before
	case body.Timestamp < last.since: // a backup was restored
		return Update{}, header, errOtherData
	case body.Timestamp != last.since:
		etag = "" // the next poll asks another URL
	}
	return Update{Tasks: tasks, Board: board, since: body.Timestamp, start: start, etag: etag}, header, nil
}
