package bspay

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/providers/providertest"
	"github.com/ssg-safe/agent/providers/simkit"
)

func TestConformance(t *testing.T) { providertest.Run(t, fixture(bspaysim.Options{})) }

// TestConformanceOddly: the contract holds where the provider does what its
// document leaves open: another answer to a repeated id, a filter that is
// ignored, rows that tell less.
func TestConformanceOddly(t *testing.T) {
	providertest.Run(t, fixture(bspaysim.Options{Conflict: true, IgnoreFilters: true, BareRows: true}))
}

const (
	secret     = "c4nary-client-secret-Xy77"
	signingKey = "c4nary-signing-key-Qz31"
)

// payer has a valid document and unmistakable words.
var payer = providers.Payer{Name: "Zulmira Quaresma Canario", Document: "12345678909", Email: "zulmira.canario@pagadora.example"}

func config() Config {
	return Config{
		URL: "http://provider.test", AllowInsecureHTTP: true, ClientID: "client-7", ClientSecret: secret, SigningKey: signingKey,
		LocationHosts: []string{bspaysim.DefaultLocationHost},
	}
}

func intent(n int, amount money.Amount) providers.Intent {
	return providers.Intent{
		ID: fmt.Sprintf("T001%021d", n), Attempt: 1, Amount: amount, Expiry: 10 * time.Minute,
		Description: "teste", Key: "12345678000195", Payer: payer,
	}
}

func newSim(tb testing.TB, o bspaysim.Options) *bspaysim.Sim {
	tb.Helper()
	o.ClientID, o.ClientSecret, o.SigningKey = "client-7", secret, signingKey
	sim, err := bspaysim.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := sim.Close(); err != nil {
			tb.Error(err)
		}
	})
	return sim
}

func fixture(o bspaysim.Options) func(testing.TB) providertest.Fixture {
	return func(tb testing.TB) providertest.Fixture {
		return providertest.Fixture{
			Simulator: newSim(tb, o),
			New: func(url string, transport http.RoundTripper, log *slog.Logger) (providers.Charger, error) {
				cfg := config()
				cfg.URL = url
				return New(cfg, transport, log)
			},
			Intent: intent, MaxAmount: maxAmount, CodeFaults: simkit.CodeFaults(), Tokens: true,
			Canaries: []string{secret, signingKey, "Y2xpZW50LTc6", "Quaresma", "Canario", "12345678909", "pagadora.example"},
		}
	}
}
