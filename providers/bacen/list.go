package bacen

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/ssg-safe/agent/providers"
)

// kindPix is what [Client.Transactions] calls its rows: the standard has no word.
const kindPix = "pix"

// Words for the state of a received Pix, which the standard does not name either.
const (
	wordReceived  = "RECEBIDO"
	wordGivenBack = "DEVOLVIDO"
)

// errEnough ends a walk whose reader wants no more.
var errEnough = errors.New("enough")

// Transactions lists the Pix that were received, whatever they were for: the id is
// the end-to-end id, the external id the txid, where there is one. Charges that
// nobody paid are no Pix and are not in it. The time that is bounded is that of
// the payment. A Pix that was given back whole is "DEVOLVIDO".
func (c *Client) Transactions(ctx context.Context, q providers.TransactionQuery) iter.Seq2[providers.Transaction, error] {
	return func(yield func(providers.Transaction, error) bool) {
		now := c.cfg.Now()
		if q.From.IsZero() {
			q.From = now.AddDate(0, 0, -1)
		}
		if q.To.IsZero() {
			q.To = now.AddDate(0, 0, 1)
		}
		fail := func(code, detail string) {
			yield(providers.Transaction{}, c.http.Fail(providers.Call{Op: "transactions"}, providers.Invalid, providers.Answer{}, code, detail, nil))
		}
		if q.Kind != "" && q.Kind != kindPix || q.Currency != "" && q.Currency != "BRL" {
			return
		}
		from, to := q.From.UTC().Truncate(time.Second), q.To.UTC().Add(time.Second-1)
		if to.After(now.Add(time.Minute)) { // banks refuse a future that is far away
			to = now.Add(time.Minute).UTC()
		}
		if !from.Before(to) {
			return
		}
		if to.Sub(from) > maxSpan {
			fail("invalid_window", "a list covers at most a year")
			return
		}
		seen := map[string]bool{}
		for _, w := range split(window{from, to}, time.Duration(c.cfg.Profile.MaxWindow)) {
			err := c.walk(ctx, "transactions", "", true, w, func(p page, pay payment) error {
				if seen[pay.endToEnd] || pay.at.Before(q.From) || !pay.at.Before(q.To) {
					return nil
				}
				seen[pay.endToEnd] = true
				t := pay.transaction(p.answer.Digest)
				if q.Word != "" && q.Word != t.Word {
					return nil
				}
				if !yield(t, nil) {
					return errEnough
				}
				return nil
			})
			switch {
			case errors.Is(err, errEnough):
				return
			case err != nil:
				yield(providers.Transaction{}, err)
				return
			}
		}
	}
}

func (p payment) transaction(digest string) providers.Transaction {
	t := providers.Transaction{
		ID: p.endToEnd, ExternalID: p.txid, Kind: kindPix, Status: providers.StatusPaid, Word: wordReceived, Currency: "BRL",
		Amount: p.amount.String(), Cents: &p.amount, Returned: &p.returned, EndToEnd: p.endToEnd, At: p.at, Digest: digest,
	}
	if p.returned >= p.amount {
		t.Status, t.Word = providers.StatusRefunded, wordGivenBack
	}
	return t
}
