package e2e_test

import (
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// fault does something with a request in place of passing it to next.
type fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// proxy passes requests on to target. Polls and writes go through a fault.
type proxy struct {
	url         string
	target      atomic.Value // URL of a server
	poll, write atomic.Value // fault
}

func newProxy(t *testing.T, target string) *proxy {
	p := &proxy{}
	p.target.Store(target)
	p.works()
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			u, err := url.Parse(p.target.Load().(string))
			if err != nil {
				panic(err)
			}
			r.SetURL(u)
			r.Out.Header.Del("Origin") // it names the proxy
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/updates"):
			p.poll.Load().(fault)(w, r, reverse)
		case r.Method != "GET":
			p.write.Load().(fault)(w, r, reverse)
		default:
			reverse.ServeHTTP(w, r)
		}
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	t.Cleanup(srv.CloseClientConnections)
	t.Cleanup(srv.Close)
	p.url = srv.URL
	return p
}

// passOn passes a request on, and the response after the function has returned.
func passOn(w http.ResponseWriter, r *http.Request, next http.Handler, before func(body []byte)) {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	before(rec.Body.Bytes())
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	w.Write(rec.Body.Bytes())
}

// cut is a fault that ends the connection without a response.
func cut(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// works lets the proxy pass on all requests as they are.
func (p *proxy) works() {
	pass := fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) })
	p.poll.Store(pass)
	p.write.Store(pass)
}
