package bacen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
)

// scopeRefund is what a client needs to give money back.
const scopeRefund = "pix.write"

// Refunds is a client that gives payments back ("devolução"). Making one is the
// operator's consent: it asks for the scope pix.write, which no profile can name. It
// belongs where refunds are approved, not on a terminal.
//
// The id of a refund is ours, and unique with the payment's end-to-end id: the same
// order sent again is the same refund. One whose PUT is refused is looked up, for it
// may be the echo of an earlier sending.
type Refunds struct{ c *Client }

var _ payout.Refunder = (*Refunds)(nil)

// NewRefunds returns a client that gives payments back, over a transport as for [New],
// whose errors it has.
func NewRefunds(cfg Config, transport http.RoundTripper, log *slog.Logger) (*Refunds, error) {
	c, err := New(cfg, transport, log)
	if err != nil {
		return nil, err
	}
	// Where a profile asks for no scopes, the bank knows what the client may do.
	if scopes := c.cfg.Profile.Scopes; len(scopes) > 0 {
		scopes = slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return strings.HasPrefix(s, "cob.") })
		c.cfg.Profile.Scopes = append(scopes, scopeRefund)
	}
	return &Refunds{c}, nil
}

// Format prints "bacen" for every verb.
func (r *Refunds) Format(f fmt.State, _ rune) { io.WriteString(f, Name) } // fmt.State never fails

// Name returns "bacen".
func (r *Refunds) Name() string { return Name }

// Caps describes the provider, see [Client.Caps].
func (r *Refunds) Caps() providers.Caps { return r.c.Caps() }

// SubmitRefund gives a payment, or a part of it, back. The bank answers before it has
// done it: the state is as a rule Processing.
func (r *Refunds) SubmitRefund(ctx context.Context, o payout.Order) (payout.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	c := r.c
	amount := o.Amount()
	if err := c.refundable(o.EndToEnd(), string(o.ID())); err != nil {
		return payout.Answer{}, err
	}
	if amount <= 0 || !amountForm.MatchString(amount.String()) {
		return payout.Answer{}, c.http.Fail(providers.Call{Op: "refund"}, providers.Invalid, providers.Answer{}, "invalid_amount", "amount must lie between 0.01 and 9999999999.99", nil)
	}
	call, a, err := c.calls.Send(ctx, c.call("refund", http.MethodPut, refundPath(o.EndToEnd(), string(o.ID())), nil), func() any {
		return map[string]string{"valor": amount.String()}
	})
	if err != nil {
		return payout.Answer{}, err
	}
	switch a.Status {
	case http.StatusOK, http.StatusCreated:
		return c.refund(call, a, string(o.ID()))
	case http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity:
		refusal := c.refused(call, a)
		found, err := r.find(ctx, o.EndToEnd(), string(o.ID()))
		switch e, _ := errors.AsType[*providers.Error](err); {
		case err == nil:
			return found, nil // its amount is the payout machine's to compare
		case e.Kind == providers.Security:
			return payout.Answer{}, e
		case e.Kind != providers.NotFound || refusal.Kind == providers.Conflict:
			return payout.Answer{}, c.http.Fail(call, providers.Ambiguous, a, refusal.Code, "refused, and whether it exists cannot be read", e)
		}
		return payout.Answer{}, refusal
	}
	return payout.Answer{}, c.refused(call, a)
}

// FindRefund asks what became of a refund.
func (r *Refunds) FindRefund(ctx context.Context, ref payout.Ref) (payout.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	if err := r.c.refundable(ref.EndToEnd, string(ref.ID)); err != nil {
		return payout.Answer{}, err
	}
	return r.find(ctx, ref.EndToEnd, string(ref.ID))
}

// find is FindRefund within a time limit. That there is no such refund counts only
// where the bank knows the payment, and lists no such refund of it either.
func (r *Refunds) find(ctx context.Context, endToEnd, id string) (payout.Answer, error) {
	c := r.c
	call, a, err := c.calls.Send(ctx, c.call("find refund", http.MethodGet, refundPath(endToEnd, id), nil), nil)
	if err != nil {
		return payout.Answer{}, err
	}
	if a.Status == http.StatusOK {
		return c.refund(call, a, id)
	}
	missing := c.refused(call, a)
	if missing.Kind != providers.NotFound {
		return payout.Answer{}, missing
	}
	call, a, err = c.calls.Send(ctx, c.call("find refund", http.MethodGet, "/pix/"+endToEnd, nil), nil)
	if err != nil {
		return payout.Answer{}, err
	}
	if a.Status != http.StatusOK {
		e := c.refused(call, a)
		if e.Kind == providers.NotFound {
			e = c.http.Fail(call, providers.Operator, a, "no_payment", "the bank does not know the payment: is it an account's of this client?", nil)
		}
		return payout.Answer{}, e
	}
	var in struct {
		EndToEnd string          `json:"endToEndId"`
		Returns  json.RawMessage `json:"devolucoes"`
	}
	if err := providers.DecodeJSON(a.Body, &in); err != nil {
		return payout.Answer{}, c.http.Fail(call, providers.Contract, a, "", providers.Describe(a), err)
	}
	if in.EndToEnd != endToEnd {
		return payout.Answer{}, c.http.Fail(call, providers.Security, a, "wrong_echo", "the answer is about another payment", nil)
	}
	if strings.Contains(string(in.Returns), `"`+id+`"`) {
		return payout.Answer{}, c.http.Fail(call, providers.Contract, a, "two_answers", "the bank lists a refund with the payment that it says there is not", nil)
	}
	return payout.Answer{Digest: a.Digest}, missing
}

// refundable checks what goes into an address.
func (c *Client) refundable(endToEnd, id string) error {
	if !endToEndForm.MatchString(endToEnd) || !isTxID(id, 1) {
		return c.http.Fail(providers.Call{Op: "refund"}, providers.Invalid, providers.Answer{}, "invalid_id", "a refund has an id of letters and digits, and an end-to-end id of 32", nil)
	}
	return nil
}

func refundPath(endToEnd, id string) string { return "/pix/" + endToEnd + "/devolucao/" + id }

// refund reads a refund that a call was about.
func (c *Client) refund(call providers.Call, a providers.Answer, id string) (payout.Answer, error) {
	found, err := parseRefund(a.Body)
	switch {
	case err != nil:
		return payout.Answer{}, c.http.Fail(call, providers.Contract, a, "", providers.Describe(a), err)
	case found.id != id:
		return payout.Answer{}, c.http.Fail(call, providers.Security, a, "wrong_echo", "the answer is about another refund", nil)
	}
	state := refundStates[strings.ToUpper(found.word)]
	if state == "" {
		c.log.Warn("unknown status word of a refund", "provider", Name, "word", call.Hide.Clean(found.word))
	}
	reason := ""
	if state == payout.Failed {
		reason = "NAO_REALIZADO"
	}
	return payout.Answer{State: state, Word: found.word, Amount: &found.amount, EndToEnd: found.returnID, Reason: reason, Digest: a.Digest}, nil
}

// refundStates are the standard's words. Anything else is not known.
var refundStates = map[string]payout.State{
	"EM_PROCESSAMENTO": payout.Processing, "DEVOLVIDO": payout.Settled, "NAO_REALIZADO": payout.Failed,
}

// devolution is a refund as the bank has it.
type devolution struct {
	id, returnID, word string
	amount             money.Amount
}

var wordForm = regexp.MustCompile(`^[A-Za-z_]{1,32}$`)

func parseRefund(body []byte) (devolution, error) {
	var in struct {
		ID       string         `json:"id"`
		ReturnID string         `json:"rtrId"`
		Value    *money.Decimal `json:"valor"`
		Word     string         `json:"status"`
	}
	if err := providers.DecodeJSON(body, &in); err != nil {
		return devolution{}, err
	}
	switch {
	case !isTxID(in.ID, 1):
		return devolution{}, errors.New("id is missing or malformed")
	case in.ReturnID != "" && !endToEndForm.MatchString(in.ReturnID):
		return devolution{}, errors.New("rtrId is malformed")
	case in.Value == nil || *in.Value <= 0:
		return devolution{}, errors.New("valor is missing or not above zero")
	case !wordForm.MatchString(in.Word):
		return devolution{}, errors.New("status is missing or malformed")
	}
	return devolution{in.ID, in.ReturnID, in.Word, money.Amount(*in.Value)}, nil
}
