package payouts

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/proposal"
)

// kiosks are the devices of a test: what they are told, and what they have proposed.
type kiosks struct {
	disk *disk

	mu   sync.Mutex // guards what follows
	told []wire.Payout
	err  error
	fail int // so many times
}

func (k *kiosks) Proposed() <-chan struct{} { return nil }

func (k *kiosks) Payout(_ context.Context, device string, p wire.Payout) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail > 0 {
		k.fail--
		return k.err
	}
	if p.Aud = device; !slices.Contains(wire.PayoutStates(), p.State) {
		return errors.New("unknown state " + p.State)
	}
	k.told = append(k.told, p)
	return nil
}

// states are what a device was told of a proposal.
func (k *kiosks) states(id payout.ID) (list []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.told {
		if p.Payout == string(id) {
			list = append(list, strings.TrimSpace(p.State+" "+p.Reason))
		}
	}
	return list
}

func (k *kiosks) put(t testing.TB, kind hub.Kind, key string, v any) {
	t.Helper()
	doc, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	k.disk.rows[string(kind)+" "+key] = doc
}

// ready puts a proposal there as the hub leaves it: its entries signed, its details here.
func (k *kiosks) ready(t testing.TB, device, reference string, amount money.Amount, change func(*hub.Proposal)) payout.ID {
	t.Helper()
	p := hub.Proposal{Device: device, State: hub.Ready, Entry: ledger.Position{Epoch: 1, Seq: uint64(len(k.disk.entries) + 1)}, Known: &ledger.Position{Epoch: 1, Seq: 900}}
	p.Proposal = proposal.Proposal{
		ID: proposal.IDOf(device, reference), Kind: payout.ToKey, Reference: reference, Merchant: "loja", Amount: amount, Source: "control", By: "dora",
	}
	p.Hash = ledger.HashOf([]byte(p.ID))
	if change != nil {
		change(&p)
	}
	k.disk.entries = append(k.disk.entries, hub.Entry{Position: p.Entry, Hash: ledger.HashOf([]byte(p.ID)), Bytes: []byte(`{}`)})
	k.put(t, hub.KindDevice, device, hub.Device{Name: device, Tenant: "acme", Site: "lobby"})
	k.put(t, hub.KindChain, device+"/0000000000000001", hub.Chain{Epoch: 1, Signed: ledger.Position{Epoch: 1, Seq: 999}})
	if p.Kind == payout.ToKey && p.Box == nil {
		plain, err := proposal.Details{Key: personalKey, Description: "troco"}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		p.Box = seal(t, keyOf("hub"), proposal.Context(device, p.Proposal), plain)
	}
	k.put(t, hub.KindProposal, device+"/"+string(p.ID), p)
	k.put(t, hub.KindReady, device+"/"+string(p.ID), true)
	return p.ID
}

func seal(t testing.TB, key ed25519.PrivateKey, context string, text []byte) []byte {
	t.Helper()
	keys, err := wire.NewKeys(key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := keys.Seal(context, text)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func terminalAccount() Route {
	r := bankAccount()
	r.Terminals = &Terminals{Tenant: "acme", PerPayout: 5000, PerDay: 8000}
	return r
}

func (k *kiosks) open(t testing.TB, mark string, routes ...Route) *Book {
	t.Helper()
	b, err := Open(t.Context(), Options{
		Store: &process{disk: k.disk}, Routes: routes, Operators: operators("ana", "bia", "caio"), Mark: mark, Devices: k,
		Unseal: func(context string, sealed []byte) ([]byte, error) {
			return wire.OpenSealed([]ed25519.PrivateKey{keyOf("hub")}, context, sealed)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// turn is what the goroutine for terminals does when it is woken.
func (b *Book) turn(t testing.TB) {
	t.Helper()
	if err := errors.Join(b.takeAll(t.Context()), b.tellAll(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func (k *kiosks) get(t testing.TB, id payout.ID) Record {
	t.Helper()
	r, err := Get(&memoryTx{rows: k.disk.rows}, id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestTerminalProposes: a proposal becomes one payout, which two people must approve, the
// approvers see who proposed it, and the terminal is told each state.
func TestTerminalProposes(t *testing.T) {
	k := &kiosks{disk: &disk{rows: map[string][]byte{}}}
	b := k.open(t, "", terminalAccount())
	id := k.ready(t, "kiosk-1", "caixa/1", 4000, nil)
	b.turn(t)
	r := k.get(t, id)
	if r.State != payout.Proposed || r.Approvers != 2 || r.By != "kiosk-1/control/dora" || r.Device != "kiosk-1" || r.Route != "conta" || r.Merchant != "loja" ||
		r.Proposal == nil || r.Proposal.Reference != "caixa/1" || r.Proposal.Entry.Seq != 1 {
		t.Fatalf("got %+v", r)
	}
	d, err := Details(&memoryTx{rows: k.disk.rows}, id)
	if err != nil || d.Key != personalKey || d.Description != "troco" {
		t.Errorf("details %v, %v", d, err)
	}
	// The same once more, whatever is left of it in the store, is no other payout.
	k.ready(t, "kiosk-1", "caixa/1", 4000, nil)
	b.turn(t)
	if again := k.get(t, id); again.Digest != r.Digest {
		t.Errorf("a second payout: %+v", again)
	}
	approve := Statement{Do: Approve, Payout: id, Digest: r.Digest}
	if got := b.must(t, sign(t, "ana", approve)); got.State != payout.Proposed {
		t.Errorf("one person was enough: %s", got.State)
	}
	if _, err := b.Do(t.Context(), sign(t, "ana", approve)); err == nil {
		t.Errorf("one person approves twice: %v", err)
	}
	if got := b.must(t, sign(t, "bia", approve)); got.State != payout.Approved {
		t.Errorf("after two: %s", got.State)
	}
	b.turn(t)
	b.must(t, sign(t, "caio", Statement{Do: Reject, Payout: id, Reason: "not today"}))
	k.fail, k.err = 1, hub.ErrBusy // it cannot be told now, and is told later
	b.turn(t)
	b.turn(t)
	b.turn(t)
	if got := k.states(id); !slices.Equal(got, []string{"awaiting_approval", "approved", "rejected not today"}) {
		t.Errorf("told %q", got)
	}
	if _, err := verify(k.disk); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Entry){
		"another terminal": func(e *Entry) { e.Device = "kiosk-2" }, "nobody": func(e *Entry) { e.Proposal = nil },
	} {
		rows := maps.Clone(k.disk.rows)
		rebuild(t, rows, func(e *Entry) {
			if e.Kind == (payout.ProposedFact{}).Kind() {
				change(e)
			}
		})
		if _, err := verify(&disk{rows: rows}); err == nil {
			t.Errorf("proposed by %s, and nothing was found", name)
		}
	}
	for key, doc := range k.disk.rows {
		if strings.HasPrefix(key, string(hub.KindProposal)) && strings.Contains(string(doc), `"box"`) {
			t.Errorf("what was sealed is kept: %s", doc)
		}
	}
}

// TestTerminalLimits: what a terminal may not propose is refused at once, in a word.
func TestTerminalLimits(t *testing.T) {
	k := &kiosks{disk: &disk{rows: map[string][]byte{}}}
	elsewhere := terminalAccount()
	elsewhere.Name, elsewhere.Terminals = "outra", nil
	b := k.open(t, "", terminalAccount(), elsewhere)
	n := 0
	try := func(device string, amount money.Amount, want string, change func(*hub.Proposal)) {
		t.Helper()
		n++
		id := k.ready(t, device, fmt.Sprint("caixa/", n), amount, change)
		b.turn(t)
		if got := k.states(id); !slices.Equal(got, []string{want}) {
			t.Errorf("%s, R$ %s: told %q, want %q", device, amount, got, want)
		}
		if _, err := Get(&memoryTx{rows: k.disk.rows}, id); (err == nil) != (want == "awaiting_approval") {
			t.Errorf("%s, R$ %s: %v", device, amount, err)
		}
	}
	try("kiosk-1", 5001, "refused limit", nil)
	try("kiosk-1", 5000, "awaiting_approval", nil)
	try("kiosk-1", 3001, "refused day", nil)
	try("kiosk-1", 3000, "awaiting_approval", nil)
	try("kiosk-1", 1, "refused day", nil)
	try("kiosk-2", 5000, "awaiting_approval", nil) // each terminal has its own day
	try("kiosk-1", 1, "refused account", func(p *hub.Proposal) { p.Merchant = "outra-loja" })
	try("kiosk-3", 1, "refused sealed", func(p *hub.Proposal) { p.Box = []byte("nothing of ours") })
	try("kiosk-3", 1, "refused sealed", func(p *hub.Proposal) { // of another proposal
		plain, err := proposal.Details{Key: personalKey}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		p.Box = seal(t, keyOf("hub"), proposal.Context("kiosk-3", one(p, 2)), plain)
	})
	try("kiosk-3", 1, "refused sealed", func(p *hub.Proposal) { // for another hub
		plain, err := proposal.Details{Key: personalKey}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		p.Box = seal(t, keyOf("eva"), proposal.Context("kiosk-3", p.Proposal), plain)
	})
	try("kiosk-3", 1, "refused invalid", func(p *hub.Proposal) {
		p.Box = seal(t, keyOf("hub"), proposal.Context("kiosk-3", p.Proposal), []byte("no details"))
	})
	try("kiosk-3", 1, "refused payment", func(p *hub.Proposal) {
		p.Kind, p.Charge, p.EndToEnd, p.Provider = payout.Refund, "T001XXXXXXXXXXXXXXXXXXXXX", "E"+strings.Repeat("1", 31), "banco"
	})
	for range maxOpenProposals {
		try("kiosk-4", 1, "awaiting_approval", nil)
	}
	try("kiosk-4", 1, "refused many", nil)

	// One that is revoked is not heard.
	id := k.ready(t, "kiosk-5", "caixa/1", 1, nil)
	k.put(t, hub.KindDevice, "kiosk-5", hub.Device{Name: "kiosk-5", Tenant: "acme", Fork: &hub.Fork{}})
	b.turn(t)
	if got := k.states(id); got != nil {
		t.Errorf("a forked terminal was told %q", got)
	}
	other := k.ready(t, "kiosk-6", "caixa/1", 1, nil)
	k.put(t, hub.KindDevice, "kiosk-6", hub.Device{Name: "kiosk-6", Tenant: "globex"})
	b.turn(t)
	if got := k.states(other); !slices.Equal(got, []string{"refused account"}) {
		t.Errorf("another tenant's terminal was told %q", got)
	}
	if _, err := verify(k.disk); err != nil {
		t.Error(err)
	}
}

// TestProposalWithoutKeys: while the hub's keys cannot be read, as in the middle of a
// rotation, a proposal waits, and is not refused for good.
func TestProposalWithoutKeys(t *testing.T) {
	k := &kiosks{disk: &disk{rows: map[string][]byte{}}}
	b := k.open(t, "", terminalAccount())
	id := k.ready(t, "kiosk-1", "caixa/1", 100, nil)
	unseal := b.unseal
	b.unseal = func(string, []byte) ([]byte, error) { return nil, fs.ErrPermission }
	b.turn(t)
	if got := k.states(id); got != nil {
		t.Errorf("told %q", got)
	}
	b.unseal = unseal
	b.turn(t)
	if got := k.states(id); !slices.Equal(got, []string{"awaiting_approval"}) {
		t.Errorf("told %q", got)
	}
}

// TestApproveOfAStolenTerminal: what a terminal proposed before it was revoked, or forked,
// cannot be approved after that, and can be rejected.
func TestApproveOfAStolenTerminal(t *testing.T) {
	k := &kiosks{disk: &disk{rows: map[string][]byte{}}}
	b := k.open(t, "", terminalAccount())
	id := k.ready(t, "kiosk-1", "caixa/1", 100, nil)
	b.turn(t)
	approve := Statement{Do: Approve, Payout: id, Digest: k.get(t, id).Digest}
	b.must(t, sign(t, "ana", approve))
	for says, device := range map[string]hub.Device{"is revoked": {Revoked: time.Now()}, "is forked": {Fork: &hub.Fork{}}} {
		device.Name, device.Tenant = "kiosk-1", "acme"
		k.put(t, hub.KindDevice, device.Name, device)
		if _, err := b.Do(t.Context(), sign(t, "bia", approve)); !errors.Is(err, payout.ErrIntent) || !strings.Contains(err.Error(), says) {
			t.Errorf("approved although it %s: %v", says, err)
		}
	}
	if r := b.must(t, sign(t, "bia", Statement{Do: Reject, Payout: id, Reason: "stolen"})); r.State != payout.Rejected {
		t.Errorf("it is %s", r.State)
	}
}

// one is a proposal of another amount.
func one(p *hub.Proposal, amount money.Amount) proposal.Proposal {
	other := p.Proposal
	other.Amount = amount
	return other
}

// TestProposalsOfARestoredBook: what waited in a backup, and may have been paid since, is
// forgotten, and the terminal is told so. Without the mark it would be offered again.
func TestProposalsOfARestoredBook(t *testing.T) {
	for name, marked := range map[string]bool{"with the mark": true, "without it": false} {
		t.Run(name, func(t *testing.T) {
			k := &kiosks{disk: &disk{rows: map[string][]byte{}}}
			mark := filepath.Join(t.TempDir(), "payouts.mark")
			first := k.open(t, mark, terminalAccount())
			taken := k.ready(t, "kiosk-1", "caixa/1", 100, nil)
			first.turn(t)
			waits := k.ready(t, "kiosk-1", "caixa/2", 100, nil)
			backup := maps.Clone(k.disk.rows)
			first.turn(t)
			if marked { // an order left
				if err := first.marked(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			k.disk.rows, k.told = backup, nil
			b := k.open(t, mark, terminalAccount())
			b.turn(t)
			for _, id := range []payout.ID{taken, waits} {
				got := k.states(id)
				if forgotten := len(got) > 0 && strings.HasPrefix(got[len(got)-1], "forgotten"); forgotten != marked {
					t.Errorf("%s: told %q", id, got)
				}
			}
			if _, err := Get(&memoryTx{rows: k.disk.rows}, waits); (err == nil) == marked {
				t.Errorf("offered again: %v", err)
			}
		})
	}
}

// TestProposalKills: killed before or after any commit, the book makes one payout of a
// proposal, and the terminal learns of it.
func TestProposalKills(t *testing.T) {
	for kill := 0; ; kill++ {
		k := &kiosks{disk: &disk{rows: map[string][]byte{}}}
		id := k.ready(t, "kiosk-1", "caixa/1", 100, nil)
		p := &process{disk: k.disk}
		n, killed := 0, false
		die := func(map[string][]byte) bool {
			n++
			killed = killed || n == kill+1
			return n == kill+1
		}
		p.before, p.after = die, die
		b := k.open(t, "", terminalAccount())
		b.store = p
		err := errors.Join(b.takeAll(t.Context()), b.tellAll(t.Context()))
		if killed != (err != nil) && killed != errors.Is(err, errKilled) {
			t.Fatalf("killed at %d: %v", kill, err)
		}
		b = k.open(t, "", terminalAccount())
		b.turn(t)
		b.turn(t)
		if r := k.get(t, id); r.State != payout.Proposed {
			t.Fatalf("killed at %d: %+v", kill, r)
		}
		if got := k.states(id); len(got) == 0 || got[0] != "awaiting_approval" {
			t.Fatalf("killed at %d: told %q", kill, got)
		}
		if report, err := verify(k.disk); err != nil || report.Payouts != 1 || report.Entries != 1 {
			t.Fatalf("killed at %d: %+v, %v", kill, report, err)
		}
		if !killed {
			if kill < 4 {
				t.Errorf("it died at %d places", kill)
			}
			return
		}
	}
}

// TestProposalsOfARestoredTerminal: a terminal whose ledger became another one is told
// again what became of all that it proposed.
func TestProposalsOfARestoredTerminal(t *testing.T) {
	k := &kiosks{disk: &disk{rows: map[string][]byte{}}}
	b := k.open(t, "", terminalAccount())
	made, refused := k.ready(t, "kiosk-1", "caixa/1", 100, nil), k.ready(t, "kiosk-1", "caixa/2", 5001, nil)
	b.turn(t)
	looked := map[string]string{}
	remind := func() {
		t.Helper()
		k.told = nil
		if err := b.remind(t.Context(), looked); err != nil {
			t.Fatal(err)
		}
		b.turn(t)
	}
	remind() // the book has never looked at this ledger
	remind()
	if len(k.told) != 0 {
		t.Errorf("told without a reason: %+v", k.told)
	}
	k.put(t, hub.KindChain, "kiosk-1/0000000000000002", hub.Chain{Epoch: 2})
	remind()
	if got, want := fmt.Sprint(k.states(made), k.states(refused)), "[awaiting_approval] [refused limit]"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}
