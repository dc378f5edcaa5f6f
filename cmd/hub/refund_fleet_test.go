package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers/bacen/bacensim"
)

// refundRig is a fleet whose terminal sells by a bank that gives money back.
type refundRig struct {
	*fleetRig
	keys   map[string]string
	home   string // the terminal's data
	config string
	charge string
	paid   string // end-to-end id
}

func newRefundRig(t *testing.T) *refundRig {
	t.Helper()
	r := &refundRig{fleetRig: newFleetRigWith(t, "", "bacen", "--mode", "refunds", "--pay-after", "200ms")}
	keys, people := crew(t, "ana", "bia", "caio")
	r.keys = keys
	r.hub.end(syscall.SIGKILL)
	text, err := os.ReadFile(r.hubConf)
	if err != nil {
		t.Fatal(err)
	}
	account := fmt.Sprintf("%s[[provider]]\nname = \"banco\"\ntype = \"bacen\"\nmerchant = \"simulador\"\nurl = %q\nallow_insecure_http = true\nclient_id = %q\nclient_secret = %s\nrequests_per_second = 100\n[provider.bacen]\nprofile = \"simulator\"\n",
		people, r.simURL, bacensim.DefaultClientID, secretFile(t, bacensim.DefaultClientSecret))
	if err := os.WriteFile(r.hubConf, append(text, account...), 0o600); err != nil {
		t.Fatal(err)
	}
	r.startHub()
	r.config = r.agent.cmd.Args[len(r.agent.cmd.Args)-1]
	own, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(own), `data = "`)
	r.home, _, _ = strings.Cut(rest, `"`)
	r.fleetRig.charge()
	r.fleetRig.paid(1)
	for line := range strings.Lines(must(t, r.data, "export", r.device)) {
		var e struct {
			Kind     string
			Data     struct{ Charge string }
			Evidence charge.Evidence
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Kind == (charge.PaidFact{}).Kind() {
			r.charge, r.paid = e.Data.Charge, e.Evidence.EndToEnd
		}
	}
	return r
}

// refund proposes one and has it approved; the hub may be killed at any time after.
func (r *refundRig) refund(amount string) string {
	r.t.Helper()
	made := one(r.t, r.data, "refund", "propose", r.device, r.charge, "--provider", "banco", "--end-to-end", r.paid, "--amount", amount, "--by", "ana", "--key", r.keys["ana"])
	must(r.t, r.data, "refund", "approve", string(made.ID), made.Digest, "--by", "bia", "--key", r.keys["bia"])
	return string(made.ID)
}

// settled waits: an order of which nobody knows whether it left is sent again only after
// the bank has twice, half a minute apart, not known it.
func (r *refundRig) settled(id string) {
	r.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); one(r.t, r.data, "refund", "show", id).State != payout.Settled; {
		if time.Now().After(deadline) {
			r.t.Fatalf("refund %s is not settled", id)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// shownCharge is a charge as the terminal's own API shows it.
type shownCharge struct {
	State    string
	Refunded int
}

// shown is zero while the terminal does not answer.
func (r *refundRig) shown() (c shownCharge) {
	r.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.home, "control.sock"))
	}}}
	resp, err := client.Get("http://localhost/v1/charges/" + r.charge)
	if err != nil {
		return c
	}
	defer resp.Body.Close()
	_ = json.NewDecoder(resp.Body).Decode(&c) // of an agent that is being killed
	return c
}

func (r *refundRig) becomes(state string, refunded int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("the terminal shows %s, %d given back", state, refunded), func() bool {
		c := r.shown()
		return c.State == state && c.Refunded == refunded
	})
}

type total struct{ Count, Sum int }

// closing is the line of the running day, as the terminal's command prints it.
func (r *refundRig) closing() (refunded, unmatched total) {
	r.t.Helper()
	out, err := r.command(r.agentBin, "closing", "x", "--data", r.home, "--json")
	var x struct {
		Lines []struct {
			Refunded  total
			Unmatched total `json:"refund_unmatched"`
		}
	}
	if err := json.Unmarshal([]byte(out), &x); err != nil {
		r.t.Fatalf("%q: %v", out, err)
	}
	if err != nil || len(x.Lines) != 1 {
		r.t.Fatalf("%q: %v", out, err)
	}
	return x.Lines[0].Refunded, x.Lines[0].Unmatched
}

// TestRefundFleet: a payment goes back in three parts, with terminal and hub killed in
// between and a terminal restored from a backup, and each part is once in the terminal's
// ledger; what does not fit goes to a person.
func TestRefundFleet(t *testing.T) {
	r := newRefundRig(t)

	// The terminal is off while the first part goes back, and the hub dies right after.
	r.agent.end(syscall.SIGKILL)
	first := r.refund("4.00")
	r.hub.end(syscall.SIGKILL)
	r.startHub()
	r.settled(first)
	r.startAgent(r.config)
	r.becomes("partially_refunded", 400)
	backup := filepath.Join(t.TempDir(), "store.db")
	if _, err := r.command(r.agentBin, "store", "backup", "--data", r.home, "--out", backup); err != nil {
		t.Fatal(err)
	}

	// Both die while the second is under way: whatever was lost is said again.
	second := r.refund("3.50")
	r.agent.end(syscall.SIGKILL)
	r.hub.end(syscall.SIGKILL)
	r.startAgent(r.config)
	r.startHub()
	r.settled(second)
	r.becomes("partially_refunded", 750)
	if refunded, _ := r.closing(); refunded.Count != 2 || refunded.Sum != 750 {
		t.Errorf("closing: %+v", refunded)
	}
	eventually(t, "the hub has the terminal's signature for it", func() bool {
		d := r.show()
		return d.Head == d.Signed && strings.Count(must(t, r.data, "export", r.device), `"kind":"charge.refunded"`) == 2
	})

	// The terminal is restored from before the second.
	r.agent.end(syscall.SIGTERM)
	if _, err := r.command(r.agentBin, "store", "restore", "--data", r.home, "--from", backup, "--replace"); err != nil {
		t.Fatal(err)
	}
	r.startAgent(r.config)
	r.becomes("partially_refunded", 400)
	eventually(t, "the hub sees a new epoch", func() bool { return r.show().State == "epoch" })
	must(t, r.data, "device", "approve-epoch", r.device, fmt.Sprint(r.show().Asked))
	r.hub.end(syscall.SIGKILL) // so that it need not wait for its turn to look
	r.agent.end(syscall.SIGTERM)
	r.startHub()
	r.startAgent(r.config)
	eventually(t, "the hub has the new epoch", func() bool { return len(r.show().Chains) == 2 })
	r.hub.end(syscall.SIGKILL)
	r.startHub()
	r.becomes("partially_refunded", 750)

	// The rest, and the sums of all sides.
	r.settled(r.refund("5.00"))
	r.becomes("refunded", 1250)
	if refunded, unmatched := r.closing(); refunded.Count != 3 || refunded.Sum != 1250 || unmatched.Count != 0 {
		t.Errorf("closing: %+v, unmatched %+v", refunded, unmatched)
	}
	out, err := r.command(r.agentBin, "reconcile", "--config", r.config, "--json")
	if err != nil || !strings.Contains(out, `"class":"refunded"`) || !strings.Contains(out, `"refunded":1250,"returned":1250`) {
		t.Errorf("reconcile: %v\n%s", err, out)
	}
	if out, err := r.command(r.agentBin, "ledger", "verify", "--data", r.home); err != nil {
		t.Errorf("%s: %v", out, err)
	}
	must(t, r.data, "payout", "verify")
	if a := r.alarms(); a[hub.AlarmRefused] || a[hub.AlarmPayout] {
		t.Errorf("alarms %v", a)
	}
	if out, err := r.command(r.agentBin, "tickets", "list", "--data", r.home); err != nil || !strings.Contains(out, "0 open") {
		t.Errorf("%s, %v", out, err)
	}
}
