// Package basspago is the adapter for the Paycheckout of Bass Pago: checkouts that
// are paid on a page of the provider's, not by a code on our screen.
//
// # What the provider offers
//
// A checkout is made (POST create-paycheckout), read by its token (POST
// obtain-paycheckout) and found, without amount and date, in the list of its key's
// checkouts (POST obtain-paycheckouts-api-list). There is no cancelling, no refund,
// no balance and no expiry. A webhook without a documented form rings when
// something changed; the agent asks anyway.
//
// # No code
//
// What is public of the answer to a create is a token. It is no BR Code and leads to
// none, so that a charge of this adapter has none ([providers.Caps].Codeless): the
// payer pays where the checkout was opened, or from the e-mail that the provider
// sends where one is given. The terminal follows the checkout, shows that it was
// paid, and prints the receipt. A checkout that was made elsewhere, by a shop, is
// taken over by its token ([providers.Intent].Checkout).
//
// # Ids and secrets
//
// A charge's name at the provider is externalId, which we choose, another one for
// each attempt, since the provider refuses a repeated one. The token opens a
// checkout to whoever holds it: it is a secret, kept apart from the ledger
// ([providers.Charge].Token). So is the Encrypted-Security-Code, which depends on
// the key alone and is the same for ever.
//
// When the token is lost with the answer to a create, the checkout is found in the
// list by our externalId and followed there: the list tells a status word and no
// amount, which is weaker evidence. Answers tell who paid; those fields are not
// read.
//
// Source: the provider's document ("Paycheckout, APIs de Conciliação"), and its page
// about create-paycheckout as far as that is public.
package basspago

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/settings"
	"github.com/ssg-safe/agent/redact"
)

// Name is the adapter's configuration name.
const Name = "basspago"

const (
	// Time limits of one call in all. The document states none.
	createTimeout = 25 * time.Second
	readTimeout   = 10 * time.Second
	// maxAmount is the most of a PIX code, for want of a limit that is told.
	maxAmount money.Amount = 999_999_999_999
)

// Client is the adapter. It is safe for concurrent use.
type Client struct {
	cfg  *Config
	base string
	http providers.HTTP
	log  *slog.Logger
	// filters is what the probe found out about the list's filters.
	filters atomic.Int32
}

var (
	_ providers.Charger       = (*Client)(nil)
	_ providers.StatusReader  = (*Client)(nil)
	_ providers.HealthChecker = (*Client)(nil)
	_ providers.Lister        = (*Client)(nil)
)

// New returns an adapter. It sends nothing yet. The error is that of
// [Config.Validate]. A nil logger discards.
func New(cfg Config, transport http.RoundTripper, log *slog.Logger) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	cfg.ProductID, cfg.ProductName = cmp.Or(cfg.ProductID, DefaultProductID), cmp.Or(cfg.ProductName, DefaultProductName)
	return &Client{
		cfg: &cfg, base: strings.TrimRight(cfg.URL, "/"), log: log,
		http: providers.HTTP{Provider: Name, Transport: transport, UserAgent: cfg.UserAgent, Log: log},
	}, nil
}

// Format prints "basspago" for every verb: package fmt would reach the credentials
// in unexported fields.
func (c *Client) Format(f fmt.State, _ rune) { io.WriteString(f, Name) } // fmt.State never fails

// Name returns "basspago".
func (c *Client) Name() string { return Name }

// Caps describes the provider: no codes; nothing is idempotent; what became of a
// create is found in the list. A checkout has no expiry, hence the long watch after
// its time at the terminal.
func (c *Client) Caps() providers.Caps {
	return providers.Caps{
		LookUp: true, Codeless: true, CreateTimeout: createTimeout, ReadTimeout: readTimeout,
		Poll: providers.PollSchedule{
			Open: []providers.PollStep{
				{Until: 2 * time.Minute, Every: 3 * time.Second},
				{Every: 5 * time.Second},
			},
			Late: time.Minute, Times: 60,
		},
	}
}

// ExternalID is what an attempt of a charge is called at the provider: the charge's
// id and the attempt behind it.
func ExternalID(charge string, attempt int) string {
	return charge + strconv.Itoa(attempt)
}

// CreateCharge makes a checkout, or takes over the one whose token is in the Intent.
// Payer fields that the provider demands and neither the Intent nor the
// configuration has are a PayerDataRequired error that names them. A refusal for an
// externalId that exists already is an Ambiguous error with code "duplicate": the
// checkout is in the list.
//
// A checkout that is taken over must be of our key and of the Intent's amount, and must
// not be over, else that is a Conflict: nothing was made.
func (c *Client) CreateCharge(ctx context.Context, in providers.Intent) (providers.Charge, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	if in.Checkout != "" {
		return c.adopt(ctx, in)
	}
	body, hide, err := c.newCheckout(in)
	if err != nil {
		return providers.Charge{}, err
	}
	call, a, err := c.post(ctx, "create", providers.Act, "create-paycheckout", hide, body, nil)
	if err != nil {
		return providers.Charge{}, err
	}
	token, err := parseCreated(a.Body)
	if a.Status != http.StatusOK && a.Status != http.StatusCreated || err != nil {
		return providers.Charge{}, c.refused(call, a, err)
	}
	return providers.Charge{
		ProviderID: ExternalID(in.ID, in.Attempt), Token: token, Status: providers.StatusPending, Digest: a.Digest,
	}, nil
}

// adopt takes over a checkout that was made elsewhere.
func (c *Client) adopt(ctx context.Context, in providers.Intent) (providers.Charge, error) {
	k, call, a, err := c.obtain(ctx, "adopt", providers.Read, in.Checkout)
	if err != nil {
		return providers.Charge{}, err
	}
	ch := providers.Charge{ProviderID: k.externalID, Token: in.Checkout, Status: providers.StatusPending, Digest: a.Digest}
	switch {
	case k.amount != in.Amount:
		return ch, c.http.Fail(call, providers.Conflict, a, "wrong_amount", "the checkout is of another amount than the charge", nil)
	case k.status == providers.StatusFailed:
		return ch, c.http.Fail(call, providers.Conflict, a, "checkout_over", "the checkout was rejected; it cannot be paid any more", nil)
	}
	return ch, nil
}

// newCheckout checks an intent and makes the request of it.
func (c *Client) newCheckout(in providers.Intent) (map[string]any, providers.Hidden, error) {
	payer := payerOf(in.Payer, c.cfg.Payer)
	hide := c.hidden().WithPayer(payer).WithPayer(in.Payer)
	fail := func(kind providers.Kind, code, detail string) (map[string]any, providers.Hidden, error) {
		return nil, hide, c.http.Fail(providers.Call{Op: "create", Hide: hide}, kind, providers.Answer{}, code, detail, nil)
	}
	problems := checkPayer(payer)
	switch {
	case in.Amount <= 0 || in.Amount > maxAmount:
		return fail(providers.Invalid, "invalid_amount", "amount must lie between 0.01 and "+maxAmount.String())
	case !isID(in.ID):
		return fail(providers.Invalid, "invalid_id", "the charge has no id")
	case in.Description != "" && !settings.IsText(in.Description, 140):
		return fail(providers.Invalid, "invalid_description", "longer than 140 characters, or not plain text")
	case len(problems) > 0:
		return fail(providers.Invalid, "invalid_payer", "payer."+problems[0].field+": "+problems[0].problem)
	}
	var missing []string
	for _, f := range []struct{ name, value string }{
		{"name", payer.Name.Reveal()},
		{"postcode", payer.Postcode.Reveal()},
		{"address", payer.Address.Reveal()},
		{"district", payer.District.Reveal()},
		{"city", payer.City.Reveal()},
		{"state", payer.State},
	} {
		if f.value == "" {
			missing = append(missing, "payer."+f.name)
		}
	}
	if len(missing) > 0 {
		return fail(providers.PayerDataRequired, "payer_data_required", strings.Join(missing, ", "))
	}
	debtor := map[string]string{
		"devedorNome": payer.Name.Reveal(), "devedorCep": payer.Postcode.Reveal(), "devedorEndereco": payer.Address.Reveal(),
		"devedorBairro": payer.District.Reveal(), "devedorCidade": payer.City.Reveal(), "devedorUf": payer.State,
	}
	if payer.Email != "" {
		debtor["devedorMail"] = payer.Email.Reveal()
	}
	if payer.Document != "" {
		debtor["devedorInscricaoNacional"] = payer.Document.Reveal()
	}
	return map[string]any{
		"amount": json.Number(in.Amount.String()), "externalId": ExternalID(in.ID, in.Attempt),
		"externalProductId": c.cfg.ProductID, "externalProductName": c.cfg.ProductName, "key": c.cfg.Key,
		"solicitacao": cmp.Or(in.Description, c.cfg.ProductName), "devedor": debtor,
	}, hide, nil
}

// GetCharge reads a checkout by its token, or, where that is lost, finds it in the
// list by its externalId: that of the attempt where the Ref names none. Only the
// former tells amounts: what the checkout is of while it is open, what was paid
// (amountPayed, gross) once it is.
//
// An answer about another checkout, key or currency is a Security error.
func (c *Client) GetCharge(ctx context.Context, ref providers.Ref) (providers.Charge, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	id := cmp.Or(ref.ProviderID, ExternalID(ref.Charge, ref.Attempt))
	if ref.Token == "" {
		return c.listed(ctx, id)
	}
	k, call, a, err := c.obtain(ctx, "status", providers.Poll, ref.Token)
	switch {
	case err != nil:
		return providers.Charge{}, err
	case k.externalID != id:
		return providers.Charge{}, c.http.Fail(call, providers.Security, a, "wrong_echo", "the answer is about another checkout", nil)
	}
	c.warn(k.status, k.word, ref.Charge)
	ch := providers.Charge{ProviderID: k.externalID, Status: k.status, Word: k.word, Amount: &k.amount, Digest: a.Digest}
	if k.status == providers.StatusPaid {
		ch.Amount = k.paid
	}
	return ch, nil
}

// Checkout is a checkout as its token shows it, without the people in it.
type Checkout struct {
	Reference  string           `json:"reference"` // the provider's own id
	ExternalID string           `json:"external_id"`
	Product    string           `json:"product,omitempty"`
	Amount     money.Amount     `json:"amount"` // centavos
	Status     providers.Status `json:"status"`
	Word       string           `json:"word"`
	Created    time.Time        `json:"created,omitzero"`
	// Paid is what the payer paid, Credited what of it reached the account; nil: not
	// said.
	Paid     *money.Amount `json:"paid,omitempty"`
	Credited *money.Amount `json:"credited,omitempty"`
}

// Checkout reads a checkout of our key by its token.
func (c *Client) Checkout(ctx context.Context, token redact.Secret) (Checkout, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	k, call, _, err := c.obtain(ctx, "checkout", providers.Read, token)
	if err != nil {
		return Checkout{}, err
	}
	return Checkout{
		Reference: k.reference, ExternalID: k.externalID, Product: call.Hide.Clean(k.product), Amount: k.amount,
		Status: k.status, Word: k.word, Created: k.created, Paid: k.paid, Credited: k.credited,
	}, nil
}

// obtain reads a checkout by its token, whoever's word it is: key and currency are
// checked, the externalId is the caller's matter.
func (c *Client) obtain(ctx context.Context, op string, use providers.Use, token redact.Secret) (checkout, providers.Call, providers.Answer, error) {
	hide := c.hidden().WithSecret(token)
	if !isToken(token.Reveal()) {
		call := providers.Call{Op: op, Hide: hide}
		return checkout{}, call, providers.Answer{}, c.http.Fail(call, providers.Invalid, providers.Answer{}, "invalid_token", "no token of a checkout: want 16 to 256 letters, digits, - or _", nil)
	}
	call, a, err := c.post(ctx, op, use, "obtain-paycheckout", hide, map[string]string{"token": token.Reveal()}, nil)
	if err != nil {
		return checkout{}, call, a, err
	}
	k, err := parseCheckout(a.Body)
	kind := providers.Security
	if use == providers.Read { // whoever gave us the token was mistaken
		kind = providers.Conflict
	}
	switch {
	case a.Status != http.StatusOK || err != nil:
		return checkout{}, call, a, c.refused(call, a, err)
	case k.key != c.cfg.Key:
		return checkout{}, call, a, c.http.Fail(call, kind, a, "wrong_key", "the checkout is of another key than client_id", nil)
	case k.currency != "BRL":
		return checkout{}, call, a, c.http.Fail(call, kind, a, "wrong_currency", "the checkout is not in BRL", nil)
	}
	return k, call, a, nil
}

func (c *Client) warn(status providers.Status, word, charge string) {
	if status == providers.StatusUncertain {
		c.log.Warn("unknown status word", "provider", Name, "charge", charge, "word", c.hidden().Clean(word))
	}
}

// post sends a JSON body.
func (c *Client) post(ctx context.Context, op string, use providers.Use, path string, hide providers.Hidden, body any, header http.Header) (providers.Call, providers.Answer, error) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // texts and numbers
	}
	call := providers.Call{Op: op, Method: http.MethodPost, URL: c.base + "/" + path, Use: use, Hide: hide, Body: text, Header: http.Header{"Content-Type": {"application/json"}}}
	for name, values := range header {
		call.Header[name] = values
	}
	a, err := c.http.Do(ctx, call)
	return call, a, err
}

// refused classifies an answer that is not what was asked for: the provider states
// its errors in a body with a message, under any HTTP status. unread is why it
// could not be read as that; nil: it could.
func (c *Client) refused(call providers.Call, a providers.Answer, unread error) error {
	message, kind := parseFailure(a.Body), providers.KindOfStatus(a.Status)
	code, detail := message, providers.Describe(a)
	if !wordForm.MatchString(message) { // a sentence, which may say anything
		code, detail = "", message
	}
	switch {
	case kind == providers.Ambiguous || kind == providers.Rate:
		// Whatever it says, the server failed, or did nothing.
	case message == "notValidKey" && (call.Op == "list" || call.Op == "create"):
		kind = providers.Auth
	case message == "notValidKey":
		kind = providers.NotFound // nothing but the token went out
	case message != "" && call.Op == "create" && isDuplicate(message):
		kind, code, detail = providers.Ambiguous, "duplicate", "our externalId exists already: "+message
	case message == "" && a.Status < 300:
		return c.http.Fail(call, providers.Contract, a, "", providers.Describe(a), unread)
	case kind == providers.NotFound && (isPage(a) || call.Op == "list" || call.Op == "create"):
		kind, detail = providers.Operator, "nothing at this address; check url: "+providers.Describe(a)
	}
	// Under a success, a message that is not documented leaves open what was done:
	// that is a Contract error.
	return c.http.Fail(call, kind, a, code, detail, nil)
}

func (c *Client) hidden() providers.Hidden {
	return providers.Hide(c.cfg.Secret, c.cfg.securityCode())
}

// CheckHealth asks for one line of the list: that proves the address, the key and
// the signature. It also finds out whether the list's filters are honoured, and
// logs when they are not.
func (c *Client) CheckHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	_, err := c.probe(ctx)
	return err
}
