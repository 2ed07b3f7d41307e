package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestOwnPage puts the files that client/README.md shows beside those of the program, under the same security policy.
func TestOwnPage(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../client/README.md")
	if err != nil {
		t.Fatal(err)
	}
	server := startServer(t)
	resp, err := http.Get(server + "/client/loop.html")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	program, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", httputil.NewSingleHostReverseProxy(program))
	for _, file := range []struct{ name, language, mediaType string }{
		{"mine.html", "html", "text/html"},
		{"mine.js", "js", "text/javascript"},
	} {
		block := regexp.MustCompile("(?s)`" + file.name + "`:\n\n```" + file.language + "\n(.*?)```").FindSubmatch(readme)
		if block == nil {
			t.Fatalf("client/README.md does not show %s", file.name)
		}
		mux.HandleFunc("GET /client/"+file.name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", resp.Header.Get("Content-Security-Policy"))
			w.Header().Set("Content-Type", file.mediaType+"; charset=utf-8")
			w.Write(block[1])
		})
	}
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer srv.CloseClientConnections()

	b := openBrowser(t, srv.URL+"/client/mine.html")
	titles := strings.Split(strings.ReplaceAll(demoTasks, " | ", ", "), ", ")
	shows := func(want ...string) {
		t.Helper()
		b.wait(fmt.Sprintf("document.body.innerText === %q", strings.Join(want, "\n")))
	}
	shows(titles...)
	send(t, "DELETE", server+"/tasks/task-1", "")
	send(t, "PATCH", server+"/tasks/task-5", `{"title":"Renamed"}`)
	shows(append(titles[1:len(titles)-1], "Renamed")...)
}
