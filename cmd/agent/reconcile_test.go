package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bacen/bacensim"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/providers/ssg/ssgsim"
	"github.com/ssg-safe/agent/reconcile"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
	"github.com/ssg-safe/agent/ticket"
)

// shop is the real terminal, store and adapter before a simulator in memory, in a
// bubble of time.
type shop struct {
	*testing.T
	kind family
	sim  shopSim
	opts store.Options
	conf terminal.Config
	boot int

	store *store.Store
	term  *terminal.Terminal
	stop  func()
}

// shopSim is what the simulators have in common.
type shopSim interface {
	http.Handler
	Script() *simkit.Script
	Charges() []simkit.Charge
	Pay(id string) error
	Close() error
}

// bubbleClock is the bubble's time.
type bubbleClock struct {
	boot  string
	start time.Time
}

func (c bubbleClock) Wall() time.Time   { return time.Now().UTC() }
func (c bubbleClock) Up() time.Duration { return time.Since(c.start) + time.Hour }
func (c bubbleClock) Boot() string      { return c.boot }
func (c bubbleClock) Quality() string   { return "synced" }

func inShop(t *testing.T, kind family, sim func() (shopSim, error), f func(*shop)) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{T: t, kind: kind}
		var err error
		if s.sim, err = sim(); err != nil {
			t.Fatal(err)
		}
		defer s.sim.Close()
		cfg, err := demoConfig(t.TempDir(), demoFlags{locale: "pt-BR", headless: true}, kind)
		if err != nil {
			t.Fatal(err)
		}
		routes, err := openRoutes(cfg, providers.Memory(s.sim), nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s.conf = (&wiring{cfg: cfg, routes: routes}).terminalConfig()
		s.opts = storeOptions(filepath.Join(t.TempDir(), "store.db"), nil)
		s.opts.Size = 1 << 20
		if err := store.Create(t.Context(), s.opts); err != nil {
			t.Fatal(err)
		}
		s.start()
		defer func() { s.stop() }() // also when the test gave up
		f(s)
	})
}

// start boots the machine.
func (s *shop) start() {
	s.Helper()
	st, err := store.Open(s.opts)
	if err != nil {
		s.Fatal(err)
	}
	s.boot++
	clock := bubbleClock{fmt.Sprintf("boot-%d", s.boot), time.Now()}
	log := slog.New(slog.NewTextHandler(s.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	term, err := terminal.New(s.conf, st, clock, blank{}, nil, nil, log)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	committer, stopStore := context.WithCancel(context.Background())
	ended, committed := make(chan error, 1), make(chan error, 1)
	go func() { ended <- term.Run(ctx) }()
	go func() { committed <- st.Run(committer) }()
	s.store, s.term = st, term
	s.stop = func() {
		cancel()
		err := <-ended
		stopStore()
		<-committed // ends with its context
		if err := errors.Join(err, st.Close()); err != nil {
			s.Error(err)
		}
	}
}

func (s *shop) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *shop) order(amount money.Amount) charge.ID {
	s.Helper()
	id, err := s.term.Start(s.Context(), terminal.Request{Amount: amount, Source: "api"})
	if err != nil {
		s.Fatal(err)
	}
	s.pass(2 * time.Second)
	return id
}

func (s *shop) charge(id charge.ID) charge.Charge {
	s.Helper()
	r, err := s.term.Record(id)
	if err != nil {
		s.Fatal(err)
	}
	return r.Charge
}

// theirs is the provider's newest charge.
func (s *shop) theirs() string {
	s.Helper()
	all := s.sim.Charges()
	if len(all) == 0 {
		s.Fatal("the provider has no charge")
	}
	return all[len(all)-1].ID
}

func (s *shop) pay(id string) {
	s.Helper()
	if err := s.sim.Pay(id); err != nil {
		s.Fatal(err)
	}
}

func (s *shop) tickets() (list []ticket.Ticket) {
	s.Helper()
	if err := s.store.View(func(tx *bbolt.Tx) (err error) {
		list, err = ticket.List(tx, true)
		return errors.Join(err, func() error { _, err := ledger.Verify(tx, ledger.Head{}); return err }())
	}); err != nil {
		s.Fatal(err)
	}
	return list
}

// report compares all of the last days.
func (s *shop) report() reconcile.Report {
	s.Helper()
	r, err := s.term.Reconcile(s.Context(), s.kind.name, reconcile.Window{From: time.Now().Add(-6 * 24 * time.Hour), To: time.Now().Add(time.Second)})
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// wants checks the line and the state that each charge ended on, and that there is
// one ticket for each difference and none besides.
func (s *shop) wants(want map[charge.ID]string) reconcile.Report {
	s.Helper()
	r := s.report()
	if r.Problem != "" {
		s.Errorf("not whole: %s", r.Problem)
	}
	got := map[charge.ID][]string{}
	differences := 0
	for _, l := range r.Lines {
		got[l.Charge] = append(got[l.Charge], string(l.Class))
		if l.Class.Difference() {
			differences++
			if l.TicketState != "open" {
				s.Errorf("no ticket of %+v", l)
			}
		}
	}
	for id, line := range want {
		state, classes, _ := strings.Cut(line, ": ")
		if state != "" && string(s.charge(id).State) != state || strings.Join(got[id], " ") != classes {
			s.Errorf("charge %s is on the lines %v, want %s", id, got[id], line)
		}
		delete(got, id)
	}
	if len(got) > 0 {
		s.Errorf("further lines: %v", got)
	}
	if n := len(s.tickets()); n != differences {
		s.Errorf("%d tickets for %d differences", n, differences)
	}
	return r
}

// orphan makes a charge whose create the provider did and the machine lost: it died
// before the answer was there.
func (s *shop) orphan(amount money.Amount) charge.ID {
	s.Helper()
	if err := s.sim.Script().Set(simkit.Rule{Route: "create", Fault: simkit.Slow, Arg: "60s", Next: 1}); err != nil {
		s.Fatal(err)
	}
	id := s.order(amount)
	s.stop()
	s.pass(time.Minute)
	s.start()
	s.pass(time.Minute)
	if c := s.charge(id); c.State != charge.Failed {
		s.Fatalf("the interrupted charge is %+v", c)
	}
	return id
}

// downAndLate makes two charges that are paid while the machine is off: one that it
// still waits for, and one that had expired.
func (s *shop) downAndLate() (down, late charge.ID) {
	s.Helper()
	late = s.order(1100)
	lateTheirs := s.theirs()
	s.pass(3 * time.Hour) // it has expired, and nobody asks about it any more
	if c := s.charge(late); c.State != charge.Expired {
		s.Fatalf("the charge is %s", c.State)
	}
	down = s.order(1200)
	downTheirs := s.theirs()
	s.stop()
	s.pay(lateTheirs)
	s.pay(downTheirs)
	s.pass(30 * time.Minute)
	s.start()
	s.pass(10 * time.Minute)
	return down, late
}

// TestReconcileBacen: a bank that lists what it received. A charge paid while the
// agent was down, one paid late, one paid twice, one paid over another amount, one
// paid through an attempt that the machine lost, and money of nobody.
func TestReconcileBacen(t *testing.T) {
	var sim *bacensim.Sim
	inShop(t, bacenFamily, func() (_ shopSim, err error) {
		sim, err = bacensim.New(bacensim.Options{ClientSecret: bacensim.DefaultClientSecret})
		return sim, err
	}, func(s *shop) {
		down, late := s.downAndLate()
		receive := func(txid string, amount money.Amount) {
			t.Helper()
			if err := sim.Receive(txid, amount); err != nil {
				t.Fatal(err)
			}
		}
		twice := s.order(1300)
		again := s.theirs()
		s.pay(again)
		s.pass(time.Minute)
		receive(again, 1300)
		odd := s.order(1400)
		receive(s.theirs(), 1399)
		s.pass(time.Minute)
		orphan := s.orphan(1500)
		s.pay(s.theirs())
		fine := s.order(1600)
		s.pay(s.theirs())
		receive("LOJAVIRTUAL1", 700)
		unknown, foreign := orphan[:4]+"00000000000000000000X", "X001"+orphan[4:]
		receive(string(unknown), 800)
		receive(string(foreign), 900)
		s.pass(20 * time.Minute)
		odds := s.charge(odd)
		r := s.wants(map[charge.ID]string{
			down: "paid: matched", late: "paid: late", twice: "paid: matched double", odd: string(odds.State) + ": amount_mismatch",
			orphan: "paid: orphan", fine: "paid: matched", "": ": unknown_at_ledger",
			unknown: ": unknown_at_ledger", foreign: ": elsewhere",
		})
		if odds.State.Rank() >= charge.Paid.Rank() {
			t.Errorf("another amount paid the charge: %+v", odds)
		}
		var all, ours money.Amount
		for _, p := range sim.Received() {
			if all += p.Amount; p.TxID[:4] != "X001" {
				ours += p.Amount
			}
		}
		sums, err := r.Sum()
		if err != nil || len(sums) != 1 || sums[0].Total.Received != ours || sums[0].Total.Ledger != ours-700-800 {
			t.Errorf("sums %+v (%v), the bank received %s, %s of it for us", sums, err, all, ours)
		}
	})
}

// TestReconcileBspay: a provider with a list that drifts and ignores its filters.
func TestReconcileBspay(t *testing.T) {
	var sim *bspaysim.Sim
	inShop(t, bspayFamily, func() (_ shopSim, err error) {
		sim, err = bspaysim.New(bspaysim.Options{ClientSecret: bspaysim.DefaultClientSecret, IgnoreFilters: true})
		return sim, err
	}, func(s *shop) {
		down, late := s.downAndLate()
		orphan := s.orphan(1500)
		s.pay(s.theirs())
		want := map[charge.ID]string{down: "paid: matched", late: "paid: late", orphan: "paid: orphan"}
		if err := sim.Script().Set(simkit.Rule{Route: "status", Fault: bspaysim.Drift}); err != nil {
			t.Fatal(err)
		}
		s.pass(10 * time.Minute)
		for i := range 130 { // more than a page
			id := s.order(money.Amount(2000 + i))
			want[id] = "paid: matched"
			s.pay(s.theirs())
			s.pass(5 * time.Second)
		}
		s.pass(20 * time.Minute)
		r := s.wants(want)
		var received money.Amount
		for _, c := range sim.Charges() {
			if c.Status == providers.StatusPaid {
				received += c.Amount
			}
		}
		if sums, err := r.Sum(); err != nil || len(sums) != 1 || sums[0].Total.Received != received || sums[0].Total.Ledger != received {
			t.Errorf("sums %+v (%v), the provider received %s", sums, err, received)
		}
	})
}

// TestReconcileSSG: a provider without a list is asked about each charge. An orphan
// whose id came with a code that was refused is found as well.
func TestReconcileSSG(t *testing.T) {
	inShop(t, ssgFamily, func() (shopSim, error) {
		return ssgsim.New(ssgsim.Options{ClientSecret: ssgsim.DefaultClientSecret})
	}, func(s *shop) {
		down, late := s.downAndLate()
		if err := s.sim.Script().Set(simkit.Rule{Route: "create", Fault: simkit.Code, Arg: "crc", Next: 1}); err != nil {
			t.Fatal(err)
		}
		orphan := s.order(1500)
		s.pass(time.Minute)
		if c := s.charge(orphan); c.State != charge.Failed || c.Attempts[0].ProviderID == "" {
			t.Fatalf("the charge is %+v", c)
		}
		s.pay(s.theirs())
		s.pass(2 * time.Hour)
		s.wants(map[charge.ID]string{down: "paid: matched", late: "paid: late", orphan: "paid: orphan"})
		for _, l := range s.report().Lines {
			if slices.Contains([]reconcile.Class{reconcile.Unknown, reconcile.Missing}, l.Class) {
				t.Errorf("line %+v of a provider that lists nothing", l)
			}
		}
	})
}

// TestReconcileOthers: every family of providers, as the demo opens its simulator: a
// charge paid while the agent was down, and one paid late.
func TestReconcileOthers(t *testing.T) {
	for _, kind := range families {
		t.Run(kind.name, func(t *testing.T) {
			inShop(t, kind, func() (shopSim, error) {
				sim, err := kind.sim.open(simOptions{locationHost: kind.sim.locationHost})
				if err != nil {
					return nil, err
				}
				return sim.(shopSim), nil
			}, func(s *shop) {
				down, late := s.downAndLate()
				s.pass(2 * time.Hour)
				s.wants(map[charge.ID]string{down: "paid: matched", late: "paid: late"})
			})
		})
	}
}

// TestReconcileSchedules lives through random days at a bank: charges, payments in
// time and late, twice, of other amounts, restarts, and trouble on the line. In the
// end every payment of the bank's ledger is on exactly one line, and both sides have
// the same sum but for what belongs to nobody here.
func TestReconcileSchedules(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			var sim *bacensim.Sim
			inShop(t, bacenFamily, func() (_ shopSim, err error) {
				sim, err = bacensim.New(bacensim.Options{ClientSecret: bacensim.DefaultClientSecret, Seed: seed})
				return sim, err
			}, func(s *shop) {
				s.randomDays(rand.New(rand.NewPCG(seed, 1)), sim)
				lines := map[string][]reconcile.Line{}
				r := s.report()
				for _, l := range r.Lines {
					if l.Received != nil && l.EndToEnd != "" {
						lines[l.EndToEnd] = append(lines[l.EndToEnd], l)
					}
				}
				var received, strange money.Amount
				for _, p := range sim.Received() {
					received += p.Amount
					if n := len(lines[p.EndToEnd]); n != 1 || *lines[p.EndToEnd][0].Received != p.Amount {
						s.Errorf("payment %+v is on %d lines: %+v", p, n, lines[p.EndToEnd])
						continue
					}
					switch l := lines[p.EndToEnd][0]; {
					case l.Class == reconcile.Unknown:
						strange += p.Amount
					case l.Ledger == nil || *l.Ledger != p.Amount:
						s.Errorf("the ledger lacks %+v", l)
					case l.Class.Difference() && l.TicketState != "open":
						s.Errorf("no ticket of %+v", l)
					}
				}
				sums, err := r.Sum()
				if err != nil || len(sums) != 1 || sums[0].Total.Received != received || sums[0].Total.Ledger != received-strange || r.Problem != "" {
					s.Errorf("sums %+v (%v, problem %q), the bank has %s, %s of it nobody's", sums, err, r.Problem, received, strange)
				}
			})
		})
	}
}

// randomDays is what happens in two days.
func (s *shop) randomDays(rng *rand.Rand, sim *bacensim.Sim) {
	s.Helper()
	var txids []string
	for range 60 {
		switch n := rng.IntN(10); {
		case n < 4 || len(txids) == 0:
			s.order(money.Amount(100 + rng.IntN(5000)))
			if all := sim.Charges(); len(all) > len(txids) {
				txids = append(txids, all[len(all)-1].ID)
			}
		case n < 7:
			_ = sim.Pay(txids[rng.IntN(len(txids))]) // one that is paid refuses
		case n == 7:
			if err := sim.Receive(txids[rng.IntN(len(txids))], money.Amount(1+rng.IntN(5000))); err != nil {
				s.Fatal(err)
			}
		case n == 8:
			if err := sim.Receive(fmt.Sprint("ALHEIO", rng.IntN(1000)), money.Amount(1+rng.IntN(500))); err != nil {
				s.Fatal(err)
			}
		default:
			s.stop()
			s.pass(time.Duration(rng.IntN(120)) * time.Minute)
			s.start()
		}
		faults := []simkit.Rule{
			{Route: "*", Fault: simkit.DropAfter, Chance: 0.3},
			{Route: "pix", Fault: simkit.Truncate, Chance: 0.5},
			{Route: "create", Fault: simkit.DropAfter, Chance: 1},
			{Route: "status", Fault: simkit.HTTP, Arg: "503", Chance: 0.5},
		}
		if err := sim.Script().Set(faults[:rng.IntN(2)*rng.IntN(len(faults)+1)]...); err != nil {
			s.Fatal(err)
		}
		s.pass(time.Duration(rng.IntN(60)) * time.Minute)
	}
	if err := sim.Script().Set(); err != nil { // the trouble is over
		s.Fatal(err)
	}
	s.pass(26 * time.Hour)
}

// TestReconcileCommands: one charge paid while the agent is down, one paid late, as
// an operator sees them, with the agent running and stopped.
func TestReconcileCommands(t *testing.T) {
	k := newKiosk(t, "--pay-after", "0s")
	// The agent has its secrets; who asks it needs none.
	secrets := func(value, token string) {
		t.Setenv("SSG_CLIENT_SECRET", value)
		t.Setenv("SSG_API_TOKEN", token)
	}
	secrets("", "")
	ask := func(code int, says string, args ...string) string {
		t.Helper()
		got, out, errs := runMain(t, args...)
		if got != code || !strings.Contains(out+errs, says) {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", strings.Join(args, " "), got, code, says, out, errs)
		}
		return out
	}
	compare := func(code int, says string, args ...string) string {
		t.Helper()
		return ask(code, says, append([]string{"reconcile", "--config", k.config}, args...)...)
	}
	order := func(reference string) (made apiCharge, theirs string) {
		t.Helper()
		made = k.charge("POST", "/v1/charges", fmt.Sprintf(`{"reference":%q,"amount":1500,"expiry_seconds":600,"present":"never"}`, reference))
		k.becomes(made.ID, "pending")
		var all []simkit.Charge
		if err := json.Unmarshal(httpDo(t, "GET", k.sim+"/sim/ledger", nil), &all); err != nil {
			t.Fatal(err)
		}
		return made, all[len(all)-1].ID
	}
	k.start()
	down, downTheirs := order("a")
	late, lateTheirs := order("b")
	compare(0, "open")
	httpDo(t, "POST", k.sim+"/sim/charges/"+lateTheirs+"/expire", nil)
	k.becomes(late.ID, "expired")
	k.kill()
	httpDo(t, "POST", k.sim+"/sim/charges/"+downTheirs+"/pay", nil)
	httpDo(t, "POST", k.sim+"/sim/charges/"+lateTheirs+"/pay", nil)

	compare(2, "the secret is empty")
	secrets("sim-secret-not-a-credential", apiToken)
	before := ask(0, "", "ledger", "export", "--data", k.data)
	if out := compare(1, "2 differences wait"); strings.Count(out, "status_conflict") != 3 { // two lines, and their sum
		t.Errorf("without an agent:\n%s", out)
	}
	if after := ask(0, "", "ledger", "export", "--data", k.data); after != before {
		t.Error("a comparison without an agent changed the ledger")
	}
	ask(0, "0 open", "tickets", "list", "--data", k.data)

	secrets("", "")
	k.start()
	k.becomes(down.ID, "paid")
	out := compare(1, "1 differences wait", "--json")
	if !strings.Contains(out, `{"event":"summary","providers":1,"differences":1,"problems":0}`) || strings.Count(out, `"event":"line"`) != 2 ||
		!strings.Contains(out, `"total":{"count":2,"ledger":3000,"received":0,"unsaid":2}`) {
		t.Errorf("with an agent: %s", out)
	}
	k.becomes(late.ID, "paid")
	rows := strings.Split(strings.TrimSpace(compare(1, "late", "--csv", "--from", time.Now().AddDate(0, 0, -1).Format(time.DateOnly))), "\n")
	if len(rows) != 3 || !strings.HasPrefix(rows[0], "class,merchant,provider,charge,") || !strings.Contains(rows[2]+rows[1], ","+late.ID+",1,paid,") {
		t.Errorf("CSV: %q", rows)
	}
	list := ask(0, "1 open, 0 overdue", "tickets", "list", "--data", k.data)
	id := regexp.MustCompile(`T[0-9A-F]{10}`).FindString(list)
	if raw, err := k.curl("GET", "/v1/tickets", ""); err != nil || !strings.Contains(string(raw), `"ticket":"`+id+`","kind":"late","charge":"`+late.ID) {
		t.Errorf("the API: %s %v", raw, err)
	}
	closeIt := func(code int, says string, args ...string) {
		t.Helper()
		ask(code, says, append([]string{"tickets", "close", "--data", k.data}, args...)...)
	}
	closeIt(2, "--by is missing", id, "--how", "refunded")
	closeIt(2, "name the ticket")
	closeIt(2, "name the ticket", "volta/1", "--by", "ana", "--how", "refunded")
	closeIt(1, "one of refunded", id, "--by", "ana", "--how", "lost")
	closeIt(2, "no document, phone or address", id, "--by", "CPF 529.982.247-25", "--how", "refunded")
	closeIt(1, "no such ticket", "T0000000000", "--by", "ana", "--how", "refunded")
	closeIt(0, "late: refunded, by ana", id, "--by", "ana", "--how", "refunded")
	closeIt(1, "closed already", id, "--by", "bia", "--how", "refunded")
	compare(0, "late")
	k.kill()
	closeIt(2, "no document, phone or address", id, "--by", "52998224725", "--how", "refunded")
	closeIt(1, "closed already", id, "--by", "bia", "--how", "refunded")
	secrets("sim-secret-not-a-credential", apiToken)
	compare(0, id+" closed")
	ask(0, `"by":"ana","how":"refunded","state":"closed"`, "tickets", "list", "--all", "--json", "--data", k.data)
	ask(0, "ok: ", "ledger", "verify", "--data", k.data)

	// The provider gets another name: its charges are told, and not compared.
	text, err := os.ReadFile(k.config)
	if err != nil {
		t.Fatal(err)
	}
	renamed := strings.NewReplacer(`provider = "sim"`, `provider = "novo"`, `name = "sim"`, `name = "novo"`).Replace(string(text))
	if err := os.WriteFile(k.config, []byte(renamed), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := compare(1, "1 of 2 comparisons are not whole"); strings.Count(out, "not_comparable") != 1+1 || !strings.Contains(out, "not configured any more") {
		t.Errorf("after the provider was renamed:\n%s", out)
	}
	for says, args := range map[string][]string{
		"want a day":              {"--from", "yesterday"},
		"not before":              {"--from", "2999-01-01"},
		"at most 92 days":         {"--from", "2020-01-01"},
		"no provider of that":     {"--provider", "x"},
		"[json csv] are set":      {"--json", "--csv"},
		"unknown command \"now\"": {"now"},
	} {
		compare(2, says, args...)
	}
	ask(2, "--config", "reconcile")
	ask(2, "", "tickets")
}

// becomes waits until a charge is in a state.
func (k *kiosk) becomes(id, state string) {
	k.Helper()
	if !eventually(k.T, func() bool { return k.charge("GET", "/v1/charges/"+id, "").State == state }) {
		k.Fatalf("charge %s is %s, want %s", id, k.charge("GET", "/v1/charges/"+id, "").State, state)
	}
}

// TestReconcileNotCompared: of a provider that did not answer nothing is said but that.
func TestReconcileNotCompared(t *testing.T) {
	var b strings.Builder
	r := reconcile.Report{Provider: "um", Problem: "not_sent: connection refused"}
	if err := (&reconcileOptions{}).tabulate(&b, []reconcile.Report{r}, time.UTC); err != nil {
		t.Fatal(err)
	}
	if out := b.String(); !strings.HasPrefix(out, "um  ") || !strings.HasSuffix(out, "  not compared: not_sent: connection refused\n") || strings.Count(out, "\n") != 1 {
		t.Errorf("got %q", out)
	}
}
