package main

import (
	"context"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/operator"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/redact"
)

// inspector reads what the operator menu shows of the machine, its settings and its
// faults: nothing that is a secret, or personal.
type inspector struct {
	front *front
	// private: nothing outside of this process is examined.
	private bool
	texts   *inspectWords
}

func (i *inspector) inspect(ctx context.Context, v operator.View) (operator.Sheet, error) {
	switch v {
	case operator.State:
		return i.state(ctx)
	case operator.Settings:
		return i.settings(), nil
	case operator.Examine:
		return i.examine(ctx)
	}
	return nil, fmt.Errorf("there is no view %d", v)
}

// sheetLines collects lines, each by itself.
type sheetLines struct{ operator.Sheet }

func (s *sheetLines) add(name, value string, tone display.Tone) {
	s.Sheet = append(s.Sheet, []display.PageLine{{Name: name, Value: value, Tone: tone}})
}

// state is the terminal at a glance.
func (i *inspector) state(ctx context.Context) (operator.Sheet, error) {
	f, t := i.front, i.texts
	now, err := f.status(ctx)
	if err != nil {
		return nil, err
	}
	var dead, waiting int
	err = f.store.View(func(tx *bbolt.Tx) error {
		jobs, err := queue.List(tx)
		if err != nil {
			return err
		}
		letters, err := queue.Dead(tx)
		waiting, dead = len(jobs), len(letters)
		return err
	})
	if err != nil {
		return nil, err
	}
	var s sheetLines
	health := func(name, state string) {
		tones := map[string]display.Tone{"ok": display.Good, "warn": display.Caution, "down": display.Bad}
		s.add(name, t.health[state], tones[state])
	}
	zone := merchantZone(f.cfg)
	health(t.network, now.Network)
	for _, r := range now.Routes {
		if r.Out {
			s.add(r.Provider, t.health["down"]+": "+t.why[r.Why], display.Bad)
		} else {
			s.add(r.Provider, t.inService, display.Good)
		}
	}
	health(t.printer, now.Printer.State)
	s.add(t.slipsWaiting, fmt.Sprint(waiting), display.Neutral)
	s.add(t.slipsDead, fmt.Sprint(dead), toneIf(dead > 0, display.Caution))
	s.add(t.clock, now.Clock.Time.In(zone).Format("02/01/2006 15:04:05"), display.Neutral)
	s.add(t.clockQuality, t.quality[now.Clock.Quality], toneIf(now.Clock.Quality == "unsynced" || now.Clock.Quality == "floor", display.Caution))
	if f.link != nil {
		l := f.link.Status()
		s.add(t.hub, pick(l.Connected, t.connected, t.disconnected), toneIf(!l.Connected, display.Caution))
		s.add(t.toSend, fmt.Sprint(l.Pending), toneIf(l.Pending > 0, display.Caution))
		if l.Hold != "" {
			s.add(t.hubHolds, t.holds[l.Hold], display.Bad)
		}
		if !l.Connected && l.LastError != "" {
			s.add(t.lastError, l.LastError, display.Caution)
		}
	} else {
		s.add(t.hub, t.none, display.Neutral)
	}
	st := f.store.Stats()
	free := int64(0)
	if st.Size > 0 {
		free = st.Free * 100 / st.Size
	}
	s.add(t.store, fmt.Sprintf(t.storeFree, st.Size>>20, free), toneIf(st.Full, display.Bad))
	s.add(t.up, f.clock.Up().Truncate(time.Minute).String(), display.Neutral)
	s.add(t.terminal, f.cfg.Terminal.Code, display.Neutral)
	s.add(t.device, f.device, display.Neutral)
	return s.Sheet, nil
}

func toneIf(bad bool, t display.Tone) display.Tone {
	if bad {
		return t
	}
	return display.Neutral
}

func pick(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

func merchantZone(cfg Config) *time.Location {
	m, _ := cfg.Merchant("")
	return m.Zone()
}

// settings is the configuration, without secrets, keys and documents.
func (i *inspector) settings() operator.Sheet {
	c, t := i.front.cfg, i.texts
	b := readBuildInfo()
	var s sheetLines
	s.add(t.version, b.Version, display.Neutral)
	if b.Commit != "unknown" {
		s.add(t.commit, b.Commit[:min(12, len(b.Commit))], display.Neutral)
	}
	s.add(t.platform, b.OS+" "+b.Arch+" "+runtime.Version(), display.Neutral)
	s.add(t.amounts, c.Terminal.MinAmount.BRL()+" – "+c.Terminal.MaxAmount.BRL(), display.Neutral)
	s.add(t.expiry, c.Terminal.ChargeExpiry.String(), display.Neutral)
	for _, m := range c.Merchants {
		s.Sheet = append(s.Sheet, []display.PageLine{
			{Name: t.merchant, Value: m.Name},
			{Name: "CNPJ", Value: redact.Document(m.CNPJ).String()},
			{Name: t.provider, Value: strings.Join(m.providers(), ", ")},
			{Name: t.cutOff, Value: m.CutOff.String() + " " + m.TimeZone},
		})
	}
	for _, p := range c.Providers {
		s.Sheet = append(s.Sheet, []display.PageLine{{Name: t.provider, Value: p.Name + " (" + p.Type + ")"}, {Name: t.host, Value: hostOf(p.URL)}})
	}
	s.add(t.offline, c.Offline.Policy, display.Neutral)
	printer := c.Printer.Kind
	if printer != "none" {
		printer += " " + c.Printer.Path + c.Printer.Address + " " + c.Printer.Profile
	}
	s.add(t.printer, printer, display.Neutral)
	for _, b := range c.Fleet.Brokers {
		s.add(t.broker, hostOf(b), display.Neutral)
	}
	if len(c.Fleet.Brokers) > 0 {
		s.add(t.site, c.Fleet.Tenant+" / "+c.Fleet.Site, display.Neutral)
	}
	if c.API.Listen != "" {
		s.add(t.api, c.API.Listen, display.Neutral)
	}
	s.add(t.data, c.Data, display.Neutral)
	return s.Sheet
}

// hostOf is the host of an address, without what may be a secret in it.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "–"
	}
	return u.Host
}

// examine is what doctor finds, of what can be examined while the agent runs. What
// is not well comes first.
func (i *inspector) examine(ctx context.Context) (operator.Sheet, error) {
	f := i.front
	var good, bad operator.Sheet
	d := &doctor{
		cfg: f.cfg, clock: f.clock, texts: doctorTexts(f.cfg.Terminal.Locale), log: f.log, agentRuns: true,
		report: func(x finding) {
			tone := map[checkStatus]display.Tone{checkOK: display.Good, checkWarn: display.Caution, checkFail: display.Bad}[x.Status]
			lines := []display.PageLine{{Name: i.texts.checks[x.Check], Value: x.Message, Tone: tone}}
			if x.Remedy != "" {
				lines = append(lines, display.PageLine{Value: x.Remedy})
			}
			if x.Status == checkOK {
				good = append(good, lines)
			} else {
				bad = append(bad, lines)
			}
		},
	}
	err := f.store.View(func(tx *bbolt.Tx) error {
		dead, err := queue.Dead(tx)
		if len(dead) > 0 {
			d.add("queue", checkWarn, "dead_letters", len(dead))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	checks := []func(context.Context){d.checkClock, d.checkDisk}
	if !i.private {
		checks = append(checks, d.checkPorts, d.checkNetwork, d.checkProviders, d.checkBrokers, d.checkFacade)
	}
	for _, check := range checks {
		if check(ctx); ctx.Err() != nil {
			break // what was found by then is worth more than nothing
		}
	}
	sum := []display.PageLine{
		{Name: i.texts.inOrder, Value: fmt.Sprint(len(good)), Tone: display.Good},
		{Name: i.texts.troubled, Value: fmt.Sprint(len(bad)), Tone: toneIf(len(bad) > 0, display.Caution)},
	}
	return append(append(operator.Sheet{sum}, bad...), good...), nil
}
