package main

import (
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/ssg-safe/agent/fleet"
	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/store"
)

// metrics are the counters and gauges of the local API: of store, link, providers and
// process, never of people.
func (f *front) metrics() map[string]int64 {
	s := f.store.Stats()
	all := map[string]int64{
		"store.commits": s.Commits, "store.ops": s.Ops, "store.flushes": s.Flushes, "store.bytes": s.Bytes,
		"store.refused": s.Refused, "store.waiting": int64(s.Waiting), "store.size": s.Size, "store.free": s.Free,
		"process.goroutines": int64(runtime.NumGoroutine()), "process.up_seconds": int64((f.clock.Up() - f.began).Seconds()),
	}
	m := f.limits.metrics()
	for name, n := range m.Counters {
		all[name] = int64(n)
	}
	maps.Copy(all, m.Gauges)
	if f.link != nil {
		for name, n := range f.link.Status().Counters {
			all["link."+name] = int64(n)
		}
	}
	return all
}

// telemetry is what of them goes to the fleet: of the providers what happened, as much
// as a message holds.
func telemetry(st *store.Store, limits policies) fleet.Metrics {
	s := st.Stats()
	t := fleet.Metrics{
		Counters: map[string]uint64{"store.commits": uint64(s.Commits), "store.bytes": uint64(s.Bytes), "store.refused": uint64(s.Refused)},
		Gauges:   map[string]int64{"store.free": s.Free},
	}
	m := limits.metrics()
	for _, name := range slices.Sorted(maps.Keys(m.Counters)) {
		if n := m.Counters[name]; n > 0 && len(t.Counters) < wire.MaxMetrics {
			t.Counters[name] = n
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Gauges)) {
		if n := m.Gauges[name]; n > 0 && len(t.Gauges) < wire.MaxMetrics {
			t.Gauges[name] = n
		}
	}
	return t
}

// metrics are what each credential's policy did, by the name of the first provider
// that has it.
func (ps policies) metrics() fleet.Metrics {
	m := fleet.Metrics{Counters: map[string]uint64{}, Gauges: map[string]int64{}}
	for _, p := range ps {
		s, at := p.Stats(), "provider."+metricName(p.provider)+"."
		for name, n := range map[string]uint64{
			"sent": s.Sent, "polls": s.Polls, "retries": s.Retries, "limited": s.Limited, "held_rate": s.HeldRate,
			"held_retry_after": s.HeldRetryAfter, "held_budget": s.HeldBudget, "held_breaker": s.HeldBreaker, "breaker_opened": s.Opened,
		} {
			m.Counters[at+name] += n
		}
		m.Gauges[at+"breaker_open"] += 0
		if s.Open {
			m.Gauges[at+"breaker_open"] = 1
		}
	}
	return m
}

// metricName makes a provider's name one of the letters that telemetry allows.
func metricName(provider string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(provider))
	return name[:min(len(name), 30)]
}
