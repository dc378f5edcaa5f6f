package basspago

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/basspago/basspagosim"
	"github.com/ssg-safe/agent/providers/providertest"
)

func TestConformance(t *testing.T) {
	providertest.Run(t, fixture(basspagosim.Options{}, nil))
}

// TestConformanceOddly: the contract holds where the sources leave things open: a
// shorter code, errors under 200, a token as a text by itself, filters ignored.
func TestConformanceOddly(t *testing.T) {
	o := basspagosim.Options{Signature: basspagosim.Trunc72, ErrorsUnder200: true, BareToken: true, Filters: basspagosim.NoFilters}
	providertest.Run(t, fixture(o, func(c *Config) { c.Signature = SignatureTrunc72 }))
}

const (
	publicKey = "xm9RSLfh3QW4PvFkIaDItbdjkdzyo2kZ"
	secret    = "c4nary-client-secret/Xy77+&="
)

// payer has a valid document and unmistakable words.
var payer = providers.Payer{
	Name: "Zulmira Quaresma Canário", Document: "12345678909", Email: "canario@quaresma.example", Address: "Rua Passarinho, 17",
	District: "Gaiolas", City: "Viveiro", State: "SP", Postcode: "01001000",
}

func config() Config {
	return Config{
		URL: "http://provider.test" + basspagosim.Path, AllowInsecureHTTP: true, Environment: Sandbox, Key: publicKey, Secret: secret,
	}
}

func intent(n int, amount money.Amount) providers.Intent {
	return providers.Intent{
		ID: fmt.Sprintf("T001%021d", n), Attempt: 1, Amount: amount, Expiry: 10 * time.Minute,
		Description: "teste", Account: "", Key: "12345678000195", Payer: payer,
	}
}

func newSim(tb testing.TB, o basspagosim.Options) *basspagosim.Sim {
	tb.Helper()
	o.Key, o.Secret = publicKey, secret
	sim, err := basspagosim.New(o)
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

func fixture(o basspagosim.Options, change func(*Config)) func(testing.TB) providertest.Fixture {
	return func(tb testing.TB) providertest.Fixture {
		return providertest.Fixture{
			Simulator: newSim(tb, o),
			New: func(url string, transport http.RoundTripper, log *slog.Logger) (providers.Charger, error) {
				cfg := config()
				cfg.URL = url + basspagosim.Path
				if change != nil {
					change(&cfg)
				}
				return New(cfg, transport, log)
			},
			Intent: intent, MaxAmount: maxAmount, Ended: providers.StatusFailed,
			Canaries: []string{
				secret, "Quaresma", "Canário", "12345678909", "canario@quaresma.example", "Passarinho", "Gaiolas", "Viveiro",
				"INVENTADA", "39053344705", "devedor.inventado@example.com", // who owes and who paid, as the provider tells
			},
		}
	}
}
