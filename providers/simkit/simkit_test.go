package simkit

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	_ "github.com/ssg-safe/agent/internal/bubbles"
)

func TestParseRules(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []Rule
	}{
		{"", nil},
		{" \n, ;", nil},
		{"create:drop_after@0.05", []Rule{{Route: "create", Fault: DropAfter, Chance: 0.05}}},
		{"*:latency=50ms..2s, status:http=500*3;token:html", []Rule{
			{Route: "*", Fault: Latency, Arg: "50ms..2s"}, {Route: "status", Fault: HTTP, Arg: "500", Next: 3}, {Route: "token", Fault: HTML},
		}},
		{`[{"route":"create","fault":"cut","chance":0.5}]`, []Rule{{Route: "create", Fault: Cut, Chance: 0.5}}},
	} {
		got, err := ParseRules(tt.text)
		if d := cmp.Diff(tt.want, got); d != "" || err != nil {
			t.Errorf("%q: %v\n%s", tt.text, err, d)
		}
	}
	for _, tt := range []struct {
		text  string
		wants []string // parts of the error: all problems at once
	}{
		{"create", []string{`"create"`}},
		{"create:x y, b:", []string{`"create:x y"`, `"b:"`}},
		{"a:b@0, a:b@1.5, a:b@1..2, a:b*0", []string{`"0"`, `"1.5"`, `"1..2"`, `count "0"`}},
		{"a:b*99999999999999999999", []string{"count"}},
		{`[{"route":1}]`, []string{"read fault rules"}},
		{`[{"route":"a","fault":"b","every":2}]`, []string{"every"}},
		{`[] x`, []string{"follows"}},
	} {
		_, err := ParseRules(tt.text)
		if err == nil {
			t.Errorf("%q: got no error", tt.text)
			continue
		}
		for _, want := range tt.wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: got %v, want it to name %s", tt.text, err, want)
			}
		}
	}
}

func FuzzParseRules(f *testing.F) {
	for _, s := range []string{
		"create:drop_after@0.05", "*:latency=50ms..2s,status:http=500*3", `[{"route":"create","fault":"cut","next":2}]`, "a:b*0", "a:b@.",
	} {
		f.Add(s)
	}
	f.Add("create:latency=0s..2562047h47m16.854775807s")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := ParseRules(text)
		if err != nil {
			return
		}
		if s := NewScript(1, Vocabulary{Routes: []string{"create"}, Forms: []string{"bare"}, Spoils: []string{"bad_mac"}}); s.Set(rules...) == nil {
			s.pick("create") // what was accepted can be carried out
			s.pick(RouteWebhook)
		}
		if strings.HasPrefix(strings.TrimSpace(text), "[") {
			return
		}
		lines := make([]string, len(rules))
		for i, r := range rules {
			lines[i] = r.String()
		}
		again, err := ParseRules(strings.Join(lines, "\n"))
		if d := cmp.Diff(rules, again); d != "" || err != nil {
			t.Errorf("parse, print, parse: %v\n%s", err, d)
		}
	})
}

func script(t *testing.T, rules ...Rule) *Script {
	t.Helper()
	s := NewScript(1, Vocabulary{Routes: []string{"create", "status"}, Faults: []string{"word"}, Forms: []string{"bare"}, Spoils: []string{"bad_mac"}})
	if err := s.Set(rules...); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestScript(t *testing.T) {
	s := script(t, Rule{Route: "create", Fault: HTTP, Arg: "500", Next: 2}, Rule{Route: "*", Fault: "word", Arg: "X"})
	for i, want := range []Faults{
		{HTTP: "500", "word": "X"}, {HTTP: "500", "word": "X"}, {"word": "X"},
	} {
		if d := cmp.Diff(want, s.pick("create")); d != "" {
			t.Errorf("request %d: %s", i, d)
		}
	}
	if d := cmp.Diff([]Rule{{Route: "*", Fault: "word", Arg: "X"}}, s.Rules()); d != "" {
		t.Errorf("what is left: %s", d)
	}
	bad := []Rule{
		{Route: "x", Fault: Cut},
		{Route: "create", Fault: "explode"},
		{Route: "create", Fault: HTTP, Arg: "200"},
		{Route: "create", Fault: ErrorAfter, Arg: "404"},
		{Route: "create", Fault: Latency, Arg: "2s..1s"},
		{Route: "create", Fault: Slow},
		{Route: "create", Fault: Cut, Arg: "1"},
		{Route: "create", Fault: Cut, Chance: 2},
		{Route: "create", Fault: Cut, Chance: 0.5, Next: 1},
		{Route: "create", Fault: Duplicate},
		{Route: RouteWebhook, Fault: Cut},
		{Route: RouteWebhook, Fault: Drop, Arg: "1"},
		{Route: RouteWebhook, Fault: Delay},
		{Route: RouteWebhook, Fault: Duplicate, Arg: "1"},
		{Route: RouteWebhook, Fault: Form, Arg: "other"},
	}
	err := s.Set(bad...)
	if err == nil {
		t.Fatal("bad rules were taken")
	}
	for _, r := range bad {
		if !strings.Contains(err.Error(), r.String()) {
			t.Errorf("the error does not name %q:\n%v", r, err)
		}
	}
	if n := len(s.Rules()); n != 1 {
		t.Errorf("bad rules changed the script: %d rules, want 1", n)
	}
}

func TestScriptRepeats(t *testing.T) {
	history := func() (all []Faults) {
		s := script(t, Rule{Route: "*", Fault: Cut, Chance: 0.3}, Rule{Route: "*", Fault: Latency, Arg: "1ms..1s", Chance: 0.5})
		for range 200 {
			all = append(all, s.pick("create"))
		}
		return all
	}
	first := history()
	if d := cmp.Diff(first, history()); d != "" {
		t.Errorf("one seed, two histories:\n%s", d)
	}
	cuts := 0
	for _, f := range first {
		if f.Has(Cut) {
			cuts++
		}
	}
	if cuts < 30 || cuts > 90 {
		t.Errorf("%d of 200 requests cut at a chance of 0.3", cuts)
	}
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLog()
		l.Note("GET", "/early", 404)
		go func() {
			time.Sleep(time.Hour)
			l.Note("GET", "/late", 404)
		}()
		late := func(r Request) bool { return r.Path == "/late" }
		r, err := l.Await(t.Context(), 0, late)
		if err != nil || r.N != 2 {
			t.Errorf("got request %d (%v), want 2", r.N, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := l.Await(ctx, 2, late); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
	})
}

func TestLogIsBounded(t *testing.T) {
	l := NewLog()
	for range logged + 10 {
		l.Note("PATCH", "/", 404)
	}
	if n := len(l.Requests()); n != logged || l.Total() != logged+10 || l.Method("PATCH") != logged+10 || l.Requests()[0].N != 11 {
		t.Errorf("got %d remembered of %d", n, l.Total())
	}
}

// TestServe: what is not committed leaves no trace, what is committed happened
// whatever the client saw. (What a client makes of it is package
// providertest's matter.)
func TestServe(t *testing.T) {
	for _, tt := range []struct {
		rule      Rule
		status    int // 0: connection cut
		committed bool
	}{
		{Rule{Route: "*", Fault: Latency, Arg: "1ms"}, 201, true},
		{Rule{Route: "*", Fault: DropBefore}, 0, false},
		{Rule{Route: "*", Fault: HTTP, Arg: "404"}, 404, false},
		{Rule{Route: "*", Fault: Rate, Arg: "5s"}, 429, false},
		{Rule{Route: "*", Fault: RateDate, Arg: "5s"}, 429, false},
		{Rule{Route: "*", Fault: HTML}, 200, false},
		{Rule{Route: "*", Fault: Redirect}, 307, false},
		{Rule{Route: "*", Fault: DropAfter}, 0, true},
		{Rule{Route: "*", Fault: ErrorAfter, Arg: "503"}, 503, true},
		{Rule{Route: "*", Fault: HTMLAfter}, 200, true},
		{Rule{Route: "*", Fault: Truncate}, 201, true},
		{Rule{Route: "*", Fault: Cut}, 201, true},
		{Rule{Route: "*", Fault: Huge}, 201, true},
		{Rule{Route: "*", Fault: Gzip}, 201, true},
		{Rule{Route: "*", Fault: Slow, Arg: "10ms"}, 201, true},
	} {
		t.Run(tt.rule.Fault, func(t *testing.T) {
			k, err := NewKit(1, Vocabulary{Routes: []string{"create"}}, func(s int) Answer { return Answer{Status: s} }, tt.rule)
			if err != nil {
				t.Fatal(err)
			}
			var committed atomic.Bool
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				k.Serve("create", w, r, func(Faults) Answer {
					committed.Store(true)
					return Answer{Status: 201, Body: []byte(`{"a":"0123456789"}`)}
				})
			}))
			defer server.Close()
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			status := 0
			if resp, err := transport.RoundTrip(req); err == nil {
				io.Copy(io.Discard, resp.Body) // may be cut
				resp.Body.Close()              // read
				status = resp.StatusCode
			}
			if status != tt.status || committed.Load() != tt.committed {
				t.Errorf("got status %d, committed %v; want %d, %v", status, committed.Load(), tt.status, tt.committed)
			}
			logged := k.Log().Requests()
			if len(logged) != 1 || logged[0].Committed != tt.committed || !slices.ContainsFunc(logged[0].Faults, func(f string) bool {
				return strings.HasPrefix(f, tt.rule.Fault)
			}) {
				t.Errorf("got log %+v", logged)
			}
		})
	}
}

func replayInto(lines *[]string) func(string) error {
	return func(s string) error {
		*lines = append(*lines, s)
		return nil
	}
}

func TestJournal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	var lines []string
	j, err := OpenJournal(dir, "j", replayInto(&lines))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"a", "b\n"} {
		if err := j.Append(s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OpenJournal(dir, "j", replayInto(&lines)); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: got %v, want ErrInUse", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	path := filepath.Join(dir, "j")
	torn := func(extra string) (*Journal, []string, error) {
		t.Helper()
		file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(extra); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		var lines []string
		j, err := OpenJournal(dir, "j", replayInto(&lines))
		return j, lines, err
	}
	j, lines, err = torn(`"tor`)
	if err != nil || !slices.Equal(lines, []string{"a", "b\n"}) {
		t.Fatalf("after a torn line: got %q (%v)", lines, err)
	}
	if err := errors.Join(j.Append("c"), j.Close()); err != nil {
		t.Fatal(err)
	}
	j, lines, err = torn("")
	if err != nil || !slices.Equal(lines, []string{"a", "b\n", "c"}) {
		t.Fatalf("after going on: got %q (%v)", lines, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err = torn("garbage\n"); err == nil || !strings.Contains(err.Error(), "line 4") {
		t.Errorf("garbage in a whole line: got %v, want an error that names line 4", err)
	}
}

func TestJournalFails(t *testing.T) {
	j, err := OpenJournal[string](t.TempDir(), "j", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append(make(chan int)); err == nil {
		t.Error("a channel was written")
	}
	if err := j.file.Close(); err != nil {
		t.Fatal(err)
	}
	first := j.Append("a")
	if first == nil || !errors.Is(j.Append("b"), first) {
		t.Errorf("after a failed append (%v) the next one must fail too", first)
	}
}
