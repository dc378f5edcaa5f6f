package main

import (
	"log/slog"
	"testing"

	"github.com/ssg-safe/agent/charge"
)

// TestFamiliesKnowTheirCodes: what check goes by is what adapters do.
func TestFamiliesKnowTheirCodes(t *testing.T) {
	for _, f := range families {
		m, p, err := f.simulated("http://127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		route, err := f.open(Config{Merchants: []MerchantConfig{m}, Providers: []ProviderConfig{p}}, p, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if got := route.Caps().Codeless; got != f.codeless {
			t.Errorf("%s: codeless is %v, its row says %v", f.name, got, f.codeless)
		}
	}
}

// TestRoutesOfAMerchant: what the terminal is told is what the file says, in its
// order, and the short form is one route.
func TestRoutesOfAMerchant(t *testing.T) {
	c, f := loadExample(t, "../../configs/two-providers.toml", unchanged)
	if err := f.Err(); err != nil {
		t.Fatal(err)
	}
	got := c.merchants()[0].Routes()
	want := []charge.Route{{Provider: "banco", Account: "conta-principal", Key: "11222333000181"}, {Provider: "reserva", Key: "11222333000181"}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %+v", got)
	}
	if c, _ = loadExample(t, "../../configs/bspay.toml", unchanged); len(c.merchants()[0].Routes()) != 1 {
		t.Errorf("the short form is %+v", c.merchants()[0].Routes())
	}
}
