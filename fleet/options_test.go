package fleet_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/store"
)

func threeKeys(t *testing.T) wire.Keys {
	t.Helper()
	all := keys(t, key(3), key(4))
	for id, k := range keys(t, key(5)) {
		all[id] = k
	}
	return all
}

// TestNew names every problem of the options at once.
func TestNew(t *testing.T) {
	good := func() fleet.Options {
		return fleet.Options{
			Device: device, Tenant: tenant, Site: site, Version: "1", Brokers: []string{"ssl://b.example:8883", "tcp://[::1]:1883"},
			Store: &store.Store{}, DeviceKey: deviceKey, Hub: keys(t, hubKey), Clock: newClock(), Handler: &fakeTerminal{},
		}
	}
	if _, err := fleet.New(good()); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*fleet.Options){
		"device":                     func(o *fleet.Options) { o.Device = "Device 1" },
		"tenant":                     func(o *fleet.Options) { o.Tenant = "" },
		"site":                       func(o *fleet.Options) { o.Site = "a/b" },
		"version is missing":         func(o *fleet.Options) { o.Version = "" },
		"store is missing":           func(o *fleet.Options) { o.Store = nil },
		"clock is missing":           func(o *fleet.Options) { o.Clock = nil },
		"handler is missing":         func(o *fleet.Options) { o.Handler = nil },
		"device key is missing":      func(o *fleet.Options) { o.DeviceKey = nil },
		"neither keys of a hub":      func(o *fleet.Options) { o.Hub = nil },
		"3 keys of the hub":          func(o *fleet.Options) { o.Hub = threeKeys(t) },
		"no brokers":                 func(o *fleet.Options) { o.Brokers = nil },
		"broker \"mqtt://b:1883\"":   func(o *fleet.Options) { o.Brokers = []string{"mqtt://b:1883"} },
		"broker \"tcp://b\"":         func(o *fleet.Options) { o.Brokers = []string{"tcp://b"} },
		"broker \"tcp://b:1883/x\"":  func(o *fleet.Options) { o.Brokers = []string{"tcp://b:1883/x"} },
		"credentials do not belong":  func(o *fleet.Options) { o.Brokers = []string{"tcp://u:hunter2@b:1883"} },
		"is no URL":                  func(o *fleet.Options) { o.Brokers = []string{"tcp://u:hunter2@b:18 83"} },
		"client id":                  func(o *fleet.Options) { o.ClientID = "fixed" },
		"keepalive 1.5s":             func(o *fleet.Options) { o.Keepalive = 1500 * time.Millisecond },
		"keepalive 10m0s":            func(o *fleet.Options) { o.Keepalive = 10 * time.Minute },
		"telemetry every 1s":         func(o *fleet.Options) { o.TelemetryEvery = time.Second },
		"does not verify the broker": func(o *fleet.Options) { o.TLS = &tls.Config{InsecureSkipVerify: true} },
		"mapping":                    func(o *fleet.Options) { o.Mapping = &fleet.Mapping{} },
	} {
		o := good()
		change(&o)
		_, err := fleet.New(o)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	_, err := fleet.New(fleet.Options{})
	for _, want := range []string{"device", "store", "clock", "handler", "brokers", "keys"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing set: %v, want %q in it", err, want)
		}
	}
}
