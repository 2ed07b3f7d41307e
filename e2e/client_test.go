package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// TestOwnPage puts the files that client/README.md shows beside those of the program. Their page polls by poll.js.
// At each step, the test also calls nextBoard.
func TestOwnPage(t *testing.T) {
	t.Parallel()
	server := startServer(t, "-interval", "1s")
	p := newProxy(t, server)
	site := http.NewServeMux()
	site.Handle("/", p.Config.Handler)
	readme, _ := os.ReadFile("../client/README.md")
	for _, file := range regexp.MustCompile("(?s)`(\\w+\\.\\w+)`:\n\n```\\w+\n(.*?)```").FindAllSubmatch(readme, -1) {
		path := "client/" + string(file[1])
		site.Handle("/"+path, http.FileServerFS(fstest.MapFS{path: {Data: file[2]}}))
	}
	srv := httptest.NewServer(site)
	defer srv.Close()
	b := openBrowser(t, srv.URL+"/client/mine.html")

	shows := func(step, next, page string) {
		b.check(fmt.Sprintf(`import("/client/board.js").then(async ({ nextBoard }) => {
			const before = window.board;
			window.board = await nextBoard("/boards/board-1/updates", before);
			return board === before ? "the same" : board.rows.map((row) => row.title).join("\n");
		}).catch(String).then((got) => got === %q || got)`, next), step)
		b.wait(fmt.Sprintf("document.body.innerText === %q", page))
	}

	demo := strings.NewReplacer(" | ", "\n", ", ", "\n").Replace(demoTasks)
	shows("first load", demo, demo)
	send(t, "POST", server+"/tasks", `{"list_id":"list-1","title":"New"}`)
	shows("add", demo+"\nNew", demo+"\nNew")
	send(t, "PATCH", server+"/tasks/task-5", `{"title":"Renamed"}`)
	titles := strings.Replace(demo, "Start the server", "Renamed\nNew", 1)
	shows("rename", titles, titles)
	send(t, "DELETE", server+"/tasks/task-1", "")
	_, titles, _ = strings.Cut(titles, "\n")
	shows("delete", titles, titles)
	shows("idle", "the same", titles)
	p.poll.Store(fault(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(503) }))
	shows("error", "Error: the server responded with status 503", titles)
	p.target.Store(startServer(t)) // to the client, the program has started again, on a fresh database
	p.works()
	shows("restart", demo, demo)
}
