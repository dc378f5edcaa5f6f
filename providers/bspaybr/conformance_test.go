package bspaybr

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bspaybr/bspaybrsim"
	"github.com/ssg-safe/agent/providers/providertest"
	"github.com/ssg-safe/agent/providers/simkit"
)

func TestConformance(t *testing.T) {
	providertest.Run(t, fixture(bspaybrsim.Options{}, nil))
}

// TestConformanceOddly: the contract holds where other hosts of the script differ:
// another path, a POST without credentials, another name for the reference code,
// errors that say nothing.
func TestConformanceOddly(t *testing.T) {
	o := bspaybrsim.Options{JSON: true, OpenStatus: true, ExternalID: true, BlankErrors: true}
	providertest.Run(t, fixture(o, func(c *Config) {
		c.StatusMethod, c.StatusAuth, c.StatusPath = StatusPost, AuthNone, DefaultStatusPath+".php"
	}))
}

const (
	secret      = "c4nary-client-secret/Xy77+&="
	callbackKey = "c4nary-callback-key-Qz31"
)

// payer has a valid document and unmistakable words.
var payer = providers.Payer{Name: "Zulmira Quaresma Canário", Document: "12345678909"}

func config() Config {
	return Config{
		URL: "http://provider.test", AllowInsecureHTTP: true, ClientID: "client-7", ClientSecret: secret,
		CallbackURL: "https://hub.example.com/wh/bspaybr", CallbackKey: callbackKey,
		LocationHosts: []string{bspaybrsim.DefaultLocationHost},
	}
}

func intent(n int, amount money.Amount) providers.Intent {
	return providers.Intent{
		ID: fmt.Sprintf("T001%021d", n), Attempt: 1, Amount: amount, Expiry: 10 * time.Minute,
		Description: "teste", Key: "12345678000195", Payer: payer,
	}
}

func newSim(tb testing.TB, o bspaybrsim.Options) *bspaybrsim.Sim {
	tb.Helper()
	o.ClientID, o.ClientSecret = "client-7", secret
	sim, err := bspaybrsim.New(o)
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

func fixture(o bspaybrsim.Options, change func(*Config)) func(testing.TB) providertest.Fixture {
	return func(tb testing.TB) providertest.Fixture {
		return providertest.Fixture{
			Simulator: newSim(tb, o),
			New: func(url string, transport http.RoundTripper, log *slog.Logger) (providers.Charger, error) {
				cfg := config()
				cfg.URL = url
				if change != nil {
					change(&cfg)
				}
				return New(cfg, transport, log)
			},
			Intent: intent, MaxAmount: maxAmount, CodeFaults: simkit.CodeFaults(), Ended: providers.StatusCancelled,
			Canaries: []string{secret, "Xy77%2B%26%3D", callbackKey, "Quaresma", "Canário", "Can%C3%A1rio", "12345678909"},
		}
	}
}
