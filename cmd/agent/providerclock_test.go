package main

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/internal/agenttest"
	"github.com/ssg-safe/agent/providers"
)

// A board that starts in 1970 reaches its provider before a time server has been
// heard, because certificates are held against the clock with its floor.
func TestProviderBeforeTheClockIsSet(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	sim, err := bacenFamily.sim.open(simOptions{log: log, tokenLife: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	authority := agenttest.NewAuthority(t)
	bank := httptest.NewUnstartedServer(sim)
	bank.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	bank.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Pair("bank")}}
	bank.StartTLS()
	t.Cleanup(bank.Close)
	merchant, provider, err := bacenFamily.simulated(bank.URL)
	if err != nil {
		t.Fatal(err)
	}
	provider.Bacen.CAFile = authority.File
	cfg := Config{Merchants: []MerchantConfig{merchant}, Providers: []ProviderConfig{provider}}

	for _, tt := range []struct {
		name    string
		floor   time.Time
		reached bool
	}{
		{"without a floor", time.Time{}, false},
		{"with its floor", time.Now(), true},
	} {
		clock := device.NewClockFrom(device.Sources{
			Now: func() time.Time { return time.Unix(60, 0) }, Up: func() time.Duration { return time.Minute },
			Boot: func() string { return "boot" }, Synced: func() bool { return false },
		}, time.Time{})
		routes, err := openRoutes(cfg, nil, clock.Wall, log)
		if err != nil {
			t.Fatal(err)
		}
		clock.SetFloor(tt.floor) // learned from the store, after the routes were made
		err = routes[provider.Name].(providers.HealthChecker).CheckHealth(t.Context())
		failed, _ := errors.AsType[*providers.Error](err)
		if reached := err == nil; reached != tt.reached || !reached && (failed == nil || failed.Kind != providers.NotSent) {
			t.Errorf("%s: %v, want it reached: %v", tt.name, err, tt.reached)
		}
	}
}
