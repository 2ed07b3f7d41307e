// Shortpoll is a task board that shows short polling: clients ask again and
// again what changed, and the server answers without keeping anything about
// them. It serves the board of an SQLite file over HTTP.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// busyTimeout is how long a write waits for the database, before it fails.
const busyTimeout = 5 * time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "shortpoll:", err)
		os.Exit(1)
	}
}

// run serves until SIGINT or SIGTERM. It returns nil after an orderly stop.
func run() (err error) {
	addr := flag.String("addr", "localhost:3000", "`host:port` to listen on")
	path := flag.String("db", "taskboard.db", "database `file`, created if it is not there")
	interval := flag.Duration("interval", 5*time.Second, "polling interval that clients are advised, in whole seconds")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; -help shows the flags", flag.Arg(0))
	}
	if *interval < time.Second || *interval%time.Second != 0 {
		return fmt.Errorf("-interval is %v; it must be whole seconds, at least 1s", *interval)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	store, err := Open(*path, busyTimeout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler: newHandler(store, *interval),
		// A client that sends or reads slowly, or not at all, loses its
		// connection. An idle one keeps it from poll to poll.
		ReadTimeout:    5 * time.Second,
		WriteTimeout:   30 * time.Second,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	serveErr := make(chan error, 1)
	go func() { serveErr <- srv.Serve(listener) }()
	log.Printf("task board at %s (database %s, stop with Ctrl-C)", boardURL(*addr, listener), *path)

	select {
	case err := <-serveErr:
		return err
	case <-ctx.Done():
	}
	stop() // a second signal ends the program at once
	log.Print("stopping")
	ctx, cancel := context.WithTimeout(context.Background(), srv.WriteTimeout)
	defer cancel()
	return srv.Shutdown(ctx)
}

// boardURL returns the URL to open in a browser for a listener on addr.
func boardURL(addr string, listener net.Listener) string {
	host, _, _ := net.SplitHostPort(addr) // it has been listened on
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String()) // differs from addr's for port 0
	return "http://" + net.JoinHostPort(host, port)
}
