// Package bacen is the adapter for banks whose interface follows Banco Central's
// API Pix ("pix-api", version 2): immediate charges ("cob"), their state, and
// the list of received Pix. A [Client] is the receiving part: it asks for no scope
// that could send money. Giving payments back is a type of its own, [Refunds].
//
// # Profiles
//
// Banks follow the standard more or less. What differs between them is data,
// not code: a [Profile] names hosts, the way to a token, scopes, extra headers
// and query keys, and the limits of lists. Some are built in ([Profiles]); an
// operator writes another as a file ([LoadProfile]).
//
// # Our own txid
//
// A charge is created with PUT under a txid that we choose: the charge's id and
// its attempt ([TxID]). That makes the create idempotent: sent again it names
// the same charge, and one whose answer was lost is found with GET by the same
// txid (Caps.LookUp). The txid is the provider's id of the charge. A PUT that is
// refused while the charge exists is looked up: it may be the echo of an
// earlier sending whose answer never came.
//
// # What is believed
//
// An answer must be about the txid asked for. A new charge must be ATIVA, over
// our amount and for our key, and its code is checked before anybody sees it:
// amount, host, and that it leads to the very location the answer names. Where
// a bank leaves pixCopiaECola out (it became optional with 2.6.0), the code is
// written here from the location.
//
// A payment is what the bank lists with end-to-end id and amount: evidence of
// the best grade. A listed payment counts even while the word is still ATIVA or
// says REMOVIDA, for words may lag behind money. CONCLUIDA without a list is a
// word alone: paid, but without amount. Expired is no status of the standard;
// it is reckoned from criacao and expiracao on the bank's own clock, half a
// minute late, because a payment of the last second takes some to settle.
//
// # Payments of static codes
//
// [Client.FindStatic] lists them by their txid. That is what makes a code that
// was made offline honest: its payment can be found later. [Client.Transactions]
// lists whatever was received, for reconciliation.
//
// Sources: bacen/pix-api, openapi.yaml 2.9.0; Banco Central, Manual de Padrões
// para Iniciação do Pix; RFC 6749, 7807, 8705.
package bacen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/internal/brcode"
	"github.com/ssg-safe/agent/providers/internal/oauth"
)

// Name is the adapter's configuration name.
const Name = "bacen"

// Time limits of one call in all, token and repeat included. The standard
// states none.
const (
	createTimeout = 25 * time.Second
	readTimeout   = 10 * time.Second
)

// settling is how long after its end an unpaid charge is not yet called
// expired.
const settling = 30 * time.Second

// Client is the adapter. It is safe for concurrent use.
type Client struct {
	cfg    *Config
	base   string
	token  string
	header http.Header // what the profile adds
	query  url.Values
	http   providers.HTTP
	calls  *oauth.Session
	log    *slog.Logger
}

var (
	_ providers.Charger       = (*Client)(nil)
	_ providers.StatusReader  = (*Client)(nil)
	_ providers.Canceller     = (*Client)(nil)
	_ providers.StaticFinder  = (*Client)(nil)
	_ providers.HealthChecker = (*Client)(nil)
	_ providers.Lister        = (*Client)(nil)
)

// New returns an adapter over a transport, which for a real bank comes from
// [Config.Transport]. It sends nothing yet. The error is that of
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
		cfg: &cfg, base: strings.TrimRight(cfg.url(), "/"), token: cfg.tokenURL(), log: log,
		header: http.Header{}, query: url.Values{},
		http: providers.HTTP{Provider: Name, Transport: transport, UserAgent: cfg.UserAgent, Log: log},
	}
	for name, value := range cfg.Profile.Headers {
		c.header.Set(name, cfg.fill(value))
	}
	for name, value := range cfg.Profile.Query {
		c.query.Set(name, cfg.fill(value))
	}
	c.calls = oauth.New(oauth.Config{
		HTTP: &c.http, Token: c.tokenCall, Failure: parseFailure, Address: "token_url",
	})
	return c, nil
}

// Format prints "bacen" for every verb: package fmt would reach the credentials
// in unexported fields.
func (c *Client) Format(f fmt.State, _ rune) { io.WriteString(f, Name) } // fmt.State never fails

// Name returns "bacen".
func (c *Client) Name() string { return Name }

// Caps describes the provider: creates are idempotent and can be looked up.
// Polls are close together while a payer is likely to be looking at the code,
// and go on after the end, since money may still arrive.
func (c *Client) Caps() providers.Caps {
	return providers.Caps{
		Idempotent: true, LookUp: true, CreateTimeout: createTimeout, ReadTimeout: readTimeout,
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

// Dynamic is a client without its [providers.StaticFinder], for a bank that does
// not list payments of static codes by their txid (Profile.StaticTxID).
type Dynamic struct {
	providers.Charger
	providers.StatusReader
	providers.Canceller
	providers.HealthChecker
	providers.Lister
}

// DynamicOnly returns the client as one that finds no static codes.
func (c *Client) DynamicOnly() Dynamic { return Dynamic{c, c, c, c, c} }

// TxID is the txid of a charge's attempt: the charge's id, 25 letters and
// digits, and the attempt's number in decimal. False when the id has another
// form or the attempt is below 1.
func TxID(charge string, attempt int) (string, bool) {
	txid := charge + strconv.Itoa(attempt)
	return txid, len(charge) == 25 && attempt >= 1 && isTxID(txid, 26)
}

// CreateCharge makes the charge, or finds that it is made already. The debtor
// goes out when the Intent has the payer's name and document, else not at all.
// The description becomes solicitacaoPagador, cut after 140 characters.
//
// An answer that contradicts the Intent is a Security error, a charge of the
// same txid over something else a Conflict. A code that fails its check is a
// Security error (CheckStrict), or arrives with Warnings (CheckWarn). Errors of
// unknown outcome come with the txid as ProviderID.
func (c *Client) CreateCharge(ctx context.Context, in providers.Intent) (providers.Charge, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	txid, req, hide, err := c.newCreate(in)
	if err != nil {
		return providers.Charge{}, err
	}
	call := c.call("create", http.MethodPut, "/cob/"+txid, nil)
	call.Hide = hide
	call, a, err := c.calls.Send(ctx, call, func() any { return req })
	orphan := providers.Charge{ProviderID: txid}
	if err != nil {
		if e, ok := errors.AsType[*providers.Error](err); ok && e.Kind.OutcomeUnknown() {
			return orphan, err
		}
		return providers.Charge{}, err
	}
	switch a.Status {
	case http.StatusOK, http.StatusCreated:
	case http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity:
		return c.adopt(ctx, in, txid, hide, c.refused(call, a))
	default:
		refusal := c.refused(call, a)
		if !refusal.Kind.OutcomeUnknown() {
			orphan = providers.Charge{}
		}
		return orphan, refusal
	}
	orphan.Digest = a.Digest
	found, err := parseCob(a.Body)
	if err != nil {
		return orphan, c.http.Fail(call, providers.Contract, a, "", providers.Describe(a), err)
	}
	if code, detail := found.differs(txid, in); code != "" {
		return orphan, c.http.Fail(call, providers.Security, a, code, detail, nil)
	}
	return c.made(call, a, found, orphan)
}

// adopt looks a charge up whose create was refused. Only when the bank says that
// there is none is the refusal believed: it may be the echo of an earlier sending
// whose answer never came.
func (c *Client) adopt(ctx context.Context, in providers.Intent, txid string, hide providers.Hidden, refusal *providers.Error) (providers.Charge, error) {
	call, a, found, err := c.read(ctx, "create", txid, hide, providers.Act)
	orphan := providers.Charge{ProviderID: txid, Digest: a.Digest}
	if e, failed := errors.AsType[*providers.Error](err); failed {
		switch {
		case e.Kind == providers.Security:
			return orphan, e
		case e.Kind != providers.NotFound || refusal.Kind == providers.Conflict:
			return orphan, c.http.Fail(call, providers.Ambiguous, a, refusal.Code, "refused, and whether it exists cannot be read", e)
		}
		return providers.Charge{}, refusal
	}
	if _, detail := found.differs(txid, in); detail != "" {
		return orphan, c.http.Fail(call, providers.Conflict, a, refusal.Code, "the txid is taken: "+detail, refusal)
	}
	return c.made(call, a, found, orphan)
}

// made is a charge that was created as asked, with its code.
func (c *Client) made(call providers.Call, a providers.Answer, found cob, orphan providers.Charge) (providers.Charge, error) {
	ch := c.charge(a, found)
	if ch.Status != providers.StatusPending {
		// Whatever it is now, the way on is to look it up.
		return orphan, c.http.Fail(call, providers.Contract, a, "not_active", "a new charge is "+string(ch.Status), nil)
	}
	err := c.code(call, a, found, &ch)
	return ch, err
}

// GetCharge asks for a charge's state. A Ref without ProviderID is a look-up by
// charge and attempt: its answer carries the code, checked against what the
// bank's own answer says was charged (the caller compares Amount with what it
// wanted), unless nobody can pay it any more. An answer about another charge is
// a Security error.
func (c *Client) GetCharge(ctx context.Context, ref providers.Ref) (providers.Charge, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	txid, ok := ref.ProviderID, isTxID(ref.ProviderID, 26)
	lookUp := txid == ""
	if lookUp {
		txid, ok = TxID(ref.Charge, ref.Attempt)
	}
	if !ok {
		return providers.Charge{}, c.http.Fail(providers.Call{Op: "status"}, providers.Invalid, providers.Answer{}, "invalid_id", "no txid of 26 to 35 letters and digits", nil)
	}
	call, a, found, err := c.read(ctx, "status", txid, c.hidden(), providers.Poll)
	if err != nil {
		return providers.Charge{}, err
	}
	ch := c.charge(a, found)
	if ch.Status == providers.StatusUncertain {
		c.log.Warn("unknown status word", "provider", Name, "charge", ref.Charge, "word", call.Hide.Clean(found.word))
	}
	if len(found.payments) > 1 {
		c.log.Error("more than one payment of a charge; the first one counts", "provider", Name, "charge", ref.Charge, "payments", len(found.payments))
	}
	if !lookUp || ch.Status != providers.StatusPending && ch.Status != providers.StatusPaid {
		return ch, nil
	}
	if len(c.cfg.Payees) > 0 && c.cfg.payee(found.key) == nil {
		return providers.Charge{ProviderID: txid, Digest: a.Digest}, c.http.Fail(call, providers.Security, a, "wrong_key", "the charge is for a key that is not ours", nil)
	}
	err = c.code(call, a, found, &ch)
	return ch, err
}

// CancelCharge removes a charge that nobody has paid. The result's Status says
// how the charge ended: a charge that was paid first comes back as paid, one
// that was removed already as cancelled, both without an error.
func (c *Client) CancelCharge(ctx context.Context, ref providers.Ref) (providers.Charge, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	if !isTxID(ref.ProviderID, 26) {
		return providers.Charge{}, c.http.Fail(providers.Call{Op: "cancel"}, providers.Invalid, providers.Answer{}, "invalid_id", "no txid of 26 to 35 letters and digits", nil)
	}
	call := c.call("cancel", http.MethodPatch, "/cob/"+ref.ProviderID, nil)
	call, a, err := c.calls.Send(ctx, call, func() any { return removal{wordRemovedByUs} })
	if err != nil {
		return providers.Charge{}, err
	}
	var found cob
	switch a.Status {
	case http.StatusOK:
		if found, err = c.parse(call, a, ref.ProviderID); err != nil {
			return providers.Charge{}, err
		}
	case http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity:
		refusal := c.refused(call, a)
		call, a, found, err = c.read(ctx, "cancel", ref.ProviderID, c.hidden(), providers.Act)
		switch e, _ := errors.AsType[*providers.Error](err); {
		case err != nil && e.Kind == providers.Security:
			return providers.Charge{}, e
		case err != nil || found.status() == providers.StatusPending && len(found.payments) == 0:
			return providers.Charge{}, refusal
		}
	default:
		return providers.Charge{}, c.refused(call, a)
	}
	ch := c.charge(a, found)
	if ch.Status == providers.StatusPending || ch.Status == providers.StatusExpired {
		return providers.Charge{}, c.http.Fail(call, providers.Contract, a, "not_removed", "removed, and still "+found.word, nil)
	}
	return ch, nil
}

// CheckHealth lists the Pix of the last minute: that proves certificate,
// credentials, address and the scope that offline charges rest on, and creates
// nothing.
func (c *Client) CheckHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	now := c.cfg.Now()
	_, err := c.page(ctx, "health", "", false, window{now.Add(-time.Minute), now}, 0, 1)
	return err
}

// read asks for a cob and checks that the answer is about it.
func (c *Client) read(ctx context.Context, op, txid string, hide providers.Hidden, use providers.Use) (providers.Call, providers.Answer, cob, error) {
	call := c.call(op, http.MethodGet, "/cob/"+txid, nil)
	call.Hide, call.Use = hide, use
	call, a, err := c.calls.Send(ctx, call, nil)
	if err != nil {
		return call, a, cob{}, err
	}
	if a.Status != http.StatusOK {
		return call, a, cob{}, c.refused(call, a)
	}
	found, err := c.parse(call, a, txid)
	return call, a, found, err
}

func (c *Client) parse(call providers.Call, a providers.Answer, txid string) (cob, error) {
	found, err := parseCob(a.Body)
	switch {
	case err != nil:
		return cob{}, c.http.Fail(call, providers.Contract, a, "", providers.Describe(a), err)
	case found.txid != txid:
		return cob{}, c.http.Fail(call, providers.Security, a, "wrong_echo", "the answer is about another charge", nil)
	}
	return found, nil
}

// charge is what a cob says, without its code.
func (c *Client) charge(a providers.Answer, found cob) providers.Charge {
	ch := providers.Charge{
		ProviderID: found.txid, Status: found.status(), Word: found.word, Digest: a.Digest,
		ExpiresAt: found.created.Add(found.expiry),
	}
	if ch.Status == providers.StatusUncertain {
		return ch
	}
	if len(found.payments) > 0 {
		p := found.payments[0]
		ch.Status, ch.Amount, ch.EndToEnd, ch.Returns = providers.StatusPaid, &p.amount, p.endToEnd, p.returns
		if p.returned >= p.amount {
			ch.Status = providers.StatusRefunded
		}
		return ch
	}
	if ch.Status == providers.StatusPaid {
		return ch // nobody said how much
	}
	ch.Amount = &found.amount
	if ch.Status == providers.StatusPending && c.now(a).After(ch.ExpiresAt.Add(settling)) {
		ch.Status = providers.StatusExpired
	}
	return ch
}

// now is the bank's clock where the answer tells it: a terminal's may be wrong.
func (c *Client) now(a providers.Answer) time.Time {
	if t, err := http.ParseTime(a.Header.Get("Date")); err == nil {
		return t
	}
	return c.cfg.Now()
}

// code puts a cob's code into ch. When the code will not do, ch becomes what is
// known of an orphan.
func (c *Client) code(call providers.Call, a providers.Answer, found cob, ch *providers.Charge) error {
	code, problems, err := c.payable(found)
	orphan := providers.Charge{ProviderID: ch.ProviderID, Digest: ch.Digest}
	if err != nil {
		*ch = orphan
		return c.http.Fail(call, providers.Contract, a, "no_code", "", err)
	}
	if len(problems) > 0 {
		e := c.http.Fail(call, providers.Security, a, "brcode_check", "code refused: "+strings.Join(problems, "; "), nil)
		if c.cfg.CodeCheck != CheckWarn || !brcode.Showable(code) {
			*ch = orphan
			return e
		}
		c.log.Warn("received code fails its check", "provider", Name, "charge", ch.ProviderID, "err", e)
		for _, p := range problems {
			ch.Warnings = append(ch.Warnings, call.Hide.Clean(p))
		}
	}
	ch.BRCode = code
	return nil
}

// payable is the code of a cob, the bank's own or one written from its
// location, and what is wrong with it.
func (c *Client) payable(found cob) (code string, problems []string, err error) {
	if found.code != "" {
		return found.code, brcode.Check(found.code, brcode.Want{
			Amount: found.amount, Hosts: c.cfg.LocationHosts, Location: found.location,
		}), nil
	}
	if found.location == "" {
		return "", nil, errors.New("neither pixCopiaECola nor location")
	}
	payee := c.cfg.payee(found.key)
	if payee == nil {
		return "", nil, errors.New("no pixCopiaECola, and no name to write a code with")
	}
	code, err = pix.Dynamic{Location: brcode.Bare(found.location), Name: payee.Name, City: payee.City}.Encode()
	if err != nil {
		return "", nil, fmt.Errorf("write a code for the location: %w", err)
	}
	return code, brcode.CheckLocation(found.location, c.cfg.LocationHosts), nil
}

// refused classifies an answer that is no success, by the problem's type where
// it says more than the status.
func (c *Client) refused(call providers.Call, a providers.Answer) *providers.Error {
	code, detail := parseFailure(a.Body)
	if detail == "" {
		detail = providers.Describe(a)
	}
	kind := providers.KindOfStatus(a.Status)
	if better, ok := problemKinds[code]; ok && slices.Contains([]int{400, 404, 409, 422}, a.Status) {
		kind = better
	}
	if kind == providers.NotFound && call.Op == "create" && call.Method == http.MethodPut {
		kind, detail = providers.Operator, "nothing at this address; check url: "+detail
	}
	return c.http.Fail(call, kind, a, code, detail, nil)
}

// call is a request with the profile's additions.
func (c *Client) call(op, method, path string, query url.Values) providers.Call {
	all := url.Values{}
	for _, q := range []url.Values{c.query, query} {
		for name, values := range q {
			all[name] = values
		}
	}
	address := c.base + path
	if len(all) > 0 {
		address += "?" + all.Encode()
	}
	return providers.Call{Op: op, Method: method, URL: address, Header: c.header.Clone(), Hide: c.hidden()}
}

func (c *Client) hidden() providers.Hidden {
	return providers.Hide(c.cfg.ClientSecret, c.cfg.AppKey, c.cfg.basic())
}
