package payouts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/bacen"
	"github.com/ssg-safe/agent/providers/bacen/bacensim"
	"github.com/ssg-safe/agent/providers/bspay"
	"github.com/ssg-safe/agent/providers/bspay/bspaysim"
	"github.com/ssg-safe/agent/providers/bspaybr"
	"github.com/ssg-safe/agent/providers/bspaybr/bspaybrsim"
	"github.com/ssg-safe/agent/providers/providertest"
	"github.com/ssg-safe/agent/providers/simkit"
	"github.com/ssg-safe/agent/redact"
)

// line is what a simulator's own ledger says of one order.
type line struct {
	id     string // the provider's
	amount money.Amount
	state  payout.State
}

// world is a provider, a hub that is killed again and again, and people who approve.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	disk   *disk
	mutant string
	box    mailbox // what the terminal was told

	propose []Statement
	script  *simkit.Script
	trouble []simkit.Rule
	out     providertest.Output
	// route makes the clients of a new process.
	route func() Route
	lines func() []line
}

const (
	unflushed = "submitting is not flushed before the request"
	resend    = "what is unknown is sent again"
	forgotten = "earlier refunds of a payment are forgotten"
	untold    = "what a terminal is to be told is forgotten"
)

// oblivious is a client that takes "cannot be asked" for "is not there".
type oblivious struct{ payout.Sender }

func (o oblivious) FindPayout(ctx context.Context, ref payout.Ref) (payout.Answer, error) {
	a, err := o.Sender.FindPayout(ctx, ref)
	if e, ok := errors.AsType[*providers.Error](err); ok && e.Kind == providers.Operator {
		return payout.Answer{Digest: "none"}, &providers.Error{Kind: providers.NotFound}
	}
	return a, err
}

// must is for what cannot fail in a test.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// live is one life of the hub: what is proposed is proposed, people approve, money
// moves, until it is killed at some commit, or at some moment, or goes on to the end.
func (w *world) live(last bool) {
	commit, at := 0, 0
	p := &process{disk: w.disk}
	if !last {
		at = w.rng.IntN(14) // 0: at a moment
	}
	before := w.rng.IntN(2) == 0
	p.before = func(map[string][]byte) bool { commit++; return before && commit == at }
	p.after = func(map[string][]byte) bool { return !before && commit == at }
	if w.mutant == unflushed {
		p.lying = func(rows map[string][]byte) bool {
			for _, doc := range rows {
				if bytes.Contains(doc, []byte(payout.SubmittingFact{}.Kind())) {
					return true
				}
			}
			return false
		}
	}
	if w.mutant == forgotten {
		maps.DeleteFunc(w.disk.rows, func(key string, _ []byte) bool { return strings.HasPrefix(key, string(hub.KindPayout)+" "+prefixBack) })
	}
	if w.mutant == untold {
		maps.DeleteFunc(w.disk.rows, func(key string, _ []byte) bool { return strings.HasPrefix(key, string(hub.KindPayout)+" "+prefixTell) })
	}
	book, err := Open(w.t.Context(), Options{Store: p, Devices: &w.box, Routes: []Route{w.route()}, Operators: operators("ana", "bia", "caio"), Logger: w.out.Logger()})
	if err != nil {
		if !errors.Is(err, errKilled) {
			w.t.Fatal(err)
		}
		return
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- book.Run(ctx) }()
	steps := 1 + w.rng.IntN(12)
	if last {
		steps = 500
	}
	for range steps {
		over, err := w.people(book)
		if err != nil || last && over {
			break
		}
		time.Sleep(time.Duration(w.rng.IntN(40_000)) * time.Millisecond)
	}
	if last {
		time.Sleep(2 * tellEvery)
	}
	w.disk.mu.Lock()
	p.dead = true
	w.disk.mu.Unlock()
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, errKilled) {
		w.t.Fatal(err)
	}
}

// people propose, approve what waits, and pass on what webhooks say. The error is that
// of a hub that is dead; over says that nothing more is to be expected.
func (w *world) people(b *Book) (over bool, err error) {
	var list []Record
	err = b.store.View(w.t.Context(), func(tx hub.Tx) (err error) {
		list, err = List(tx, "", true)
		return err
	})
	if err != nil {
		return false, err
	}
	theirs := w.lines()
	over = true
	known := map[payout.ID]bool{}
	for _, r := range list {
		known[r.ID] = true
	}
	do := func(by string, s Statement) error {
		_, err := b.Do(w.t.Context(), sign(w.t, by, s))
		if err != nil && !errors.Is(err, errKilled) && !errors.Is(err, payout.ErrRoom) {
			if _, ok := errors.AsType[*payout.TransitionError](err); !ok { // somebody was faster
				w.t.Fatal(err)
			}
			return nil
		}
		return err
	}
	for _, s := range w.propose {
		if known[s.Payout] {
			continue
		}
		if w.rng.IntN(2) > 0 {
			over = false
			continue
		}
		switch err := do("ana", s); {
		case errors.Is(err, errKilled):
			return false, err
		case err == nil:
			over = false
		}
	}
	for _, r := range list {
		if r.State == payout.Proposed && w.rng.IntN(3) > 0 {
			if err := do([]string{"bia", "caio"}[len(r.ApprovedBy)], Statement{Do: Approve, Payout: r.ID, Digest: r.Digest}); err != nil {
				return false, err
			}
		}
		lost := r.State == payout.Unknown && !r.Resend && !contains(theirs, r.Amount) // nobody will ever tell
		over = over && (r.State.Over() || lost)
		if r.Submissions > 0 && w.rng.IntN(3) == 0 && !r.State.Over() { // a webhook, perhaps a forged one
			for _, l := range theirs {
				if err := b.Hint(w.t.Context(), r.ID, l.id); err != nil {
					return false, err
				}
			}
		}
	}
	return over, nil
}

func contains(all []line, amount money.Amount) bool {
	return slices.ContainsFunc(all, func(l line) bool { return l.amount == amount })
}

// run lives through a history and returns what is wrong with its end.
func (w *world) run(ends map[payout.State]int) error {
	w.rng.Shuffle(len(w.trouble), func(i, j int) { w.trouble[i], w.trouble[j] = w.trouble[j], w.trouble[i] })
	if err := w.script.Set(w.trouble[:w.rng.IntN(len(w.trouble)+1)]...); err != nil {
		w.t.Fatal(err)
	}
	for range 1 + w.rng.IntN(8) {
		w.live(false)
	}
	if err := w.script.Set(); err != nil { // the trouble is over
		w.t.Fatal(err)
	}
	w.live(true)
	if _, err := verify(w.disk); err != nil {
		return err
	}
	list, err := List(&memoryTx{rows: w.disk.rows}, "", true)
	if err != nil {
		return err
	}
	w.out.Note(list)
	w.out.Check(w.t, secret, bspaysim.DefaultSigningKey, "c4nary-callback-key", personalKey, "nobody@example.com")
	theirs := map[money.Amount][]line{} // each order has an amount of its own
	for _, l := range w.lines() {
		theirs[l.amount] = append(theirs[l.amount], l)
	}
	var ours, sum, back money.Amount
	for _, r := range list {
		if r.Kind == payout.Refund && r.State != payout.Failed {
			back += r.Amount
		}
	}
	if back > soldFor {
		return fmt.Errorf("%s of a payment of %s are to go back", back, soldFor)
	}
	for _, r := range list {
		ends[r.State]++
		lines := theirs[r.Amount]
		switch {
		case len(lines) > 1:
			return fmt.Errorf("%s was paid %d times", r.ID, len(lines))
		case r.State == payout.Unknown && (r.Resend || len(lines) == 1):
			return fmt.Errorf("still unknown: %+v", r)
		case r.Odd:
			return fmt.Errorf("a contradiction: %+v", r)
		case r.State == payout.Settled && (len(lines) != 1 || lines[0].state != payout.Settled):
			return fmt.Errorf("settled, and the provider has %+v", lines)
		case r.State == payout.Failed && len(lines) == 1 && lines[0].state != payout.Failed:
			return fmt.Errorf("failed (%s), and the provider has %+v", r.Reason, lines)
		case r.Submissions == 0 && len(lines) > 0:
			return fmt.Errorf("never submitted, and the provider has %+v", lines)
		}
		if r.State == payout.Settled {
			ours += r.Amount
		}
	}
	for _, l := range w.lines() {
		if l.state == payout.Settled {
			sum += l.amount
		}
	}
	var made []string
	for _, r := range list {
		if r.Kind == payout.Refund && r.State == payout.Settled {
			made = append(made, string(r.ID))
		}
	}
	if slices.Sort(made); !slices.Equal(w.box.ids(), made) {
		return fmt.Errorf("the terminal was told of refunds %v, and %v were made", w.box.ids(), made)
	}
	if ours != sum {
		return fmt.Errorf("the provider paid %s, and the hub knows of %s", sum, ours)
	}
	return nil
}

// troubles are the faults of a route that moves money, and of the one that is asked.
func troubles(act, ask string, more ...simkit.Rule) []simkit.Rule {
	return append([]simkit.Rule{
		{Route: act, Fault: simkit.DropBefore, Chance: 0.2},
		{Route: act, Fault: simkit.DropAfter, Chance: 0.3},
		{Route: act, Fault: simkit.ErrorAfter, Arg: "503", Chance: 0.2},
		{Route: act, Fault: simkit.Rate, Arg: "2s", Chance: 0.2},
		{Route: act, Fault: simkit.Latency, Arg: "1s..40s", Chance: 0.3},
		{Route: ask, Fault: simkit.Truncate, Chance: 0.2},
		{Route: ask, Fault: simkit.HTTP, Arg: "500", Chance: 0.3},
	}, more...)
}

func newWorld(t *testing.T, rng *rand.Rand, mutant string) *world {
	return &world{t: t, rng: rng, mutant: mutant, disk: &disk{rows: map[string][]byte{}}}
}

// payments proposes some payouts, one of which the provider refuses later.
func (w *world) payments() {
	for n := range 1 + w.rng.IntN(3) {
		s := proposed(n, money.Amount(1000+n))
		if w.rng.IntN(4) == 0 {
			s.Key = "nobody@example.com"
		}
		w.propose = append(w.propose, s)
	}
}

func (w *world) account(s payout.Sender, resend bool) Route {
	return Route{Name: "conta", Merchant: "loja", Sender: s, Resend: resend, PerPayout: 100000, PerDay: 1000000, TwoFrom: money.Amount(w.rng.IntN(2) * 1001), PersonAfter: time.Minute}
}

var lineStates = map[providers.Status]payout.State{
	providers.StatusPending: payout.Processing, providers.StatusPaid: payout.Settled, providers.StatusFailed: payout.Failed, providers.StatusCancelled: payout.Failed,
}

func linesOf(all []simkit.Charge) []line {
	var out []line
	for _, c := range all {
		out = append(out, line{c.ID, c.Amount, lineStates[c.Status]})
	}
	return out
}

const secret = "c4nary-client-secret-Xy77"

func bspayWorld(t *testing.T, seed uint64, mutant string) *world {
	w := newWorld(t, rand.New(rand.NewPCG(seed, 1)), mutant)
	sim := must(bspaysim.New(bspaysim.Options{
		Seed: seed, Balance: 100000, SettleAfter: time.Duration(w.rng.IntN(60)) * time.Second, ClientSecret: secret,
		Conflict: w.rng.IntN(2) == 0, IgnoreFilters: w.rng.IntN(2) == 0, BareRows: true,
	}))
	w.payments()
	w.script, w.trouble = sim.Script(), troubles("cashout", "status",
		simkit.Rule{Route: "cashout", Fault: bspaysim.Refuse, Arg: "409:REPLAY_DETECTED", Chance: 0.2}, simkit.Rule{Route: "status", Fault: bspaysim.Drift, Chance: 0.5})
	w.lines = func() []line { return linesOf(sim.Payouts()) }
	w.route = func() Route {
		return w.account(must(bspay.New(bspay.Config{
			URL: "http://provider.test", AllowInsecureHTTP: true, ClientID: bspaysim.DefaultClientID, ClientSecret: secret, SigningKey: bspaysim.DefaultSigningKey,
		}, providers.Memory(sim), w.out.Logger())), true)
	}
	return w
}

func bspaybrWorld(t *testing.T, seed uint64, mutant string) *world {
	w := newWorld(t, rand.New(rand.NewPCG(seed, 2)), mutant)
	sim := must(bspaybrsim.New(bspaybrsim.Options{Seed: seed, Balance: 100000, SettleAfter: time.Duration(w.rng.IntN(60)) * time.Second, ClientSecret: secret}))
	w.payments()
	w.script, w.trouble = sim.Script(), troubles("payment", "status",
		simkit.Rule{Route: "payment", Fault: bspaybrsim.Inner, Arg: "403", Chance: 0.1}, simkit.Rule{Route: "status", Fault: bspaybrsim.Callback, Chance: 0.2})
	w.lines = func() []line { return linesOf(sim.Payouts()) }
	w.route = func() Route {
		c := must(bspaybr.New(bspaybr.Config{
			URL: "http://provider.test", AllowInsecureHTTP: true, ClientID: bspaybrsim.DefaultClientID, ClientSecret: secret,
			CallbackURL: "https://hub.example.com/wh/bspaybr", CallbackKey: "c4nary-callback-key-Qz31-0123456789",
		}, providers.Memory(sim), w.out.Logger()))
		var s payout.Sender = must(bspaybr.NewPayouts(c, bspaybr.Payer{Name: "Loja Remetente Ltda", Document: redact.Document("11222333000181")}))
		if mutant == resend {
			s = oblivious{s}
		}
		return w.account(s, mutant == resend)
	}
	return w
}

// soldFor is the payment of a world with refunds.
const soldFor money.Amount = 3000

// bacenWorld has one payment of 30.00, and refunds of it that are more together.
func bacenWorld(t *testing.T, seed uint64, mutant string) *world {
	w := newWorld(t, rand.New(rand.NewPCG(seed, 3)), mutant)
	sim := must(bacensim.New(bacensim.Options{
		Seed: seed, RefundAfter: time.Duration(w.rng.IntN(60)) * time.Second, ClientSecret: secret, Modes: bacensim.Modes{Refunds: true, RefuseAgain: w.rng.IntN(2) == 0},
	}))
	if err := sim.Receive("T0010000000000000000000011", soldFor); err != nil {
		t.Fatal(err)
	}
	paid := sim.Received()[0].EndToEnd
	w.sold("T001000000000000000000001", paid, soldFor)
	for n := range 4 {
		w.propose = append(w.propose, Statement{
			Do: Propose, Payout: idOf(n), Kind: payout.Refund, Route: "conta", Amount: money.Amount(800 + 100*w.rng.IntN(2) + n), Salt: "0123456789abcdef",
			Device: "kiosk-1", Charge: "T001000000000000000000001", EndToEnd: paid,
		})
	}
	w.script, w.trouble = sim.Script(), troubles("refund", "pix", simkit.Rule{Route: "refund", Fault: bacensim.NotDone, Chance: 0.2}, simkit.Rule{Route: "refund", Fault: simkit.Word, Arg: "FEITO", Chance: 0.2})
	w.lines = func() []line {
		var all []line
		for _, r := range sim.Refunds() {
			l := line{r.ID, r.Amount, payout.Settled}
			switch {
			case time.Now().Before(r.Due):
				l.state = payout.Processing
			case r.Fails:
				l.state = payout.Failed
			}
			all = append(all, l)
		}
		return all
	}
	profile := must(bacen.LoadProfile("simulator"))
	w.route = func() Route {
		r := w.account(nil, false)
		r.Sender = nil
		r.Refunder = must(bacen.NewRefunds(bacen.Config{
			Profile: profile, URL: "http://bank.test", AllowInsecureHTTP: true, ClientID: bacensim.DefaultClientID, ClientSecret: secret,
		}, http.RoundTripper(providers.Memory(sim)), w.out.Logger()))
		return r
	}
	return w
}

// sold puts a paid charge into the terminal's ledger, signed.
func (w *world) sold(charge, endToEnd string, cents money.Amount) {
	prev := ledger.Hash{}
	add := func(op, kind, evidence, data string) {
		at := ledger.Position{Epoch: 1, Seq: uint64(len(w.disk.entries) + 1)}
		raw := fmt.Appendf(nil, `{"v":1,"epoch":1,"seq":%d,"prev":"%s","at":{"wall":"2026-01-02T03:04:05.000Z","boot":"boot-1","up_ms":5,"quality":"synced"},"op":%q,"kind":%q,"actor":"test","evidence":%s,"postings":[],"data":%s}`,
			at.Seq, prev, op, kind, evidence, data)
		must(ledger.Decode(raw))
		prev = ledger.HashOf(raw)
		w.disk.entries = append(w.disk.entries, hub.Entry{Position: at, Bytes: raw})
	}
	add("charge/"+charge+"/created", "charge.created", "null",
		fmt.Sprintf(`{"charge":%q,"merchant":"loja","route":"banco","account":"conta-1","amount":%d,"expiry_s":300,"source":"keypad","present":true}`, charge, cents))
	add("payment/"+endToEnd, "charge.paid",
		fmt.Sprintf(`{"source":"provider","route":"banco","account":"conta-1","attempt":1,"provider_id":"tx","amount":%d,"end_to_end":%q,"digest":"aa"}`, cents, endToEnd),
		fmt.Sprintf(`{"charge":%q,"attempt":1,"amount":%d}`, charge, cents))
	w.disk.rows["chain kiosk-1/0000000000000001"] = []byte(`{"epoch":1,"signed":{"epoch":1,"seq":2}}`)
}

// TestSchedules: whatever the provider does and whenever the hub is killed, each
// intent is paid at most once, no more goes back than was paid, and the sums are the
// provider's.
func TestSchedules(t *testing.T) {
	worlds := []struct {
		name string
		make func(*testing.T, uint64, string) *world
		ends map[payout.State]int
	}{{"bspay", bspayWorld, map[payout.State]int{}}, {"bspaybr", bspaybrWorld, map[payout.State]int{}}, {"bacen", bacenWorld, map[payout.State]int{}}}
	n := providertest.Schedules(t, func(t *testing.T, seed uint64) {
		w := worlds[seed%uint64(len(worlds))]
		if err := w.make(t, seed, "").run(w.ends); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
	})
	for _, w := range worlds {
		t.Log(w.name, w.ends)
		if n >= 500 && (w.ends[payout.Settled] == 0 || w.ends[payout.Failed] == 0) {
			t.Errorf("%s: every schedule ended alike: %v", w.name, w.ends)
		}
	}
}

// TestScheduleMutants: hubs that are wrong in one way are found out.
func TestScheduleMutants(t *testing.T) {
	for mutant, make := range map[string]func(*testing.T, uint64, string) *world{unflushed: bspaybrWorld, resend: bspaybrWorld, forgotten: bacenWorld, untold: bacenWorld} {
		t.Run(mutant, func(t *testing.T) {
			var found error
			for seed := uint64(0); seed < 2000 && found == nil; seed++ {
				synctest.Test(t, func(t *testing.T) { found = make(t, seed, mutant).run(map[payout.State]int{}) })
			}
			if found == nil {
				t.Fatal("nothing was noticed in 2,000 histories")
			}
			t.Log(found)
		})
	}
}
