package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/store"
)

// TestPolicyCounters: what is asked of a credential, by whichever provider, is counted
// under the first one's name, and however many there are a message to the fleet can
// still be sent.
func TestPolicyCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := policies{}
		ask := func(name, client string) {
			over := limits.of(ProviderConfig{Name: name, Type: "ssg", ClientID: client}, slog.New(slog.DiscardHandler)).Over(providers.Memory(
				http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) })))
			r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "http://simulator.invalid/", nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := over.RoundTrip(r); err == nil {
				resp.Body.Close()
			}
		}
		ask("Loja-1", "a")
		ask("loja-2", "a") // the same credential, which has been told to wait
		ask("loja-3", "b")
		m := limits.metrics()
		for name, want := range map[string]uint64{
			"provider.loja_1.sent": 1, "provider.loja_1.limited": 1, "provider.loja_1.held_retry_after": 1, "provider.loja_3.sent": 1, "provider.loja_3.held_retry_after": 0,
		} {
			if got, ok := m.Counters[name]; !ok || got != want {
				t.Errorf("%s: got %d, %v; want %d", name, got, ok, want)
			}
		}
		for i := range 60 {
			ask(fmt.Sprintf("provedor-de-nome-comprido-que-nao-acaba-%d", i), fmt.Sprint(i))
			ask(fmt.Sprintf("p%d", i), fmt.Sprint("p", i))
		}
		o := storeOptions(filepath.Join(t.TempDir(), "store.db"), nil)
		o.Size = 2 << 20
		if err := store.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		st, err := store.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		got := telemetry(st, limits)
		if len(got.Counters) != wire.MaxMetrics || got.Counters["provider.loja_1.limited"] != 1 {
			t.Errorf("%d counters: %v", len(got.Counters), got.Counters)
		}
		if _, err := wire.Encode(wire.Tele{V: wire.Version, SID: "s", At: time.Now(), Clock: "synced", Counters: got.Counters, Gauges: got.Gauges}); err != nil {
			t.Error(err)
		}
	})
}
