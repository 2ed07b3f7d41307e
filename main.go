// Shortpoll is a task board that shows short polling: clients ask again and again what changed, and the server keeps
// nothing about them. It serves the board in an SQLite file over HTTP.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	addr := flag.String("addr", "localhost:3000", "`host:port` to listen on")
	path := flag.String("db", "taskboard.db", "database `file`, made if it is missing")
	interval := flag.Duration("interval", 5*time.Second, "polling interval that clients are advised, 1s to 1h")
	flag.Parse()
	if err := run(*addr, *path, *interval); err != nil {
		log.Fatal("shortpoll: ", err)
	}
}

// run serves until SIGINT or SIGTERM. It returns nil when all requests were finished and the database was closed.
func run(addr, path string, interval time.Duration) (err error) {
	if interval < time.Second || interval > time.Hour || interval%time.Second != 0 {
		return fmt.Errorf("-interval is %v; it must be whole seconds, from 1s to 1h", interval)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	// The port comes first, so that a second server by mistake does not touch the database of the first.
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	store, err := Open(path, 5*time.Second)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }() // sets the err that run returns

	srv := &http.Server{
		Handler: routes(store, interval),
		// A client that sends or reads too slowly loses its connection.
		ReadTimeout:  5 * time.Second,
		WriteTimeout: 30 * time.Second,
		// A client that polls within this time keeps its connection. A slower one opens another for each poll.
		IdleTimeout: 2 * time.Minute,
	}
	serveErr := make(chan error, 1)
	go func() { serveErr <- srv.Serve(listener) }()
	host, _, _ := net.SplitHostPort(addr) // empty for an addr like :3000
	port := listener.Addr().(*net.TCPAddr).Port
	log.Printf("task board at http://%s (database %s, stop with Ctrl-C)",
		net.JoinHostPort(cmp.Or(host, "localhost"), strconv.Itoa(port)), path)

	select {
	case err := <-serveErr:
		return err
	case <-ctx.Done():
		stop() // a second signal ends the program at once
	}
	return srv.Shutdown(context.Background()) // needs no deadline: the timeouts above end slow clients
}
