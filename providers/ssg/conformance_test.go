package ssg

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/providertest"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/providers/ssg/ssgsim"
)

func TestConformance(t *testing.T) { providertest.Run(t, fixture) }

const secret = "c4nary-client-secret-Xy77"

// payer has valid documents and unmistakable words.
var payer = providers.Payer{
	Name: "Zulmira Quaresma Canario", Document: "12345678909", Email: "zulmira.canario@pagadora.example",
	Address: "Rua Xavantina 4711", City: "Jaguapitanga", State: "SP", Postcode: "04711222",
}

func config() Config {
	return Config{
		BaseURL: "http://provider.test", AllowInsecureHTTP: true, ClientID: "client-7", ClientSecret: secret,
		AccountID: ssgsim.DefaultAccount, LocationHosts: []string{ssgsim.DefaultLocationHost},
	}
}

func intent(n int, amount money.Amount) providers.Intent {
	return providers.Intent{
		ID: fmt.Sprintf("T001%021d", n), Attempt: 1, Amount: amount, Expiry: 10 * time.Minute,
		Description: "teste", Key: "12345678000195", Payer: payer,
	}
}

func newSim(tb testing.TB, o ssgsim.Options) *ssgsim.Sim {
	tb.Helper()
	o.ClientID, o.ClientSecret = "client-7", secret
	sim, err := ssgsim.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if n := sim.State().Patches; n != 0 {
			tb.Errorf("the adapter sent %d PATCH requests; it must never mark a charge paid", n)
		}
		if err := sim.Close(); err != nil {
			tb.Error(err)
		}
	})
	return sim
}

func fixture(tb testing.TB) providertest.Fixture {
	return providertest.Fixture{
		Simulator: newSim(tb, ssgsim.Options{Strict: true}),
		New: func(url string, transport http.RoundTripper, log *slog.Logger) (providers.Charger, error) {
			cfg := config()
			cfg.BaseURL = url
			return New(cfg, transport, log)
		},
		Intent: intent, MaxAmount: 99999999999999, CodeFaults: simkit.CodeFaults(), Tokens: true,
		Canaries: []string{
			secret, "Quaresma", "Canario", "12345678909", "pagadora.example", "Xavantina", "Jaguapitanga", "04711222",
		},
	}
}
