package proposal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/proposal"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
)

const device = "dq7m3x5zj2w4c6k8a"

var (
	start  = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	whom   = proposal.Details{Key: "12345678909", Description: "troco"}
	sealed = []byte("sealed for the hub")
)

func stamp(n uint64) ledger.Stamp {
	return ledger.Stamp{Wall: start.Add(time.Duration(n) * time.Minute), Quality: ledger.Synced}
}

type desk struct {
	t    *testing.T
	path string
	*store.Store
}

func newDesk(t *testing.T) desk {
	o := storetest.Options(t, func(tx *bbolt.Tx) error {
		_, err := ledger.Verify(tx, ledger.Head{})
		return errors.Join(err, proposal.Audit(tx))
	}, slices.Concat(ledger.Migrations, proposal.Migrations)...)
	return desk{t, o.Path, storetest.Run(t, o)}
}

func one(reference string, amount money.Amount) proposal.Proposal {
	return proposal.Proposal{
		ID: proposal.IDOf(device, reference), Kind: payout.ToKey, Reference: reference, Merchant: "loja", Amount: amount,
		Source: "control", By: "dora", Sealed: proposal.SealedHash(sealed),
	}
}

func (d desk) make(n uint64, p proposal.Proposal, whom proposal.Details) (r proposal.Record, fresh bool, err error) {
	err = d.Commit(d.t.Context(), store.Op{Name: "test", Do: func(tx *bbolt.Tx) (err error) {
		r, fresh, err = proposal.Make(tx, stamp(n), device, p, whom, sealed)
		return err
	}})
	return r, fresh, err
}

func (d desk) say(n uint64, s proposal.Said) (r proposal.Record, w proposal.Word, err error) {
	err = d.Commit(d.t.Context(), store.Op{Name: "test", Do: func(tx *bbolt.Tx) (err error) {
		r, w, err = proposal.Say(tx, stamp(n), s, proposal.Evidence{Source: "hub", JTI: "j", Ctr: n})
		return err
	}})
	return r, w, err
}

func (d desk) view(fn func(*bbolt.Tx) error) {
	d.t.Helper()
	if err := d.View(fn); err != nil {
		d.t.Fatal(err)
	}
}

func (d desk) entries() (n uint64) {
	d.view(func(tx *bbolt.Tx) error {
		head, err := ledger.GetHead(tx)
		n = head.Seq
		return err
	})
	return n
}

func (d desk) offers() (list []proposal.Offer) {
	d.view(func(tx *bbolt.Tx) (err error) {
		list, err = proposal.Waiting(tx)
		return err
	})
	return list
}

// TestOnce: the same request is one proposal and one entry, another one under its
// reference is refused, and so is any once it cannot be told whether it is the same.
func TestOnce(t *testing.T) {
	d := newDesk(t)
	p := one("caixa/1", 15000)
	made, fresh, err := d.make(1, p, whom)
	if err != nil || !fresh || made.State != proposal.Queued || made.Proposal != p || made.At.Seq != 1 || !made.Made.Equal(start.Add(time.Minute)) {
		t.Fatalf("made %+v, %v, %v", made, fresh, err)
	}
	resealed := p
	resealed.Sealed, resealed.By, resealed.Source = proposal.SealedHash([]byte("sealed again")), "eva", "api:pdv"
	if again, fresh, err := d.make(2, resealed, whom); err != nil || fresh || again != made {
		t.Errorf("again: %+v, %v, %v", again, fresh, err)
	}
	other := whom
	other.Key = "52998224725"
	words := whom
	words.Description = "outro"
	for name, try := range map[string]struct {
		p    proposal.Proposal
		whom proposal.Details
	}{
		"another amount": {one("caixa/1", 15001), whom}, "another key": {p, other}, "another text": {p, words},
	} {
		if _, _, err := d.make(3, try.p, try.whom); !errors.Is(err, proposal.ErrReference) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := d.entries(); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	if offers := d.offers(); len(offers) != 1 || !bytes.Equal(offers[0].Sealed, sealed) || offers[0].At != made.At {
		t.Errorf("offers %+v", offers)
	}
	// What waits for the hub is not purged.
	purge := func() (n int) {
		t.Helper()
		err := d.Commit(t.Context(), store.Op{Name: "test", Do: func(tx *bbolt.Tx) (err error) {
			n, err = ledger.PurgePrivate(tx, start.Add(proposal.Keep), 10, func(subject string) bool { return proposal.Holds(tx, subject) })
			return err
		}})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := purge(); n != 0 {
		t.Errorf("purged %d of what the hub does not have", n)
	}
	if _, w, err := d.say(4, proposal.Said{ID: p.ID, State: proposal.Received, Amount: 15000}); err != nil || w != proposal.News {
		t.Fatal(w, err)
	}
	if offers := d.offers(); len(offers) != 0 {
		t.Errorf("the hub has it, and it is offered: %+v", offers)
	}
	if n := purge(); n != 1 {
		t.Errorf("purged %d, want the keyed hash", n)
	}
	if _, _, err := d.make(5, p, whom); !errors.Is(err, proposal.ErrReference) {
		t.Errorf("after its erasure: %v", err)
	}
}

// TestNothingPersonal: neither key nor text is anywhere in the file, and what is sealed is
// gone once the hub has it.
func TestNothingPersonal(t *testing.T) {
	d := newDesk(t)
	secret := proposal.Details{Key: "canary@example.com", Description: "canary of the text"}
	if _, _, err := d.make(1, one("caixa/1", 1), secret); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.say(2, proposal.Said{ID: proposal.IDOf(device, "caixa/1"), State: proposal.Received, Amount: 1}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, canary := range []string{"canary@example.com", "canary of the text"} {
		if bytes.Contains(raw, []byte(canary)) {
			t.Errorf("the store has %q", canary)
		}
	}
	for _, print := range []string{fmt.Sprint(secret), fmt.Sprintf("%+v %#v", secret, secret)} {
		if strings.Contains(print, "canary@") {
			t.Errorf("it prints as %s", print)
		}
	}
}

// TestSay: what the hub says is recorded once; what contradicts it changes nothing but
// that a person is to look.
func TestSay(t *testing.T) {
	d := newDesk(t)
	id := proposal.IDOf(device, "caixa/1")
	if _, _, err := d.make(1, one("caixa/1", 100), whom); err != nil {
		t.Fatal(err)
	}
	said := func(s payout.State) proposal.Said { return proposal.Said{ID: id, State: s, Amount: 100} }
	for i, step := range []struct {
		said  proposal.Said
		want  proposal.Word
		state payout.State
	}{
		{said(proposal.Received), proposal.News, proposal.Received},
		{said(proposal.Received), proposal.Known, proposal.Received},
		{said(payout.Proposed), proposal.News, payout.Proposed},
		{proposal.Said{ID: id, State: payout.Settled, Amount: 101}, proposal.Contradiction, payout.Proposed},
		{proposal.Said{ID: id, State: payout.Settled, Amount: 101}, proposal.Contradiction, payout.Proposed}, // recorded once
		{said(payout.Approved), proposal.News, payout.Approved},
		{said(payout.Proposed), proposal.News, payout.Proposed}, // the approval lapsed
		{said(payout.Unknown), proposal.News, payout.Unknown},
		{proposal.Said{ID: id, State: payout.Settled, Amount: 100, Sent: "E1"}, proposal.News, payout.Settled},
		{said(proposal.Forgotten), proposal.Known, payout.Settled},
		{said(payout.Failed), proposal.Contradiction, payout.Settled},
		{said(payout.Returned), proposal.News, payout.Returned},
	} {
		before := d.entries()
		r, w, err := d.say(uint64(i+2), step.said)
		if err != nil || w != step.want || r.State != step.state {
			t.Errorf("step %d, %s: %+v, word %d, %v; want word %d, state %s", i, step.said.State, r, w, err, step.want, step.state)
		}
		recorded := d.entries() - before
		if want := w == proposal.News || w == proposal.Contradiction && i != 4; recorded != map[bool]uint64{true: 1}[want] {
			t.Errorf("step %d: %d entries", i, recorded)
		}
	}
	d.view(func(tx *bbolt.Tx) error {
		open, err := proposal.List(tx, false)
		if len(open) != 1 || open[0].Odd == "" {
			t.Errorf("it was contradicted, and is not listed: %+v", open)
		}
		return err
	})
	if _, _, err := d.say(99, proposal.Said{ID: proposal.IDOf(device, "x"), State: payout.Settled, Amount: 1}); !errors.Is(err, proposal.ErrNotFound) {
		t.Errorf("of another's: %v", err)
	}
}

func TestBounded(t *testing.T) {
	d := newDesk(t)
	for n := range proposal.MaxOpen {
		if _, _, err := d.make(uint64(n), one(fmt.Sprint("n/", n), 1), whom); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := d.make(100, one("more", 1), whom); !errors.Is(err, proposal.ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	if _, _, err := d.say(101, proposal.Said{ID: proposal.IDOf(device, "n/0"), State: proposal.Refused, Amount: 1, Reason: "limit"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.make(102, one("more", 1), whom); err != nil {
		t.Errorf("when one was refused: %v", err)
	}
}

func TestCheck(t *testing.T) {
	good := one("caixa/1", 1)
	back := proposal.Proposal{
		ID: proposal.IDOf(device, "volta/1"), Kind: payout.Refund, Reference: "volta/1", Merchant: "loja", Amount: 1, Source: "api:pdv", By: "Dora S.",
		Charge: "T001XXXXXXXXXXXXXXXXXXXXX", EndToEnd: "E1234567820260701120012345678901", Provider: "banco",
	}
	for _, p := range []proposal.Proposal{good, back} {
		if err := p.Check(device); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
		if err := p.Check("another"); err == nil {
			t.Errorf("%+v is taken for another device's", p)
		}
	}
	named := func(reference string) proposal.Proposal { return one(reference, 1) }
	change := func(p proposal.Proposal, f func(*proposal.Proposal)) proposal.Proposal { f(&p); return p }
	for name, p := range map[string]proposal.Proposal{
		"a CPF as reference":   named("12345678909"),
		"a CNPJ as reference":  named("11222333000181"),
		"a mail as reference":  named("a@b.co"),
		"a phone as reference": named("+5511987654321"),
		"no reference":         named(""),
		"a long reference":     named(strings.Repeat("a", 65)),
		"nothing":              change(good, func(p *proposal.Proposal) { p.Amount = 0 }),
		"no merchant":          change(good, func(p *proposal.Proposal) { p.Merchant = "" }),
		"a CPF as name":        change(good, func(p *proposal.Proposal) { p.By = "529.982.247-25" }),
		"nobody":               change(good, func(p *proposal.Proposal) { p.By = "" }),
		"nothing sealed":       change(good, func(p *proposal.Proposal) { p.Sealed = "" }),
		"a payout of a charge": change(good, func(p *proposal.Proposal) { p.Charge = back.Charge }),
		"no charge":            change(back, func(p *proposal.Proposal) { p.Charge = "" }),
		"no payment":           change(back, func(p *proposal.Proposal) { p.EndToEnd = "" }),
		"a sealed refund":      change(back, func(p *proposal.Proposal) { p.Sealed = good.Sealed }),
		"unknown":              change(back, func(p *proposal.Proposal) { p.Kind = "gift" }),
	} {
		if err := p.Check(device); !errors.Is(err, proposal.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if proposal.IDOf("a", "b") == proposal.IDOf("a", "c") || proposal.IDOf("a", "b") == proposal.IDOf("b", "b") {
		t.Error("ids are not of device and reference")
	}
}

func TestDetails(t *testing.T) {
	size := 0
	for _, d := range []proposal.Details{
		whom, {Key: "a@b.co"}, {Key: "123e4567-e89b-42d3-a456-426614174000", Description: "São João €"},
	} {
		plain, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if size != 0 && len(plain) != size {
			t.Errorf("%d bytes, and another has %d: the length tells what it is", len(plain), size)
		}
		size = len(plain)
		got, err := proposal.DecodeDetails(plain)
		if err != nil || got != d {
			t.Errorf("%v, want %v (%v)", got, d, err)
		}
		plain[len(plain)-1] = 1
		if _, err := proposal.DecodeDetails(plain); err == nil {
			t.Error("something lies behind the text, and nobody minds")
		}
	}
	for name, d := range map[string]proposal.Details{
		"no key": {}, "no PIX key": {Key: "12345678900"}, "a line": {Key: "a@b.co", Description: "a\nb"}, "a long text": {Key: "a@b.co", Description: whom.Description + "é"},
	} {
		if name == "a long text" {
			d.Description = d.Description[:0]
			for range 128 {
				d.Description += "é"
			}
		}
		_, err := d.Encode()
		if !errors.Is(err, proposal.ErrInvalid) || d.Key != "" && strings.Contains(err.Error(), d.Key.Reveal()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecodeDetails: what is taken is in its one form.
func FuzzDecodeDetails(f *testing.F) {
	for _, d := range []proposal.Details{whom, {Key: "a@b.co"}} {
		plain, err := d.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain)
		f.Add(plain[:len(plain)-1])
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		d, err := proposal.DecodeDetails(plain)
		if err != nil {
			return
		}
		if again, err := d.Encode(); err != nil || !bytes.Equal(again, plain) {
			t.Fatalf("%x became %x (%v)", plain, again, err)
		}
	})
}

// FuzzDecode: what the hub takes of an entry is what a terminal could have recorded.
func FuzzDecode(f *testing.F) {
	for _, p := range []proposal.Proposal{one("caixa/1", 1)} {
		f.Add(fmt.Appendf(nil, `{"proposal":%q,"kind":"payout","reference":"caixa/1","merchant":"loja","amount":1,"sealed":%q,"source":"control","by":"dora"}`, p.ID, p.Sealed))
	}
	f.Add([]byte(`{"proposal":"x"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := proposal.Decode(device, data)
		if err != nil {
			if !errors.Is(err, proposal.ErrInvalid) || p != (proposal.Proposal{}) {
				t.Fatalf("%+v, %v", p, err)
			}
			return
		}
		if p.Check(device) != nil || p.ID != proposal.IDOf(device, p.Reference) || p.Amount <= 0 {
			t.Fatalf("%q became %+v", data, p)
		}
	})
}
