// Readme proves what README.md and those in the folders tell a reader to type. Run it in the project's folder, as
// .ci/run does: go run .ci/readme.go. It proves three things:
//
//   - Each block of shell commands and each command in a sentence, as it is printed. It goes into bash, dash and zsh as
//     if a reader pasted it, in a new folder and with a new server. It must do and print what the text says. What the
//     table named proofs does not know is a failure, and so is an entry of that table that is in no text.
//   - Exercise 4: each command passes with the program's own poll, and fails with the emptied one.
//   - Exercises 5 and 6: each row's test passes with the program as it is, and fails with the row's change.
//
// Of a block it changes only this: the ports become free ones, benchmarks run once, and wrk runs for one second. The
// pauses are short because another program has the place of sleep.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A reader's shell is interactive. Only then does ! stand for an earlier command, and zsh take a comment as arguments.
var shells = []string{"bash --norc --noediting -i", "dash -i", "zsh -f -i"}

// Each entry proves the blocks that have its words.
var proofs = []struct {
	name  string
	words []string
	prove func(shell string, blocks []block)
}{
	{"the start", []string{"\ngo run .\n", "\nGOGC=400 go run .\n", "\ngo run . -interval 30s\n"}, goRun},
	{"the flags", []string{"\ngo run . -help\n"}, help},
	{"the tests", []string{"\ngo test ./...\n", "\ngo test .\n"}, allTests},
	{"exercise 1", []string{"while sleep", "-d '{", "INSERT INTO"}, exercise1},
	{"exercise 2", []string{"uniq -c"}, exercise2},
	{"304", []string{"If-None-Match"}, notModified},
	{"the line that empties poll", []string{"perl -0pi", "git checkout handlers.go"}, emptyPoll},
	{"backup and restore", []string{".backup"}, backup},
	{"what polling costs", []string{"-bench IdleHour", "-bench Poll", "-bench Query", "-bench Restart"}, benchmarks},
	{"the shared cache", []string{"proxy_cache_path", "wrk "}, sharedCache},
}

// block is a block of code or a command in a sentence, with the text before it and after it.
type block struct{ code, before, after string }

var (
	blocks         []block             // those of the shell and of nginx
	proved         = map[string]bool{} // the code of those that a proof has used
	tmp, _         = os.MkdirTemp("", "readme")
	failed         bool // whether a proof failed
	interrupted, _ = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)

	// When the time of the proof at hand is over, its processes are killed.
	proofTime context.Context
	running   sync.WaitGroup
)

func main() {
	os.Chmod(tmp, 0o755) // some tests run the program as another user
	if prove("the files can be read and the program built", readFiles) {
		for _, entry := range proofs {
			for _, shell := range shells {
				prove(entry.name+", in "+strings.Fields(shell)[0], func() { entry.prove(shell, find(entry.words...)) })
			}
		}
		prove("exercise 4", exercise4)
		breakCode("Exercise 5", ".", 20)
		breakCode("Exercise 6", "./e2e", 1) // a browser is slow
		prove("nothing is left to prove", func() {
			for _, b := range blocks {
				if !proved[b.code] {
					fail("nothing in .ci/readme.go proves this:\n%s", b.code)
				}
			}
		})
	}
	os.RemoveAll(tmp)
	if failed || interrupted.Err() != nil {
		os.Exit(1)
	}
}

// prove runs one proof and prints how it went. A proof ends early with a panic.
func prove(name string, proof func()) (ok bool) {
	if interrupted.Err() != nil {
		return false
	}
	began := time.Now()
	var cancel func()
	proofTime, cancel = context.WithTimeout(interrupted, 10*time.Minute)
	defer func() {
		if why := recover(); why != nil {
			failed = true
			fmt.Printf("--- FAIL: %s\n%v\n", name, why)
		} else {
			ok = true
			fmt.Printf("proved: %s (%.1f s)\n", name, time.Since(began).Seconds())
		}
		cancel()
		running.Wait()
	}()
	proof()
	return
}

// readFiles finds all blocks, and makes what the proofs need.
func readFiles() {
	command := regexp.MustCompile(`(?m)^ *([A-Z]+=\S+ )?(go|git|curl|sqlite3|perl) `)
	names, _ := filepath.Glob("*/README.md")
	for _, name := range append(names, "README.md") {
		parts := regexp.MustCompile("(?m)^ *```").Split(readFile(name), -1) // text, block, text, block, …, text
		for i, part := range parts {
			language, code, _ := strings.Cut(part, "\n")
			switch {
			case i%2 == 0:
				for _, span := range regexp.MustCompile("`[^`]+`").FindAllStringIndex(part, -1) {
					if code := part[span[0]+1 : span[1]-1]; command.MatchString(code) {
						blocks = append(blocks, block{code + "\n", part[:span[0]], part[span[1]:]})
					}
				}
			case i == len(parts)-1:
				fail("%s: this block has no end: %s", name, part)
			case language == "sh" || language == "nginx":
				blocks = append(blocks, block{code, parts[i-1], parts[i+1]})
			case !slices.Contains([]string{"", "html", "js"}, language) || command.MatchString(code):
				fail("%s: a block of shell commands must begin with ```sh, any other with ```, html or js: %s", name, part)
			}
		}
	}
	start(".", "", "go", "build", "-o", tmp+"/shortpoll", ".").succeed()
	os.Mkdir(tmp+"/bin", 0o755)
	os.WriteFile(tmp+"/bin/sleep", []byte("#!/bin/sh\necho $1 >>slept\nexec /bin/sleep 0.1\n"), 0o755)
}

// find returns, for each word, the one block that has it.
func find(words ...string) (found []block) {
	for _, word := range words {
		different := map[string]block{}
		for _, b := range blocks {
			if strings.Contains("\n"+b.code, word) {
				different[b.code] = b
			}
		}
		if len(different) != 1 {
			fail("%d blocks or commands have %q, want 1", len(different), word)
		}
		for code, b := range different {
			proved[code] = true
			found = append(found, b)
		}
	}
	return found
}

func goRun(shell string, blocks []block) {
	dir := copyProject()
	for _, b := range blocks {
		p := paste(shell, dir, b.code)
		p.until(func() bool { return strings.Contains(p.stderr.String(), " http://localhost:3000 ") }, "that URL")
		poll := start(dir, "", "curl", "-fsSi", "http://localhost:3000/boards/board-1/updates").succeed()
		if _, seconds, ok := strings.Cut(b.code, "-interval "); ok {
			want := "\nX-Poll-Interval: " + strings.TrimSuffix(seconds, "s\n") + "\r\n"
			poll.want(strings.Contains(poll.stdout.String(), want), "the header %s", want)
		}
		syscall.Kill(-p.Process.Pid, syscall.SIGINT) // as Ctrl-C does
		<-p.ended
	}
}

func help(shell string, b []block) {
	p := paste(shell, copyProject(), b[0].code).succeed()
	p.want(strings.Contains(p.stderr.String(), "-addr"), "the flags")
}

// allTests does not run the tests, for .ci/run does so.
func allTests(string, []block) { first(`(?m)^(go test -v \./\.\.\.) `, readFile(".ci/run")) }

func exercise1(shell string, b []block) {
	s := serve(newFolder())
	loop := s.here(b[0].code)
	polls := paste(shell, s.Dir, loop)
	title := regexp.MustCompile(`".*?"`)
	var want []string
	// see waits until the loop has printed these titles too, each once and in this order, and then [] for nothing.
	see := func(titles ...string) {
		want = append(want, titles...)
		polls.until(func() bool {
			printed := polls.stdout.String()
			got := title.FindAllString(printed, -1)
			same := min(len(got), len(want))
			polls.want(slices.Equal(got[:same], want[:same]), "the titles %s", want)
			return len(got) == len(want) && strings.HasSuffix(printed, " []\n")
		}, "the titles %s", want)
	}
	// write runs the two commands that write. They may be one block.
	write := func(object string) {
		for _, code := range slices.Compact([]string{b[1].code, b[2].code}) {
			paste(shell, s.Dir, strings.Replace(s.here(code), "{", object, 1)).succeed()
		}
		see(first(`"title":(".+?")`, b[1].code), `"`+first(`'([^']+)'\)`, b[2].code)+`"`)
	}
	see(title.FindAllString(s.titles(), -1)...)
	write("{")
	write(`{"description":"two\nlines",`)
	// While the server is away, polls fail. After that, the loop goes on from where it was.
	s.stop()
	polls.until(func() bool { return strings.Contains(polls.stderr.String(), "curl: (7)") }, "an error")
	s = serve(s.Dir, "-addr", s.addr)
	write("{")
	// What the server refuses must not look like nothing.
	for right, wrong := range map[string]string{"board-1": "board-x", "since=\n": "since=x\n"} {
		p := paste(shell, s.Dir, strings.Replace(loop, right, wrong, 1))
		p.until(func() bool { return strings.Count(p.stderr.String(), "curl: (22)") > 1 }, "errors for %s", wrong)
		p.want(p.stdout.String() == "", "nothing but errors for %s", wrong)
	}
}

func exercise2(shell string, b []block) {
	s := serve(newFolder())
	p := paste(shell, s.Dir, s.here(b[0].code)).succeed()
	want := first("`(.+?)`", b[0].after) + " " + first("`.+?`.*?`(.+?)`", b[0].after)
	p.want(strings.Join(strings.Fields(p.stdout.String()), " ") == want, "what the text says: %s", want)
	slept := 0
	for _, seconds := range strings.Fields(readFile(s.Dir + "/slept")) {
		n, _ := strconv.Atoi(seconds)
		slept += n
	}
	p.want(strconv.Itoa(slept) == first(`(?s).*\b(\d+) seconds`, b[0].before), "the seconds of the text, not %d", slept)
	p = paste(shell, s.Dir, strings.Replace(s.here(b[0].code), "board-1", "board-x", 1)).succeed()
	p.want(!strings.Contains(p.stdout.String(), " 0\n"), "no empty responses from a wrong board")
}

func notModified(shell string, b []block) {
	s := serve(newFolder())
	p := paste(shell, s.Dir, s.here(b[0].code)).succeed()
	want := first("(?s).*`(304 [^`]+)`", b[0].before)
	head, body, _ := strings.Cut(p.stdout.String(), "\r\n\r\n")
	p.want(strings.HasPrefix(head, "HTTP/1.1 "+want+"\r\n") && body == "", "%s without a body", want)
}

func emptyPoll(shell string, b []block) {
	dir := copyProject()
	own := readFile(dir + "/handlers.go")
	poll := regexp.MustCompile(`(?s)(\) poll\([^\n]+\{\n).*?\n\}\n`)
	paste(shell, dir, b[0].code).succeed()
	if got := readFile(dir + "/handlers.go"); got != poll.ReplaceAllString(own, "${1}\treturn nil\n}\n") {
		fail("the body of poll is not emptied, or other code is lost:\n%s", got)
	}
	start(dir, "", "go", "vet", ".").succeed()
	paste(shell, dir, b[1].code).succeed()
	if got := readFile(dir + "/handlers.go"); got != own {
		fail("the program's own code does not come back:\n%s", got)
	}
}

func backup(shell string, b []block) {
	s := serve(newFolder())
	want := s.titles()
	paste(shell, s.Dir, b[0].code).succeed()
	s.stop()
	name := first(`\.backup (\S+)"`, b[0].code)
	start(s.Dir, "", "sh", "-c", "rm -f taskboard.db-wal taskboard.db-shm && mv "+name+" taskboard.db").succeed()
	if got := serve(s.Dir).titles(); got != want {
		fail("the copy has the tasks %s, want %s", got, want)
	}
}

// benchmarks runs the benchmarks only from the first shell. From all, it sees that go gets the words of the block.
func benchmarks(shell string, blocks []block) {
	for _, b := range blocks {
		p := paste(shell, newFolder(), "go() { echo go \"$@\"; }\n"+b.code).succeed()
		p.want(p.stdout.String() == strings.ReplaceAll(b.code, "'", ""), "the words as they are")
		if shell != shells[0] {
			continue
		}
		p = paste(shell, ".", regexp.MustCompile(`-benchtime \S+`).ReplaceAllString(b.code, "-benchtime 1x")).succeed()
		for line := range strings.Lines(b.code) {
			want := "\n--- PASS: " + first(`-run (\S+)`, line)
			if strings.Contains(line, "-bench ") {
				want = "\nBenchmark" + first(`-bench (\S+)`, line)
			}
			p.want(strings.Contains(p.stdout.String(), want), "a line with %q", want)
		}
	}
}

func sharedCache(shell string, b []block) {
	s, free := serve(newFolder()), serve(newFolder())
	free.stop()
	here := strings.NewReplacer("localhost:8080", free.addr, "listen 8080", "listen "+free.addr, "-d10", "-d1",
		"127.0.0.1:3000", s.addr, "localhost:3000", s.addr, "/var/cache/nginx-polls", s.Dir+"/cache")
	config := "user root; daemon off; pid nginx.pid; error_log stderr; events {} http { access_log off;\n%s}\n"
	os.WriteFile(s.Dir+"/nginx.conf", fmt.Appendf(nil, config, here.Replace(b[0].code)), 0o644)
	nginx := start(s.Dir, "", "nginx", "-p", s.Dir, "-c", "nginx.conf")
	nginx.until(func() bool {
		p := start(s.Dir, "", "curl", "-fsS", "http://"+free.addr)
		<-p.ended
		return p.ProcessState.Success()
	}, "a response through the cache")

	p := paste(shell, s.Dir, here.Replace(b[1].code)).succeed()
	var before, requests, after int // wrk reports between two counts of the polls that reached the server
	fmt.Sscan(first(`^(\d+)\n`, p.stdout.String()), &before)
	fmt.Sscan(first(`(\d+) requests in`, p.stdout.String()), &requests)
	fmt.Sscan(first(`\n(\d+)\n$`, p.stdout.String()), &after)
	p.want(before < after && after-before < requests/10, "few of the requests to reach the server")
	p.want(!strings.Contains(p.stdout.String(), "Non-2xx"), "no errors")
}

func exercise4() {
	dir := copyProject()
	for _, verdict := range []string{"PASS", "FAIL"} {
		for _, row := range table("Exercise 4", 3) {
			test(dir, row[1], verdict, 1)
		}
		paste(shells[0], dir, find("perl -0pi")[0].code).succeed()
	}
}

// breakCode proves the rows of exercise 5 or 6, whose tests are in the package pkg. With a row's change, its test must
// fail the given number of times.
func breakCode(exercise, pkg string, times int) {
	var dir string
	var rows [][]string
	prove(exercise+", its table and the command for its first row", func() {
		dir, rows = copyProject(), table(exercise, 5)
		test(dir, "go test -run "+rows[0][4]+" "+pkg, "PASS", 1)
	})
	for i, row := range rows {
		prove(fmt.Sprintf("%s, row %d: %s", exercise, i+1, row[4]), func() {
			paste(shells[0], dir, find("\ngit checkout .\n")[0].code).succeed()
			file, code, command := dir+"/"+row[0], readFile(dir+"/"+row[0]), "go test -run ^"+row[4]+"$ "+pkg
			test(dir, command, "PASS", 1)
			if n := strings.Count(code, row[1]); n != 1 {
				fail("%s has this %d times, want 1: %s", row[0], n, row[1])
			}
			changed := []byte(strings.Replace(code, row[1], row[2], 1))
			os.WriteFile(file, changed, 0o644)
			if strings.HasSuffix(file, ".js") { // wrong syntax would make every test fail
				os.WriteFile(tmp+"/changed.mjs", changed, 0o644)
				start(tmp, "", "node", "--check", "changed.mjs").succeed()
			}
			test(dir, command, "FAIL", times)
		})
	}
}

// test runs a go test command, whose test must end in PASS, or in FAIL, the given number of times. It has one CPU, so
// that less happens by luck.
func test(dir, command, verdict string, times int) {
	pattern, pkg := first(`^go test -run (\S+) \.\S*$`, command), first(` (\.\S*)$`, command)
	proved[command+"\n"] = true
	p := start(dir, "", "go", "test", "-v", "-count", strconv.Itoa(times), "-exec", "env GOMAXPROCS=1 taskset -c 0",
		"-run", pattern, pkg)
	<-p.ended
	n := strings.Count(p.stdout.String(), "--- "+verdict+": "+strings.NewReplacer("^", "", "$", " ").Replace(pattern))
	p.want(n >= times && p.ProcessState.Success() == (verdict == "PASS"), "%s %d times, not %d times", verdict, times, n)
}

// table returns the cells of the table in a section of README.md. It fails at a row with another number of cells.
func table(heading string, columns int) (rows [][]string) {
	section, _, _ := strings.Cut(first(`(?s)\n## `+heading+`\b(.*)`, readFile("README.md")), "\n## ")
	inTable := false
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		inTable = strings.HasPrefix(line, "|") || inTable && line != ""
		if !inTable {
			continue
		}
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), "|")
		if len(cells) != columns+2 || cells[0]+cells[columns+1] != "" {
			fail("%s: this row has not %d cells: %s", heading, columns, line)
		}
		for i, cell := range cells {
			cell = strings.ReplaceAll(strings.TrimSpace(cell), "\x00", "|")
			cells[i] = regexp.MustCompile("^(?:`` (.+) ``|`([^`]+)`)$").ReplaceAllString(cell, "$1$2") // its code
		}
		rows = append(rows, cells[1:columns+1])
	}
	if len(rows) < 3 {
		fail("%s: there is no table with rows", heading)
	}
	return rows[2:] // the first two are the heading and the line below it
}

// fail ends the proof at hand.
func fail(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// first returns what the group in the pattern matches first.
func first(pattern, text string) string {
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if match == nil {
		fail("nothing matches %s in: %s", pattern, text)
	}
	return match[1]
}

// must ends the proof at hand if there is an error.
func must[T any](value T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return value
}

func readFile(name string) string { return string(must(os.ReadFile(name))) }

func newFolder() string { return must(os.MkdirTemp(tmp, "")) }

// copyProject returns a copy of the project, as a repository of its own.
func copyProject() string {
	dir := newFolder()
	start(".", "", "cp", "-R", ".", dir).succeed()
	start(dir, "", "sh", "-c", "rm -rf .git && git init -q && git add . && git clean -fdxq").succeed()
	return dir
}

// process is a program that runs, or has run.
type process struct {
	*exec.Cmd
	input          string
	stdout, stderr output
	ended          chan struct{}
}

// output keeps what a process prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start starts a program in a folder, without a terminal. The end of the proof kills it, with all that it started.
func start(dir, input string, args ...string) *process {
	p := &process{Cmd: exec.CommandContext(proofTime, args[0], args[1:]...), input: input, ended: make(chan struct{})}
	p.Dir, p.Stdin, p.Stdout, p.Stderr = dir, strings.NewReader(input), &p.stdout, &p.stderr
	p.Env = append(os.Environ(), "TMPDIR="+tmp, "HISTFILE=", "TERM=dumb")
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.Cancel = func() error { return syscall.Kill(-p.Process.Pid, syscall.SIGKILL) }
	if err := p.Start(); err != nil {
		fail("%v", err)
	}
	running.Go(func() { p.Wait(); close(p.ended) })
	return p
}

// paste starts a shell that reads a block. Its pauses are short.
func paste(shell, dir, code string) *process {
	path := "PATH=" + tmp + "/bin:" + os.Getenv("PATH")
	return start(dir, code, append([]string{"env", path}, strings.Fields(shell)...)...)
}

// want ends the proof at hand unless ok is true.
func (p *process) want(ok bool, format string, args ...any) {
	if !ok {
		fail("this ran: %s\n%sit printed:\n%.4000s\nand as errors:\n%.4000s\nwant: %s",
			strings.Join(p.Args, " "), p.input, &p.stdout, &p.stderr, fmt.Sprintf(format, args...))
	}
}

// until waits until done returns true. It ends the proof at hand if the process ends before, or after two minutes.
func (p *process) until(done func() bool, format string, args ...any) {
	for began := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.ended:
			p.want(done(), format, args...)
			return
		default:
			p.want(time.Since(began) < 2*time.Minute, format, args...)
		}
	}
}

// succeed waits until the process has ended, and wants the exit code 0.
func (p *process) succeed() *process {
	<-p.ended
	p.want(p.ProcessState.Success(), "the exit code 0, not %v", p.ProcessState)
	return p
}

// server is the program, with the host and port at which it listens.
type server struct {
	*process
	addr string
}

// serve starts the program in a folder, on a free port unless the flags name one.
func serve(dir string, flags ...string) server {
	p := start(dir, "", append([]string{tmp + "/shortpoll", "-addr", "localhost:0"}, flags...)...)
	p.until(func() bool { return strings.Contains(p.stderr.String(), "http://") }, "the URL")
	return server{p, first(`http://(\S+)`, p.stderr.String())}
}

func (s server) stop() {
	s.Process.Signal(syscall.SIGTERM)
	s.succeed()
}

// here returns a block with the address of this server.
func (s server) here(code string) string { return strings.ReplaceAll(code, "localhost:3000", s.addr) }

// titles returns the titles of the board's tasks, in JSON.
func (s server) titles() string {
	command := "curl -fsS http://" + s.addr + "/boards/board-1/updates | jq -c '[.data[].title]'"
	return strings.TrimSpace(start(s.Dir, "", "sh", "-c", command).succeed().stdout.String())
}
