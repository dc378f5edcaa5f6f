package bacen

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bacen/bacensim"
	"github.com/ssg-safe/agent/providers/providertest"
	"github.com/ssg-safe/agent/providers/simkit"
)

func TestConformance(t *testing.T) { providertest.Run(t, fixture) }

const (
	secret = "c4nary-client-secret-Xy77"
	key    = "12345678000195"
)

var payer = providers.Payer{Name: "Zulmira Quaresma Canario", Document: "12345678909"}

func config(tb testing.TB) Config {
	p, err := LoadProfile("simulator")
	if err != nil {
		tb.Fatal(err)
	}
	return Config{
		Profile: p, URL: "http://bank.test", AllowInsecureHTTP: true, ClientID: "client-7", ClientSecret: secret,
		Payees:        []Payee{{Key: key, Name: "Loja", City: "Recife"}},
		LocationHosts: []string{bacensim.DefaultLocationHost},
	}
}

func intent(n int, amount money.Amount) providers.Intent {
	return providers.Intent{
		ID: fmt.Sprintf("T001%021d", n), Attempt: 1, Amount: amount, Expiry: 10 * time.Minute,
		Description: "teste", Key: key, Payer: payer,
	}
}

func newSim(tb testing.TB, o bacensim.Options) *bacensim.Sim {
	tb.Helper()
	o.ClientID, o.ClientSecret = "client-7", secret
	sim, err := bacensim.New(o)
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

func fixture(tb testing.TB) providertest.Fixture {
	return providertest.Fixture{
		Simulator: newSim(tb, bacensim.Options{}),
		New: func(url string, transport http.RoundTripper, log *slog.Logger) (providers.Charger, error) {
			cfg := config(tb)
			cfg.URL = url
			return New(cfg, transport, log)
		},
		Intent: intent, MaxAmount: 999999999999, CodeFaults: simkit.CodeFaults(), Tokens: true, PerAttempt: true,
		Absent:   "T0010000000000000000099999",
		Canaries: []string{secret, "Quaresma", "Canario", "12345678909"},
	}
}
