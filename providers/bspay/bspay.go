// Package bspay is the adapter for BSPAY's API v2, which PIXUP and other
// companies offer as well: host and credentials differ, the paths do not.
//
// # What the provider offers
//
// OAuth client credentials by HTTP Basic for a token of one hour, charges
// (cashin), payouts (cashout), the account's balance, limits, fees, profile and
// transactions, infractions (disputes) with replies, and for other currencies
// than BRL deposit addresses, transfers between accounts and conversions.
// Webhooks are signed; [ParseWebhook] reads them, as hints.
//
// # Charges
//
// The external_id is our charge's id, whatever the attempt: the provider returns
// the same transaction for it, so that a create of unknown outcome is simply
// sent again, and can never make two charges. Some accounts answer 409 instead;
// then the charge is looked up and adopted if amount and currency are ours.
//
// There is no question for one charge. It is read from the list of transactions,
// with a filter by our id that the document does not promise: each row's own id
// is compared, so that an ignored filter cannot pass somebody else's payment off
// as ours, and where the filter finds nothing the last days are gone through.
//
// # Payouts
//
// A PIX key is paid by [Client.SubmitPayout] alone, which takes an approved order
// (package payout); its id is the external_id. The provider has no refunds.
//
// # Signed calls
//
// What moves money out is signed over the exact bytes sent. A repeat has the same
// body and external_id and a new timestamp and nonce. The timestamp is the
// provider's own time, learnt from the Date of its answers; while this machine's
// clock is more than a minute off, nothing is signed.
//
// Source: the provider's integration document of API v2; what it leaves open
// (forms of rows, repeated ids, filters) is read leniently where it is only told
// and strictly where money depends on it.
package bspay

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/brcode"
	"github.com/ssg-safe/agent/providers/internal/oauth"
	"github.com/ssg-safe/agent/providers/internal/settings"
	"github.com/ssg-safe/agent/redact"
)

// Name is the adapter's configuration name.
const Name = "bspay"

const (
	// Time limits of one call in all, token and repeat included. The document
	// states none.
	createTimeout = 25 * time.Second
	readTimeout   = 10 * time.Second
	// tokenLife is that of a token whose answer does not say it ("1h").
	tokenLife = time.Hour
	// loginEvery spaces logins: 15 a minute, of the 30 that the provider allows to
	// all terminals behind one address.
	loginEvery = 4 * time.Second
	// maxAmount is what fits into a code.
	maxAmount money.Amount = 999_999_999_999
)

// Client is the adapter. It is safe for concurrent use.
type Client struct {
	cfg   *Config
	base  string
	clock *clock
	http  providers.HTTP
	calls *oauth.Session
	log   *slog.Logger
}

var (
	_ providers.Charger       = (*Client)(nil)
	_ providers.StatusReader  = (*Client)(nil)
	_ providers.HealthChecker = (*Client)(nil)
	_ providers.BalanceReader = (*Client)(nil)
	_ providers.Lister        = (*Client)(nil)
	_ providers.Reporter      = (*Client)(nil)
	_ payout.Sender           = (*Client)(nil)
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
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Client{
		cfg: &cfg, base: strings.TrimRight(cfg.URL, "/"), log: log,
		clock: &clock{next: transport, wall: cfg.Now},
	}
	c.http = providers.HTTP{Provider: Name, Transport: c.clock, UserAgent: cfg.UserAgent, Log: log}
	c.calls = oauth.New(oauth.Config{
		HTTP: &c.http, TokenEvery: loginEvery, Token: c.tokenCall,
		Failure: func(body []byte) (string, string) { f := parseFailure(body); return f.code, f.message },
		Address: "url", Life: tokenLife, Stale: stale,
	})
	return c, nil
}

// Format prints "bspay" for every verb: package fmt would reach the credentials
// in unexported fields.
func (c *Client) Format(f fmt.State, _ rune) { io.WriteString(f, Name) } // fmt.State never fails

// Name returns "bspay".
func (c *Client) Name() string { return Name }

// Caps describes the provider. Creating is idempotent by our charge id, so
// nothing need be looked up before it is sent again. A charge lives as long as
// the provider likes, hence the long watch after its expiry here.
func (c *Client) Caps() providers.Caps {
	return providers.Caps{
		Idempotent: true, CreateTimeout: createTimeout, ReadTimeout: readTimeout,
		Poll: providers.PollSchedule{
			Open: []providers.PollStep{
				{Until: 30 * time.Second, Every: 2 * time.Second},
				{Until: 2 * time.Minute, Every: 3 * time.Second},
				{Every: 5 * time.Second},
			},
			Late: time.Minute, Times: 60,
		},
	}
}

// CreateCharge asks for a dynamic code. The provider sets the expiry; the
// Intent's is not sent. The payer is sent as far as he is known; a refusal for
// want of him is a PayerDataRequired error.
//
// A repeat of an Intent returns the same charge. When the provider has the id
// with another amount or currency, or has it and does not give its code again,
// the error is Conflict.
//
// A code that fails its check is a Security error (CheckStrict), with the
// provider's id in the Charge, or arrives with Warnings (CheckWarn).
func (c *Client) CreateCharge(ctx context.Context, in providers.Intent) (providers.Charge, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	body, hide, err := c.newCashin(in)
	if err != nil {
		return providers.Charge{}, err
	}
	r, f, err := c.ask(ctx, request{op: "create", method: http.MethodPost, path: "/v2/transactions/cashin", hide: hide, body: body})
	if f.duplicate() {
		return c.adopt(ctx, in, r.call, err)
	}
	if e, ok := errors.AsType[*providers.Error](err); ok && f.code == "MISSING_REQUIRED_FIELD" && body.Payer == nil {
		e.Kind = providers.PayerDataRequired
	}
	if err != nil {
		return providers.Charge{}, err
	}
	o, err := parseObject(r.data)
	if err != nil {
		return providers.Charge{Digest: r.answer.Digest}, c.contract(r, err)
	}
	return c.charge(in, r, o)
}

// newCashin checks an intent and makes the request of it.
func (c *Client) newCashin(in providers.Intent) (*cashinRequest, providers.Hidden, error) {
	payer := payerOf(in.Payer, c.cfg.Payer)
	problems := checkPayer(&payer)
	hide := providers.Hidden{}.WithPayer(payer).WithPayer(in.Payer)
	fail := func(code, detail string) (*cashinRequest, providers.Hidden, error) {
		call := providers.Call{Op: "create", Hide: hide}
		return nil, hide, c.http.Fail(call, providers.Invalid, providers.Answer{}, code, detail, nil)
	}
	switch {
	case in.Amount <= 0 || in.Amount > maxAmount:
		return fail("invalid_amount", "amount must lie between 0.01 and "+maxAmount.String())
	case !isID(in.ID):
		return fail("invalid_id", "the charge has no id")
	case in.Description != "" && !settings.IsText(in.Description, 255):
		return fail("invalid_description", "longer than 255 characters, or not plain text")
	}
	if len(problems) > 0 {
		return fail("invalid_payer", "payer."+problems[0].field+": "+problems[0].problem)
	}
	body := &cashinRequest{
		Amount: json.Number(in.Amount.String()), Currency: "BRL", ExternalID: in.ID,
		Description: in.Description, PostbackURL: c.cfg.PostbackURL,
	}
	if payer != (providers.Payer{}) {
		body.Payer = &payerBody{Name: payer.Name.Reveal(), Document: payer.Document.Reveal(), Email: payer.Email.Reveal()}
	}
	return body, hide, nil
}

// charge checks what was created, or adopted, against what was asked for.
func (c *Client) charge(in providers.Intent, r reply, o object) (providers.Charge, error) {
	ch := providers.Charge{ProviderID: o.text("transaction_id", "id"), Digest: r.answer.Digest}
	if !isID(ch.ProviderID) {
		ch.ProviderID = ""
		return ch, c.contract(r, errors.New("data.transaction_id is missing or malformed"))
	}
	if err := c.compare(in, r, o); err != nil {
		return ch, err
	}
	code := o.code()
	if code == "" {
		return ch, c.contract(r, errors.New("data.payment_info.qrcode is missing"))
	}
	want := brcode.Want{Amount: in.Amount, Hosts: c.cfg.LocationHosts}
	if problems := brcode.Check(code, want); len(problems) > 0 {
		e := c.http.Fail(r.call, providers.Security, r.answer, "brcode_check", "code refused: "+strings.Join(problems, "; "), nil)
		if c.cfg.CodeCheck != CheckWarn || !brcode.Showable(code) {
			return ch, e
		}
		c.log.Warn("received code fails its check", "provider", Name, "charge", in.ID, "err", e)
		for _, p := range problems {
			ch.Warnings = append(ch.Warnings, r.call.Hide.Clean(p))
		}
	}
	ch.BRCode, ch.Status, ch.ExpiresAt = code, providers.StatusPending, o.expires()
	if now, _ := c.clock.now(); !ch.ExpiresAt.IsZero() && ch.ExpiresAt.Before(now.Add(in.Expiry-time.Minute)) {
		c.log.Warn("the provider lets the code expire before the terminal does; lower terminal.charge_expiry",
			"provider", Name, "charge", in.ID, "expires_at", ch.ExpiresAt, "wanted", in.Expiry)
	}
	return ch, nil
}

// compare refuses a transaction that has our id and is not what we asked for.
func (c *Client) compare(in providers.Intent, r reply, o object) error {
	amount, err := o.brl("amount")
	if err != nil {
		return c.contract(r, err)
	}
	currency, id := o.text("currency"), o.text("external_id")
	switch {
	case id != "" && id != in.ID:
		return c.http.Fail(r.call, providers.Security, r.answer, "wrong_echo", "the answer is about another charge", nil)
	case amount != nil && *amount != in.Amount, currency != "" && currency != "BRL":
		return c.http.Fail(r.call, providers.Conflict, r.answer, "", "the provider has this id with another amount or currency", nil)
	}
	return nil
}

// adopt takes over the charge that the provider says it has under our id. cause
// is its refusal to make another.
func (c *Client) adopt(ctx context.Context, in providers.Intent, call providers.Call, cause error) (providers.Charge, error) {
	r, o, err := c.find(ctx, "adopt", search{kind: "cashin", ours: in.ID})
	switch e, ok := errors.AsType[*providers.Error](err); {
	case ok && e.Kind == providers.NotFound:
		return providers.Charge{}, c.http.Fail(call, providers.Ambiguous, providers.Answer{}, "", "the provider says that it has this id, and its list does not", cause)
	case err != nil:
		return providers.Charge{}, c.http.Fail(call, providers.Ambiguous, providers.Answer{}, "", "looking up the charge that exists", err)
	}
	if o.code() == "" {
		ch := providers.Charge{ProviderID: o.text("transaction_id", "id"), Digest: r.answer.Digest}
		return ch, c.http.Fail(call, providers.Conflict, providers.Answer{}, "", "the provider has this charge and does not give its code again", cause)
	}
	return c.charge(in, r, o)
}

// GetCharge reads a charge from the list of transactions. A row with our id and
// another transaction's is a Security error; no row at all is NotFound.
func (c *Client) GetCharge(ctx context.Context, ref providers.Ref) (providers.Charge, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r, o, err := c.find(ctx, "status", search{kind: "cashin", ours: ref.Charge, theirs: ref.ProviderID})
	if err != nil {
		return providers.Charge{}, err
	}
	t, err := o.transaction()
	if err != nil {
		return providers.Charge{}, c.contract(r, err)
	}
	if t.Currency != "" && t.Currency != "BRL" {
		return providers.Charge{}, c.http.Fail(r.call, providers.Security, r.answer, "wrong_currency", "the transaction under our id is not one of BRL", nil)
	}
	if t.Status == providers.StatusUncertain {
		c.log.Warn("unknown status word", "provider", Name, "charge", ref.Charge, "word", r.call.Hide.Clean(t.Word))
	}
	return providers.Charge{
		ProviderID: t.ID, Status: t.Status, Word: t.Word, Amount: t.Cents, EndToEnd: t.EndToEnd,
		ExpiresAt: o.expires(), Digest: r.answer.Digest,
	}, nil
}

// CheckHealth looks for a transaction that cannot exist: what a charge needs to
// be read, and all that receive-only credentials allow.
func (c *Client) CheckHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	_, _, err := c.list(ctx, "health", 1, listRequest{PageSize: 1, ExternalID: "00000000-0000-0000-0000-000000000000"})
	return err
}

// request is one call of the API.
type request struct {
	op, method, path string
	hide             providers.Hidden
	use              providers.Use
	body             any  // JSON; nil: none
	moves            bool // moves money out, so it is signed
}

// reply is a successful answer.
type reply struct {
	call   providers.Call
	answer providers.Answer
	data   json.RawMessage
}

// ask makes a call and opens the envelope. With an error the failure is what the
// provider said; the reply then has call and answer alone.
func (c *Client) ask(ctx context.Context, q request) (reply, failure, error) {
	call := c.call(q)
	var body []byte
	if q.body != nil {
		var err error
		if body, err = json.Marshal(q.body); err != nil {
			return reply{call: call}, failure{}, c.http.Fail(call, providers.Invalid, providers.Answer{}, "", "request cannot be written", err)
		}
	}
	if q.moves && c.cfg.SigningKey == "" {
		return reply{call: call}, failure{}, c.http.Fail(call, providers.Operator, providers.Answer{}, "no_signing_key", "moving money out needs bspay.signing_key", nil)
	}
	if _, ahead := c.clock.now(); q.moves && ahead.Abs() > maxOffset {
		// Perhaps the machine slept, and only what was learnt before is off: any
		// answer tells the time, and without one nothing is signed.
		_ = c.CheckHealth(ctx)
	}
	for again := q.moves; ; again = false {
		sent, a, err := c.calls.Do(ctx, call, func(call *providers.Call) error {
			if body != nil {
				call.Body = body
				call.Header.Set("Content-Type", "application/json")
			}
			if !q.moves {
				return nil
			}
			at, ahead := c.clock.now()
			if ahead.Abs() > maxOffset {
				return c.http.Fail(*call, providers.NotSent, providers.Answer{}, "clock_wrong", fmt.Sprintf(
					"this machine's clock is %v ahead of the provider's; set it (%v is the most)", ahead.Round(time.Second), maxOffset), nil)
			}
			sign(call.Header, c.cfg.SigningKey, at, body)
			return nil
		})
		r := reply{call: sent, answer: a}
		if err != nil {
			return r, failure{}, err
		}
		f, err := c.open(&r, q)
		if err == nil || !again || a.Status >= 500 || !f.again() {
			return r, f, err
		}
	}
}

// open reads an answer's envelope into r.data.
func (c *Client) open(r *reply, q request) (failure, error) {
	var err error
	if r.answer.Status >= 200 && r.answer.Status < 300 {
		if r.data, err = payload(r.answer.Body); err == nil {
			return failure{}, nil
		}
		if !errors.Is(err, errUnsuccessful) {
			return failure{}, c.contract(*r, err)
		}
	}
	f := parseFailure(r.answer.Body)
	kind, detail := f.kind(r.answer.Status, q.moves), f.message
	if detail == "" {
		detail = providers.Describe(r.answer)
	}
	if r.answer.Status == http.StatusNotFound && q.op == "create" {
		kind, detail = providers.Operator, "nothing at this address; check url: "+detail
	}
	return f, c.http.Fail(r.call, kind, r.answer, f.code, detail, nil)
}

// contract is the error of an answer that cannot be read.
func (c *Client) contract(r reply, err error) error {
	return c.http.Fail(r.call, providers.Contract, r.answer, "", providers.Describe(r.answer), err)
}

func (c *Client) call(q request) providers.Call {
	hide := q.hide.WithSecret(c.cfg.ClientSecret).WithSecret(c.cfg.SigningKey).WithSecret(c.basic())
	return providers.Call{Op: q.op, Method: q.method, URL: c.base + q.path, Use: q.use, Hide: hide}
}

// tokenCall is the token request. The credentials travel in a header.
func (c *Client) tokenCall() providers.Call {
	call := c.call(request{op: "token", method: http.MethodPost, path: "/v2/oauth/token"})
	call.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Basic " + c.basic().Reveal()}}
	call.Body = []byte(`{"grant_type":"client_credentials"}`)
	return call
}

// basic is the credential of HTTP Basic (RFC 7617).
func (c *Client) basic() redact.Secret {
	return redact.Secret(base64.StdEncoding.EncodeToString([]byte(c.cfg.ClientID + ":" + c.cfg.ClientSecret.Reveal())))
}

// isID accepts what can be an id; the document shows none.
func isID(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
