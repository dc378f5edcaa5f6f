package bspay

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
)

// vectors are the published signatures.
func vectors(t *testing.T) map[string]struct{ Use, Key, Timestamp, Nonce, Body, Message, Hex, User, Password, Header string } {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct{ Name, Use, Key, Timestamp, Nonce, Body, Message, Hex, User, Password, Header string }
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	all := map[string]struct{ Use, Key, Timestamp, Nonce, Body, Message, Hex, User, Password, Header string }{}
	for _, v := range file.Vectors {
		all[v.Name] = struct{ Use, Key, Timestamp, Nonce, Body, Message, Hex, User, Password, Header string }{v.Use, v.Key, v.Timestamp, v.Nonce, v.Body, v.Message, v.Hex, v.User, v.Password, v.Header}
	}
	if len(all) != 8 {
		t.Fatalf("%d vectors, want 8", len(all))
	}
	return all
}

func TestSignatureVectors(t *testing.T) {
	all := vectors(t)
	n := 0
	seen := map[string]string{}
	for name, v := range all {
		if !strings.HasPrefix(name, "bspay_req_") {
			continue
		}
		n++
		got := signature(redact.Secret(v.Key), v.Timestamp, v.Nonce, []byte(v.Body))
		if got != v.Hex {
			t.Errorf("%s: got %s, want %s", name, got, v.Hex)
		}
		if other := seen[got]; other != "" {
			t.Errorf("%s and %s have one signature", name, other)
		}
		seen[got] = name
	}
	if n != 5 {
		t.Errorf("%d vectors of requests, want 5", n)
	}
	basic := all["bspay_basic"]
	cfg := config()
	cfg.ClientID, cfg.ClientSecret = basic.User, redact.Secret(basic.Password)
	c, err := New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.tokenCall().Header.Get("Authorization"); got != basic.Header {
		t.Errorf("got %q, want %q", got, basic.Header)
	}
}

// TestSigned: what moves money is signed over its bytes, refused when anything
// is wrong with that, and repeated once where that helps, as the same order.
func TestSigned(t *testing.T) {
	order := Withdrawal{ExternalID: "w-1", Amount: "1.50", Currency: "USDT", Key: "TXabc", Network: "tron"}
	t.Run("repeat", func(t *testing.T) {
		for _, code := range []string{"409:REPLAY_DETECTED", "401:INVALID_TIMESTAMP", "409:INTERNAL_CONFLICT"} {
			c, sim, all := tapped(t, bspaysim.Options{}, nil)
			faults(t, sim, simkit.Rule{Route: "cashout", Fault: bspaysim.Refuse, Arg: code, Next: 1})
			_, err := c.Withdraw(t.Context(), order)
			wantError(t, err, providers.Funds, "INSUFFICIENT_BALANCE") // it got through
			out := slices.DeleteFunc(*all, func(s sent) bool { return !strings.HasSuffix(s.Line, "/cashout") })
			if len(out) != 2 || out[0].Body != out[1].Body || out[0].Header.Get("X-Nonce") == out[1].Header.Get("X-Nonce") {
				t.Errorf("%s: got %+v, want two requests with one body and two nonces", code, out)
			}
		}
	})
	t.Run("once only", func(t *testing.T) {
		c, sim := newClient(t, bspaysim.Options{}, nil)
		faults(t, sim, simkit.Rule{Route: "cashout", Fault: bspaysim.Refuse, Arg: "401:INVALID_TIMESTAMP"})
		_, err := c.Withdraw(t.Context(), order)
		wantError(t, err, providers.Operator, "INVALID_TIMESTAMP") // the provider says that trying again is no use
		if n := sim.Log().Count("cashout"); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	})
	t.Run("wrong key", func(t *testing.T) {
		c, sim := newClient(t, bspaysim.Options{}, func(cfg *Config) { cfg.SigningKey = "another" })
		for range 5 {
			_, err := c.Withdraw(t.Context(), order)
			wantError(t, err, providers.Auth, "INVALID_SIGNATURE")
		}
		// The token is not to blame: charges go on.
		if _, err := c.CreateCharge(t.Context(), intent(1, 100)); err != nil || sim.Log().Count("token") != 1 {
			t.Errorf("after refused signatures: %v, %d tokens", err, sim.Log().Count("token"))
		}
	})
	t.Run("no key", func(t *testing.T) {
		c, sim := newClient(t, bspaysim.Options{}, func(cfg *Config) { cfg.SigningKey = "" })
		_, err := c.Withdraw(t.Context(), order)
		wantError(t, err, providers.Operator, "no_signing_key")
		if n := sim.Log().Total(); n != 0 {
			t.Errorf("%d requests were sent", n)
		}
	})
	t.Run("unknown outcome is sent once", func(t *testing.T) {
		c, sim := newClient(t, bspaysim.Options{}, nil)
		for _, r := range []simkit.Rule{
			{Route: "cashout", Fault: simkit.DropAfter},
			{Route: "cashout", Fault: simkit.HTTP, Arg: "503"},
			{Route: "cashout", Fault: bspaysim.Refuse, Arg: "500:INTERNAL_CONFLICT"},
			{Route: "cashout", Fault: bspaysim.Refuse, Arg: "422:PROVIDER_ERROR"},
		} {
			faults(t, sim, r)
			before := sim.Log().Count("cashout")
			_, err := c.Withdraw(t.Context(), order)
			if e, ok := errors.AsType[*providers.Error](err); !ok || e.Kind != providers.Ambiguous {
				t.Errorf("%s: got %v, want ambiguous", r, err)
			}
			if n := sim.Log().Count("cashout") - before; n != 1 {
				t.Errorf("%s: %d requests, want 1", r, n)
			}
		}
	})
}

// TestClock: timestamps are the provider's time; while this machine's is off by
// more than a minute nothing is signed, and charges go on.
func TestClock(t *testing.T) {
	order := Transfer{ExternalID: "t-1", Amount: "1.50", Currency: "BRL", Username: "outra-loja"}
	for _, tt := range []struct {
		ahead   time.Duration // of this machine
		skew    string        // of the Date that the provider sends
		refused bool
	}{
		{0, "", false},
		{59 * time.Second, "", false},
		{-58 * time.Second, "", false},
		{62 * time.Second, "", true},
		{-62 * time.Second, "", true},
		{24 * time.Hour, "", true},
		{0, "10m", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, sim, all := tapped(t, bspaysim.Options{Balance: 1000}, func(cfg *Config) {
				cfg.Now = func() time.Time { return time.Now().Add(tt.ahead) }
			})
			if tt.skew != "" {
				faults(t, sim, simkit.Rule{Route: "*", Fault: bspaysim.Skew, Arg: tt.skew})
			}
			if _, err := c.CreateCharge(t.Context(), intent(1, 100)); err != nil {
				t.Fatalf("ahead %v: %v", tt.ahead, err)
			}
			time.Sleep(time.Hour - time.Second) // the offset is kept by the monotonic clock
			_, err := c.Transfer(t.Context(), order)
			if !tt.refused {
				if err != nil {
					t.Errorf("ahead %v: %v", tt.ahead, err)
				}
				last := (*all)[len(*all)-1]
				if got, want := last.Header.Get("X-Timestamp"), time.Now().Unix(); got != marshal(t, want) {
					t.Errorf("ahead %v: signed at %s, want the provider's time %d", tt.ahead, got, want)
				}
				return
			}
			wantError(t, err, providers.NotSent, "clock_wrong")
			if n := sim.Log().Count("orders"); n != 0 {
				t.Errorf("ahead %v: %d signed requests were sent", tt.ahead, n)
			}
		})
	}
}

// TestSlept: a machine that slept, whose clock is right again, does not refuse to
// sign for what it learnt before.
func TestSlept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, sim := newClient(t, bspaysim.Options{Balance: 1000}, nil)
		if err := c.CheckHealth(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.clock.mu.Lock()
		c.clock.date = c.clock.date.Add(-time.Hour) // the monotonic clock stood still
		c.clock.mu.Unlock()
		if _, err := c.Transfer(t.Context(), Transfer{ExternalID: "t-1", Amount: "1.50", Currency: "BRL", Username: "outra-loja"}); err != nil {
			t.Error(err)
		}
		if n := sim.Log().Count("orders"); n != 1 {
			t.Errorf("%d signed requests, want 1", n)
		}
	})
}
