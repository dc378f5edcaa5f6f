package bspaybr

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/settings"
	"github.com/ssg-safe/agent/redact"
)

// Payer is who sends the money: the account's owner, which the provider demands
// of every payout.
type Payer struct {
	Name     redact.Name
	Document redact.Document // CPF or CNPJ
}

// Payouts is a client that can send money as well. Making one is the operator's
// consent: nothing else in this package moves money out. It belongs where payouts
// are approved, not on a terminal.
//
// The provider gives a payout no id, takes none of ours and has no list: an order
// of unknown outcome is never sent again (propose without payout.Intent.Resend),
// and can be asked about only when a webhook at its callback address has named its
// reference code. Otherwise a person decides.
type Payouts struct {
	*Client
	from Payer
}

var _ payout.Sender = (*Payouts)(nil)

// NewPayouts returns a client that sends money from an account. The error is a
// [providers.FieldError].
func NewPayouts(c *Client, from Payer) (*Payouts, error) {
	from.Document = redact.Document(bare(from.Document.Reveal()))
	switch d := from.Document.Reveal(); {
	case !settings.IsText(from.Name.Reveal(), 255):
		return nil, &providers.FieldError{Field: "name", Problem: "missing, or not plain text", Remedy: "write the name of the account's owner"}
	case !pix.ValidCPF(d) && !pix.ValidCNPJ(d):
		return nil, &providers.FieldError{Field: "document", Problem: "neither CPF nor CNPJ", Remedy: "write that of the account's owner"}
	}
	return &Payouts{Client: c, from: from}, nil
}

// PayoutCallback is the address that the provider calls about a payout.
func (p *Payouts) PayoutCallback(id payout.ID) string { return p.callback("payout", string(id), 1) }

// SubmitPayout sends BRL to a PIX key. What was accepted is Processing; the
// order's description is not sent, since the provider has no field for it.
func (p *Payouts) SubmitPayout(ctx context.Context, o payout.Order) (payout.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	key := o.Key().Reveal()
	hide := p.hidden().WithSecret(redact.Secret(key)).WithSecret(redact.Secret(url.QueryEscape(key))).
		WithPayer(providers.Payer{Name: p.from.Name, Document: p.from.Document})
	hide = hideNames(hide, p.from.Name)
	invalid := func(code, detail string) error {
		return p.http.Fail(providers.Call{Op: "payout", Hide: hide}, providers.Invalid, providers.Answer{}, code, detail, nil)
	}
	switch _, err := pix.RecogniseKey(key); {
	case err != nil:
		return payout.Answer{}, invalid("invalid_key", "the key to pay is no PIX key")
	case o.Amount() <= 0 || o.Amount() > maxAmount:
		return payout.Answer{}, invalid("invalid_amount", "amount must lie between 0.01 and "+maxAmount.String())
	case !isID(string(o.ID())):
		return payout.Answer{}, invalid("invalid_id", "the payout has no id")
	}
	call, a, err := p.post(ctx, "payout", "/v3/pix/payment", hide, url.Values{
		"nome": {p.from.Name.Reveal()}, "cpf": {p.from.Document.Reveal()}, "valor": {o.Amount().String()},
		"chave_pix": {key}, "urlnoty": {p.PayoutCallback(o.ID())},
	})
	if err != nil {
		return payout.Answer{}, err
	}
	if a.Status != http.StatusOK {
		return payout.Answer{}, p.refused(call, a, a.Status)
	}
	status, err := parsePaid(a.Body)
	switch {
	case err != nil:
		return payout.Answer{}, p.contract(call, a, err)
	case status != http.StatusOK:
		return payout.Answer{}, p.refused(call, a, status)
	}
	return payout.Answer{State: payout.Processing, Word: strconv.Itoa(status), Digest: a.Digest}, nil
}

// FindPayout asks about an order by the reference code that a webhook named.
// Without one it cannot ask, and never says NotFound. An answer counts only with
// the order's own callback address.
func (p *Payouts) FindPayout(ctx context.Context, ref payout.Ref) (payout.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if ref.ProviderID == "" {
		return payout.Answer{}, p.http.Fail(providers.Call{Op: "find payout", Hide: p.hidden()}, providers.Operator, providers.Answer{}, "no_reference",
			"the provider tells nothing of a payout without its reference code; look for it in the provider's panel", nil)
	}
	s, call, a, err := p.status(ctx, "find payout", ref.ProviderID)
	if e, ok := errors.AsType[*providers.Error](err); ok && e.Kind == providers.NotFound {
		e.Kind = providers.Operator // of this code nothing is known; of the order neither
	}
	switch {
	case err != nil:
		return payout.Answer{Digest: a.Digest}, err
	case callbackToken(s.callback) != callbackToken(p.PayoutCallback(ref.ID)):
		return payout.Answer{}, p.http.Fail(call, providers.Security, a, "wrong_callback", "the answer is about another payout", nil)
	}
	state, known := payoutStates[s.status]
	if !known {
		p.log.Warn("unknown status word of a payout", "provider", Name, "word", call.Hide.Clean(s.word))
	}
	return payout.Answer{ProviderID: s.id, State: state, Word: s.word, Amount: s.amount, Digest: a.Digest}, nil
}

// payoutStates are the unified words, as they are meant of money that leaves. A
// cancelled payout never left.
var payoutStates = map[providers.Status]payout.State{
	providers.StatusPending: payout.Processing, providers.StatusPaid: payout.Settled,
	providers.StatusFailed: payout.Failed, providers.StatusCancelled: payout.Failed,
}
