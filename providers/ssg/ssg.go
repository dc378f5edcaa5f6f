// Package ssg is the adapter for the SSG PIX middleware, the legacy API whose
// document says of itself that it is unfinished and should not be followed to
// the letter.
//
// # What the provider offers
//
// OAuth client credentials for a token of one year (POST /oauth/token), a
// charge (POST /api/generate-qrcode) and its status (POST /api/qrcode/status).
// There is no webhook, no list, no cancelling, no refund, no idempotency and no
// look-up by our own id: a create whose answer is lost is an orphan, and since
// nobody saw its code, nobody can pay it. Payments are found by polling only.
//
// The API has a third call, PATCH /api/pix/{id}, that marks a charge paid and
// that every holder of a token may use. This adapter never sends it. It is also
// why PAGO is weaker evidence here than elsewhere: a status word, no amount, no
// end-to-end id, and not even a secret known to the bank alone.
//
// # Stricter than the document
//
// The document's expression for the amount accepts "15050" and "150,50"; we
// send two decimals after a dot and nothing else. All payer fields count as
// required and come from the call or from configuration. Expiry goes out in
// the provider's local time (America/Sao_Paulo, which the document leaves
// open). Answers are read strictly, a status answer must be about the charge
// asked for, and a code is checked before anybody sees it.
//
// Source: the provider's document (Laravel, "Documentação da API Middleware
// para Pix da SSG"); what it leaves open is marked where it is decided.
package ssg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/brcode"
	"github.com/ssg-safe/agent/providers/internal/oauth"
	"github.com/ssg-safe/agent/redact"
	"github.com/ssg-safe/agent/zone"
)

// Name is the adapter's configuration name.
const Name = "ssg"

// Time limits of one call in all, token and repeat included. The document
// states none.
const (
	createTimeout = 25 * time.Second
	readTimeout   = 10 * time.Second
)

// Client is the adapter. It is safe for concurrent use.
type Client struct {
	cfg   *Config
	base  string
	zone  *time.Location
	http  providers.HTTP
	calls *oauth.Session
	log   *slog.Logger
}

var (
	_ providers.Charger       = (*Client)(nil)
	_ providers.StatusReader  = (*Client)(nil)
	_ providers.HealthChecker = (*Client)(nil)
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
		cfg: &cfg, base: strings.TrimRight(cfg.BaseURL, "/"), zone: zone.SaoPaulo(), log: log,
		http: providers.HTTP{Provider: Name, Transport: transport, UserAgent: cfg.UserAgent, Log: log},
	}
	c.calls = oauth.New(oauth.Config{HTTP: &c.http, Token: c.tokenCall, Failure: parseFailure, Address: "base_url"})
	return c, nil
}

// Format prints "ssg" for every verb: package fmt would reach the credentials in
// unexported fields.
func (c *Client) Format(f fmt.State, _ rune) { io.WriteString(f, Name) } // fmt.State never fails

// Name returns "ssg".
func (c *Client) Name() string { return Name }

// Caps describes the provider: nothing is idempotent and nothing can be looked
// up. Polls are close together while a payer is likely to be looking at the
// code, and go on after expiry, since money may still arrive.
func (c *Client) Caps() providers.Caps {
	return providers.Caps{
		CreateTimeout: createTimeout, ReadTimeout: readTimeout,
		Poll: providers.PollSchedule{
			Open: []providers.PollStep{
				{Until: 30 * time.Second, Every: 2 * time.Second},
				{Until: 2 * time.Minute, Every: 3 * time.Second},
				{Every: 5 * time.Second},
			},
			Late: 30 * time.Second, Times: 10,
		},
	}
}

// CreateCharge asks for a dynamic code. Payer fields that neither the Intent
// nor the configuration has are a PayerDataRequired error that names them; a
// CNPJ with letters is an Invalid error with code "unsupported_document". Both
// come before anything is sent. The returned Charge is pending; its ExpiresAt
// is the data_expiracao that was sent, which has whole seconds.
//
// A code that fails its check is a Security error (CheckStrict), with the
// provider's id in the Charge, or arrives with Warnings (CheckWarn).
func (c *Client) CreateCharge(ctx context.Context, in providers.Intent) (providers.Charge, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	req, hide, err := c.newCreate(in)
	if err != nil {
		return providers.Charge{}, err
	}
	var expires time.Time
	call, a, err := c.send(ctx, "create", "/api/generate-qrcode", hide, providers.Act, func() any {
		expires = c.cfg.Now().Add(in.Expiry).Truncate(time.Second)
		req.Expiry = expires.In(c.zone).Format(expiryLayout)
		return req
	})
	if err != nil {
		return providers.Charge{}, err
	}
	if a.Status != http.StatusCreated && a.Status != http.StatusOK {
		return providers.Charge{}, c.refused(call, a)
	}
	id, code, err := parseCreated(a.Body)
	ch := providers.Charge{ProviderID: id, Digest: a.Digest}
	if err != nil {
		return ch, c.http.Fail(call, providers.Contract, a, "", providers.Describe(a), err)
	}
	ch.Status, ch.Word, ch.ExpiresAt = providers.StatusPending, "", expires.UTC()
	if problems := brcode.Check(code, brcode.Want{Amount: in.Amount, Key: in.Key, Hosts: c.cfg.LocationHosts}); len(problems) > 0 {
		detail := "code refused: " + strings.Join(problems, "; ")
		e := c.http.Fail(call, providers.Security, a, "brcode_check", detail, nil)
		if c.cfg.CodeCheck != CheckWarn || !brcode.Showable(code) {
			return providers.Charge{ProviderID: id, Digest: a.Digest}, e
		}
		c.log.Warn("received code fails its check", "provider", Name, "charge", in.ID, "err", e)
		for _, p := range problems {
			ch.Warnings = append(ch.Warnings, call.Hide.Clean(p))
		}
	}
	ch.BRCode = code
	return ch, nil
}

var amountForm = regexp.MustCompile(`^\d{1,12}\.\d{2}$`)

// newCreate checks an intent and makes the request of it, all but the expiry.
func (c *Client) newCreate(in providers.Intent) (*createRequest, providers.Hidden, error) {
	payer := merge(in.Payer, c.cfg.Payer)
	problems := checkPayer(&payer, true)
	hide := c.hidden().WithPayer(payer).WithPayer(in.Payer).WithSecret(redact.Secret(in.Key))
	call := providers.Call{Op: "create", Hide: hide}
	fail := func(kind providers.Kind, code, detail string) (*createRequest, providers.Hidden, error) {
		return nil, hide, c.http.Fail(call, kind, providers.Answer{}, code, detail, nil)
	}
	account := in.Account
	if account == "" {
		account = c.cfg.AccountID
	}
	switch _, keyErr := pix.RecogniseKey(in.Key); {
	case in.Amount <= 0 || !amountForm.MatchString(in.Amount.String()):
		return fail(providers.Invalid, "invalid_amount", "amount must lie between 0.01 and 999999999999.99")
	case in.Expiry < time.Second:
		return fail(providers.Invalid, "invalid_expiry", "expiry must be at least one second")
	case keyErr != nil:
		return fail(providers.Invalid, "invalid_key", "the receiving key is not a PIX key")
	case !isUUID(account):
		return fail(providers.Invalid, "invalid_account", "account must be a UUID")
	}
	var missing, wrong []string
	for _, p := range problems {
		switch {
		case p.unsupported:
			return fail(providers.Invalid, "unsupported_document", "payer.document: "+p.problem)
		case p.missing:
			missing = append(missing, "payer."+p.field)
		default:
			wrong = append(wrong, "payer."+p.field+": "+p.problem)
		}
	}
	if len(missing) > 0 {
		return fail(providers.PayerDataRequired, "payer_data_required", strings.Join(missing, ", "))
	}
	if len(wrong) > 0 {
		return fail(providers.Invalid, "invalid_payer", strings.Join(wrong, "; "))
	}
	return &createRequest{
		Amount: in.Amount.String(), Key: in.Key, Account: account,
		Name: payer.Name.Reveal(), Email: payer.Email.Reveal(), Document: payer.Document.Reveal(),
		Postcode: payer.Postcode.Reveal(), Address: payer.Address.Reveal(), City: payer.City.Reveal(), State: payer.State,
	}, hide, nil
}

// GetCharge asks for a charge's status. The answer states neither amount nor
// end-to-end id. An answer about another charge is a Security error.
func (c *Client) GetCharge(ctx context.Context, ref providers.Ref) (providers.Charge, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if !isID(ref.ProviderID) {
		return providers.Charge{}, c.http.Fail(providers.Call{Op: "status"}, providers.Invalid, providers.Answer{}, "invalid_id", "no provider id", nil)
	}
	call, a, err := c.send(ctx, "status", "/api/qrcode/status", c.hidden(), providers.Poll, func() any { return statusRequest{ref.ProviderID} })
	if err != nil {
		return providers.Charge{}, err
	}
	if a.Status != http.StatusOK {
		return providers.Charge{}, c.refused(call, a)
	}
	id, word, err := parseStatus(a.Body)
	switch {
	case err != nil:
		return providers.Charge{}, c.http.Fail(call, providers.Contract, a, "", providers.Describe(a), err)
	case id != ref.ProviderID:
		return providers.Charge{}, c.http.Fail(call, providers.Security, a, "wrong_echo", "the answer is about another charge", nil)
	}
	status := statusOf(word)
	if status == providers.StatusUncertain {
		c.log.Warn("unknown status word", "provider", Name, "charge", ref.Charge, "word", call.Hide.Clean(word))
	}
	return providers.Charge{ProviderID: id, Status: status, Word: word, Digest: a.Digest}, nil
}

// noCharge is an id that no charge has.
const noCharge = "00000000-0000-0000-0000-000000000000"

// CheckHealth asks for the status of a charge that cannot exist: "not found"
// proves host, credentials and API at once.
func (c *Client) CheckHealth(ctx context.Context) error {
	_, err := c.GetCharge(ctx, providers.Ref{ProviderID: noCharge})
	if e, ok := errors.AsType[*providers.Error](err); ok && (e.Kind == providers.NotFound || e.Kind == providers.Invalid) {
		return nil
	}
	return err
}

// send makes an authorised call.
func (c *Client) send(ctx context.Context, op, path string, hide providers.Hidden, use providers.Use, body func() any) (providers.Call, providers.Answer, error) {
	call := c.call(op, path)
	call.Hide, call.Use = hide, use
	return c.calls.Send(ctx, call, body)
}

// tokenCall is the token request. The credentials travel in its body.
func (c *Client) tokenCall() providers.Call {
	call := c.call("token", "/oauth/token")
	call.Header = http.Header{"Content-Type": {"application/json"}}
	body, err := json.Marshal(tokenRequest{"client_credentials", c.cfg.ClientID, c.cfg.ClientSecret.Reveal()})
	if err != nil {
		panic(err) // a struct of texts
	}
	call.Body = body
	return call
}

// refused classifies an answer that is no success.
func (c *Client) refused(call providers.Call, a providers.Answer) error {
	code, detail := parseFailure(a.Body)
	if detail == "" {
		detail = providers.Describe(a)
	}
	if a.Status == http.StatusNotFound && call.Op == "create" {
		return c.http.Fail(call, providers.Operator, a, code, "nothing at this address; check base_url: "+detail, nil)
	}
	return c.http.Refused(call, a, code, detail)
}

func (c *Client) call(op, path string) providers.Call {
	return providers.Call{Op: op, Method: http.MethodPost, URL: c.base + path, Hide: c.hidden()}
}

func (c *Client) hidden() providers.Hidden { return providers.Hide(c.cfg.ClientSecret) }
