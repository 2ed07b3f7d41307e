package e2e_test

import (
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

var (
	pass fault = func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }
	cut  fault = func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) } // no response
)

// proxy passes requests on to target, a server's URL, and polls through a fault.
type proxy struct {
	url          string
	target, poll atomic.Value
}

func newProxy(t *testing.T, target string) *proxy {
	p := &proxy{}
	p.target.Store(target)
	p.works()
	next := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		server, _ := url.Parse(p.target.Load().(string))
		r.SetURL(server)
		r.Out.Header.Del("Origin") // it names the proxy
	}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		act := pass
		if strings.HasSuffix(r.URL.Path, "/updates") {
			act = p.poll.Load().(fault)
		}
		act(w, r, next)
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(srv.CloseClientConnections)
	p.url = srv.URL
	return p
}

func (p *proxy) works() { p.poll.Store(pass) }
