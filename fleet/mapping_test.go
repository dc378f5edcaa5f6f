package fleet_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/fleet"
)

var mapping = fleet.Mapping{
	Topic: "acme/{device}/pix/{charge}/status", Status: "/data/status", Words: []string{"PAID", "confirmed"},
}

// foreign starts a link to a fleet without a hub.
func foreign(t *testing.T, m fleet.Mapping) *rig {
	t.Helper()
	r := newRig(t, 5)
	r.start(func(o *fleet.Options) {
		o.Hub, o.Mapping, o.Tenant, o.Site, o.DeviceKey = nil, &m, "", "", nil
	})
	after(time.Second)
	return r
}

// TestMapping: foreign messages that mention a charge as settled are hints, and
// nothing else.
func TestMapping(t *testing.T) {
	inBody := fleet.Mapping{Topic: "acme/+/events", Charge: "/charges/0/id~1x", Status: "/s", Words: []string{"1"}}
	bare := fleet.Mapping{Topic: "x/{charge}"}
	for _, test := range []struct {
		name    string
		mapping fleet.Mapping
		topic   string
		payload string
		hint    string
		refused string
	}{
		{"paid", mapping, "acme/" + device + "/pix/C1/status", `{"data":{"status":"PAID"}}`, "C1", ""},
		{"in other letters", mapping, "acme/" + device + "/pix/C1/status", `{"data":{"status":"Confirmed","x":[1.5e9]}}`, "C1", ""},
		{"another word", mapping, "acme/" + device + "/pix/C1/status", `{"data":{"status":"PENDING"}}`, "", ""},
		{"no word", mapping, "acme/" + device + "/pix/C1/status", `{"data":{}}`, "", "refused_form"},
		{"no JSON", mapping, "acme/" + device + "/pix/C1/status", `PAID`, "", "refused_form"},
		{"two texts", mapping, "acme/" + device + "/pix/C1/status", `{"data":{"status":"PAID"}}{}`, "", "refused_form"},
		{"deep", mapping, "acme/" + device + "/pix/C1/status", strings.Repeat(`{"a":`, 10_001) + "1" + strings.Repeat("}", 10_001), "", "refused_form"},
		{"charge no name", mapping, "acme/" + device + "/pix/C 1/status", `{"data":{"status":"PAID"}}`, "", "refused_form"},
		{"another device", mapping, "acme/other/pix/C1/status", `{"data":{"status":"PAID"}}`, "", "refused_topic"},
		{"longer topic", mapping, "acme/" + device + "/pix/C1/status/x", `{"data":{"status":"PAID"}}`, "", "refused_topic"},
		{"our own topic", mapping, down + "pay", `{"data":{"status":"PAID"}}`, "", "refused_topic"},
		{"charge in the body", inBody, "acme/any/events", `{"s":1,"charges":[{"id/x":"C7"}]}`, "C7", ""},
		{"number as charge", inBody, "acme/any/events", `{"s":1,"charges":[{"id/x":17}]}`, "17", ""},
		{"object as charge", inBody, "acme/any/events", `{"s":1,"charges":[{"id/x":{}}]}`, "", "refused_form"},
		{"no such index", inBody, "acme/any/events", `{"s":1,"charges":[]}`, "", "refused_form"},
		{"every message", bare, "x/C9", "\x00\xff", "C9", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := foreign(t, test.mapping)
				commits := r.store.Stats().Commits
				r.broker.last().deliver(test.topic, []byte(test.payload))
				after(time.Minute)
				var want []string
				if test.hint != "" {
					want = []string{test.hint}
				}
				got := r.terminal.got()
				if !cmp.Equal(got.hints, want) || len(got.paid)+len(got.charges) != 0 {
					t.Errorf("hints %q, want %q; paid %v", got.hints, want, got.paid)
				}
				if test.refused != "" && r.count(test.refused) != 1 {
					t.Errorf("counters %v, want %s", r.link.Status().Counters, test.refused)
				}
				if r.store.Stats().Commits != commits || len(r.hub.came().topics) != 0 {
					t.Errorf("commits, or published %v to a fleet without our hub", r.hub.came().topics)
				}
			})
		})
	}
}

// TestHintsAreBounded: a broker cannot make the terminal ask its provider all
// the time.
func TestHintsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := foreign(t, mapping)
		p := r.broker.last()
		begin := time.Now()
		for range 60 {
			for i := range 400 {
				p.deliver("acme/"+device+"/pix/C"+string(rune('A'+i%26))+string(rune('A'+i/26))+"/status", []byte(`{"data":{"status":"PAID"}}`))
			}
			after(time.Second)
		}
		per := int(5*time.Since(begin)/time.Second) + 20
		if got := len(r.terminal.got().hints); got == 0 || got > per {
			t.Errorf("%d hints in %v, want at most %d", got, time.Since(begin), per)
		}
		after(time.Minute)
		r.terminal.set(func(f *fakeTerminal) { f.told = told{} })
		for range 10 {
			p.deliver("acme/"+device+"/pix/same/status", []byte(`{"data":{"status":"PAID"}}`))
			after(500 * time.Millisecond)
		}
		if got := len(r.terminal.got().hints); got != 3 {
			t.Errorf("%d hints about one charge in 5 s, want 3", got)
		}
	})
}

// TestMappingBesideHub: both at once, on one connection.
func TestMappingBesideHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 5)
		r.start(func(o *fleet.Options) { o.Mapping = &mapping })
		after(time.Second)
		r.wantSynced()
		if want := []string{down + "+", "acme/" + device + "/pix/+/status"}; !cmp.Equal(r.broker.filters, want) {
			t.Errorf("subscribed to %q, want %q", r.broker.filters, want)
		}
		r.broker.last().deliver("acme/"+device+"/pix/C1/status", []byte(`{"data":{"status":"PAID"}}`))
		_, token := r.hub.pay("C2", 1)
		r.broker.last().deliver(down+"pay", token)
		after(time.Second)
		if got := r.terminal.got(); !cmp.Equal(got.hints, []string{"C1"}) || len(got.paid) != 1 {
			t.Errorf("told %+v", got)
		}
	})
}

// TestMappingValidate names each problem.
func TestMappingValidate(t *testing.T) {
	for _, test := range []struct {
		mapping fleet.Mapping
		want    string
	}{
		{mapping, ""},
		{fleet.Mapping{Topic: "a/terminal-{device}/{charge}"}, ""},
		{fleet.Mapping{}, "levels"},
		{fleet.Mapping{Topic: "a/b"}, "which charge"},
		{fleet.Mapping{Topic: "a/{charge}/{charge}"}, "twice"},
		{fleet.Mapping{Topic: "a/x-{charge}"}, "whole level"},
		{fleet.Mapping{Topic: "a/#", Charge: "/x"}, "whole level"},
		{fleet.Mapping{Topic: "a/{tenant}/{charge}"}, "whole level"},
		{fleet.Mapping{Topic: "+/{charge}"}, "name of its own"},
		{fleet.Mapping{Topic: "{charge}/x"}, "name of its own"},
		{fleet.Mapping{Topic: "fleet/v1/{charge}"}, "name of its own"},
		{fleet.Mapping{Topic: "$SYS/{charge}"}, "name of its own"},
		{fleet.Mapping{Topic: "a/{charge}", Status: "status", Words: []string{"x"}}, "no JSON pointer"},
		{fleet.Mapping{Topic: "a/{charge}", Status: "/a~2", Words: []string{"x"}}, "no JSON pointer"},
		{fleet.Mapping{Topic: "a/{charge}", Status: "/s"}, "both or none"},
		{fleet.Mapping{Topic: "a/{charge}", Words: []string{"x"}}, "both or none"},
	} {
		err := test.mapping.Validate()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.mapping, err, test.want)
		}
	}
}
