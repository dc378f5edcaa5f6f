// Package bspaybr is the adapter for the API v3 of Bspaybr, and of the other
// companies that run the same script: host, credentials and small habits differ,
// and are configuration.
//
// # What the provider offers
//
// A charge (POST /v3/pix/qrcode), its status (transaction_status, by GET or
// POST), a payout (POST /v3/pix/payment) and webhooks, which [ParseWebhook]
// reads, as hints. Id and secret travel in the body of every request; there are
// no tokens, no list, no cancelling, no refund and no balance. One secret does
// all: whoever can charge can also pay out.
//
// # The callback address is the attempt's name
//
// No field of ours comes back from this provider but the address that it is to
// call (urlnoty, in status answers postback_url). So every attempt has an address
// of its own, [Client.Callback], whose last part is a token of 128 bits made from
// a key and the attempt: nobody can guess it, nothing has to be kept, and it tells
// which attempt a webhook or a status answer is about.
//
// # Charges
//
// Nothing is idempotent and nothing can be looked up by our own id. A create whose
// answer is lost is an orphan: nobody saw its code, another attempt is made. The
// provider's name for a charge is its reference code; a status answer must be
// about that code and carry the attempt's own callback address, if any of ours.
// Charges have no expiry here: a code stays payable as long as the provider likes,
// hence the long watch after its expiry at the terminal.
//
// # Payouts
//
// A [Client] cannot send money. [Payouts] can, where an operator has made one; an
// order is sent once and never again, since the provider gives it no id and honours
// none of ours.
//
// Source: the provider's document ("API PIX Bspaybr"); what it leaves open
// (headers of status questions, error bodies, forms of answers) is configured or
// read leniently where it is only told, strictly where money depends on it.
package bspaybr

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/brcode"
	"github.com/ssg-safe/agent/providers/internal/settings"
	"github.com/ssg-safe/agent/redact"
)

// Name is the adapter's configuration name.
const Name = "bspaybr"

const (
	// Time limits of one call in all. The document states none.
	createTimeout = 25 * time.Second
	readTimeout   = 10 * time.Second
	// maxAmount is what fits into a code.
	maxAmount money.Amount = 999_999_999_999
)

// Client is the adapter: it charges and asks. It is safe for concurrent use.
type Client struct {
	cfg  *Config
	base string
	http providers.HTTP
	log  *slog.Logger
}

var (
	_ providers.Charger       = (*Client)(nil)
	_ providers.StatusReader  = (*Client)(nil)
	_ providers.HealthChecker = (*Client)(nil)
	_ providers.CallbackNamer = (*Client)(nil)
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
	cfg.CallbackKey = cmp.Or(cfg.CallbackKey, cfg.ClientSecret)
	cfg.StatusPath = cmp.Or(cfg.StatusPath, DefaultStatusPath)
	return &Client{
		cfg: &cfg, base: strings.TrimRight(cfg.URL, "/"), log: log,
		http: providers.HTTP{Provider: Name, Transport: transport, UserAgent: cfg.UserAgent, Log: log},
	}, nil
}

// Format prints "bspaybr" for every verb: package fmt would reach the credentials
// in unexported fields.
func (c *Client) Format(f fmt.State, _ rune) { io.WriteString(f, Name) } // fmt.State never fails

// Name returns "bspaybr".
func (c *Client) Name() string { return Name }

// Caps describes the provider: nothing is idempotent and nothing can be looked
// up.
func (c *Client) Caps() providers.Caps {
	return providers.Caps{
		CreateTimeout: createTimeout, ReadTimeout: readTimeout,
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

// Callback is the address that the provider calls about an attempt of a charge.
// It is the same whenever it is asked for, as long as the callback key is.
func (c *Client) Callback(charge string, attempt int) string {
	return c.callback("charge", charge, attempt)
}

// CallbackName is the name of an attempt's callback address: see [CallbackName].
func (c *Client) CallbackName(charge string, attempt int) string {
	return CallbackName(callbackToken(c.Callback(charge, attempt)))
}

// CallbackName is the token of a callback address as webhooks are found by it: a hash,
// because the token lets whoever has it speak about the attempt. It is empty for an
// empty token.
func CallbackName(token string) string {
	if token == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(token))
	return "callback:" + hex.EncodeToString(sum[:16])
}

func (c *Client) callback(kind, id string, attempt int) string {
	m := hmac.New(sha256.New, []byte(c.cfg.CallbackKey.Reveal()))
	fmt.Fprintf(m, "bspaybr callback\n%s\n%s\n%d", kind, id, attempt) // a hash never fails
	return strings.TrimRight(c.cfg.CallbackURL, "/") + "/" + hex.EncodeToString(m.Sum(nil)[:16])
}

// CreateCharge asks for a dynamic code. The provider sets the expiry, if any, and
// does not say it. Payer fields that neither the Intent nor the configuration has
// are a PayerDataRequired error that names them.
//
// A code that fails its check is a Security error (CheckStrict), with the
// provider's id in the Charge, or arrives with Warnings (CheckWarn). A picture in
// place of a code is a Contract error with code "picture".
func (c *Client) CreateCharge(ctx context.Context, in providers.Intent) (providers.Charge, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	form, hide, err := c.newQRCode(in)
	if err != nil {
		return providers.Charge{}, err
	}
	call, a, err := c.post(ctx, "create", "/v3/pix/qrcode", hide, form)
	if err != nil {
		return providers.Charge{}, err
	}
	if a.Status != http.StatusOK && a.Status != http.StatusCreated {
		return providers.Charge{}, c.refused(call, a, a.Status)
	}
	got, err := parseCreated(a.Body)
	ch := providers.Charge{ProviderID: got.id, Digest: a.Digest}
	switch {
	case err != nil:
		return ch, c.contract(call, a, err)
	case got.amount != nil && *got.amount != in.Amount:
		return ch, c.http.Fail(call, providers.Security, a, "wrong_amount", "the charge that was made is of another amount", nil)
	case isPicture(got.code):
		return ch, c.http.Fail(call, providers.Contract, a, "picture",
			"a picture instead of a code, which can be neither checked nor printed; ask the provider for the copy-and-paste text (EMV)", nil)
	}
	if problems := brcode.Check(got.code, brcode.Want{Amount: in.Amount, Hosts: c.cfg.LocationHosts}); len(problems) > 0 {
		e := c.http.Fail(call, providers.Security, a, "brcode_check", "code refused: "+strings.Join(problems, "; "), nil)
		if c.cfg.CodeCheck != CheckWarn || !brcode.Showable(got.code) {
			return ch, e
		}
		c.log.Warn("received code fails its check", "provider", Name, "charge", in.ID, "err", e)
		for _, p := range problems {
			ch.Warnings = append(ch.Warnings, call.Hide.Clean(p))
		}
	}
	ch.BRCode, ch.Status = got.code, providers.StatusPending
	return ch, nil
}

// newQRCode checks an intent and makes the request of it.
func (c *Client) newQRCode(in providers.Intent) (url.Values, providers.Hidden, error) {
	payer := payerOf(in.Payer, c.cfg.Payer)
	problems := checkPayer(&payer)
	hide := hideNames(c.hidden().WithPayer(payer).WithPayer(in.Payer), payer.Name)
	fail := func(kind providers.Kind, code, detail string) (url.Values, providers.Hidden, error) {
		return nil, hide, c.http.Fail(providers.Call{Op: "create", Hide: hide}, kind, providers.Answer{}, code, detail, nil)
	}
	switch {
	case in.Amount <= 0 || in.Amount > maxAmount:
		return fail(providers.Invalid, "invalid_amount", "amount must lie between 0.01 and "+maxAmount.String())
	case !isID(in.ID):
		return fail(providers.Invalid, "invalid_id", "the charge has no id")
	case in.Description != "" && !settings.IsText(in.Description, 255):
		return fail(providers.Invalid, "invalid_description", "longer than 255 characters, or not plain text")
	case len(problems) > 0:
		return fail(providers.Invalid, "invalid_payer", "payer."+problems[0].field+": "+problems[0].problem)
	}
	var missing []string
	if payer.Name == "" {
		missing = append(missing, "payer.name")
	}
	if payer.Document == "" {
		missing = append(missing, "payer.document")
	}
	if len(missing) > 0 {
		return fail(providers.PayerDataRequired, "payer_data_required", strings.Join(missing, ", "))
	}
	form := url.Values{
		"nome": {payer.Name.Reveal()}, "cpf": {payer.Document.Reveal()}, "valor": {in.Amount.String()},
		"urlnoty": {c.Callback(in.ID, in.Attempt)},
	}
	if in.Description != "" {
		form.Set("descricao", in.Description)
	}
	return form, hide, nil
}

// GetCharge asks for a charge's status. An answer about another charge, or with
// the callback address of another attempt, is a Security error, and so is one without
// an address where the Ref is Claimed.
func (c *Client) GetCharge(ctx context.Context, ref providers.Ref) (providers.Charge, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	s, call, a, err := c.status(ctx, "status", ref.ProviderID)
	if err != nil {
		return providers.Charge{}, err
	}
	token := callbackToken(s.callback)
	if ref.Charge != "" && (token != "" || ref.Claimed) && token != callbackToken(c.Callback(ref.Charge, ref.Attempt)) {
		return providers.Charge{}, c.http.Fail(call, providers.Security, a, "wrong_callback", "the answer is about another attempt", nil)
	}
	if s.status == providers.StatusUncertain {
		c.log.Warn("unknown status word", "provider", Name, "charge", ref.Charge, "word", call.Hide.Clean(s.word))
	}
	return providers.Charge{ProviderID: s.id, Status: s.status, Word: s.word, Amount: s.amount, Digest: a.Digest}, nil
}

// status asks for a transaction of either kind by its reference code.
func (c *Client) status(ctx context.Context, op, id string) (transaction, providers.Call, providers.Answer, error) {
	call := providers.Call{Op: op, Method: http.MethodGet, URL: c.base + c.cfg.StatusPath, Header: http.Header{}, Use: providers.Poll, Hide: c.hidden()}
	if !isID(id) {
		return transaction{}, call, providers.Answer{}, c.http.Fail(call, providers.Invalid, providers.Answer{}, "invalid_id", "no reference code", nil)
	}
	if c.cfg.StatusMethod == StatusPost {
		body, err := json.Marshal(map[string]string{"id": id})
		if err != nil {
			panic(err) // a text
		}
		call.Method, call.Body = http.MethodPost, body
		call.Header.Set("Content-Type", "application/json")
	} else {
		call.URL += "?" + url.Values{"id": {id}}.Encode()
	}
	if c.cfg.StatusAuth != AuthNone {
		call.Header.Set("ci", c.cfg.ClientID)
		call.Header.Set("cs", c.cfg.ClientSecret.Reveal())
	}
	a, err := c.http.Do(ctx, call)
	switch {
	case err != nil:
		return transaction{}, call, a, err
	case a.Status != http.StatusOK:
		return transaction{}, call, a, c.refused(call, a, a.Status)
	}
	s, err := parseStatus(a.Body)
	switch {
	case err != nil:
		return transaction{}, call, a, c.contract(call, a, err)
	case s.id != id:
		return transaction{}, call, a, c.http.Fail(call, providers.Security, a, "wrong_echo", "the answer is about another transaction", nil)
	}
	return s, call, a, nil
}

// CheckHealth asks for the status of a charge that cannot exist: "not found"
// proves the host, and the credentials where it asks for them.
func (c *Client) CheckHealth(ctx context.Context) error {
	_, err := c.GetCharge(ctx, providers.Ref{ProviderID: "00000000000000000000000000000000"})
	if e, ok := errors.AsType[*providers.Error](err); ok && e.Kind == providers.NotFound {
		return nil
	}
	return err
}

// post sends a form, the credentials with it.
func (c *Client) post(ctx context.Context, op, path string, hide providers.Hidden, form url.Values) (providers.Call, providers.Answer, error) {
	form.Set("client_id", c.cfg.ClientID)
	form.Set("client_secret", c.cfg.ClientSecret.Reveal())
	call := providers.Call{
		Op: op, Method: http.MethodPost, URL: c.base + path, Hide: hide.WithSecret(redact.Secret(callbackToken(form.Get("urlnoty")))),
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, Body: []byte(form.Encode()),
	}
	a, err := c.http.Do(ctx, call)
	return call, a, err
}

// refused classifies an answer that is no success; status is its own, or the one
// that its body states.
func (c *Client) refused(call providers.Call, a providers.Answer, status int) error {
	kind, detail := providers.KindOfStatus(status), parseFailure(a.Body)
	if detail == "" {
		detail = providers.Describe(a)
	}
	switch {
	case status == http.StatusNotFound && (call.Op == "create" || call.Op == "payout" || isPage(a)):
		kind, detail = providers.Operator, "nothing at this address; check url and bspaybr.status_path: "+detail
	case status == http.StatusForbidden && call.Op == "payout":
		kind, detail = providers.Operator, "not enough money, or not allowed; ask the provider: "+detail
	}
	return c.http.Fail(call, kind, a, "", detail, nil)
}

// isPage tells a web server's own page from the API's answers.
func isPage(a providers.Answer) bool {
	kind, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	return err == nil && kind == "text/html"
}

// contract is the error of an answer that cannot be read.
func (c *Client) contract(call providers.Call, a providers.Answer, err error) error {
	return c.http.Fail(call, providers.Contract, a, "", providers.Describe(a), err)
}

func (c *Client) hidden() providers.Hidden {
	secret := c.cfg.ClientSecret
	return providers.Hide(secret, redact.Secret(url.QueryEscape(secret.Reveal())), c.cfg.CallbackKey)
}

// hideNames hides a name's words as a form carries them.
func hideNames(h providers.Hidden, name redact.Name) providers.Hidden {
	for word := range strings.FieldsSeq(name.Reveal()) {
		if escaped := url.QueryEscape(word); len(escaped) >= 4 {
			h = h.WithSecret(redact.Secret(escaped))
		}
	}
	return h
}
