package payouts

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/hub"
	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
)

// keyOf is an operator's private key.
func keyOf(name string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(slices.Repeat([]byte(name[:1]), ed25519.SeedSize))
}

func operators(names ...string) []Operator {
	var all []Operator
	for _, name := range names {
		all = append(all, Operator{name, keyOf(name).Public().(ed25519.PublicKey)})
	}
	return all
}

// sign signs as somebody, now.
func sign(t testing.TB, by string, s Statement) string {
	t.Helper()
	s.By, s.At = by, time.Now()
	signed, err := Sign(s, keyOf(by))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func idOf(n int) payout.ID { return payout.ID(fmt.Sprintf("HUB0%021d", n)) }

const personalKey = "12345678909"

func proposed(n int, amount money.Amount) Statement {
	return Statement{Do: Propose, Payout: idOf(n), Kind: payout.ToKey, Route: "conta", Amount: amount, Key: personalKey, Description: "troco", Salt: "0123456789abcdef"}
}

// account is a route that has a sender, which is never called where no loop runs.
func bankAccount() Route {
	return Route{Name: "conta", Merchant: "loja", Sender: struct{ payout.Sender }{}, PerPayout: 10000, PerDay: 15000, TwoFrom: 5000, PersonAfter: time.Minute}
}

func newBook(t testing.TB, d *disk, routes ...Route) *Book {
	t.Helper()
	b, err := Open(t.Context(), Options{Store: &process{disk: d}, Routes: routes, Operators: operators("ana", "bia", "caio")})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *Book) must(t testing.TB, signed string) Record {
	t.Helper()
	r, err := b.Do(t.Context(), signed)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestDecisions: who may decide what, when, and how often.
func TestDecisions(t *testing.T) {
	d := &disk{rows: map[string][]byte{}}
	b := newBook(t, d, bankAccount())
	first := sign(t, "ana", proposed(1, 4999))
	r := b.must(t, first)
	if r.State != payout.Proposed || r.Approvers != 1 || r.Merchant != "loja" || r.By != "ana" {
		t.Fatalf("got %+v", r)
	}
	if again := b.must(t, first); again.Digest != r.Digest {
		t.Errorf("the same proposal is another payout: %+v", again)
	}
	approve := Statement{Do: Approve, Payout: r.ID, Digest: r.Digest}
	old := approve
	old.By, old.At = "bia", time.Now().Add(-6*time.Minute)
	stale, err := Sign(old, keyOf("bia"))
	if err != nil {
		t.Fatal(err)
	}
	old.At = time.Now().Add(2 * time.Minute)
	early, err := Sign(old, keyOf("bia"))
	if err != nil {
		t.Fatal(err)
	}
	other := proposed(1, 1)
	forged := sign(t, "bia", approve)
	for name, test := range map[string]struct {
		signed string
		is     error
	}{
		"another proposal under the id": {sign(t, "ana", other), ErrStatement},
		"the proposer approves":         {sign(t, "ana", approve), payout.ErrApprover},
		"another digest":                {sign(t, "bia", Statement{Do: Approve, Payout: r.ID, Digest: strings.Repeat("a", 64)}), payout.ErrDigest},
		"an old approval":               {stale, ErrStatement},
		"one of the future":             {early, ErrStatement},
		"a changed one":                 {"f" + forged[1:], ErrStatement},
		"a signature of another":        {forged[:strings.IndexByte(forged, '.')] + first[strings.IndexByte(first, '.'):], ErrStatement},
		"no such payout":                {sign(t, "bia", Statement{Do: Approve, Payout: idOf(9), Digest: r.Digest}), hub.ErrNotFound},
		"a testimony before sending":    {sign(t, "bia", Statement{Do: Resolve, Payout: r.ID, State: payout.Failed, Document: "extrato", Reason: "seen"}), nil},
		"above the limit of one":        {sign(t, "ana", proposed(2, 10001)), ErrLimit},
	} {
		before := len(d.rows)
		_, err := b.Do(t.Context(), test.signed)
		if err == nil || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: %v, want %v", name, err, test.is)
		}
		if len(d.rows) != before {
			t.Errorf("%s: it was refused, and something was written", name)
		}
	}
	if got := b.must(t, forged); got.State != payout.Approved {
		t.Errorf("got %+v", got)
	}
	if _, err := b.Do(t.Context(), forged); err == nil {
		t.Error("one approval serves twice")
	}

	// Two approve what is large, and the day has a limit, which rejected ones free.
	big := b.must(t, sign(t, "ana", proposed(3, 10000)))
	if got := b.must(t, sign(t, "bia", Statement{Do: Approve, Payout: big.ID, Digest: big.Digest})); got.State != payout.Proposed {
		t.Errorf("after one of two: %s", got.State)
	}
	if _, err := b.Do(t.Context(), sign(t, "bia", Statement{Do: Approve, Payout: big.ID, Digest: big.Digest})); err == nil {
		t.Error("one approves twice")
	}
	if got := b.must(t, sign(t, "caio", Statement{Do: Approve, Payout: big.ID, Digest: big.Digest})); got.State != payout.Approved {
		t.Errorf("after two: %s", got.State)
	}
	one := b.must(t, sign(t, "ana", proposed(4, 2)))
	if _, err := b.Do(t.Context(), sign(t, "bia", Statement{Do: Approve, Payout: one.ID, Digest: one.Digest})); !errors.Is(err, ErrLimit) {
		t.Errorf("149.99 and 0.02 of 150.00: %v", err)
	}
	b.must(t, sign(t, "caio", Statement{Do: Reject, Payout: big.ID, Reason: "wrong key"}))
	b.must(t, sign(t, "bia", Statement{Do: Approve, Payout: one.ID, Digest: one.Digest}))

	for key, doc := range d.rows {
		if strings.Contains(string(doc), personalKey) && !strings.Contains(key, prefixHold) {
			t.Errorf("%s holds the key: %s", key, doc)
		}
	}
	report, err := verify(d)
	if err != nil || report.Payouts != 3 || report.Entries != 8 {
		t.Errorf("got %+v (%v)", report, err)
	}
}

func verify(d *disk) (Report, error) { return Verify(&memoryTx{rows: d.rows}) }

// TestVerify: whatever is changed of the chain or the records is found.
func TestVerify(t *testing.T) {
	d := &disk{rows: map[string][]byte{}}
	b := newBook(t, d, bankAccount())
	r := b.must(t, sign(t, "ana", proposed(1, 100)))
	b.must(t, sign(t, "bia", Statement{Do: Approve, Payout: r.ID, Kind: payout.ToKey, Digest: r.Digest}))
	if _, err := b.record(t.Context(), r.ID, func(r Record) (payout.Fact, error) { return r.Submit(time.Now()) }); err != nil {
		t.Fatal(err)
	}
	if _, err := b.record(t.Context(), r.ID, func(r Record) (payout.Fact, error) { return r.Interrupted(), nil }); err != nil {
		t.Fatal(err)
	}
	b.must(t, sign(t, "caio", Statement{Do: Resolve, Payout: r.ID, State: payout.Failed, Document: "extrato", Reason: "not there"}))
	if _, err := verify(d); err != nil {
		t.Fatal(err)
	}
	const kind = string(hub.KindPayout) + " "
	edit := func(key, old, new string) func(rows map[string][]byte) {
		return func(rows map[string][]byte) {
			text := strings.Replace(string(rows[kind+key]), old, new, 1)
			if text == string(rows[kind+key]) {
				t.Fatalf("%s has no %s: %s", key, old, text)
			}
			rows[kind+key] = []byte(text)
		}
	}
	for name, change := range map[string]func(rows map[string][]byte){
		"another amount in a record": edit(payKey(r.ID), `"amount":100`, `"amount":900`),
		"another state in a record":  edit(payKey(r.ID), `"failed"`, `"settled"`),
		"another time of a fact":     edit(factKey(2), `"at":"2`, `"at":"3`),
		"another outcome":            edit(factKey(5), `"state":"failed"`, `"state":"settled"`),
		"another person":             edit(factKey(2), `"by":"bia"`, `"by":"eva"`),
		"a fact is gone":             func(rows map[string][]byte) { delete(rows, kind+factKey(3)) },
		"the last fact is gone":      func(rows map[string][]byte) { delete(rows, kind+factKey(5)) },
		"the record is gone":         func(rows map[string][]byte) { delete(rows, kind+payKey(r.ID)) },
		"the head is gone":           func(rows map[string][]byte) { delete(rows, kind+keyHead) },
		"an unsigned approval, with all hashes right": func(rows map[string][]byte) {
			rebuild(t, rows, func(e *Entry) {
				if e.Kind == (payout.ApprovedFact{}).Kind() {
					e.Signed, e.Key = "", nil
				}
			})
		},
		"an approval of a refund": func(rows map[string][]byte) {
			rebuild(t, rows, func(e *Entry) {
				if e.Kind == (payout.ApprovedFact{}).Kind() {
					s := Statement{Do: Approve, Payout: r.ID, Kind: payout.Refund, Digest: r.Digest}
					s.By, s.At = "bia", approvedAt(t, *e)
					var err error
					if e.Signed, err = Sign(s, keyOf("bia")); err != nil {
						t.Fatal(err)
					}
				}
			})
		},
		"an approval by who did not sign it": func(rows map[string][]byte) {
			rebuild(t, rows, func(e *Entry) { e.Fact = []byte(strings.Replace(string(e.Fact), `"by":"bia"`, `"by":"eva"`, 1)) })
		},
	} {
		rows := map[string][]byte{}
		for k, v := range d.rows {
			rows[k] = v
		}
		change(rows)
		if _, err := verify(&disk{rows: rows}); err == nil {
			t.Errorf("%s: nothing was found", name)
		}
		if _, err := Open(t.Context(), Options{Store: &process{disk: &disk{rows: rows}}}); err == nil {
			t.Errorf("%s: the book opens", name)
		}
	}
}

// approvedAt is when an approval was signed.
func approvedAt(t *testing.T, e Entry) time.Time {
	t.Helper()
	s, err := open(e.Signed, func(string) ed25519.PublicKey { return e.Key })
	if err != nil {
		t.Fatal(err)
	}
	return s.At
}

// rebuild changes entries and makes the chain anew, as a forger who knows the form
// would.
func rebuild(t *testing.T, rows map[string][]byte, change func(*Entry)) {
	t.Helper()
	var last head
	for seq := uint64(1); rows[string(hub.KindPayout)+" "+factKey(seq)] != nil; seq++ {
		var e Entry
		if err := json.Unmarshal(rows[string(hub.KindPayout)+" "+factKey(seq)], &e); err != nil {
			t.Fatal(err)
		}
		change(&e)
		e.Prev = last.Hash
		doc, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		rows[string(hub.KindPayout)+" "+factKey(seq)] = doc
		last = head{seq, hashOf(doc)}
	}
	doc, err := json.Marshal(last)
	if err != nil {
		t.Fatal(err)
	}
	rows[string(hub.KindPayout)+" "+keyHead] = doc
}

// TestOptions: what cannot work is refused at the start.
func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"two with one key":    {Operators: []Operator{{"ana", keyOf("a").Public().(ed25519.PublicKey)}, {"bia", keyOf("a").Public().(ed25519.PublicKey)}}},
		"two with one name":   {Operators: operators("ana", "ana")},
		"a route without one": {Routes: []Route{{Merchant: "loja", PersonAfter: time.Minute}}},
	} {
		o.Store = &process{disk: &disk{rows: map[string][]byte{}}}
		if _, err := Open(t.Context(), o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	b := newBook(t, &disk{rows: map[string][]byte{}}, bankAccount())
	b.operators = map[string]Operator{"ana": b.operators["ana"]}
	if _, err := b.Do(t.Context(), sign(t, "ana", proposed(1, 1))); err == nil || !strings.Contains(err.Error(), "it takes 2 people") {
		t.Errorf("one person alone: %v", err)
	}
	wrong := proposed(1, 1)
	wrong.Route = "cnota"
	if _, err := b.Do(t.Context(), sign(t, "ana", wrong)); err == nil || !strings.Contains(err.Error(), `no route "cnota"; there are: conta`) {
		t.Errorf("a route that is none: %v", err)
	}
}

// FuzzStatement: no bytes get past the signature, and none end the program.
func FuzzStatement(f *testing.F) {
	f.Add(sign(f, "ana", proposed(1, 100)))
	f.Add(sign(f, "bia", Statement{Do: Approve, Payout: idOf(1), Digest: strings.Repeat("a", 64)}))
	f.Add(sign(f, "bia", Statement{Do: Resolve, Payout: idOf(1), State: payout.Failed, Document: "x", Reason: "y"}))
	f.Add("e30.AA")
	f.Add("")
	known := operators("ana", "bia")
	f.Fuzz(func(t *testing.T, signed string) {
		s, err := open(signed, func(name string) ed25519.PublicKey {
			for _, o := range known {
				if o.Name == name {
					return o.Key
				}
			}
			return nil
		})
		if err != nil {
			if !errors.Is(err, ErrStatement) {
				t.Errorf("another error: %v", err)
			}
			return
		}
		if again, err := Sign(s, keyOf(s.By)); err != nil || again != signed {
			t.Errorf("it is not what it says: %v (%v)", s, err)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v", s, s, s), personalKey) {
			t.Error("it prints the key")
		}
	})
}

// TestStatementsSayNoMore: what a decision has no use for is refused when it is handed
// in: once recorded, it would be an entry that no start of the hub takes any more.
func TestStatementsSayNoMore(t *testing.T) {
	d := &disk{rows: map[string][]byte{}}
	b := newBook(t, d, bankAccount())
	r := b.must(t, sign(t, "ana", proposed(1, 100)))
	for name, s := range map[string]Statement{
		"an approval with a reason":  {Do: Approve, Payout: r.ID, Digest: r.Digest, Reason: "fine"},
		"an approval with an amount": {Do: Approve, Payout: r.ID, Digest: r.Digest, Amount: 1},
		"a rejection with a state":   {Do: Reject, Payout: r.ID, Reason: "twice", State: payout.Failed},
		"a testimony with a route":   {Do: Resolve, Payout: r.ID, State: payout.Failed, Document: "extrato", Reason: "seen", Route: "conta"},
		"a proposal with a digest":   {Do: Propose, Payout: idOf(2), Kind: payout.ToKey, Route: "conta", Amount: 1, Key: personalKey, Salt: "0123456789abcdef", Digest: r.Digest},
	} {
		s.V, s.By, s.At = 1, "bia", time.Now().UTC()
		body, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		signed := b64.EncodeToString(body) + "." + b64.EncodeToString(ed25519.Sign(keyOf("bia"), append([]byte(domain), body...)))
		if _, err := b.Do(t.Context(), signed); !errors.Is(err, ErrStatement) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := verify(d); err != nil {
			t.Fatalf("%s: the hub starts no more: %v", name, err)
		}
	}
}

// TestKinds: whoever takes a payout for a refund, or a refund for a payout, decides
// nothing; a decision signed by an earlier version does not say what it takes it for.
func TestKinds(t *testing.T) {
	w := newWorld(t, nil, "")
	w.sold("C1", "E182361202026010100000000000001A", 100)
	b := newBook(t, w.disk, bankAccount())
	pay := b.must(t, sign(t, "ana", proposed(1, 100)))
	back := b.must(t, sign(t, "ana", refundOf(2, "conta")))
	for _, r := range []Record{pay, back} {
		other := payout.Refund
		if r.Kind == other {
			other = payout.ToKey
		}
		for _, s := range []Statement{
			{Do: Approve, Digest: r.Digest},
			{Do: Reject, Reason: "twice"},
			{Do: Resolve, State: payout.Failed, Document: "extrato", Reason: "seen"},
		} {
			s.Payout, s.Kind = r.ID, other
			before := maps.Clone(w.disk.rows)
			if _, err := b.Do(t.Context(), sign(t, "bia", s)); !errors.Is(err, ErrKind) || !strings.Contains(err.Error(), "ssg-hub "+string(r.Kind)+" show") {
				t.Errorf("%s a %s as a %s: %v", s.Do, r.Kind, other, err)
			}
			if !maps.EqualFunc(before, w.disk.rows, bytes.Equal) {
				t.Errorf("%s a %s as a %s: it was refused, and something was written", s.Do, r.Kind, other)
			}
		}
	}
	b.must(t, sign(t, "bia", Statement{Do: Approve, Payout: back.ID, Kind: payout.Refund, Digest: back.Digest}))
	b.must(t, sign(t, "bia", Statement{Do: Approve, Payout: pay.ID, Digest: pay.Digest}))
	if _, err := verify(w.disk); err != nil {
		t.Error(err)
	}
}

// refundOf proposes to give back what TestKinds and TestMistypedProvider sold.
func refundOf(n int, route string) Statement {
	return Statement{
		Do: Propose, Payout: idOf(n), Kind: payout.Refund, Route: route, Amount: 100, Salt: "0123456789abcdef",
		Device: "kiosk-1", Charge: "C1", EndToEnd: "E182361202026010100000000000001A",
	}
}

// TestMistypedProvider: a refund by a provider that nobody has is an error, not a
// person's business; so is one by another than received the payment.
func TestMistypedProvider(t *testing.T) {
	bank := bankAccount()
	bank.Name = "banco"
	foreign := bank
	foreign.Merchant = "padaria"
	for name, test := range map[string]struct {
		routes []Route
		name   string
		says   string // "": it is taken
	}{
		"a name that nobody has":              {[]Route{bankAccount()}, "bancp", `calls the one that received the payment "banco"; the hub has: conta`},
		"the terminal's name":                 {nil, "banco", ""},
		"the hub's own name for it":           {[]Route{bankAccount()}, "conta", ""},
		"the same name on both sides":         {[]Route{bank, bankAccount()}, "banco", ""},
		"another that the hub has":            {[]Route{bank, bankAccount()}, "conta", "came in by provider banco, not by conta"},
		"mistyped, and the hub has the right": {[]Route{bank}, "bancp", "came in by provider banco, not by bancp"},
		"another merchant's has that name":    {[]Route{foreign, bankAccount()}, "conta", ""},
	} {
		w := newWorld(t, nil, "")
		w.sold("C1", "E182361202026010100000000000001A", 100)
		b := newBook(t, w.disk, test.routes...)
		before := maps.Clone(w.disk.rows)
		_, err := b.Do(t.Context(), sign(t, "ana", refundOf(1, test.name)))
		switch {
		case test.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.says == "":
		case !errors.Is(err, payout.ErrIntent) || !strings.Contains(err.Error(), test.says):
			t.Errorf("%s: got %v; want %q", name, err, test.says)
		case !maps.EqualFunc(before, w.disk.rows, bytes.Equal):
			t.Errorf("%s: it was refused, and something was written", name)
		}
	}
}

// TestRefundsHaveNoDay: refunds that a person makes at the account's provider take
// nothing of what payouts of the day may send.
func TestRefundsHaveNoDay(t *testing.T) {
	w := newWorld(t, nil, "")
	w.sold("C1", "E182361202026010100000000000001A", 9999)
	b := newBook(t, w.disk, bankAccount())
	back := Statement{
		Do: Propose, Payout: idOf(1), Kind: payout.Refund, Route: "conta", Amount: 9999, Salt: "0123456789abcdef",
		Device: "kiosk-1", Charge: "C1", EndToEnd: "E182361202026010100000000000001A",
	}
	for _, s := range []Statement{back, proposed(2, 10000)} {
		r := b.must(t, sign(t, "ana", s))
		b.must(t, sign(t, "bia", Statement{Do: Approve, Payout: r.ID, Digest: r.Digest}))
		r = b.must(t, sign(t, "caio", Statement{Do: Approve, Payout: r.ID, Digest: r.Digest}))
		if r.State == payout.Proposed {
			t.Errorf("got %+v", r)
		}
	}
}

// slow is a provider that accepts an order and never finishes it.
type slow struct{ payout.Sender }

func (slow) SubmitPayout(context.Context, payout.Order) (payout.Answer, error) {
	return payout.Answer{State: payout.Processing, Digest: "d"}, nil
}

func (slow) FindPayout(context.Context, payout.Ref) (payout.Answer, error) {
	return payout.Answer{State: payout.Processing, Digest: "d"}, nil
}

// TestSlowProviders: a person is told, once, of an order that its provider does not
// finish: somebody may have to release it there.
func TestSlowProviders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{rows: map[string][]byte{}}
		a := bankAccount()
		a.Sender = slow{}
		b := newBook(t, d, a)
		r := b.must(t, sign(t, "ana", proposed(1, 100)))
		b.must(t, sign(t, "bia", Statement{Do: Approve, Payout: r.ID, Digest: r.Digest}))
		w := &worker{book: b, a: b.routes["conta"], began: time.Now(), known: map[payout.ID]*pace{}}
		told := 0
		for range 10 {
			if _, err := w.round(t.Context()); err != nil {
				t.Fatal(err)
			}
			for key, doc := range d.rows {
				if strings.HasPrefix(key, string(hub.KindAlarm)+" ") && strings.Contains(string(doc), "has not finished it") && strings.Contains(string(doc), `"count":1`) {
					told++
				}
			}
			if time.Sleep(30 * time.Second); told == 0 && time.Since(r.Made) > 2*a.PersonAfter {
				t.Fatal("nobody is told")
			}
		}
		if told < 5 {
			t.Errorf("the alarm was seen %d times", told)
		}
	})
}
