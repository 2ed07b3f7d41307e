//go:build exercises

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// These tests prove what README.md beside them says, in copies of the project. They take a minute, so go test ./...
// leaves them out. Run them with: go test -tags exercises -run Exercise ./e2e

// section returns README.md from a heading to the next one.
func section(heading string) string {
	readme, _ := os.ReadFile("README.md")
	_, text, _ := strings.Cut(string(readme), "\n## "+heading)
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// table returns the cells of the table in a section, without the marks of code.
func table(section string) (rows [][]string) {
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "|") {
			cells := strings.Split(line, "|")
			for i, cell := range cells {
				cells[i] = strings.Trim(cell, " `")
			}
			rows = append(rows, cells[1:])
		}
	}
	return rows[2:] // the first two are the heading and the line below it
}

// sh runs a command in a folder. It must succeed.
func sh(t *testing.T, dir, command string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, output)
	}
}

// copyProject returns a folder with a copy of the project, as a clone of it has.
func copyProject(t *testing.T) string {
	dir := t.TempDir()
	sh(t, "..", "git ls-files -z -co --exclude-standard | tar -c --null -T - | tar -x -C "+dir)
	sh(t, dir, "git init -q && git add . && git -c user.name=x -c user.email=x commit -qm x")
	return dir
}

const build = "go test -c -vet=off -buildvcs=false -o built.test "

// check runs the test that go test -run finds by this pattern, which must pass or fail so many times of as many.
func check(t *testing.T, dir, pattern, verdict string, times int, command ...string) {
	command = append(command, "-test.v", "-test.run", pattern, "-test.count", fmt.Sprint(times))
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	output, _ := cmd.CombinedOutput()
	got := regexp.MustCompile("(?m)^--- [A-Z]+").FindAllString(string(output), -1)
	if want := strings.Repeat("--- "+verdict, times); strings.Join(got, "") != want {
		t.Errorf("%s: %q, want %d times %s; it printed\n%.3000s", pattern, got, times, verdict, output)
	}
}

// oneCPU begins a command that runs the built tests. With one CPU, less happens by luck.
var oneCPU = []string{"env", "GOMAXPROCS=1", "taskset", "-c", "0", "./built.test"}

// TestExercise4 runs each command with the program's own poll, and with the emptied one.
func TestExercise4(t *testing.T) {
	text := section("Exercise 4")
	dir := copyProject(t)
	own, _ := os.ReadFile(filepath.Join(dir, "handlers.go"))
	try := func(verdict string) {
		sh(t, dir, build+".")
		for _, row := range table(text) {
			pattern := strings.TrimSuffix(strings.TrimPrefix(row[1], "go test -run "), " .")
			check(t, dir, pattern, verdict, 1, oneCPU...)
		}
	}
	try("PASS")
	blocks := regexp.MustCompile("(?s)```sh\n(.+?)```").FindAllStringSubmatch(text, -1) // the one that empties, and git stash
	sh(t, dir, blocks[0][1])
	try("FAIL")
	sh(t, dir, blocks[1][1])
	if got, _ := os.ReadFile(filepath.Join(dir, "handlers.go")); string(got) != string(own) {
		t.Errorf("%s did not bring back handlers.go, but\n%s", blocks[1][1], got)
	}
}

// breakCode makes the change of each row, one after the other, and runs the row's test.
func breakCode(t *testing.T, dir, exercise string, test func(t *testing.T, name string)) {
	for i, row := range table(section(exercise)) {
		t.Run(fmt.Sprintf("row %d: %s", i+1, row[4]), func(t *testing.T) {
			name := filepath.Join(dir, row[0])
			code, _ := os.ReadFile(name)
			if n := strings.Count(string(code), row[1]); n != 1 {
				t.Fatalf("%s has this code %d times, want 1: %s", row[0], n, row[1])
			}
			os.WriteFile(name, []byte(strings.Replace(string(code), row[1], row[2], 1)), 0o644)
			defer sh(t, dir, "git checkout .") // as the text says
			test(t, "^"+row[4]+"$")
		})
	}
}

// TestExercise5 wants each row's test to fail 20 times of 20.
func TestExercise5(t *testing.T) {
	t.Parallel()
	dir := copyProject(t)
	breakCode(t, dir, "Exercise 5", func(t *testing.T, name string) {
		sh(t, dir, build+".")
		check(t, dir, name, "FAIL", 20, oneCPU...)
	})
}

// TestExercise6 wants each row's test to fail once, and not because the browser cannot read the code.
func TestExercise6(t *testing.T) {
	t.Parallel()
	dir := copyProject(t)
	sh(t, dir, build+"./e2e")
	breakCode(t, dir, "Exercise 6", func(t *testing.T, name string) {
		sh(t, dir, "node --input-type=module --check <client/loop.js")
		check(t, filepath.Join(dir, "e2e"), name, "FAIL", 1, "../built.test")
	})
}
