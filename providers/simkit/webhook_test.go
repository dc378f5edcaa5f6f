package simkit

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/providers"
)

// receiver takes webhooks, or refuses them.
type receiver struct {
	mu     sync.Mutex
	start  time.Time
	status int
	got    []string // "seconds path body"
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body) // in memory
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, fmt.Sprintf("%.0f %s %s", time.Since(r.start).Seconds(), req.URL.Path, body))
	w.WriteHeader(r.status)
}

// carried lets a courier carry two events, the second after a minute, for an hour.
func carried(t *testing.T, dir string, status int, rules ...Rule) ([]string, *Kit) {
	t.Helper()
	v := Vocabulary{Routes: []string{"create"}, Forms: []string{"bare", "other"}, Spoils: []string{"bad_mac"}}
	k, err := NewKit(1, v, nil, rules...)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{start: time.Now(), status: status}
	event := func(id string) Notice {
		return Notice{ID: id, Write: func(form, fault string) Delivery {
			d := Delivery{Header: http.Header{}, Body: strings.TrimSpace(id + " " + form + " " + fault)}
			if id == "b" {
				d.URL = "https://callback.example/own/path"
			}
			return d
		}}
	}
	c := Courier{
		Kit: k, Dir: dir, Name: "webhooks", To: "http://hub.example/wh", Over: providers.Memory(r),
		Retry: []time.Duration{time.Minute, 5 * time.Minute},
		Due: func() []Notice {
			if time.Since(r.start) < time.Second {
				return []Notice{event("a")}
			}
			return []Notice{event("a"), event("b")}
		},
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if err := c.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return r.got, k
}

func TestCourier(t *testing.T) {
	rule := func(fault, arg string, next int) Rule {
		return Rule{Route: RouteWebhook, Fault: fault, Arg: arg, Next: next}
	}
	for _, tt := range []struct {
		name   string
		status int
		rules  []Rule
		want   []string
	}{
		{"each once, at its address", 204, nil, []string{"0 /wh a", "1 /own/path b"}},
		{"what is not taken comes again, and is given up", 500, nil, []string{
			"0 /wh a", "60 /wh a", "360 /wh a", "1 /own/path b", "61 /own/path b", "361 /own/path b",
		}},
		{"no redirect is followed", 307, nil, []string{
			"0 /wh a", "60 /wh a", "360 /wh a", "1 /own/path b", "61 /own/path b", "361 /own/path b",
		}},
		{"dropped once", 200, []Rule{rule(Drop, "", 1)}, []string{"60 /wh a", "1 /own/path b"}},
		{"dropped always", 200, []Rule{rule(Drop, "", 0)}, nil},
		{"duplicated", 200, []Rule{rule(Duplicate, "", 1)}, append(slices.Repeat([]string{"0 /wh a"}, 6), "1 /own/path b")},
		{"tripled", 200, []Rule{rule(Duplicate, "3", 1)}, append(slices.Repeat([]string{"0 /wh a"}, 3), "1 /own/path b")},
		{"delayed", 200, []Rule{rule(Delay, "30s", 1)}, []string{"30 /wh a", "1 /own/path b"}},
		{"overtaken", 200, []Rule{rule(Reorder, "", 1)}, []string{"1 /own/path b", "1 /wh a"}},
		{"overtaken by none", 200, []Rule{rule(Reorder, "", 0)}, []string{"10 /wh a", "10 /own/path b"}},
		{"spoilt, in another form", 200, []Rule{rule("bad_mac", "", 1), rule(Form, "other", 0)}, []string{"0 /wh a other bad_mac", "1 /own/path b other"}},
		{"faults of requests are none of webhooks", 200, []Rule{{Route: "*", Fault: DropBefore}}, []string{"0 /wh a", "1 /own/path b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, k := carried(t, "", tt.status, tt.rules...)
				if tt.name != "overtaken" { // where the order is the point
					slices.Sort(got)
					slices.Sort(tt.want)
				}
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Error(d)
				}
				if k.Log().Total() != 0 || k.Sent().Total() < len(tt.want) {
					t.Errorf("%d requests and %d attempts are logged", k.Log().Total(), k.Sent().Total())
				}
			})
		})
	}
}

// TestCourierRemembers: what was taken is not sent again by the next run, what was
// not is.
func TestCourierRemembers(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		if got, _ := carried(t, dir, 200); len(got) != 2 {
			t.Errorf("got %q", got)
		}
		if got, _ := carried(t, dir, 200); len(got) != 0 {
			t.Errorf("sent again: %q", got)
		}
	})
}

func TestCourierTarget(t *testing.T) {
	for _, to := range []string{"", "hub", "ftp://hub/", "http://", "http://a:b@hub/", "http://[::1"} {
		if CheckTarget(to) == nil {
			t.Errorf("%q was taken", to)
		}
	}
}
