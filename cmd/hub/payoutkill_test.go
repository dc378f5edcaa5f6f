package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ssg-safe/agent/hub/payouts"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/providers/bspaybr/bspaybrsim"
	"github.com/ssg-safe/agent/providers/simkit"
)

// TestPayoutKills: the real hub is killed at random moments while payouts are on their
// way to providers that lose answers. Each is paid at most once, and the hub and the
// providers agree on every one in the end.
func TestPayoutKills(t *testing.T) {
	kills := 12
	if text := os.Getenv("SSG_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	_, bin := programs(t)
	keys, people := crew(t, "ana", "bia")
	trouble := func(route string) []simkit.Rule {
		return []simkit.Rule{{Route: route, Fault: simkit.Latency, Arg: "1ms..40ms", Chance: 1}, {Route: route, Fault: simkit.DropAfter, Chance: 0.2}}
	}
	first, conta := bspayAccount(t, bspaysim.Options{Balance: 1_000_000_00, SettleAfter: 20 * time.Millisecond, Faults: trouble(bspaysim.RouteCashout)})
	second, err := bspaybrsim.New(bspaybrsim.Options{Balance: 1_000_000_00, SettleAfter: 20 * time.Millisecond, Faults: trouble("payment")})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(second)
	t.Cleanup(func() {
		server.Close()
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	})
	outra := fmt.Sprintf("[[provider]]\nname = \"outra\"\ntype = \"bspaybr\"\nmerchant = \"loja\"\nurl = %q\nallow_insecure_http = true\nclient_id = %q\nclient_secret = %s\nrequests_per_second = 100\nmax_payout = \"500.00\"\nmax_day = \"500000.00\"\n"+
		"[provider.bspaybr]\ncallback_url = \"https://hub.example.com/wh\"\ncallback_key = %s\nowner_name = \"Loja Ltda\"\nowner_document = \"11222333000181\"\n",
		server.URL, bspaybrsim.DefaultClientID, secretFile(t, bspaybrsim.DefaultClientSecret), secretFile(t, "callback-key-0123456789abcdef0123"))
	data, file := t.TempDir(), filepath.Join(t.TempDir(), "hub.toml")
	must(t, data, "keys", "make")
	text := fmt.Sprintf("version = 1\ndata = %q\n[listen]\naddress = \"127.0.0.1:0\"\n", data) + people + strings.Replace(conta, `"600.00"`, `"500000.00"`, 1) + outra
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() *program {
		p := begin(t, io.Discard, nil, bin, "serve", "--config", file)
		eventually(t, "the hub runs", func() bool {
			code, _, _ := hubMain(t, "status", "--data", data)
			return code == 0
		})
		return p
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	amounts := map[payout.ID]int{}
	for n := range kills {
		p := start()
		for i, route := range []string{"conta", "outra"} {
			r := one(t, data, "payout", "propose", "--provider", route, "--amount", money.Amount(100+2*n+i).String(), "--pix-key", "12345678909", "--by", "ana", "--key", keys["ana"])
			amounts[r.ID]++
			// What is killed in the middle of this has been approved, or it has not.
			hubMain(t, "payout", "approve", string(r.ID), r.Digest, "--by", "bia", "--key", keys["bia"], "--data", data)
		}
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
		p.end(syscall.SIGKILL)
	}
	for _, s := range []*simkit.Script{first.Script(), second.Script()} {
		if err := s.Set(); err != nil {
			t.Fatal(err)
		}
	}
	start()
	settled := map[string]int{}
	for id := range amounts {
		var r payouts.Record
		eventually(t, "the provider and the hub agree on "+string(id), func() bool {
			r = one(t, data, "payout", "show", string(id))
			paid := 0
			for _, l := range first.Payouts() {
				if l.ExternalID == string(id) {
					paid++
				}
			}
			if r.Route == "outra" && r.Submissions > 0 && !r.State.Over() {
				for _, l := range second.Payouts() { // the codes of the provider's panel, one of which may be it
					if l.Amount == r.Amount {
						must(t, data, "payout", "ask", string(id), "--provider-id", l.ID)
					}
				}
			}
			if paid > 1 {
				t.Fatalf("%s was paid %d times", id, paid)
			}
			return r.State == payout.Settled || r.State == payout.Proposed || r.Route == "outra" && r.State == payout.Unknown && !known(second.Payouts(), r)
		})
		if r.Odd {
			t.Errorf("a contradiction: %+v", r)
		}
		if r.State == payout.Settled {
			settled[r.Route]++
		}
	}
	if got := len(first.Payouts()); got != settled["conta"] {
		t.Errorf("bspay has %d payouts, and the hub knows of %d", got, settled["conta"])
	}
	if got := len(second.Payouts()); got != settled["outra"] {
		t.Errorf("bspaybr has %d payouts, and the hub knows of %d", got, settled["outra"])
	}
	if settled["conta"] == 0 || settled["outra"] == 0 {
		t.Errorf("nothing was settled: %v", settled)
	}
	t.Log(settled)
	must(t, data, "payout", "verify")
}

// known reports whether a provider has paid an amount.
func known(lines []simkit.Charge, r payouts.Record) bool {
	for _, l := range lines {
		if l.Amount == r.Amount && l.Status == providers.StatusPaid {
			return true
		}
	}
	return false
}
