package hub

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
)

// ErrBroken: the store contradicts itself about a device; the text says where.
var ErrBroken = errors.New("the hub's copy is broken")

// Report is what Verify found in order.
type Report struct {
	Device  string                          `json:"device"`
	State   string                          `json:"state"`
	Entries uint64                          `json:"entries"`
	Bytes   int64                           `json:"bytes"`
	Head    ledger.Head                     `json:"head"`
	Signed  ledger.Position                 `json:"signed"` // newest that the device signed
	Epochs  int                             `json:"epochs"`
	Gaps    int                             `json:"gaps"` // holes that an operator let pass
	Aside   uint64                          `json:"aside"`
	Poison  int                             `json:"poison"`
	Sums    map[ledger.Account]money.Amount `json:"sums"`
}

// Verify checks everything the store holds of a device, from the store alone:
// each chain from its first entry (hashes, numbers, what each entry says of the
// one before, its row in the index of operations), the heads, that the
// checkpoints are signed by the device and are on the chain, what is in
// quarantine, and that what is known about payments stands in the entries. The
// first fault ends it with [ErrBroken].
func Verify(tx Tx, device string) (Report, error) {
	r := Report{Device: device, Sums: make(map[ledger.Account]money.Amount)}
	d, err := GetDevice(tx, device)
	if err != nil {
		return r, err
	}
	r.State = d.State()
	v := verifier{tx: tx, device: d, report: &r, poison: make(map[ledger.Position]bool)}
	if err := v.run(); err != nil {
		return r, fmt.Errorf("device %s: %w", device, err)
	}
	return r, nil
}

type verifier struct {
	tx     Tx
	device Device
	report *Report
	poison map[ledger.Position]bool
}

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrBroken, fmt.Errorf(format, args...))
}

func (v *verifier) run() error {
	quarantine, err := Quarantine(v.tx, v.device.Name)
	if err != nil {
		return err
	}
	for _, q := range quarantine {
		if q.Hash == nil {
			v.poison[q.At] = true
			v.report.Poison++
		}
	}
	chains, err := Chains(v.tx, v.device.Name)
	if err != nil {
		return err
	}
	next := ledger.Position{}
	for _, c := range chains {
		// Nothing lies between the chains.
		if err := v.none(next, ledger.Position{Epoch: c.Epoch}); err != nil {
			return err
		}
		if err := v.chain(c); err != nil {
			return fmt.Errorf("epoch %d: %w", c.Epoch, err)
		}
		next = ledger.Position{Epoch: c.Epoch + 1}
	}
	if err := v.none(next, ledger.Position{Epoch: ^uint64(0), Seq: ^uint64(0)}); err != nil {
		return err
	}
	for at := range v.poison {
		return broken("quarantined entry %v is not in the chain", at)
	}
	return errors.Join(v.checkpoints(chains), v.payments())
}

// none checks that there is no entry from one position up to another.
func (v *verifier) none(from, to ledger.Position) error {
	for e, err := range v.tx.Entries(v.device.Name, from) {
		if err != nil {
			return err
		}
		if e.Before(to) {
			return broken("entry %v belongs to no chain", e.Position)
		}
		return nil
	}
	return nil
}

func (v *verifier) chain(c Chain) error {
	last := c.Start
	gaps := c.Gaps
	var count uint64
	var size int64
	for e, err := range v.tx.Entries(v.device.Name, ledger.Position{Epoch: c.Epoch}) {
		if err != nil {
			return err
		}
		if e.Epoch != c.Epoch {
			break
		}
		if len(gaps) > 0 && e.Seq == gaps[0].Resume.Seq+1 {
			if gaps[0].After != last {
				return broken("the gap after %v does not begin at %v", gaps[0].After.Position, last.Position)
			}
			last = gaps[0].Resume
			gaps = gaps[1:]
		}
		if err := v.entry(last, e); err != nil {
			return fmt.Errorf("entry %v: %w", e.Position, err)
		}
		last = ledger.Head{Position: e.Position, Hash: e.Hash}
		count++
		size += int64(len(e.Bytes))
	}
	switch {
	case len(gaps) > 0 && gaps[0].Resume == c.Head && len(gaps) == 1:
		last = gaps[0].Resume
	case len(gaps) > 0:
		return broken("there is no gap after %v", gaps[0].After.Position)
	}
	if last != c.Head || count != c.Entries || size != c.Bytes {
		return broken("it ends at %v %v with %d entries of %d bytes, and should at %v %v with %d of %d", last.Position, last.Hash, count, size, c.Head.Position, c.Head.Hash, c.Entries, c.Bytes)
	}
	if c.Head.Position.Before(c.Signed) {
		return broken("it is signed up to %v and ends at %v", c.Signed, c.Head.Position)
	}
	for _, branch := range c.Aside {
		n, err := v.aside(branch)
		if err != nil {
			return err
		}
		v.report.Aside += n
	}
	r := v.report
	r.Entries += count
	r.Bytes += size
	r.Epochs++
	r.Gaps += len(c.Gaps)
	r.Head = c.Head
	if r.Signed.Before(c.Signed) {
		r.Signed = c.Signed
	}
	return nil
}

func (v *verifier) entry(last ledger.Head, e Entry) error {
	if e.Seq != last.Seq+1 {
		return broken("it follows %v", last.Position)
	}
	if ledger.HashOf(e.Bytes) != e.Hash {
		return broken("its bytes do not have the hash that is kept beside them")
	}
	if prev, ok := prevOf(e.Bytes, e.Position); ok && prev != last.Hash {
		return broken("it names %v as the hash of %v, which is %v", prev, last.Position, last.Hash)
	}
	c := candidate{Entry: e}
	c.read()
	if poison := v.poison[e.Position]; poison != (c.poison != "") {
		return broken("quarantined: %v, but %q", poison, c.poison)
	}
	delete(v.poison, e.Position)
	if c.Op == "" {
		return nil
	}
	switch first, err := v.tx.Op(v.device.Name, c.Op); {
	case err != nil:
		return broken("operation %s: %w", c.Op, err)
	case first.At == e.Position && first.Digest != c.Digest, e.Before(first.At):
		return broken("the index has another operation %s at %v", c.Op, first.At)
	}
	decoded, err := ledger.Decode(e.Bytes)
	if err != nil {
		return nil // its payment cannot be read, the entry can
	}
	if decoded.Position() != e.Position {
		return broken("it says it is %v", decoded.Position())
	}
	for _, p := range decoded.Postings {
		sum, err := v.report.Sums[p.Account].Add(p.Amount)
		if err != nil {
			return broken("sum of %s: %w", p.Account, err)
		}
		v.report.Sums[p.Account] = sum
	}
	return nil
}

// aside checks a branch that was set aside.
func (v *verifier) aside(branch string) (n uint64, err error) {
	var last ledger.Head
	for e, err := range v.tx.Aside(v.device.Name, branch) {
		if err != nil {
			return n, err
		}
		if ledger.HashOf(e.Bytes) != e.Hash {
			return n, broken("branch %s: entry %v does not have its hash", branch, e.Position)
		}
		if prev, ok := prevOf(e.Bytes, e.Position); ok && n > 0 && last.Seq+1 == e.Seq && prev != last.Hash {
			return n, broken("branch %s: entry %v does not follow %v", branch, e.Position, last.Position)
		}
		last = ledger.Head{Position: e.Position, Hash: e.Hash}
		n++
	}
	if n == 0 {
		return 0, broken("branch %s is empty", branch)
	}
	return n, nil
}

func (v *verifier) checkpoints(chains []Chain) error {
	newest := make(map[uint64]ledger.Position)
	for s, err := range scan[ledger.Signed](v.tx, KindCheckpoint, v.device.Name+"/") {
		if err != nil {
			return err
		}
		c, err := s.Check(v.device.Key)
		if err != nil {
			return broken("a checkpoint: %w", err)
		}
		if c.Device != v.device.Name {
			return broken("a checkpoint of %s", c.Device)
		}
		e, err := v.tx.Entry(v.device.Name, c.Head.Position)
		if err != nil {
			return broken("checkpoint %v: %w", c.Head.Position, err)
		}
		if e.Hash != c.Head.Hash {
			return broken("the device signed %v for %v, which is %v", c.Head.Hash, c.Head.Position, e.Hash)
		}
		if newest[c.Head.Epoch].Before(c.Head.Position) {
			newest[c.Head.Epoch] = c.Head.Position
		}
	}
	for _, c := range chains {
		if c.Signed.Seq != newest[c.Epoch].Seq {
			return broken("epoch %d is signed up to %v, its newest checkpoint is %v", c.Epoch, c.Signed, newest[c.Epoch])
		}
	}
	return nil
}

func (v *verifier) payments() error {
	for p, err := range scan[Payment](v.tx, KindPayment, v.device.Name+"/") {
		if err != nil {
			return err
		}
		if p.Entry == nil || p.Proved {
			continue
		}
		e, err := v.tx.Entry(v.device.Name, *p.Entry)
		if err != nil {
			return broken("payment of charge %s: %w", p.Pay.Charge, err)
		}
		c := candidate{Entry: e}
		if c.read(); c.pay == nil || c.pay.Charge != p.Pay.Charge || !p.Told && c.pay.Cents != p.Pay.Cents {
			doc, _ := json.Marshal(p.Pay)
			return broken("entry %v does not say %s", e.Position, doc)
		}
	}
	return nil
}
