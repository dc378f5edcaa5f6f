package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/terminal"
)

// entries is how long the ledger of a terminal is that was not synchronised for
// a long time.
const entries = 100_000

// filled makes a data directory with that many entries once.
func (e *env) filled(ctx context.Context) (string, error) {
	if e.ledger != "" {
		return e.ledger, nil
	}
	dir := filepath.Join(e.dir, "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	if _, err := device.CreateIdentity(dir); err != nil {
		return "", err
	}
	o := store.Options{Path: filepath.Join(dir, "store.db"), Migrations: terminal.Migrations()}
	if err := store.Create(ctx, o); err != nil {
		return "", err
	}
	st, err := store.Open(o)
	if err != nil {
		return "", err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- st.Run(ctx) }()
	err = fill(ctx, st, e.count(entries, entries/10))
	stop()
	if err := errors.Join(err, <-ended, st.Close()); err != nil {
		return "", err
	}
	e.ledger = dir
	return dir, nil
}

// fill records the entries of charges that were paid and printed, as the
// terminal records them, seven for a charge.
func fill(ctx context.Context, st *store.Store, n int) error {
	ids, err := pix.NewTxIDs("B001")
	if err != nil {
		return err
	}
	wall := time.Date(2026, 1, 2, 8, 0, 0, 0, time.UTC)
	for have := 0; have < n; {
		err := st.Commit(ctx, store.Op{Name: "fill", New: true, Do: func(tx *bbolt.Tx) error {
			for range 50 {
				wall = wall.Add(time.Minute)
				added, err := appendCharge(tx, charge.ID(ids.Next(wall)), wall)
				if err != nil {
					return err
				}
				have += added
			}
			return nil
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// slipData is what the terminal says about slips.
type slipData struct {
	NSU    uint64    `json:"nsu"`
	Slip   string    `json:"slip"`
	Charge charge.ID `json:"charge"`
	Copy   int       `json:"copy"`
	Tier   string    `json:"tier,omitempty"`
}

func appendCharge(tx *bbolt.Tx, id charge.ID, wall time.Time) (int, error) {
	const account = "06919b2b-4274-457a-84b0-4cf4de1405fb"
	sum := sha256.Sum256([]byte(id))
	digest := hex.EncodeToString(sum[:])
	provider := fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
	evidence := charge.Evidence{
		Source: "provider", Route: "ssg", Account: account, Attempt: 1, ProviderID: provider, Word: "PAGO", Digest: digest,
	}
	amount := money.Amount(1000 + int(sum[0])*37)
	facts := []charge.Fact{
		charge.CreatedFact{
			Charge: id, Merchant: "loja", Route: "ssg", Account: account, Amount: amount, Expiry: 300, Source: "keypad", Present: true,
		},
		charge.AttemptFact{Charge: id, N: 1, State: charge.Accepted, ProviderID: provider, CodeHash: digest, Digest: digest},
		charge.PaidFact{Charge: id, Attempt: 1, Amount: amount, Evidence: evidence},
	}
	var drafts []ledger.Draft
	for _, f := range facts {
		d := ledger.Draft{Op: f.Op(), Kind: f.Kind(), Actor: "terminal", Postings: charge.Postings(f), Data: f}
		if p := f.Proof(); p != nil {
			d.Evidence = p
		}
		drafts = append(drafts, d)
	}
	for _, kind := range []string{"qr", "receipt"} {
		nsu, err := ledger.NextNSU(tx)
		if err != nil {
			return 0, err
		}
		for what, tier := range map[string]string{"issued": "", "printed": "A"} {
			drafts = append(drafts, ledger.Draft{
				Op: fmt.Sprintf("slip/%d/1/%s", nsu, what), Kind: "slip." + what, Actor: "terminal",
				Data: slipData{NSU: nsu, Slip: kind, Charge: id, Copy: 1, Tier: tier},
			})
		}
	}
	at := ledger.Stamp{Wall: wall, Boot: stamp.Boot, Up: time.Since(stamp.Wall.Add(-time.Hour)).Abs(), Quality: ledger.Synced}
	for _, d := range drafts {
		if _, err := ledger.Append(tx, at, d); err != nil {
			return 0, err
		}
	}
	return len(drafts), nil
}
