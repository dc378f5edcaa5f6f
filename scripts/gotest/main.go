// Command gotest runs `go test -json` with the given arguments and fails where
// go test itself would not: when a test was skipped, or when none ran.
//
//	go run ./scripts/gotest [-allow-skip TEST=REASON]... -race ./...
//
// It prints one line for a package, everything a failed test said, the slowest
// tests, and closes with "N passed, N failed, N skipped". A skip that has to be
// is named with its reason by -allow-skip and reported; any other one fails.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	allow, args := map[string]string{}, os.Args[1:]
	for len(args) >= 2 && args[0] == "-allow-skip" {
		name, reason, ok := strings.Cut(args[1], "=")
		if !ok || reason == "" {
			fmt.Fprintf(os.Stderr, "gotest: -allow-skip %q has no reason; write TEST=REASON\n", args[1])
			os.Exit(2)
		}
		allow[name], args = reason, args[2:]
	}
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "gotest: %v\n", err)
		os.Exit(1)
	}
	good := report(out, os.Stdout, allow)
	if err := cmd.Wait(); err != nil || !good {
		if err != nil {
			fmt.Fprintf(os.Stderr, "gotest: go test: %v\n", err)
		}
		os.Exit(1)
	}
}

// event is one line of `go test -json` (see go doc test2json).
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   json.Number // seconds
}

// result is one finished test.
type result struct {
	name    string
	seconds float64
}

// slow is from when on a test is listed among the slowest, in seconds.
const slow = 5

// report reads the events to their end and reports whether the run was good.
func report(events io.Reader, w io.Writer, allow map[string]string) bool {
	output := map[string][]string{} // of unfinished tests, by package and test
	ran := map[string]int{}
	var passed, failed, skipped, refused, broken int
	var slowest []result
	print := func(key string) {
		for _, line := range output[key] {
			fmt.Fprint(w, line)
		}
	}
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Action == "" {
			fmt.Fprintln(w, lines.Text()) // not from a test: the go command itself
			continue
		}
		key := e.Package + " " + e.Test
		seconds, _ := e.Elapsed.Float64()
		switch {
		case e.Action == "build-output":
			fmt.Fprint(w, e.Output)
		case e.Action == "output":
			output[key] = append(output[key], e.Output)
		case e.Test != "" && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip"):
			ran[e.Package]++
			switch e.Action {
			case "pass":
				passed++
			case "fail":
				failed++
				print(key)
			case "skip":
				skipped++
				reason, ok := allow[e.Test]
				if !ok {
					refused++
					reason = "not allowed: a skipped test proves nothing"
				}
				fmt.Fprintf(w, "SKIP  %s (%s)\n", key, reason)
				print(key)
			}
			if seconds >= slow {
				slowest = append(slowest, result{key, seconds})
			}
			delete(output, key)
		case e.Action == "pass" || e.Action == "skip":
			if e.Action == "pass" {
				fmt.Fprintf(w, "ok    %s  %d tests, %.1f s\n", e.Package, ran[e.Package], seconds)
			}
			delete(output, key)
		case e.Action == "fail":
			broken++
			fmt.Fprintf(w, "FAIL  %s  %.1f s\n", e.Package, seconds)
			for _, unfinished := range slices.Sorted(maps.Keys(output)) {
				if strings.HasPrefix(unfinished, e.Package+" ") {
					print(unfinished)
					delete(output, unfinished)
				}
			}
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintf(w, "gotest: read events: %v\n", err)
		return false
	}
	slices.SortFunc(slowest, func(a, b result) int { return cmp.Compare(b.seconds, a.seconds) })
	for _, r := range slowest[:min(len(slowest), 10)] {
		fmt.Fprintf(w, "slow  %6.1f s  %s\n", r.seconds, r.name)
	}
	if passed+failed == 0 {
		fmt.Fprintln(w, "gotest: no test ran")
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return failed == 0 && broken == 0 && refused == 0 && passed > 0
}
