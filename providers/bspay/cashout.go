package bspay

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/settings"
	"github.com/ssg-safe/agent/redact"
)

// cashoutRequest is the body of a cashout. Its fields stand in the order of the
// document's own client, whose signature vectors it must reproduce.
type cashoutRequest struct {
	ExternalID  string      `json:"external_id"`
	Amount      json.Number `json:"amount"`
	Currency    string      `json:"currency"`
	Key         string      `json:"key"`
	KeyType     string      `json:"key_type,omitempty"`
	Description string      `json:"description"`
	Network     string      `json:"network,omitempty"`
	Name        string      `json:"name,omitempty"`
	BankCode    string      `json:"bank_code,omitempty"`
}

// keyTypes are the provider's words for types of PIX keys.
var keyTypes = map[pix.KeyType]string{
	pix.KeyCPF: "cpf", pix.KeyCNPJ: "cnpj", pix.KeyEmail: "email", pix.KeyPhone: "phone", pix.KeyRandom: "random",
}

// SubmitPayout sends BRL to a PIX key, signed. The payout's id is the
// external_id, so that the same order is the same payout however often it comes.
// The provider answers before it has paid: the state is as a rule Processing.
func (c *Client) SubmitPayout(ctx context.Context, o payout.Order) (payout.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	key := o.Key().Reveal()
	hide := providers.Hide(redact.Secret(key), redact.Secret(o.Description().Reveal()))
	invalid := func(code, detail string) error {
		return c.http.Fail(providers.Call{Op: "payout", Hide: hide}, providers.Invalid, providers.Answer{}, code, detail, nil)
	}
	recognised, err := pix.RecogniseKey(key)
	switch description := o.Description().Reveal(); {
	case err != nil:
		return payout.Answer{}, invalid("invalid_key", "the key to pay is no PIX key")
	case o.Amount() <= 0 || o.Amount() > maxAmount:
		return payout.Answer{}, invalid("invalid_amount", "amount must lie between 0.01 and "+maxAmount.String())
	case !isID(string(o.ID())):
		return payout.Answer{}, invalid("invalid_id", "the payout has no id")
	case description != "" && !settings.IsText(description, 255):
		return payout.Answer{}, invalid("invalid_description", "longer than 255 characters, or not plain text")
	}
	r, f, err := c.ask(ctx, request{op: "payout", method: http.MethodPost, path: "/v2/transactions/cashout", hide: hide, moves: true, body: cashoutRequest{
		ExternalID: string(o.ID()), Amount: json.Number(o.Amount().String()), Currency: "BRL",
		Key: key, KeyType: keyTypes[recognised.Type], Description: o.Description().Reveal(),
	}})
	switch {
	case f.duplicate():
		return c.existing(ctx, o, r.call, err)
	case f.code == codeApproval: // by somebody at the provider
		return payout.Answer{State: payout.Processing, Word: f.code, Digest: r.answer.Digest}, nil
	case err != nil:
		return payout.Answer{}, err
	}
	body, err := parseObject(r.data)
	if err != nil {
		return payout.Answer{}, c.contract(r, err)
	}
	if id := body.text("external_id"); id != "" && id != string(o.ID()) {
		return payout.Answer{}, c.http.Fail(r.call, providers.Security, r.answer, "wrong_echo", "the answer is about another payout", nil)
	}
	return c.paid(r, body)
}

// existing is the payout that the provider says it has under our id. Its amount
// is the payout machine's to compare.
func (c *Client) existing(ctx context.Context, o payout.Order, call providers.Call, cause error) (payout.Answer, error) {
	now, _ := c.clock.now()
	a, err := c.FindPayout(ctx, payout.Ref{ID: o.ID(), Sent: now.AddDate(0, 0, -searchDays)})
	if err != nil {
		return a, c.http.Fail(call, providers.Ambiguous, providers.Answer{}, "", "the provider has this id already, and looking it up failed", errors.Join(cause, err))
	}
	return a, nil
}

// FindPayout looks for a payout in the list of transactions: by our id, and
// where that finds nothing among all since it was sent.
func (c *Client) FindPayout(ctx context.Context, ref payout.Ref) (payout.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	r, o, err := c.find(ctx, "find payout", search{kind: "cashout", ours: string(ref.ID), theirs: ref.ProviderID, since: ref.Sent})
	if err != nil {
		return payout.Answer{Digest: r.answer.Digest}, err
	}
	return c.paid(r, o)
}

// paid reads what became of a payout.
func (c *Client) paid(r reply, o object) (payout.Answer, error) {
	t, err := o.transaction()
	switch {
	case err != nil:
		return payout.Answer{}, c.contract(r, err)
	case t.Currency != "" && t.Currency != "BRL":
		return payout.Answer{}, c.http.Fail(r.call, providers.Security, r.answer, "wrong_currency", "the transaction under our id is not one of BRL", nil)
	}
	state, known := payoutStates[t.Status]
	if !known {
		c.log.Warn("unknown status word of a payout", "provider", Name, "word", r.call.Hide.Clean(t.Word))
	}
	reason := o.text("error_code", "failure_reason")
	if !isID(reason) {
		reason = ""
	}
	return payout.Answer{
		ProviderID: t.ID, State: state, Word: t.Word, Amount: t.Cents, EndToEnd: t.EndToEnd, Reason: reason, Digest: r.answer.Digest,
	}, nil
}

// payoutStates are the unified words, as they are meant of money that leaves. A
// cancelled payout never left.
var payoutStates = map[providers.Status]payout.State{
	providers.StatusPending: payout.Processing, providers.StatusPaid: payout.Settled, providers.StatusFailed: payout.Failed,
	providers.StatusCancelled: payout.Failed, providers.StatusRefunded: payout.Returned,
}

// search is what find looks for: the transaction of a kind with our id, or if we
// have none ("") with the provider's. With both the row must have both.
type search struct {
	kind, ours, theirs string
	since              time.Time // zero: the last days
}
